"""Decoded images in memory, cut into training, validation and test parts."""

import hashlib
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor

from convatlas.data.images import Fit, Raw, UnreadableImageError, prepare, reason
from convatlas.data.source import Part, PartName, Source
from convatlas.errors import InputError
from convatlas.wording import shown

TEST_SHARE = 0.2
"""How much of a data set without splits is kept for the test."""
BLOCK = 4096
"""How many encoded images are held at once while they are decoded."""


class Skipped(NamedTuple):
    """An image that could not be read."""

    name: str
    reason: str


class Components(NamedTuple):
    """Along what the colours of images differ: what is left of their covariance in its own axes."""

    values: tuple[float, ...]
    """The eigenvalues, the largest first, of pixels scaled to 0…1."""
    vectors: tuple[tuple[float, ...], ...]
    """The eigenvector of each, of length 1: a number for each channel."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """Decoded images and their classes."""

    images: Tensor
    """uint8 (N, C, H, W)."""
    labels: Tensor
    """int64 (N,)."""
    names: Sequence[str]
    digests: NDArray[np.uint64]
    """(N, 2): a hash of each image as it was stored, by which splits are cut."""
    skipped: Sequence[Skipped] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: NDArray[np.int64]) -> "Pixels":
        """The images at `index`, in its order."""
        chosen = torch.from_numpy(index)
        names = [self.names[i] for i in index.tolist()]
        return Pixels(self.images[chosen], self.labels[chosen], names, self.digests[index])

    def to(self, device: torch.device) -> "Pixels":
        """The same, with images on `device`."""
        return replace(self, images=self.images.to(device))

    def fetches(self, indices: Iterable[NDArray[np.int64]]) -> Iterator[Tensor]:
        """`uint8 (N, C, H, W)`: the images at each of these indices, in turn."""
        for index in indices:
            yield self.images[torch.from_numpy(index).to(self.images.device)]

    def moments(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation of each channel over all images, of pixels scaled to 0…1, to four digits."""
        planes = [self.images[:, channel] for channel in range(self.images.shape[1])]
        # A histogram of the 256 values is exact, and takes no float copy of the images.
        counts = [torch.bincount(plane.flatten(), minlength=256).double() for plane in planes]
        values = torch.arange(256, dtype=torch.float64) / 255
        means = [float((count * values).sum() / count.sum()) for count in counts]
        variances = [
            float((count * (values - mean) ** 2).sum() / count.sum()) for count, mean in zip(counts, means, strict=True)
        ]
        # Of images of one grey, the deviation is 0, by which nothing can be divided.
        return tuple(round(m, 4) for m in means), tuple(round(max(v**0.5, 0.01), 4) for v in variances)

    def components(self) -> Components:
        """The principal components of the channels over all images, to six digits."""
        pixels = self.images[0, 0].numel()
        sums, products = np.zeros(1), np.zeros((1, 1))
        for images in self.fetches(np.array_split(np.arange(len(self)), 1 + len(self) * pixels // 2**20)):
            values = images.transpose(0, 1).flatten(1).double().cpu().numpy()
            # Of whole numbers below 2⁵³, so exact in any order.
            sums, products = sums + values.sum(1), products + values @ values.T
        mean, square = sums / (len(self) * pixels), products / (len(self) * pixels)
        eigenvalues, eigenvectors = np.linalg.eigh((square - np.outer(mean, mean)) / 255**2)
        vectors = eigenvectors.T[::-1]
        vectors = vectors * np.sign(vectors[np.arange(len(vectors)), np.abs(vectors).argmax(1)])[:, None]
        return Components(
            tuple(eigenvalues[::-1].clip(0).round(6).tolist()), tuple(map(tuple, vectors.round(6).tolist()))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """What a network is trained on, chosen by, and tested on."""

    train: Pixels
    val: Pixels
    test: Pixels | None
    classes: tuple[str, ...]
    how: str
    """How the parts came about, in words."""
    skipped: Sequence[Skipped]

    def fingerprint(self) -> str:
        """A hash of all images and labels, in their order: other data have another."""
        words = hashlib.blake2b(digest_size=16)
        for pixels in (self.train, self.val, self.test):
            if pixels is not None:
                words.update(np.ascontiguousarray(pixels.digests).tobytes() + pixels.labels.numpy().tobytes())
        return words.hexdigest()


OnImages = Callable[[int, int], None]
"""Told (decoded, of how many) as decoding goes on."""


def load_splits(
    source: Source,
    *,
    size: tuple[int, int, int],
    fit: Fit,
    validation: float,
    strict: bool = False,
    on_images: OnImages | None = None,
) -> Splits:
    """Decode a source to `size` (C, H, W) and cut it: by the splits that it has, and by hash where it has none.

    The classes are those that the source declares, or else those of the training part in natural order.
    Raises InputError for fewer than two classes, labels that training does not have, images that do not
    fit into memory, and with `strict` for an image that cannot be read.
    """
    if not 0 < validation < 1:
        raise InputError(f"validation is a share between 0 and 1, and not {validation}")
    training = source.parts.get("train") or source.parts.get("all")
    if training is None:
        raise InputError(f"{source.name} has the parts {', '.join(source.parts)}, and nothing to train on")
    classes = source.class_list()
    if len(set(training.labels)) < 2:
        raise InputError(f"{source.name} has the class {training.labels[0]!r} alone; a classifier needs two or more")

    room_for(sum(len(part) for part in source.parts.values()), size)
    parts: dict[PartName, Pixels] = {}
    for name, part in source.parts.items():
        parts[name] = decode(part, classes=classes, size=size, fit=fit, strict=strict, on_images=on_images)
        if not len(parts[name]):
            raise InputError(f"{source.name}: none of the {len(part)} images of its {name} part can be read")
    skipped = [image for pixels in parts.values() for image in pixels.skipped]

    test = parts.get("test")
    if "all" in parts:
        rest, test = cut(parts["all"], TEST_SHARE, column=0)
        train, val = cut(rest, validation, column=1)
        how = f"cut by the hash of each image: {TEST_SHARE:.0%} test, {validation:.0%} of the rest validation"
    elif "val" in parts:
        train, val = parts["train"], parts["val"]
        how = "as the data set has them"
    else:
        train, val = cut(parts["train"], validation, column=1)
        how = f"{validation:.0%} of the training part cut for validation by the hash of each image"
    return Splits(train=train, val=val, test=test, classes=classes, how=how, skipped=skipped)


def load_part(
    source: Source,
    *,
    classes: tuple[str, ...],
    size: tuple[int, int, int],
    fit: Fit,
    strict: bool = False,
    held_out: float | None = None,
    on_images: OnImages | None = None,
) -> tuple[PartName, Pixels]:
    """The part of a source to evaluate on, and its name: test, or else val, or else all there is.

    With `held_out`, the share `validation` that `load_splits` was given, of a source that a network was trained on only
    what it has not learned from is taken. Raises InputError like `load_splits`.
    """
    order: tuple[PartName, ...] = ("test", "val", "all", "train")
    name = next(part for part in order if part in source.parts)
    room_for(len(source.parts[name]), size)
    pixels = decode(source.parts[name], classes=classes, size=size, fit=fit, strict=strict, on_images=on_images)
    if not len(pixels):
        raise InputError(f"{source.name}: none of the {len(source.parts[name])} images of its {name} part can be read")
    if held_out is not None and name == "all":
        return "test", replace(cut(pixels, TEST_SHARE, column=0)[1], skipped=pixels.skipped)
    if held_out is not None and name == "train":
        return "val", replace(cut(pixels, held_out, column=1)[1], skipped=pixels.skipped)
    return name, pixels


def decode(
    part: Part,
    *,
    classes: tuple[str, ...],
    size: tuple[int, int, int],
    fit: Fit,
    strict: bool = False,
    on_images: OnImages | None = None,
) -> Pixels:
    """Every image of a part that can be read. Raises InputError for a label outside the classes."""
    number = {name: i for i, name in enumerate(classes)}
    for label, name in zip(part.labels, part.names, strict=True):
        if label not in number:
            raise InputError(f"{name} is of the class {label!r}, which is not among the classes: {shown(classes)}")
    labels = np.array([number[label] for label in part.labels], np.int64)

    if isinstance(part.images, np.ndarray) and part.images.shape[1:] == (*size[1:], 3)[: 2 if size[0] == 1 else 3]:
        stack = part.images[:, None] if size[0] == 1 else part.images.transpose(0, 3, 1, 2)
        digests = np.array([digest(image.tobytes()) for image in part.images])
        return Pixels(torch.from_numpy(np.array(stack, order="C")), torch.from_numpy(labels), part.names, digests)

    images = np.empty((len(part), *size), np.uint8)
    digests = np.empty((len(part), 2), np.uint64)
    skipped: dict[int, Skipped] = {}

    def one(job: tuple[int, Raw]) -> None:
        index, raw = job
        try:
            stored = stored_bytes(raw)
            images[index] = prepare(stored if isinstance(raw, str | Path) else raw, size, fit)
            digests[index] = digest(stored)
        except (UnreadableImageError, OSError) as error:
            skipped[index] = Skipped(part.names[index], reason(error))

    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter("ignore")  # of odd EXIF and large images, which are read all the same
        for start in range(0, len(part), BLOCK):
            jobs = [(i, part.images[i]) for i in range(start, min(start + BLOCK, len(part)))]
            for _ in pool.map(one, jobs):
                pass
            if on_images is not None:
                on_images(start + len(jobs), len(part))
            if strict and skipped:
                first = skipped[min(skipped)]
                raise InputError(
                    f"{first.name} cannot be read as an image: {first.reason}; "
                    "leave out --strict to pass over such files"
                )

    unread = [skipped[i] for i in sorted(skipped)]
    kept = np.setdiff1d(np.arange(len(part)), np.fromiter(skipped, np.int64, len(skipped)))
    if len(unread):
        images, labels, digests = images[kept], labels[kept], digests[kept]
    names = [part.names[i] for i in kept.tolist()]
    return Pixels(torch.from_numpy(images), torch.from_numpy(labels), names, digests, unread)


def cut(pixels: Pixels, share: float, *, column: int) -> tuple[Pixels, Pixels]:
    """(what stays, what is cut off): an image is cut off where its hash, as a number in 0…1, is below `share`.

    So an image keeps its side when others come or go, and equal files are on one side. Where the share
    would leave a class nothing to train on, its images with the highest hash stay; where nothing would
    be cut off, the image with the lowest hash is, if its class has others.
    """
    place = pixels.digests[:, column].astype(np.float64) / 2.0**64
    off = place < share
    labels = pixels.labels.numpy()
    for label in np.unique(labels):
        mine = labels == label
        if off[mine].all():
            off &= ~(mine & (place == place[mine].max()))
    if not off.any():
        counts = np.bincount(labels)
        spare = np.flatnonzero(counts[labels] > 1)
        if len(spare):
            off[spare] = place[spare] == place[spare].min()
    if not off.any():
        raise InputError(f"{len(pixels)} images are too few to keep some for validation and testing")
    return pixels.take(np.flatnonzero(~off)), pixels.take(np.flatnonzero(off))


def stored_bytes(raw: Raw) -> bytes:
    """An image's bytes as it was stored: the file's, or the array's. Raises UnreadableImageError of an empty one."""
    if isinstance(raw, str | Path):
        raw = Path(raw).read_bytes()
    stored = raw if isinstance(raw, bytes) else np.asarray(raw).tobytes()
    if not stored:
        raise UnreadableImageError("the file is empty")
    return stored


def digest(stored: bytes) -> NDArray[np.uint64]:
    """(2,): two words of a hash."""
    return np.frombuffer(hashlib.blake2b(stored, digest_size=16).digest(), np.uint64)


def room_for(count: int, size: tuple[int, int, int]) -> None:
    """Raise InputError where `count` images of `size` do not fit into the memory that is free."""
    needed, free = count * int(np.prod(size)), psutil.virtual_memory().available
    if needed > 0.4 * free:  # cutting off the parts holds them twice
        raise InputError(
            f"{count:,} images of {size[0]}×{size[1]}×{size[2]} take {needed / 2**30:.1f} GB, and "
            f"{free / 2**30:.1f} GB of memory are free; choose a smaller --size or fewer images"
        )
