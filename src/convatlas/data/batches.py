"""Batches: in an order and with an augmentation that are functions of (seed, epoch, index)."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import count, groupby
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convatlas.data.augmentation import Augmentation
from convatlas.data.held import Held, Wanted
from convatlas.data.images import Preparation


class Shard(NamedTuple):
    """Which of the processes that share the work this one is."""

    rank: int = 0
    world: int = 1


ALONE = Shard()


class Batch(NamedTuple):
    """Images that are ready for the network, and their classes."""

    images: Tensor
    """float32 (N, C, H, W), normalised."""
    labels: Tensor
    """int64 (N,)."""
    others: Tensor | None = None
    """int64 (N,): the classes of the images that are mixed in, where any are."""
    share: Tensor | None = None
    """float32 (N,): how much of each image is its own."""


class Step(NamedTuple):
    """What a process learns in a step, in parts that fit into its memory one at a time."""

    images: int
    """In the whole step, over all processes."""
    parts: Sequence[Batch]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """Training batches. The images come as `uint8` onto the device, and are augmented there, a batch at a time."""

    pixels: Held
    preparation: Preparation
    augmentation: Augmentation
    batch_size: int
    """Over all processes."""
    seed: int
    channels_last: bool
    shard: Shard = ALONE
    parts: int = 1
    """Of a process's share of a step."""

    def __len__(self) -> int:
        """How many steps an epoch has."""
        return -(-len(self.pixels) // self.batch_size)

    def steps(self, start: int = 0, stop: int | None = None) -> Generator[Step]:
        """The steps from `start` to `stop`, or without end, counted over all epochs.

        An epoch has all images once, in steps that differ in size by at most one. The processes that decode ahead stay
        from epoch to epoch, and begin one while the last is judged.
        """
        numbers = partial(count, start) if stop is None else partial(range, start, stop)
        each, more = divmod(len(self.pixels), len(self))
        with closing(self.pixels.fetches(self.wanted(numbers()))) as fetched:
            for number in numbers():
                epoch, step = divmod(number, len(self))
                parts = [self.make(*next(fetched), epoch, step) for _ in range(self.parts)]
                yield Step(each + (step < more), parts)

    def wanted(self, numbers: Iterable[int]) -> Iterator[Wanted]:
        """What this process has to fetch for these steps."""
        for epoch, steps in groupby(numbers, lambda number: number // len(self)):
            at = self.pixels.steps(self.seed, epoch, len(self))
            cut = partial(self.augmentation.windows, seed=self.seed, epoch=epoch)
            for number in steps:
                for part in self.share(at(number % len(self))):
                    yield Wanted(part, cut if self.augmentation.resized_crop else None)

    def share(self, index: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """The parts of this process's share of a step.

        Where images are mixed, each with the one after it and the last of the step with its first, a part has the one
        after its last too: so all parts of all processes mix as one does.
        """

        def parts(index: NDArray[np.int64]) -> list[NDArray[np.int64]]:
            return np.array_split(np.array_split(index, self.shard.world)[self.shard.rank], self.parts)

        if not self.augmentation.mixes:
            return parts(self.pixels.gathered(index) if self.shard.world > 1 else index)
        following = parts(np.roll(index, -1))
        return [np.append(own, after[-1:]) for own, after in zip(parts(index), following, strict=True)]

    def make(self, index: NDArray[np.int64], images: Tensor, labels: Tensor, epoch: int, step: int) -> Batch:
        """The images, which are those at `index`, as the epoch shows them; of a mixed part all but the last."""
        augmentation, where = self.augmentation, {"seed": self.seed, "epoch": epoch}
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        images = augmentation.operate(augmentation.move(images, index, **where), index, **where)
        images = images.contiguous(memory_format=layout)  # while they are bytes, of which there are a quarter
        images = self.preparation.normalize_(augmentation.recolour(images, index, **where))
        images = augmentation.blank(images, index, **where)
        labels = labels.to(images.device)
        if not augmentation.mixes:
            return Batch(images.contiguous(memory_format=layout), labels)
        mixed = augmentation.mix(images[:-1], images[1:], index[:-1], step=step, **where)
        return Batch(mixed.images.contiguous(memory_format=layout), labels[:-1], labels[1:], mixed.share)


def in_order(
    pixels: Held,
    preparation: Preparation,
    *,
    batch_size: int,
    device: torch.device,
    channels_last: bool,
    shard: Shard = ALONE,
) -> Iterator[Batch]:
    """All images once, or this process's share of them, in their order and as they are: for evaluation."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    mine = np.array_split(np.arange(len(pixels)), shard.world)[shard.rank]
    most = -(-len(pixels) // shard.world)  # of a process: all of them go through as many batches
    for _, images, labels in pixels.fetches([Wanted(part) for part in np.array_split(mine, -(-most // batch_size))]):
        images = preparation.normalize_(images.to(device).contiguous(memory_format=layout))
        yield Batch(images.contiguous(memory_format=layout), labels.to(device))
