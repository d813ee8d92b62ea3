"""Batches: in an order and with an augmentation that are functions of (seed, epoch, index)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from convatlas.data.chance import uniform, whole
from convatlas.data.held import Held
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
class Augmentation:
    """What is done to a batch of training images, to each image as its own (seed, epoch, index) says."""

    flip: bool = False
    """Mirror an image, left to right, with probability 1/2."""
    crop: int = 0
    """Pad with this many black pixels on each side, and cut the size out at random (He et al. 2015, Sec. 4.2)."""
    colour: float = 0.0
    """Change brightness, contrast and saturation by a factor within 1 ± this."""
    erase: int = 0
    """Blank a square of this side at a random place (cutout: DeVries and Taylor 2017)."""

    def move(self, images: Tensor, index: NDArray[np.int64], *, seed: int, epoch: int) -> Tensor:
        """`uint8 (N, C, H, W) -> uint8 (N, C, H, W)`: flipped, and cropped out of the padded image."""
        if self.flip:
            mirrored = torch.from_numpy(uniform(seed, epoch, index, "flip") < 0.5).to(images.device)
            images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)
        if self.crop:
            height, width = images.shape[2:]
            top = torch.from_numpy(whole(seed, epoch, index, "top", below=2 * self.crop + 1)).to(images.device)
            left = torch.from_numpy(whole(seed, epoch, index, "left", below=2 * self.crop + 1)).to(images.device)
            windows = F.pad(images, (self.crop,) * 4).unfold(2, height, 1).unfold(3, width, 1)
            images = windows[torch.arange(len(images), device=images.device), :, top, left]
        return images

    def recolour(self, images: Tensor, index: NDArray[np.int64], *, seed: int, epoch: int) -> Tensor:
        """`uint8 (N, C, H, W) -> float32 (N, C, H, W)` in 0…255."""
        images = images.float()
        if not self.colour:
            return images

        def factor(draw: str) -> Tensor:
            drawn = 1 + self.colour * (2 * uniform(seed, epoch, index, draw) - 1)
            return torch.from_numpy(drawn).to(images).view(-1, 1, 1, 1)

        images = images * factor("brightness")
        grey = images.mean((1, 2, 3), keepdim=True)
        images = grey + (images - grey) * factor("contrast")
        if images.shape[1] == 3:
            grey = images.mean(1, keepdim=True)
            images = grey + (images - grey) * factor("saturation")
        return images.clamp(0, 255)

    def blank(self, images: Tensor, index: NDArray[np.int64], *, seed: int, epoch: int) -> Tensor:
        """`(N, C, H, W) -> (N, C, H, W)`: a square is 0, which after normalisation is the mean."""
        if not self.erase:
            return images

        def within(size: int, draw: str) -> Tensor:
            middle = torch.from_numpy(whole(seed, epoch, index, draw, below=size)).to(images.device)
            offset = torch.arange(size, device=images.device) - middle[:, None] + self.erase // 2
            return (offset >= 0) & (offset < self.erase)

        rows, columns = within(images.shape[2], "erase row"), within(images.shape[3], "erase column")
        return images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)


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

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Step]:
        """The steps of an epoch from `start` on: all images once, in steps that differ in size by at most one."""
        at, steps = self.pixels.steps(self.seed, epoch, len(self)), range(start, len(self))
        fetched = self.pixels.fetches(part for step in steps for part in self.share(at(step)))
        for step in steps:
            yield Step(len(at(step)), [self.make(*next(fetched), epoch) for _ in range(self.parts)])

    def share(self, index: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """The parts of this process's share of a step."""
        index = self.pixels.gathered(index) if self.shard.world > 1 else index
        return np.array_split(np.array_split(index, self.shard.world)[self.shard.rank], self.parts)

    def make(self, index: NDArray[np.int64], images: Tensor, labels: Tensor, epoch: int) -> Batch:
        """The images, which are those at `index`, as the epoch shows them."""
        where = {"seed": self.seed, "epoch": epoch}
        images = self.augmentation.move(images, index, **where)
        images = self.preparation.normalize(self.augmentation.recolour(images, index, **where))
        images = self.augmentation.blank(images, index, **where)
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return Batch(images.contiguous(memory_format=layout), labels.to(images.device))


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
    shares = [mine[start : start + batch_size] for start in range(0, len(mine), batch_size)]
    for _, images, labels in pixels.fetches(shares):
        images = preparation.normalize(images.to(device))
        yield Batch(images.contiguous(memory_format=layout), labels.to(device))
