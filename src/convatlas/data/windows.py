"""Windows: the part of an image that is shown in its stead, cut out at random and brought to the network's size."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

Numbers = NDArray[np.float64]
STEEPEST = 4 / 3
"""A window is at most this much wider than high, or higher than wide, measured by the network's image."""


class Window(NamedTuple):
    """A window of each image, in shares of the image's sides: numbers, or (N,)."""

    top: Numbers
    high: Numbers
    left: Numbers
    wide: Numbers


@dataclass(frozen=True, slots=True)
class Windows:
    """What is cut out of some images (Szegedy et al. 2014, Sec. 6), which waits for the images' shapes."""

    least: float
    """The smallest share of an image's area."""
    draws: Numbers
    """(4,) or (4, N), each evenly from 0…1: area, aspect, top, left."""
    mirrored: NDArray[np.bool_]
    """() or (N,): whether left is right in what is shown."""

    def __getitem__(self, image: int) -> "Windows":
        """The window of one image."""
        return Windows(self.least, self.draws[:, image], self.mirrored[image])

    def over(self, shape: float = 1.0) -> Window:
        """The windows of images whose width over height is `shape` times that of the network's.

        Their area is drawn evenly up to the largest that can keep within the aspects: the whole, of images as wide as
        4/3. (torchvision's RandomResizedCrop draws area and aspect up to ten times until they fit, and then takes the
        largest window in the middle that does; so large areas are rarer there, and the paper has them even.)
        """
        area, aspect, top, left = self.draws
        most = min(1.0, STEEPEST * min(shape, 1 / shape))
        least = min(self.least, most)
        high, wide = sides(least + (most - least) * area, aspect, steepest=STEEPEST, shape=shape)
        return Window((1 - high) * top, high, (1 - wide) * left, wide)

    def box(self, height: int, width: int, shape: float) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the window of one image of `height`×`width`, of whole pixels."""
        place = self.over(shape)
        top, high, left, wide = (float(side) for side in place)
        upper, leftmost = min(round(top * height), height - 1), min(round(left * width), width - 1)
        lower, rightmost = round((top + high) * height), round((left + wide) * width)
        return leftmost, upper, max(rightmost, leftmost + 1), max(lower, upper + 1)


Cut = Callable[[NDArray[np.int64]], Windows]
"""Tells which windows are cut out of the images at these indices."""


def sides(area: Numbers, draw: Numbers, *, steepest: float, shape: float = 1.0) -> tuple[Numbers, Numbers]:
    """Height and width, as shares of the image's, of a window of each of these shares of its area.

    The window's aspect, which is `shape` times that of its shares, is drawn evenly in its logarithm from what lies
    within 1/steepest and steepest and fits into the image.
    """
    low = np.maximum(np.log(area), -np.log(steepest) - np.log(shape))
    high = np.minimum(-np.log(area), np.log(steepest) - np.log(shape))
    aspect = np.exp(low + (high - low) * draw)
    return np.minimum(1, np.sqrt(area / aspect)), np.minimum(1, np.sqrt(area * aspect))


def brought_to(pixels: NDArray[np.uint8], height: int, width: int, *, mirrored: bool) -> NDArray[np.uint8]:
    """`uint8 (H, W, C)`: what was cut out of an image at this size, all of its pixels weighed where it is larger."""
    # torch's takes a third of the time of Pillow's. It wants memory that it might write to, hence the copy.
    batch = torch.from_numpy(np.array(pixels, order="C"))[None].permute(0, 3, 1, 2)
    brought = F.interpolate(batch, (height, width), mode="bilinear", antialias=True)
    if mirrored:
        brought = brought.flip(3)  # by whole pixels; to copy them backwards takes NumPy ten times as long
    return brought[0].permute(1, 2, 0).numpy()


def cut_out(images: Tensor, windows: Windows) -> Tensor:
    """`uint8 (N, C, H, W) -> uint8 (N, C, H, W)`: the window of each at the whole size, interpolated linearly.

    As no window is larger than the image, nothing is made smaller that would want smoothing first.
    """
    count, _, height, width = images.shape
    top, high, left, wide = windows.over()
    left, wide = np.where(windows.mirrored, left + wide, left), np.where(windows.mirrored, -wide, wide)

    def places(begin: Numbers, length: Numbers, size: int) -> Tensor:
        middles = (torch.arange(size, device=images.device) + 0.5) / size
        first, step = (torch.from_numpy(each).float().to(images.device).view(-1, 1) for each in (begin, length))
        return 2 * (first + step * middles) - 1  # grid_sample's -1…1

    across = places(left, wide, width)[:, None, :].expand(count, height, width)
    down = places(top, high, height)[:, :, None].expand(count, height, width)
    grid = torch.stack((across, down), 3)
    return F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False).round_().to(torch.uint8)
