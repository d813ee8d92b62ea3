"""Copies among the images of a data set: equal pixel for pixel, or nearly the same to look at."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from convatlas.data.looks import SIDE, Looks
from convatlas.data.source import ALIASES, PartName, Source

# Two images look nearly the same if their thumbnails do: in grey, but for brightness and contrast they agree
# all over and at every place, and in colour roughly. Measured on ants_bees, CIFAR-10 and MNIST, of copies saved
# as JPEG at quality 75, scaled by 0.9 or made 10 % brighter or darker, 99 % or more are found. Of the 10,000
# test images of MNIST 2 are taken for training images that they are not: without PEAK it would be 466.
CORRELATION = 0.99
"""How far two thumbnails agree at least, in grey."""
PEAK = 0.45
"""How much they differ at most at any place, in standard deviations of the thumbnail. Copies differ a little
everywhere; another picture of the same thing, or another digit 1, differs much somewhere."""
COLOUR = 80
"""How much they differ at most at any sixteenth of the picture, of 255, in any colour: a red flag is no blue one."""
FLAT = 2.0
"""Standard deviation in grey levels below which a thumbnail shows too little to tell it from others."""
TILE = 4096
"""How many thumbnails are compared with as many others at once."""
MOST_WITHIN = 100_000
"""How many images are compared each with each, at most: half a minute to a minute of two cores."""


class Place(NamedTuple):
    """Where an image is in the data set."""

    part: PartName
    name: str
    label: str

    def __str__(self) -> str:
        end = short(self.name)
        said = self.part == "all" or self.part in map(ALIASES.get, end.lower().split("/"))
        return end if said else f"{end} of {self.part}"


class Copies(NamedTuple):
    """Images that are equal pixel for pixel."""

    images: tuple[Place, ...]
    same_bytes: bool
    """Whether they are stored alike too; if not, they were saved anew without loss."""


class Lookalikes(NamedTuple):
    """Two images that look nearly the same and are not equal: `image` is not in training, or comes later."""

    image: Place
    like: Place
    correlation: float


def equal(source: Source, looks: Mapping[PartName, Looks]) -> Iterator[Copies]:
    """The images that are equal pixel for pixel, in groups of two or more."""
    groups: defaultdict[bytes, list[tuple[PartName, int]]] = defaultdict(list)
    for part, seen in looks.items():
        for i, mode in enumerate(seen.modes):
            if mode:
                groups[seen.pixels[i].tobytes()].append((part, i))
    for group in groups.values():
        if len(group) > 1:
            stored = {looks[part].stored[i].tobytes() for part, i in group}
            yield Copies(tuple(place(source, part, i) for part, i in group), len(stored) == 1)


def place(source: Source, part: PartName, index: int) -> Place:
    """Where an image is."""
    return Place(part, source.parts[part].names[index], source.parts[part].labels[index])


def compared(source: Source, looks: Mapping[PartName, Looks]) -> tuple[list[Lookalikes], list[str]]:
    """The look-alikes between the parts, or within the only one; and what was not compared, in sentences."""
    pairs = list(combinations(looks, 2))
    if not pairs:
        (only,) = looks
        if len(looks[only]) > MOST_WITHIN:
            return [], [f"Look-alikes were not looked for: {len(looks[only]):,} images are too many to compare all."]
        pairs = [(only, only)]
    found = []
    for old, new in pairs:
        for i, j, correlation in alike(looks[new].thumbs, None if old == new else looks[old].thumbs):
            if (looks[new].pixels[i] != looks[old].pixels[j]).any():
                found.append(Lookalikes(place(source, new, i), place(source, old, j), round(correlation, 4)))
    return found, []


def alike(new: NDArray[np.uint8], old: NDArray[np.uint8] | None) -> Iterator[tuple[int, int, float]]:
    """(index in `new`, index in `old`, correlation): what of `new` looks nearly like one of `old`, and most like which.

    Both are thumbnails; without `old`, those of `new` are compared with the ones before them.
    """
    patterns = torch.cat([patterns_of(new[start : start + TILE]) for start in range(0, len(new), TILE)])
    best, at = torch.zeros(len(new)), torch.zeros(len(new), dtype=torch.int64)
    others = new if old is None else old
    for first in range(0, len(others), TILE):
        theirs = patterns_of(others[first : first + TILE]).T
        for start in range(0 if old is not None else first, len(new), TILE):
            tile = slice(start, start + TILE)
            correlations = patterns[tile] @ theirs
            if old is None and start == first:
                correlations = correlations.tril(-1)
            highest, where = correlations.max(1)
            at[tile] = torch.where(highest > best[tile], where + first, at[tile])
            best[tile] = torch.maximum(highest, best[tile])
    near = np.flatnonzero(best.numpy() >= CORRELATION)
    like = at.numpy()[near]
    same = agree(new[near], others[like])
    for i, j in zip(near[same].tolist(), like[same].tolist(), strict=True):
        yield i, j, min(1.0, float(best[i]))


def patterns_of(thumbs: NDArray[np.uint8]) -> Tensor:
    """`(N, SIDE, SIDE, 3) -> float32 (N, SIDE²)`: in grey, of mean 0 and length 1; 0 where there is next to nothing."""
    grey = torch.from_numpy(thumbs).float().flatten(1, 2) @ torch.tensor([0.299, 0.587, 0.114])
    grey = grey - grey.mean(1, keepdim=True)
    length = grey.norm(dim=1, keepdim=True)
    return torch.where(length < FLAT * SIDE, 0.0, grey / length.clamp(min=1))


def agree(mine: NDArray[np.uint8], theirs: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(N,): whether two thumbnails agree at every place, in grey and in colour."""
    x, y = patterns_of(mine), patterns_of(theirs)
    rest = x - (x * y).sum(1, keepdim=True) * y
    differ = torch.from_numpy(mine).float() - torch.from_numpy(theirs).float()
    colour = F.avg_pool2d(differ.permute(0, 3, 1, 2), SIDE // 4).flatten(1)
    return ((rest.abs() <= PEAK / SIDE).all(1) & (colour.abs() <= COLOUR).all(1)).numpy()


def short(name: str) -> str:
    """The end of a path, with which a file is found in its data set."""
    return "/".join(Path(name).parts[-3:])
