"""What the layers of a network answer while it computes, and what comes back to them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from convatlas.explanation.costs import cost_of
from convatlas.explanation.groups import Group, grouped
from convatlas.explanation.operators import biases, with_biases
from convatlas.explanation.trace import Recorder, Value, Weight


class Moments(NamedTuple):
    """Of all numbers of a tensor."""

    mean: float
    std: float
    dead: float


@dataclass
class Heard:
    """What one layer answered."""

    activation: Moments
    gradient: Moments | None = None
    """Of the loss by it; None as long as nothing comes back."""


class Listener(Recorder):
    """Writes down each operation on what comes from the images, and takes the moments of what layers answer.

    Those of a module without parts are of its answer, the first tensor of several; those of other operations are of
    their output. All of this is below autograd, which learns where a tensor comes from when it has been returned: the
    gradient by it is asked for when the next operation comes by.
    """

    def __init__(self, module: nn.Module, images: Tensor) -> None:
        super().__init__(images.device.type)
        self.leaves = {path for path, part in module.named_modules() if path and not any(part.children())}
        self.heard: dict[int, Heard] = {}
        """By the place of the operation."""
        self.waiting: list[tuple[Tensor, Heard]] = []
        self.deaf = False
        self.learn(images, Value(-1, 0, tuple(images.shape)))
        for name, parameter in module.named_parameters():
            self.learn(parameter, Weight(frozenset({name}), tuple(parameter.shape)))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.deaf:
            return func(*args, **(kwargs or {}))
        self.ask()
        before = len(self.operations)
        result = super().__torch_dispatch__(func, types, args, kwargs)
        within = self.stack[-1][0] in self.leaves
        if len(self.operations) > before and not within and cost_of(self.operations[before]).kind:
            self.hear(before, result)
        return result

    def leaving(self, part: nn.Module, given: Any, answer: Any) -> None:
        """A hook for the end of a part."""
        path, call = self.stack[-1]
        self.ask()
        if path in self.leaves and self.operations and self.operations[-1].call == call:
            self.hear(len(self.operations) - 1, answer)
            self.ask()
        super().leaving(part, given, answer)

    def hear(self, place: int, answer: Any) -> None:
        """Take the moments of the first tensor, at once, as what is computed in place writes over it."""
        tensors = (leaf for leaf in tree_leaves(answer) if isinstance(leaf, Tensor))
        tensor = next((each for each in tensors if each.is_floating_point() and each.numel()), None)
        if tensor is not None:
            with self.resting():
                self.heard[place] = Heard(moments(tensor.detach()))
            self.waiting.append((tensor, self.heard[place]))

    def ask(self) -> None:
        """Have the gradients by what was heard last written down when they come."""
        for tensor, heard in self.waiting:
            if tensor.requires_grad:
                tensor.register_hook(lambda gradient, heard=heard: setattr(heard, "gradient", moments(gradient)))  # type: ignore[no-untyped-call]
        self.waiting.clear()

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Compute without being written down."""
        self.deaf = True
        try:
            yield
        finally:
            self.deaf = False

    def known(self, value: Any) -> Any:
        """What stands for an argument. Autograd makes another tensor of a view: it is known by its memory."""
        if isinstance(value, Tensor) and id(value) not in self.values:
            for other in self.kept.get(value.untyped_storage()._cdata, []):
                if laid(other) == laid(value):
                    return self.values[id(other)]
        return super().known(value)

    def layers(self) -> Iterator[tuple[Group, set[str], Heard | None]]:
        """The layers, named as in `explain`, each with the parameters that it uses and what was heard of it."""
        operations, added = with_biases(self.operations), dict(biases(self.operations))
        for group in grouped(operations, [cost_of(operation) for operation in operations], self.leaves):
            weights = [weight for index in group.operations for weight in operations[index].weights]
            places = [added.get(index, index) for index in reversed(group.operations)]
            heard = next((self.heard[place] for place in places if place in self.heard), None)
            yield group, set[str]().union(*(weight.parameters for weight in weights)), heard


def laid(tensor: Tensor) -> tuple[Any, ...]:
    """How a tensor lies in its memory."""
    return tensor.shape, tensor.stride(), tensor.storage_offset()


def moments(tensor: Tensor) -> Moments:
    """Mean, deviation, and the share of channels that are 0 throughout."""
    return Moments(tensor.mean().item(), tensor.std(correction=0).item(), dead(tensor))


def dead(output: Tensor) -> float:
    """The share of channels (N, C, H, W), or of features (N, …, F), that are 0 throughout."""
    channel = 1 if output.ndim == 4 else output.ndim - 1
    others = [dim for dim in range(output.ndim) if dim != channel]
    return (output.abs().amax(others) == 0).float().mean().item()
