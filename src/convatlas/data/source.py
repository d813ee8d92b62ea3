"""A data set as it was found, before anything is decoded: its parts, and for each image its class and its name."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from convatlas.data.images import Raw

PartName = Literal["train", "val", "test", "all"]
ALIASES: Mapping[str, PartName] = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


class Skipped(NamedTuple):
    """An image that could not be read."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Part:
    """A split before it is decoded: the images, which class each is of, and what each is called."""

    images: Sequence[Raw] | NDArray[np.uint8]
    labels: Sequence[str]
    """A class name each."""
    names: Sequence[str]
    """The whole path of a file; what tells an image apart where it is none."""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A data set as it was found: parts by name, of which `all` stands for one that has no splits."""

    name: str
    layout: str
    """What it was recognised as, in words."""
    parts: Mapping[PartName, Part]
    classes: Sequence[str] | None = None
    """The classes that the data set declares, in its own order; None: they are read off the training part."""
    ignored: Sequence[str] = field(default_factory=tuple)
    """Files and folders that were passed over: no images, or in no class, or beside the splits."""
    handwriting: bool = False
    """Whether its images mean something else when they are mirrored."""

    def class_list(self) -> tuple[str, ...]:
        """The classes that the source declares, or else those of its training part, in natural order."""
        if self.classes is not None:
            return tuple(self.classes)
        part = next(self.parts[name] for name in ("train", "all", "val", "test") if name in self.parts)
        return tuple(sorted(set(part.labels), key=natural))


def natural(word: str) -> list[tuple[int, int, str]]:
    """A key by which `class2` comes before `class10`, and numbers before words."""
    return [(0, int(w), "") if w.isdecimal() else (1, 0, w.casefold()) for w in re.split(r"(\d+)", word) if w]
