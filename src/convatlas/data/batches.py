"""Batches: in an order and with an augmentation that are functions of (seed, epoch, index)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from convatlas.data.chance import order, uniform, whole
from convatlas.data.images import Preparation
from convatlas.data.pixels import Pixels


class Batch(NamedTuple):
    """Images that are ready for the network, and their classes."""

    images: Tensor
    """float32 (N, C, H, W), normalised."""
    labels: Tensor
    """int64 (N,)."""


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
    """Training batches. The images stay `uint8` on the device, and are augmented there, a batch at a time."""

    pixels: Pixels
    preparation: Preparation
    augmentation: Augmentation
    batch_size: int
    seed: int
    channels_last: bool

    @property
    def device(self) -> torch.device:
        """Where the images are."""
        return self.pixels.images.device

    def __len__(self) -> int:
        """How many batches an epoch has."""
        return -(-len(self.pixels) // self.batch_size)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch: all images once, in batches that differ in size by at most one."""
        shuffled = order(self.seed, epoch, len(self.pixels))
        for index in np.array_split(shuffled, len(self)):
            yield self.make(index, epoch)

    def make(self, index: NDArray[np.int64], epoch: int) -> Batch:
        """The images at `index` as the epoch shows them."""
        chosen = torch.from_numpy(index).to(self.device)
        images = self.pixels.images[chosen]
        where = {"seed": self.seed, "epoch": epoch}
        images = self.augmentation.move(images, index, **where)
        images = self.preparation.normalize(self.augmentation.recolour(images, index, **where))
        images = self.augmentation.blank(images, index, **where)
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return Batch(images.contiguous(memory_format=layout), self.pixels.labels[chosen])


def in_order(
    pixels: Pixels, preparation: Preparation, *, batch_size: int, device: torch.device, channels_last: bool
) -> Iterator[Batch]:
    """All images once, in their order and as they are: for evaluation."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    for start in range(0, len(pixels), batch_size):
        images = preparation.normalize(pixels.images[start : start + batch_size].to(device))
        labels = pixels.labels[start : start + batch_size].to(device)
        yield Batch(images.contiguous(memory_format=layout), labels)
