"""One image: from a file, bytes or an array to `uint8` pixels of the channels and the size a network takes."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from simplejpeg import decode_jpeg
from torch import Tensor

from convatlas.data.windows import Windows, brought_to
from convatlas.errors import InputError

Fit = Literal["crop", "pad", "stretch"]
Raw = str | Path | bytes | NDArray[Any] | Image.Image
"""An image that is not decoded yet, or an array of (H, W) or (H, W, C)."""

ROOM = 256
"""The shorter side that an image is left at least where windows are cut out of it."""
SUFFIXES = (
    ".bmp", ".dib", ".gif", ".jpeg", ".jpg", ".jpe", ".jfif", ".png", ".apng", ".ppm", ".pgm", ".pbm", ".pnm",
    ".tif", ".tiff", ".webp", ".tga", ".jp2", ".avif", ".ico",
)  # fmt: skip
"""What is taken for an image in a folder."""


class UnreadableImageError(InputError):
    """A file is no image, is cut short, or is of a kind that cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """How an image is made ready for a network: the same in training, evaluation and prediction."""

    size: tuple[int, int, int]
    """C, H, W."""
    fit: Fit = "crop"
    mean: tuple[float, ...]
    """A value a channel, of pixels scaled to 0…1."""
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.fit not in get_args(Fit):
            raise InputError(f"fit is one of {', '.join(get_args(Fit))}, and not {self.fit!r}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.size[0]:
                raise InputError(
                    f"{name} has {len(values)} value{'s' * (len(values) != 1)}, and the network takes "
                    f"{self.size[0]} channel{'s' * (self.size[0] != 1)}"
                )
        if min(self.std) <= 0:
            raise InputError(f"std has to be above 0 in every channel, and is {self.std}")

    def pixels(self, raw: Raw) -> NDArray[np.uint8]:
        """`uint8 (C, H, W)`. Raises UnreadableImageError."""
        return prepare(raw, self.size, self.fit)

    def normalize(self, images: Tensor) -> Tensor:
        """`uint8 or 0…255 (N, C, H, W) -> float32 (N, C, H, W)`: scaled to 0…1, less the mean, over the deviation."""
        scale, shift = (values.view(-1, 1, 1) for values in self.line(images.device))
        return images.float() * scale - shift

    def normalize_(self, images: Tensor) -> Tensor:
        """The same, to the bit, in place where images are float32: new memory costs several times the arithmetic."""
        (scale, shift), normalized, width = self.line(images.device), images.float(), images.shape[3]
        if normalized.is_contiguous(memory_format=torch.channels_last):
            # Row by row, since three channels on end are too few for a processor's lanes.
            rows = normalized.permute(0, 2, 3, 1).flatten(2)
            rows.mul_(scale.repeat(width)).sub_(shift.repeat(width))
            return normalized
        return normalized.mul_(scale.view(-1, 1, 1)).sub_(shift.view(-1, 1, 1))

    def line(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """By what each channel of 0…255 is multiplied, and what is then taken from it."""
        scale = 1 / (255 * torch.tensor(self.std, device=device))
        return scale, torch.tensor(self.mean, device=device) * 255 * scale

    @classmethod
    def from_config(cls, values: Mapping[str, Any]) -> "Preparation":
        """What `dataclasses.asdict` gave, back from JSON. Raises KeyError or TypeError for anything else."""
        return cls(size=tuple(values["size"]), fit=values["fit"], mean=tuple(values["mean"]), std=tuple(values["std"]))


def read(
    raw: Raw, size: tuple[int, int] | None = None, fit: Fit = "crop", window: Windows | None = None
) -> Image.Image:
    """The decoded image, turned as its EXIF says. Raises UnreadableImageError, which names a file.

    With the `size` (H, W) to which it will be brought, it may come smaller than it is, as `scale_down` says.
    """
    try:
        if isinstance(raw, np.ndarray):
            return Image.fromarray(raw[:, :, 0] if raw.shape[2:] == (1,) else raw)
        if isinstance(raw, Image.Image):
            return upright(raw)
        image = opened(raw)
        if size is not None:
            scale_down(image, *size, fit, window)
        return upright(image)
    except Exception as error:
        raise unreadable(raw, error) from error


def pixels_of(raw: str | Path | bytes, size: tuple[int, int, int], fit: Fit, window: Windows) -> NDArray[np.uint8]:
    """`uint8 (H, W, C)`: the decoded image of which a window is cut, as `read` has it, to the bit."""
    channels, height, width = size
    try:
        image = opened(raw)
        scale_down(image, height, width, fit, window)
        pixels = jpeg_pixels(image, channels)
        if pixels is not None:
            return pixels
        image = in_channels(upright(image), channels)
        return np.asarray(image).reshape(image.height, image.width, channels)
    except Exception as error:
        raise unreadable(raw, error) from error


def opened(raw: str | Path | bytes) -> Image.Image:
    """The image, of which only the head is read yet."""
    # From memory: PIL leaves the files of several pictures open.
    return Image.open(io.BytesIO(raw if isinstance(raw, bytes) else Path(raw).read_bytes()))


def upright(image: Image.Image) -> Image.Image:
    """The decoded image, turned as its EXIF says."""
    image.load()
    if orientation(image) == 1:  # or else the pixels would be copied
        return image
    return ImageOps.exif_transpose(image)


def orientation(image: Image.Image) -> int:
    """How the image's EXIF has it turned and mirrored, 1 to 8; 1 where it has something else."""
    found = image.getexif().get(ExifTags.Base.Orientation)
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def jpeg_pixels(image: Image.Image, channels: int) -> NDArray[np.uint8] | None:
    """`uint8 (H, W, C)`: what a JPEG that is only opened is decoded to; None for what Pillow has to see to.

    Pillow decodes by the same library, and where both have it alike to the same pixels, but has four bytes for each and
    copies them to three.
    """
    if not isinstance(image, JpegImageFile) or image.mode not in (("L", "RGB") if channels == 3 else ("L",)):
        return None
    if orientation(image) != 1:  # to turn the pixels here takes what is gained
        return None
    assert isinstance(image.fp, io.BytesIO)
    try:
        pixels: NDArray[np.uint8] = decode_jpeg(
            image.fp.getvalue(), "RGB" if channels == 3 else "GRAY", fastdct=False, fastupsample=False,
            min_height=image.height, min_width=image.width,
        )  # fmt: skip
    except ValueError:  # damaged, and perhaps not too much for Pillow
        return None
    return pixels if pixels.shape[:2] == (image.height, image.width) else None


def scale_down(image: Image.Image, height: int, width: int, fit: Fit, window: Windows | None) -> None:
    """Have a JPEG decoded at a half, a quarter or an eighth of its size, where that leaves twice what its fit takes.

    The decoder then leaves out the finer waves of each block of 8×8 pixels, which takes a fraction of the time. What
    is left is resized as ever; from twice the size and more, the outcome can hardly be told from that of all pixels.
    Of a window, which is seen once, as many pixels are left as it takes.
    """
    if not isinstance(image, JpegImageFile):
        return
    on_its_side = orientation(image) > 4
    has_width, has_height = image.size[::-1] if on_its_side else image.size
    if fit == "pad":
        scale = min(width / has_width, height / has_height)
        height, width = ceil(has_height * scale), ceil(has_width * scale)
    if window is None or fit == "pad":
        needed = 2 * width, 2 * height
    else:
        place = window.over(shape_of(has_height, has_width, height, width, fit))
        needed = ceil(width / place.wide), ceil(height / place.high)
    image.draft(None, needed[::-1] if on_its_side else needed)


def shape_of(has_height: int, has_width: int, height: int, width: int, fit: Fit) -> float:
    """How many times wider an image is than one of `height`×`width` that is as high; 1 where it takes its shape."""
    return (has_width / width) / (has_height / height) if fit == "crop" else 1.0


def unreadable(raw: Raw, error: Exception) -> UnreadableImageError:
    """What to say of an image that cannot be read: of a damaged one, decoders raise whatever zlib or struct does."""
    label = str(raw) if isinstance(raw, str | Path) else "the image"
    if isinstance(error, FileNotFoundError):
        return UnreadableImageError(f"there is no file {label}")
    if isinstance(raw, str | Path):
        empty = Path(raw).is_file() and not Path(raw).stat().st_size
    else:
        empty = isinstance(raw, bytes) and not raw
    return UnreadableImageError(f"{label} cannot be read as an image: {'it is empty' if empty else reason(error)}")


def reason(error: Exception) -> str:
    """Why an image cannot be read, in a few words and without its name."""
    cause = error.__cause__ if isinstance(error, UnreadableImageError) and error.__cause__ else error
    if isinstance(cause, UnidentifiedImageError):
        return "it is of no known kind"
    said = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
    return " ".join(said.split()) or type(cause).__name__


def eight_bits(image: Image.Image) -> Image.Image:
    """The image as L or RGB: 16 bits scaled to 8, a palette resolved, what is transparent laid on white."""
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image).astype(np.float64)
        top = {"F": 1.0 if values.max(initial=0) <= 1 else 255.0}.get(image.mode, 65535.0)
        if image.mode == "I" and values.max(initial=0) <= 255:
            top = 255.0
        return Image.fromarray((values.clip(0, top) * (255 / top)).round().astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("L" if image.mode == "1" else "RGB")


def fitted(image: Image.Image, height: int, width: int, fit: Fit) -> Image.Image:
    """The image at `height`×`width`.

    `crop` scales the image to cover the size and cuts the middle out; `pad` scales it down to lie within,
    or up by the largest whole number (so MNIST's 28×28 lie unscaled in LeNet-5's 32×32, as in its
    paper), and puts black around it; `stretch` takes no heed of its proportions.
    """
    if image.size == (width, height):
        return image
    bilinear = Image.Resampling.BILINEAR
    if fit == "stretch":
        return image.resize((width, height), bilinear)
    if fit == "crop":
        return ImageOps.fit(image, (width, height), bilinear)
    scale = min(width / image.width, height / image.height)
    scale = float(int(scale)) if scale >= 1 else scale
    inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    canvas = Image.new(image.mode, (width, height))
    canvas.paste(image.resize(inner, bilinear), ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return canvas


def picture(raw: Raw, size: tuple[int, int, int], fit: Fit, window: Windows | None = None) -> NDArray[np.uint8]:
    """`uint8 (H, W, C)`: the image, or a window of it, with one channel or three. Raises UnreadableImageError."""
    channels, height, width = size
    if isinstance(raw, np.ndarray) and raw.dtype == np.uint8 and raw.shape[2:] == (channels,):  # decoded before
        if window is not None and fit != "pad":
            return cut(raw, height, width, fit, window)
        if window is None and raw.shape[:2] == (height, width):
            return raw
    if window is not None and fit != "pad" and isinstance(raw, str | Path | bytes):
        pixels = pixels_of(raw, size, fit, window)
        return cut(pixels, height, width, fit, window)
    image = read(raw, (height, width), fit, window)
    try:
        image = in_channels(image, channels)
        if window is None or fit == "pad":
            image = fitted(image, height, width, fit)
        pixels = np.asarray(image).reshape(image.height, image.width, channels)
        return pixels if window is None else cut(pixels, height, width, fit, window)
    except Exception as error:
        raise unreadable(raw, error) from error


def cut(pixels: NDArray[np.uint8], height: int, width: int, fit: Fit, window: Windows) -> NDArray[np.uint8]:
    """`uint8 (H, W, C)`: the window of an image at this size."""
    high, wide = pixels.shape[:2]
    left, top, right, bottom = window.box(high, wide, shape_of(high, wide, height, width, fit))
    return brought_to(pixels[top:bottom, left:right], height, width, mirrored=bool(window.mirrored))


def roomy(raw: Raw, size: tuple[int, int, int], fit: Fit) -> NDArray[np.uint8]:
    """`uint8 (H, W, C)`: the whole image, no larger than windows are cut out of. Raises UnreadableImageError.

    Its shorter side is 256, as the papers have their images, or 8/7 of the network's where that is more. A smaller one
    is as it is.
    """
    larger = max(8 / 7, ROOM / min(size[1:]))
    channels, (height, width) = size[0], (ceil(side * larger) for side in size[1:])
    image = read(raw, (height, width), fit)
    try:
        image = in_channels(image, channels)
        down, across = min(1, height / image.height), min(1, width / image.width)
        if fit != "stretch":  # a padded one gets its border when it is shown
            down = across = max(down, across) if fit == "crop" else min(down, across)
        image = image.resize((round(across * image.width), round(down * image.height)), Image.Resampling.BILINEAR)
        return np.asarray(image).reshape(image.height, image.width, channels)
    except Exception as error:
        raise unreadable(raw, error) from error


def in_channels(image: Image.Image, channels: int) -> Image.Image:
    """The image in grey or in colour."""
    image, mode = eight_bits(image), "L" if channels == 1 else "RGB"
    return image if image.mode == mode else image.convert(mode)


def prepare(raw: Raw, size: tuple[int, int, int], fit: Fit) -> NDArray[np.uint8]:
    """`uint8 (C, H, W)`: the image with one channel (grey) or three (colour). Raises UnreadableImageError."""
    return np.ascontiguousarray(picture(raw, size, fit).transpose(2, 0, 1))
