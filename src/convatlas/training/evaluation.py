"""What a network answers to images whose classes are known, and how good that is."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.data import Source, open_data
from convatlas.data.batches import Batch, in_order
from convatlas.data.held import Held
from convatlas.data.images import Preparation
from convatlas.data.shards import Shards
from convatlas.devices import exact
from convatlas.errors import InputError
from convatlas.network import Network
from convatlas.training.recipe import Recipe
from convatlas.weights.bundle import Bundle, load_trained

PIXELS = 500 * 32 * 32
"""How many pixels are put through a network at once."""


@dataclass(frozen=True, slots=True)
class Answers:
    """A network's answers to a set of images."""

    logits: Tensor
    """float32 (N, K)."""
    labels: Tensor
    """int64 (N,)."""

    @property
    def right(self) -> int:
        """How many images the network names rightly."""
        return int((self.logits.argmax(1) == self.labels).sum())

    @property
    def total(self) -> int:
        """How many images there are."""
        return len(self.labels)

    @property
    def accuracy(self) -> float:
        """Per cent."""
        return 100 * self.right / self.total

    @property
    def loss(self) -> float:
        """The mean cross-entropy, in nats."""
        return F.cross_entropy(self.logits, self.labels).item()

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """(N, K)."""
        return self.logits.softmax(1).numpy()

    def scores(self) -> dict[str, int | float]:
        """What is written down and printed; errors and accuracies in per cent."""
        return {
            "right": self.right,
            "total": self.total,
            "accuracy": round(self.accuracy, 4),
            "error": round(100 - self.accuracy, 4),
            "loss": round(self.loss, 6),
        }


def answer(network: nn.Module, batches: Iterable[Batch]) -> Answers:
    """The network's logits, in evaluation mode; it is left in the mode that it was in."""
    mode = network.training
    network.eval()
    logits, labels = [], []
    with torch.no_grad():
        for batch in batches:
            logits.append(network(batch.images).float().cpu())
            labels.append(batch.labels.cpu())
    network.train(mode)
    return Answers(torch.cat(logits), torch.cat(labels))


def evaluate(network: nn.Module, pixels: Held, preparation: Preparation, *, device: str = "cpu") -> Answers:
    """What the network answers in float32: the figure that is reported, the same on every machine up to rounding."""
    place = torch.device(device)
    network = network.to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]
    batches = in_order(pixels, preparation, batch_size=batch_of(pixels), device=place, channels_last=True)
    with exact():
        return answer(network, batches)


class Trained(NamedTuple):
    """A trained network, and the images to try it on."""

    bundle: Bundle
    network: Network
    source: Source | Shards
    held_out: float | None
    """The share for validation where the network was trained on the same source; None: on another."""


def of_run(run: str, *, data: str | None = None, label_column: str | None = None) -> Trained:
    """The network of a run, and the images that it was trained on or the `data`.

    `run` is a folder, or org/name on the Hub. Raises InputError where there is none, and where it does not say what it
    was trained on and no `data` are named.
    """
    bundle, network = load_trained(run)
    file = Path(run).expanduser() / "recipe.yaml"
    recipe = Recipe.read(file) if file.is_file() else None
    data = data or (recipe.data if recipe else None)
    if data is None:
        raise InputError(f"{run} does not say what it was trained on; name the images with --data")
    same = recipe is not None and same_data(data, recipe.data)
    column = label_column or (recipe.label_column if recipe and same else None)
    source = open_data(data, label_column=column, loading=recipe.loading if recipe and same else "auto")
    return Trained(bundle, network, source, recipe.validation if recipe and same else None)


def same_data(one: str, other: str) -> bool:
    """Whether two names of data mean the same."""
    paths = [Path(name).expanduser() for name in (one, other)]
    return one == other or (paths[0].exists() and paths[0].resolve() == paths[1].resolve())


def batch_of(pixels: Held) -> int:
    """How many images are put through a network at once when nothing is learned."""
    _, height, width = pixels.size
    return max(1, PIXELS // (height * width))
