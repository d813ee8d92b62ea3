"""What an audit keeps of an image when its pixels are gone: size, mode, two hashes and a thumbnail."""

import io
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image
from torch.nn import functional as F

from convatlas.data.decoding import BLOCK, digest, stored_bytes
from convatlas.data.images import Raw, eight_bits, read, reason
from convatlas.data.source import Part, Skipped
from convatlas.devices import cores

SIDE = 16
"""Height and width of a thumbnail. Bilinear: with a box filter, resizing a small image changes it too much."""


class Look(NamedTuple):
    """What is kept of an image when its pixels are gone."""

    size: tuple[int, int]
    """(height, width) as stored."""
    mode: str
    rotated: bool
    stored: NDArray[np.uint64]
    """(2,): a hash of the bytes that are stored."""
    pixels: NDArray[np.uint64]
    """(2,): a hash of the upright image."""
    thumb: NDArray[np.uint8]
    """(SIDE, SIDE, 3)."""


@dataclass(slots=True)
class Looks:
    """The looks of a part's images, by their index; where one cannot be read, its mode is empty."""

    sizes: NDArray[np.int64]
    """(N, 2)."""
    modes: list[str]
    rotated: int
    stored: NDArray[np.uint64]
    """(N, 2)."""
    pixels: NDArray[np.uint64]
    """(N, 2)."""
    thumbs: NDArray[np.uint8]
    """(N, SIDE, SIDE, 3); black where an image cannot be read."""
    unreadable: list[Skipped]

    def __len__(self) -> int:
        return len(self.modes)


def look_at(part: Part, on_block: Callable[[int], None]) -> Looks:
    """The looks of a part's images."""
    if isinstance(part.images, np.ndarray) and part.images.dtype == np.uint8 and part.images.shape[3:] in ((), (3,)):
        return look_at_stack(part.images, on_block)
    count = len(part)
    looks = Looks(
        sizes=np.zeros((count, 2), np.int64),
        modes=[""] * count,
        rotated=0,
        stored=np.zeros((count, 2), np.uint64),
        pixels=np.zeros((count, 2), np.uint64),
        thumbs=np.zeros((count, SIDE, SIDE, 3), np.uint8),
        unreadable=[],
    )
    with warnings.catch_warnings(), ThreadPoolExecutor(cores()) as pool:
        warnings.simplefilter("ignore")  # of odd EXIF and large images, which are read all the same
        for start in range(0, count, BLOCK):
            raws = [part.images[i] for i in range(start, min(start + BLOCK, count))]
            for i, seen in enumerate(pool.map(look, raws), start):
                if isinstance(seen, str):
                    looks.unreadable.append(Skipped(part.names[i], seen))
                    continue
                looks.sizes[i], looks.modes[i] = seen.size, seen.mode
                looks.stored[i], looks.pixels[i], looks.thumbs[i] = seen.stored, seen.pixels, seen.thumb
                looks.rotated += seen.rotated
            on_block(len(raws))
    return looks


def look(raw: Raw) -> Look | str:
    """An image's look, or why it cannot be read."""
    try:
        stored = stored_bytes(raw)
        image = opened(raw, stored)
        size, mode = (image.height, image.width), image.mode
        upright = eight_bits(read(image))
        rotated = image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)
        thumb = upright.resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=3.0).convert("RGB")
        pixels = content(upright.mode, upright.size, upright.tobytes())
        return Look(size, mode, rotated, digest(stored), pixels, np.asarray(thumb))
    except Exception as error:
        # an audit outlives every file: of a damaged one, decoders raise whatever zlib or struct does
        return reason(error)


def opened(raw: Raw, stored: bytes) -> Image.Image:
    """The image, of which files are not decoded yet."""
    if isinstance(raw, Image.Image):
        return raw
    return Image.fromarray(raw) if isinstance(raw, np.ndarray) else Image.open(io.BytesIO(stored))


def content(mode: str, size: tuple[int, int], pixels: bytes) -> NDArray[np.uint64]:
    """(2,): a hash of an image's pixels."""
    return digest(f"{mode} {size} ".encode() + pixels)


def look_at_stack(images: NDArray[np.uint8], on_block: Callable[[int], None]) -> Looks:
    """The looks of images that are decoded already, `uint8 (N, H, W)` or `(N, H, W, 3)`: a block at a time."""
    count, height, width = images.shape[:3]
    mode = "L" if images.ndim == 3 else "RGB"
    pixels = np.array([content(mode, (width, height), image.tobytes()) for image in images]).reshape(count, 2)
    thumbs = np.empty((count, SIDE, SIDE, 3), np.uint8)
    for start in range(0, count, BLOCK):
        block = torch.from_numpy(np.array(images[start : start + BLOCK])).float()
        planes = block[:, None] if block.ndim == 3 else block.permute(0, 3, 1, 2)
        small = F.interpolate(planes, (SIDE, SIDE), mode="bilinear", antialias=True)
        thumbs[start : start + BLOCK] = small.round().byte().permute(0, 2, 3, 1).numpy()
        on_block(len(block))
    return Looks(
        sizes=np.tile(np.array([height, width]), (count, 1)),
        modes=[mode] * count,
        rotated=0,
        stored=pixels,
        pixels=pixels,
        thumbs=thumbs,
        unreadable=[],
    )
