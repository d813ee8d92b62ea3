"""Policies: random operations on images, drawn for each image, done for all that drew the same one together."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convatlas.data.chance import uniform, whole

Policy = Literal["none", "trivial", "rand"]
LEVELS = 30
"""The top of the scale of strengths, which begins at 0."""


def trivial_augment(images: Tensor, index: NDArray[np.int64], *, seed: int, epoch: int) -> Tensor:
    """`uint8 (N, C, H, W) -> uint8 (N, C, H, W)`: one operation of the wide space on each image, of any strength.

    Müller and Hutter 2021, Algorithm 1.
    """
    level = whole(seed, epoch, index, "level", below=LEVELS + 1)
    tops = [operation.wide for operation in OPERATIONS.values()]
    return one_each(images, index, level, tops, draw="operation", seed=seed, epoch=epoch)


def rand_augment(
    images: Tensor, index: NDArray[np.int64], *, operations: int, magnitude: int, seed: int, epoch: int
) -> Tensor:
    """`uint8 (N, C, H, W) -> uint8 (N, C, H, W)`: so many operations on each image, all of one strength (0…30).

    Cubuk et al. 2020, Fig. 2. Their scale has its top at 10 in Sec. 3, and goes to 30 in Sec. 4.1; here 30 is the top.
    """
    level = np.full(len(index), magnitude)
    sides = {"translate_x": images.shape[3], "translate_y": images.shape[2]}
    tops = [operation.standard * sides.get(name, 1) for name, operation in OPERATIONS.items()]
    for turn in range(operations):
        images = one_each(images, index, level, tops, draw=f"operation {turn}", seed=seed, epoch=epoch)
    return images


def one_each(
    images: Tensor, index: NDArray[np.int64], level: NDArray[np.int64], tops: list[float], *,
    draw: str, seed: int, epoch: int,
) -> Tensor:  # fmt: skip
    """An operation on each image, at `level` of the way to what is at the top of its scale, one way or the other."""
    drawn = whole(seed, epoch, index, draw, below=len(OPERATIONS))
    sign = np.where(uniform(seed, epoch, index, f"sign of {draw}") < 0.5, -1, 1)
    strength = sign * np.array(tops)[drawn] * level / LEVELS
    result = images.clone()
    for number, operation in enumerate(OPERATIONS.values()):
        mine = np.flatnonzero(drawn == number)
        if len(mine):
            at = torch.from_numpy(mine).to(images.device)
            strengths = torch.from_numpy(strength[mine]).float().to(images.device)
            result.index_copy_(0, at, operation.apply(images[at], strengths.view(-1, 1, 1, 1)))
    return result


# Each operation is `uint8 (N, C, H, W), float32 (N, 1, 1, 1) -> uint8 (N, C, H, W)`, and does to each image what Pillow
# does, with which the papers' results were made.


def identity(images: Tensor, _: Tensor) -> Tensor:
    """The images as they are."""
    return images


def shear_x(images: Tensor, shear: Tensor) -> Tensor:
    """Rows pushed sideways, each by so many pixels more than the one above it."""
    y, x = middles(images)
    return taken(images, y, x + shear * y)


def shear_y(images: Tensor, shear: Tensor) -> Tensor:
    """Columns pushed up or down, each by so many pixels more than the one on its left."""
    y, x = middles(images)
    return taken(images, y + shear * x, x)


def translate_x(images: Tensor, pixels: Tensor) -> Tensor:
    """Pushed to the left."""
    y, x = middles(images)
    return taken(images, y, x + pixels)


def translate_y(images: Tensor, pixels: Tensor) -> Tensor:
    """Pushed upwards."""
    y, x = middles(images)
    return taken(images, y + pixels, x)


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Turned about the middle, against the clock."""
    y, x = middles(images)
    down, right = images.shape[2] / 2, images.shape[3] / 2
    cosine, sine = torch.cos(torch.deg2rad(degrees)), torch.sin(torch.deg2rad(degrees))
    y, x = y - down, x - right
    return taken(images, sine * x + cosine * y + down, cosine * x - sine * y + right)


def brightness(images: Tensor, change: Tensor) -> Tensor:
    """Away from black or, below 0, towards it."""
    return blended(torch.zeros((), device=images.device), images, 1 + change)


def colour(images: Tensor, change: Tensor) -> Tensor:
    """Away from grey, each pixel from its own."""
    return blended(luminance(images), images, 1 + change)


def contrast(images: Tensor, change: Tensor) -> Tensor:
    """Away from the mean grey of the image."""
    grey, pixels = luminance(images), images.shape[2:].numel()
    mean = (2 * grey.sum((2, 3), keepdim=True) + pixels) // (2 * pixels)  # rounded, in whole numbers
    return blended(mean, images, 1 + change)


