"""Decoded images in memory."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convatlas.data.decoding import OnImages, digest, look_through
from convatlas.data.held import Fetched, Index, Indexed, Wanted
from convatlas.data.images import Fit, prepare
from convatlas.data.kept import Shelf, keep_decoded
from convatlas.data.source import Part, Skipped
from convatlas.data.windows import cut_out
from convatlas.errors import InputError
from convatlas.wording import shown


@dataclass(frozen=True, slots=True)
class Pixels(Indexed):
    """Decoded images and their classes."""

    images: Tensor
    """uint8 (N, C, H, W)."""
    labels: Tensor
    names: Sequence[str]
    digests: NDArray[np.uint64]
    skipped: Sequence[Skipped] = ()

    @property
    def size(self) -> tuple[int, int, int]:
        """C, H, W."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def take(self, index: Index) -> "Pixels":
        """The images at `index`, in its order."""
        names = [self.names[i] for i in index.tolist()]
        labels = self.labels[torch.from_numpy(index)]
        return Pixels(self.at(index), labels, names, self.digests[index], self.skipped)

    def to(self, device: torch.device) -> "Pixels":
        """The same, with images on `device`."""
        return replace(self, images=self.images.to(device))

    def at(self, index: Index) -> Tensor:
        """`uint8 (N, C, H, W)`: the images at `index`."""
        return self.images[torch.from_numpy(index).to(self.images.device)]

    def fetches(self, wanted: Iterable[Wanted]) -> Generator[Fetched]:
        """All that is wanted, in turn; windows are cut where the images are."""
        for index, cut in wanted:
            images = self.at(index) if cut is None else cut_out(self.at(index), cut(index))
            yield Fetched(index, images, self.labels[torch.from_numpy(index)])

    def sample(self) -> Iterator[Tensor]:
        """All images at once."""
        yield self.images


def decode(
    part: Part,
    *,
    classes: tuple[str, ...],
    size: tuple[int, int, int],
    fit: Fit,
    strict: bool = False,
    shelf: Shelf | None = None,
    on_images: OnImages | None = None,
) -> Pixels:
    """Every image of a part that can be read, by way of the shelf if one is given.

    Raises InputError for a label outside the classes.
    """
    labels = numbered(part, classes)
    if isinstance(part.images, np.ndarray) and part.images.shape[1:] == (*size[1:], 3)[: 2 if size[0] == 1 else 3]:
        stack = part.images[:, None] if size[0] == 1 else part.images.transpose(0, 3, 1, 2)
        digests = np.array([digest(image.tobytes()) for image in part.images])
        return Pixels(torch.from_numpy(np.array(stack, order="C")), labels, part.names, digests)

    images = np.empty((len(part), *size), np.uint8)
    if shelf is None:
        looked = look_through(
            part, make=partial(prepare, size=size, fit=fit), strict=strict, on_images=on_images,
            keep=lambda i, pixels, _: images.__setitem__(i, pixels),
        )  # fmt: skip
    else:
        kept, looked = keep_decoded(part, shelf, size=size, fit=fit, strict=strict, on_images=on_images)
        for i in looked.kept.tolist():
            images[i] = kept[i].transpose(2, 0, 1)
    if looked.skipped:
        images, labels = images[looked.kept], labels[torch.from_numpy(looked.kept)]
    names = [part.names[i] for i in looked.kept.tolist()]
    return Pixels(torch.from_numpy(images), labels, names, looked.digests, looked.skipped)


def numbered(part: Part, classes: Sequence[str]) -> Tensor:
    """`int64 (N,)`: the number of each image's class. Raises InputError for a label outside the classes."""
    number = {name: i for i, name in enumerate(classes)}
    for label, name in zip(part.labels, part.names, strict=True):
        if label not in number:
            raise InputError(f"{name} is of the class {label!r}, which is not among the classes: {shown(classes)}")
    return torch.tensor([number[label] for label in part.labels], dtype=torch.int64)
