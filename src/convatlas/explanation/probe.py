"""Signal and gradient: what one batch of images is on its way through a network, and what comes back.

Glorot and Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks", Sec. 4, look at
the same: where the deviation of the gradient falls from layer to layer, the layers before learn nothing.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.errors import InputError
from convatlas.explanation.listening import Listener


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One layer, over all numbers that it gives for the batch."""

    name: str
    """As in `explain`: a module's, or that of what is computed outside of such, as where a block adds its shortcut."""
    activation_mean: float
    activation_std: float
    dead: float
    """The share of channels, or of features, that are 0 for every image and at every place: of a ReLU, the dead
    units; of a padding, the channels that it adds."""
    gradient_mean: float | None
    """Of the loss by the layer's output; None where nothing comes back."""
    gradient_std: float | None
    update: float | None
    """lr · |gradient| / |weights|, of the weights that the layer uses, without biases; None where it uses none. About
    0.001 is usual: far below, a layer does not learn, and far above, it forgets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A network on one batch."""

    images: int
    loss: float
    """Mean cross-entropy, in nats."""
    lr: float
    signals: tuple[Signal, ...]
    """In the order in which the layers begin."""
    left_out: tuple[str, ...] = ()
    """The layers that answer with anything but numbers that can be averaged, such as places in a map."""

    def __getitem__(self, name: str) -> Signal:
        """The layer of that name. Raises KeyError where there is none."""
        for signal in self.signals:
            if signal.name == name:
                return signal
        raise KeyError(name)

    def blocks(self, depth: int) -> Iterator[tuple[Signal, tuple[Signal, ...]]]:
        """The blocks whose names have `depth` parts, each as what leaves it, with the largest update within, and the
        layers in it.
        """
        for name, inside in groupby(self.signals, key=lambda signal: ".".join(signal.name.split(".")[:depth])):
            layers = tuple(inside)
            updates = [layer.update for layer in layers if layer.update is not None]
            yield replace(layers[-1], name=name, update=max(updates, default=None)), layers

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return asdict(self)


def probe(model: nn.Module, images: Tensor, labels: Tensor, *, lr: float = 0.1, seed: int = 0) -> Probe:
    """What `images` (N, C, H, W) of the classes `labels` (N,) are in each layer of `model`, in training.

    `model` stays as it is: a copy of it is pushed through, forward and back, in training mode, with dropout drawn from
    `seed`. Raises InputError where labels are no classes of the network, where it does not take the images, and where
    it answers with anything but a tensor of logits.
    """
    twin = copy.deepcopy(model).train().requires_grad_(True)
    listener = Listener(twin, images)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        try:
            with listener.watching(twin), listener:
                logits = twin(images)
            listener.ask()
        except (ValueError, RuntimeError) as error:
            raise InputError(f"the network does not take the images: {' '.join(str(error).split())}") from error
        if not isinstance(logits, Tensor):
            raise InputError(
                f"in training the network answers with a {type(logits).__name__}, and a probe needs one tensor of "
                "logits: (images, classes)"
            )
        if logits.ndim != 2 or len(logits) != len(labels) or int(labels.max()) >= logits.shape[1]:
            raise InputError(
                f"answers of the shape {tuple(logits.shape)} are none to {len(labels)} images of "
                f"{int(labels.max()) + 1} classes: give the network as many classes as the images have"
            )
        loss = F.cross_entropy(logits, labels)
        loss.backward()  # type: ignore[no-untyped-call]
    parameters, signals, left_out = dict(twin.named_parameters()), [], []
    for group, used, heard in listener.layers():
        if heard is None:
            left_out.append(group.name)
            continue
        signals.append(
            Signal(
                name=group.name,
                activation_mean=heard.activation.mean,
                activation_std=heard.activation.std,
                dead=heard.activation.dead,
                gradient_mean=heard.gradient.mean if heard.gradient else None,
                gradient_std=heard.gradient.std if heard.gradient else None,
                update=update([parameters[name] for name in sorted(used)], lr=lr),
            )
        )
    return Probe(images=len(images), loss=loss.item(), lr=lr, signals=tuple(signals), left_out=tuple(left_out))


def update(parameters: Sequence[Tensor], *, lr: float) -> float | None:
    """How far a step of plain gradient descent moves the weights, as a share of their length."""
    weights = [weight for weight in parameters if weight.ndim > 1 and weight.grad is not None]
    if not weights:
        return None
    step = torch.stack([weight.grad.norm() for weight in weights if weight.grad is not None]).norm()
    length = torch.stack([weight.detach().norm() for weight in weights]).norm()
    return (lr * step / length).item() if length else None