def sharpness(images: Tensor, change: Tensor) -> Tensor:
    """Away from the smoothed image: of 3×3 pixels, the middle counts five times. The border stays."""
    smooth = images.float()
    rows = smooth[:, :, :-2] + smooth[:, :, 1:-1] + smooth[:, :, 2:]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * smooth[:, :, 1:-1, 1:-1]
    smooth[:, :, 1:-1, 1:-1] = (total / 13).round()
    return blended(smooth, images, 1 + change)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Without so many of the lowest bits."""
    return images & ((255 << bits.abs().round().int()) & 255).to(torch.uint8)


def solarize(images: Tensor, reach: Tensor) -> Tensor:
    """The negative of what is within `reach` of 256."""
    return torch.where(images.float() >= 256 - reach.abs(), 255 - images, images)


def autocontrast(images: Tensor, _: Tensor) -> Tensor:
    """Each channel stretched over 0…255."""
    least, most = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    stretched = (images - least).float() * 255 / (most - least).clamp(min=1)
    return torch.where(most > least, stretched.to(torch.uint8), images)


def equalize(images: Tensor, _: Tensor) -> Tensor:
    """Each channel with values, as far as they go, in equal numbers."""
    values = images.flatten(2).long()
    ones = torch.ones((), dtype=torch.int64, device=images.device).expand_as(values)
    counts = torch.zeros(*values.shape[:2], 256, dtype=torch.int64, device=images.device).scatter_add_(2, values, ones)
    step = (values.shape[2] - counts.gather(2, values.amax(2, keepdim=True))) // 255
    below = counts.cumsum(2) - counts
    table = ((below + step // 2) // step.clamp(min=1)).clamp(max=255).to(torch.uint8)
    return torch.where(step[..., None] > 0, table.gather(2, values).view_as(images), images)


class Operation(NamedTuple):
    """What it does, and its strength at the top of the scale in TrivialAugment's wide space and in RandAugment's."""

    apply: Callable[[Tensor, Tensor], Tensor]
    wide: float
    standard: float


# At 0 each leaves an image alone but for the last two, and enhancements go as far up as down, as in the form that
# TrivialAugment's authors recommend. RandAugment's first code enhanced by 0.1 at 0, and by 1, so not at all, halfway.
OPERATIONS = {
    # operation                             wide   standard
    "identity":     Operation(identity,     0,     0),
    "shear_x":      Operation(shear_x,      0.99,  0.3),  # pixels a pixel
    "shear_y":      Operation(shear_y,      0.99,  0.3),
    "translate_x":  Operation(translate_x,  32,    150 / 331),  # pixels; of the side (AutoAugment's 150 of 331)
    "translate_y":  Operation(translate_y,  32,    150 / 331),
    "rotate":       Operation(rotate,       135,   30),  # degrees
    "brightness":   Operation(brightness,   0.99,  0.9),  # of the difference from what is blended out
    "colour":       Operation(colour,       0.99,  0.9),
    "contrast":     Operation(contrast,     0.99,  0.9),
    "sharpness":    Operation(sharpness,    0.99,  0.9),
    "posterize":    Operation(posterize,    6,     4),  # bits
    "solarize":     Operation(solarize,     256,   256),  # of 256 values
    "autocontrast": Operation(autocontrast, 0,     0),
    "equalize":     Operation(equalize,     0,     0),
}  # fmt: skip


def middles(images: Tensor) -> tuple[Tensor, Tensor]:
    """`(H, 1), (W,)`: where the middles of rows and columns lie, in pixels from the image's corner."""
    y, x = (torch.arange(size, device=images.device) + 0.5 for size in images.shape[2:])
    return y[:, None], x


def taken(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """The images with each pixel taken from where `down` and `right` say, and black where that lies outside."""
    height, width = images.shape[2:]
    down, right = down.floor(), right.floor()
    inside = (down >= 0) & (down < height) & (right >= 0) & (right < width)
    place = torch.where(inside, down * width + right, 0).long().expand(len(images), images.shape[1], height, width)
    return images.flatten(2).gather(2, place.flatten(2)).view_as(images) * inside


def blended(other: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    """Of each image `factor` and of `other` the rest, cut off to whole numbers in 0…255 as Pillow does."""
    other = other.float()
    return (other + factor * (images - other)).clamp(0, 255).to(torch.uint8)


def luminance(images: Tensor) -> Tensor:
    """`uint8 (N, C, H, W) -> int32 (N, 1, H, W)` in 0…255: the grey of colours (ITU-R 601-2), in Pillow's bits."""
    if images.shape[1] == 1:
        return images.int()
    red, green, blue = images.int().unbind(1)
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16)[:, None]
