"""Augmentation: what is done to a batch of training images, to each image as its own (seed, epoch, index) says."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from convatlas.data.chance import beta, normal, uniform, whole
from convatlas.data.held import Components
from convatlas.data.policies import Policy, rand_augment, trivial_augment
from convatlas.data.windows import Windows, sides
from convatlas.errors import InputError

Index = NDArray[np.int64]


class Mixed(NamedTuple):
    """Images of which each has something of another."""

    images: Tensor
    """float32 (N, C, H, W)."""
    share: Tensor
    """float32 (N,): how much of each is its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """What is done to training images. As it is, nothing."""

    flip: bool = False
    """Mirror an image, left to right, with probability 1/2."""
    crop: int = 0
    """Pad with this many black pixels on each side, and cut the size out at random (He et al. 2015, Sec. 4.2)."""
    resized_crop: float = 0.0
    """Cut out a window of this share of the image at least, and bring it to the size (Szegedy et al. 2014, Sec. 6).

    That is done where an image is decoded, straight from what is stored."""
    policy: Policy = "none"
    """Random operations on each image: TrivialAugment, or RandAugment."""
    rand_operations: int = 2
    """Of RandAugment: how many on each image."""
    rand_magnitude: int = 9
    """Of RandAugment: how strong, from 0 to 30."""
    colour: float = 0.0
    """Change brightness, contrast and saturation by a factor within 1 ± this."""
    lighting: float = 0.0
    """Add the components of colours, by a normal draw of this deviation for each (Krizhevsky et al. 2012, Sec. 4.1)."""
    components: Components | None = None
    """Of the training images' colours, for lighting."""
    erase: int = 0
    """Blank a square of this side at a random place (cutout: DeVries and Taylor 2017)."""
    erasing: float = 0.0
    """Blank a rectangle of 2 to 33 % of the image with this probability (Zhong et al. 2020)."""
    mixup: float = 0.0
    """Mix each image with another by a draw from Beta(this, this) (Zhang et al. 2018)."""
    cutmix: float = 0.0
    """Lay a rectangle of another image over each, of which the share is drawn so (Yun et al. 2019)."""

    def __post_init__(self) -> None:
        if self.lighting and (self.components is None or len(self.components.values) != 3):
            raise InputError(
                "lighting adds the principal components of colours, and grey images have none; leave out --lighting, "
                "or look at images in colour with --in-channels 3"
            )

    @property
    def mixes(self) -> bool:
        """Whether an image takes something from another."""
        return self.mixup > 0 or self.cutmix > 0

    def windows(self, index: Index, *, seed: int, epoch: int) -> Windows:
        """What `resized_crop` cuts out of the images at `index`, flipped as they are to be."""
        draws = (uniform(seed, epoch, index, draw) for draw in ("area", "aspect", "window top", "window left"))
        return Windows(self.resized_crop, np.stack(tuple(draws)), self.mirrored(index, seed=seed, epoch=epoch))

    def mirrored(self, index: Index, *, seed: int, epoch: int) -> NDArray[np.bool_]:
        """(N,): which of the images at `index` are flipped."""
        return uniform(seed, epoch, index, "flip") < (0.5 if self.flip else 0)

    def move(self, images: Tensor, index: Index, *, seed: int, epoch: int) -> Tensor:
        """`uint8 (N, C, H, W) -> uint8 (N, C, H, W)`: flipped, if they are no windows, and cropped when padded."""
        height, width = images.shape[2:]
        if self.flip and not self.resized_crop:
            mirrored = torch.from_numpy(self.mirrored(index, seed=seed, epoch=epoch)).to(images.device)
            images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)
        if self.crop:
            rows = torch.from_numpy(whole(seed, epoch, index, "top", below=2 * self.crop + 1)).to(images.device)
            columns = torch.from_numpy(whole(seed, epoch, index, "left", below=2 * self.crop + 1)).to(images.device)
            windows = F.pad(images, (self.crop,) * 4).unfold(2, height, 1).unfold(3, width, 1)
            images = windows[torch.arange(len(images), device=images.device), :, rows, columns]
        return images

    def operate(self, images: Tensor, index: Index, *, seed: int, epoch: int) -> Tensor:
        """`uint8 (N, C, H, W) -> uint8 (N, C, H, W)`: after the policy's random operations."""
        match self.policy:
            case "none":
                return images
            case "trivial":
                return trivial_augment(images, index, seed=seed, epoch=epoch)
            case "rand":
                return rand_augment(
                    images, index, operations=self.rand_operations, magnitude=self.rand_magnitude,
                    seed=seed, epoch=epoch,
                )  # fmt: skip

    def recolour(self, images: Tensor, index: Index, *, seed: int, epoch: int) -> Tensor:
        """`uint8 (N, C, H, W) -> float32 (N, C, H, W)` in 0…255, or beside it where lighting leads there."""
        recoloured = images.float()
        if self.colour:

            def factor(draw: str) -> Tensor:
                return values(1 + self.colour * (2 * uniform(seed, epoch, index, draw) - 1), images)

            brightness = factor("brightness")
            # From whole numbers, since a sum of others depends on the batch: torch adds up in another order.
            grey = images.sum((1, 2, 3), keepdim=True) / images.shape[1:].numel() * brightness
            recoloured = grey + (recoloured * brightness - grey) * factor("contrast")
            if images.shape[1] == 3:
                grey = recoloured.mean(1, keepdim=True)
                recoloured = grey + (recoloured - grey) * factor("saturation")
            recoloured = recoloured.clamp(0, 255)
        if self.lighting:
            assert self.components is not None
            shift = torch.zeros(1, 3, 1, 1, device=images.device)
            for number, (value, vector) in enumerate(zip(*self.components, strict=True)):
                drawn = 255 * self.lighting * value * normal(seed, epoch, index, f"lighting {number}")
                shift = shift + values(drawn, images) * torch.tensor(vector, device=images.device).view(-1, 1, 1)
            recoloured = recoloured + shift
        return recoloured

    def blank(self, images: Tensor, index: Index, *, seed: int, epoch: int) -> Tensor:
        """`(N, C, H, W) -> (N, C, H, W)`: a square or rectangle is 0, which after normalisation is the mean."""
        height, width = images.shape[2:]
        if self.erase:
            top = whole(seed, epoch, index, "erase row", below=height) - self.erase // 2
            left = whole(seed, epoch, index, "erase column", below=width) - self.erase // 2
            images = images.masked_fill(rectangle(images, top, self.erase, left, self.erase), 0)
        if self.erasing:
            erased = uniform(seed, epoch, index, "erasing") < self.erasing
            area = 0.02 + 0.31 * uniform(seed, epoch, index, "erasing area")
            shares = sides(area, uniform(seed, epoch, index, "erasing aspect"), steepest=1 / 0.3)
            high, wide = (
                np.where(erased, (share * side).round().clip(1), 0).astype(np.int64)
                for share, side in zip(shares, (height, width), strict=True)
            )
            top = whole(seed, epoch, index, "erasing row", below=height - high + 1)
            left = whole(seed, epoch, index, "erasing column", below=width - wide + 1)
            images = images.masked_fill(rectangle(images, top, high, left, wide), 0)
        return images

    def mix(self, images: Tensor, others: Tensor, index: Index, *, seed: int, epoch: int, step: int) -> Mixed:
        """Each of the images, which are those at `index`, with something of its partner among the others.

        Where both mixup and cutmix are on, each step of the epoch draws which of them it has.
        """
        height, width = images.shape[2:]
        if not self.cutmix or (self.mixup and uniform(seed, epoch, np.array([step]), "mixing")[0] < 0.5):
            share = values(beta(seed, epoch, index, "mixup", alpha=self.mixup), images)
            return Mixed(images * share + others * (1 - share), share.flatten())
        side = np.sqrt(1 - beta(seed, epoch, index, "cutmix", alpha=self.cutmix))
        high, wide = (side * height).astype(np.int64), (side * width).astype(np.int64)
        top = whole(seed, epoch, index, "cutmix row", below=height) - high // 2
        left = whole(seed, epoch, index, "cutmix column", below=width) - wide // 2
        inside = rectangle(images, top, high, left, wide)
        # What hangs over the border is not in the image, so the share is counted anew, as in the authors' code.
        return Mixed(torch.where(inside, others, images), 1 - inside.flatten(1).sum(1) / (height * width))


def rectangle(images: Tensor, top: Index, high: int | Index, left: Index, wide: int | Index) -> Tensor:
    """`bool (N, 1, H, W)`: what of each image lies in its rectangle, which may hang over the border."""

    def within(begin: Index, length: int | Index, size: int) -> Tensor:
        place = np.arange(size)
        return torch.from_numpy((place >= begin[:, None]) & (place < (begin + length)[:, None])).to(images.device)

    rows, columns = within(top, high, images.shape[2]), within(left, wide, images.shape[3])
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def values(drawn: NDArray[np.float64], images: Tensor) -> Tensor:
    """`float32 (N, 1, 1, 1)`: what was drawn for each image, where the images are."""
    return torch.from_numpy(drawn).float().to(images.device).view(-1, 1, 1, 1)
