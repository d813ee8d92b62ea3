"""Where a part's images are held: decoded in memory, decoded on disk, or as they are stored."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from convatlas.data.decoding import OnImages, one_a_core
from convatlas.data.held import Indexed
from convatlas.data.images import Fit
from convatlas.data.kept import Shelf
from convatlas.data.mapped import keep_stored
from convatlas.data.pixels import decode
from convatlas.data.source import Part, PartName
from convatlas.devices import free_memory
from convatlas.errors import InputError
from convatlas.wording import some

Loading = Literal["auto", "memory", "mapped", "stream"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """How images are held, and what they are brought to."""

    size: tuple[int, int, int]
    fit: Fit
    strict: bool
    workers: int
    on_images: OnImages | None
    mapped: bool
    """Whether they stay as they are stored."""
    cache: Path | None
    """A folder where they are kept decoded."""
    room: str
    """What there is to say where memory is too small."""

    @property
    def words(self) -> str:
        """Where the images are."""
        if not self.mapped:
            return "decoded, in memory"
        processes = some(self.workers, "process", "processes")
        if self.cache is not None:
            return f"decoded, in {self.cache}, and fetched by {processes} when their turn comes"
        return f"as they are stored, and decoded by {processes} when their turn comes{self.room}"

    def hold(
        self, source: str, name: PartName, part: Part, classes: tuple[str, ...], *, windows: bool = False
    ) -> Indexed:
        """The images of a source's part that can be read, or with `windows` what those are cut out of.

        Raises InputError where there are none.
        """
        shelf = None
        if self.cache is not None and encoded(part):
            shelf = Shelf(self.cache, roomy=windows and self.mapped)
        held: Indexed
        if self.mapped:
            held = keep_stored(
                part, classes=classes, size=self.size, fit=self.fit, workers=self.workers, strict=self.strict,
                shelf=shelf, on_images=self.on_images,
            )  # fmt: skip
        else:
            held = decode(
                part, classes=classes, size=self.size, fit=self.fit, strict=self.strict, shelf=shelf,
                on_images=self.on_images,
            )  # fmt: skip
        if not len(held):
            raise InputError(f"{source}: none of the {len(part)} images of its {name} part can be read")
        return held


def encoded(part: Part) -> bool:
    """Whether there is something to decode in images, which arrays are not."""
    return not isinstance(part.images, np.ndarray)


def holding(
    count: int,
    *,
    size: tuple[int, int, int],
    fit: Fit,
    strict: bool,
    loading: Loading,
    workers: int | None,
    on_images: OnImages | None,
    cache: Path | None = None,
) -> Holding:
    """How so many images are held: in memory if they fit. Raises InputError where they have to and do not."""
    # Of the processes on this machine each holds all; and cutting off the parts holds them twice.
    needed, free = count * int(np.prod(size)) * int(os.environ.get("LOCAL_WORLD_SIZE", "1")), free_memory()
    fits = needed <= 0.4 * free
    room = f"{needed / 2**30:.1f} GB, and {free / 2**30:.1f} GB of memory are free"
    if loading == "memory" and not fits:
        raise InputError(
            f"{count:,} images of {size[0]}×{size[1]}×{size[2]} take {room}; leave out --loading memory, or choose a "
            "smaller --size"
        )
    return Holding(
        size=size, fit=fit, strict=strict, workers=one_a_core(workers), on_images=on_images, cache=cache,
        mapped=loading == "mapped" or not fits, room="" if fits else f": decoded, they would take {room}",
    )  # fmt: skip
