"""Images that are held as they are stored, on disk, and decoded when their turn comes."""

from collections.abc import Generator, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convatlas.data.decoding import Decoded, OnImages, decode_all, in_processes, look_through
from convatlas.data.held import CPU, SAMPLE, Fetched, Index, Indexed, Wanted
from convatlas.data.images import Fit, Raw, picture
from convatlas.data.kept import Shelf, keep_decoded
from convatlas.data.pixels import numbered
from convatlas.data.source import Part, Skipped
from convatlas.data.tables import Rows
from convatlas.data.windows import cut_out
from convatlas.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped(Indexed):
    """Images as they are stored, and their classes. Processes decode them, some steps ahead of their turn."""

    sampled: ClassVar[str] = "evenly spaced"
    stored: Sequence[Raw] | NDArray[np.uint8]
    """Files, or rows of memory-mapped Arrow, or arrays."""
    places: Index
    """(N,): where among those each of these images is."""
    labels: Tensor
    names: Sequence[str]
    digests: NDArray[np.uint64]
    size: tuple[int, int, int]
    fit: Fit
    workers: int
    """Processes; 0: this one decodes, when it comes to it."""
    device: torch.device = CPU
    windowed: Sequence[Raw] | None = None
    """The same images decoded, which are shown instead, and of which windows are cut."""
    skipped: Sequence[Skipped] = ()

    def take(self, index: Index) -> "Mapped":
        """The images at `index`, in its order."""
        return replace(
            self, places=self.places[index], labels=self.labels[torch.from_numpy(index)],
            names=[self.names[i] for i in index.tolist()], digests=self.digests[index],
        )  # fmt: skip

    def part(self, classes: Sequence[str]) -> Part:
        """The same images before they were decoded, to be held otherwise."""
        stored: Sequence[Raw] | NDArray[np.uint8]
        if isinstance(self.stored, Rows):
            stored = self.stored.select(self.places)
        elif isinstance(self.stored, np.ndarray):
            stored = self.stored[self.places]
        else:
            stored = [self.stored[i] for i in self.places.tolist()]
        return Part(stored, [classes[i] for i in self.labels.tolist()], self.names)

    def to(self, device: torch.device) -> "Mapped":
        """The same, whose images come on `device`."""
        return replace(self, device=device)

    def at(self, index: Index) -> Tensor:
        """`uint8 (N, C, H, W)`: the images at `index`, decoded here and now."""
        return self.read(*self.decode(Wanted(index)))

    def fetches(self, wanted: Iterable[Wanted]) -> Generator[Fetched]:
        """All that is wanted, in turn, decoded ahead of it by the processes."""
        workers = min(self.workers, len(wanted)) if isinstance(wanted, Sized) else self.workers
        for asked, decoded in in_processes(self.decode, wanted, workers=workers, device=self.device):
            index, cut = asked
            images = self.read(asked, decoded).to(self.device, non_blocking=True)
            if cut is not None and not self.straight:
                images = cut_out(images, cut(index))
            yield Fetched(index, images, self.labels[torch.from_numpy(index)])

    @property
    def straight(self) -> bool:
        """Whether windows are cut by who decodes. Arrays are there already, and cut like those in memory."""
        return not isinstance(self.stored, np.ndarray)

    def sample(self) -> Iterator[Tensor]:
        """Some thousand images, evenly spaced."""
        index = np.arange(0, len(self), max(1, -(-len(self) // SAMPLE)))
        for fetched in self.fetches([Wanted(part) for part in np.array_split(index, -(-len(index) // 64))]):
            yield fetched.images

    def decode(self, wanted: Wanted) -> tuple[Wanted, Decoded]:
        """What is wanted, as a process hands it back."""
        index, cut = wanted
        places = self.places[index]
        source = self.stored if self.windowed is None else self.windowed
        taken = source.take(places) if isinstance(source, Rows) else [source[i] for i in places.tolist()]
        windows = cut(index) if cut is not None and self.straight else None
        return wanted, decode_all(taken, self.size, self.fit, windows)

    def read(self, wanted: Wanted, decoded: Decoded) -> Tensor:
        """`uint8 (N, C, H, W)`. Raises InputError for an image that could be read at first, and cannot any more."""
        for i, reason in decoded.unread:
            name = self.names[wanted.which[i]]
            raise InputError(
                f"{name} cannot be read any more ({reason}), and could be when the run began; put it back as it was, "
                "and go on with convatlas resume"
            )
        return decoded.images


def keep_stored(
    part: Part,
    *,
    classes: tuple[str, ...],
    size: tuple[int, int, int],
    fit: Fit,
    workers: int,
    strict: bool = False,
    shelf: Shelf | None = None,
    on_images: OnImages | None = None,
) -> Mapped:
    """Every image of a part that can be read, which is found out by decoding each once, onto the shelf if one is given.

    Raises InputError for a label outside the classes.
    """
    labels = numbered(part, classes)
    stored, windowed = part.images, None
    if shelf is None:
        make = partial(picture, size=size, fit=fit)
        looked = look_through(part, make=make, keep=None, strict=strict, on_images=on_images)
    else:
        kept, looked = keep_decoded(part, shelf, size=size, fit=fit, strict=strict, on_images=on_images)
        stored, windowed = (stored, kept) if shelf.roomy else (kept, None)
    return Mapped(
        stored=stored, windowed=windowed, places=looked.kept, labels=labels[torch.from_numpy(looked.kept)],
        names=[part.names[i] for i in looked.kept.tolist()], digests=looked.digests, size=size, fit=fit,
        workers=workers, skipped=looked.skipped,
    )  # fmt: skip
