"""What a data set is made of, and what is wrong with it, before anything is trained on it."""

import io
import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from torch import Tensor
from torch.nn import functional as F

from convatlas.data.images import Raw, UnreadableImageError, eight_bits, read
from convatlas.data.pixels import BLOCK, OnImages, Skipped, digest, shown, stored_bytes
from convatlas.data.sources import ALIASES, Part, PartName, Source, natural

# Two images look nearly the same if their thumbnails do: in grey, but for brightness and contrast they agree
# all over and at every place, and in colour roughly. Measured on ants_bees, CIFAR-10 and MNIST, of copies saved
# as JPEG at quality 75, scaled by 0.9 or made 10 % brighter or darker, 99 % or more are found. Of the 10,000
# test images of MNIST 2 are taken for training images that they are not: without PEAK it would be 466.
SIDE = 16
"""Height and width of a thumbnail. Bilinear: with a box filter, resizing a small image changes it too much."""
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
IMBALANCE = 10
"""How many times larger one class may be than another before it is said."""
FEW = 30
"""How many classes are shown one by one."""
NAMED = 3
"""How many files a sentence names."""


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


class Spread(NamedTuple):
    """Of a length in pixels."""

    min: int
    median: float
    max: int

    def __str__(self) -> str:
        return f"{self.min:,} to {self.max:,} (median {self.median:,g})"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartAudit:
    """What a split holds. Sizes and modes are those of the files, before EXIF turns them."""

    name: PartName
    images: int
    """All of them, with those that cannot be read."""
    classes: dict[str, int]
    """How many images each class has; the classes of all parts, in their order."""
    heights: Spread | None
    """None where no image can be read; so are `widths` and `commonest`."""
    widths: Spread | None
    commonest: tuple[int, int] | None
    """The (height, width) that most images have."""
    sizes: int
    """How many different (height, width) there are."""
    modes: dict[str, int]
    """How many images are of each of Pillow's modes, the most frequent first."""
    rotated: int
    """How many EXIF says to turn or mirror."""
    unreadable: tuple[Skipped, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What a data set holds, and what stands out in it."""

    name: str
    layout: str
    parts: tuple[PartAudit, ...]
    copies: tuple[Copies, ...]
    lookalikes: tuple[Lookalikes, ...]
    """Between parts; within the one part of a data set that has no splits. An image is in at most one as `image`
    for each pair of parts: with what it is most like."""
    ignored: tuple[str, ...]
    """Files that were passed over because they are no images."""
    unfit: tuple[str, ...] = field(default=())
    """Why nothing can be trained on it as it is, in sentences; empty: something can."""
    notes: tuple[str, ...] = field(default=())
    """What was not looked at, and why, in sentences."""

    @property
    def contradictions(self) -> tuple[Copies, ...]:
        """The copies of which one is said to be of another class than another."""
        return tuple(c for c in self.copies if len({place.label for place in c.images}) > 1)

    @property
    def leaks(self) -> tuple[Copies, ...]:
        """The copies that are in more than one part."""
        return tuple(c for c in self.copies if len({place.part for place in c.images}) > 1)

    @property
    def repeats(self) -> tuple[Copies, ...]:
        """The copies of which some part has two or more."""
        return tuple(c for c in self.copies if max(Counter(place.part for place in c.images).values()) > 1)

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold; `findings` are the sentences that a terminal shows."""
        return {**plain(asdict(self)), "contradictions": plain(self.contradictions), "findings": findings(self)}


def audit(source: Source, *, on_images: OnImages | None = None) -> Audit:
    """What a data set holds and what stands out in it; every image is decoded once, at its own size.

    A source that nothing can be trained on is audited too, and the audit says why.
    """
    done, total = 0, sum(map(len, source.parts.values()))

    def on_block(count: int) -> None:
        nonlocal done
        done += count
        if on_images is not None:
            on_images(done, total)

    ordered = [name for name in get_args(PartName) if source.parts.get(name)]  # training before what is like it
    looks: dict[PartName, Looks] = {name: look_at(source.parts[name], on_block) for name in ordered}
    lookalikes, notes = compared(source, looks)
    found = sorted({label for part in source.parts.values() for label in part.labels}, key=natural)
    classes = tuple(dict.fromkeys((*(source.classes or ()), *found)))
    return Audit(
        name=source.name,
        layout=source.layout,
        parts=tuple(summary(name, source.parts[name], looks[name], classes) for name in looks),
        copies=tuple(equal(source, looks)),
        lookalikes=tuple(lookalikes),
        ignored=tuple(source.ignored),
        unfit=tuple(obstacles(source, looks)),
        notes=tuple(notes),
    )


# --------------------------------------------------------------------------- looking at the images


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
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
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
        if not stored:
            return "the file is empty"
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


def reason(error: Exception) -> str:
    """Why an image cannot be read, in a few words and without its name."""
    cause = error.__cause__ if isinstance(error, UnreadableImageError) and error.__cause__ else error
    if isinstance(cause, UnidentifiedImageError):
        return "it is no image of a known format"
    said = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
    return " ".join(said.split()) or type(cause).__name__


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


def summary(name: PartName, part: Part, looks: Looks, classes: Sequence[str]) -> PartAudit:
    """A part in numbers."""
    counts = Counter(part.labels)
    sizes = looks.sizes[[bool(mode) for mode in looks.modes]]
    by_size = Counter(map(tuple, sizes.tolist())).most_common()
    return PartAudit(
        name=name,
        images=len(part),
        classes={label: counts[label] for label in classes},
        heights=spread(sizes[:, 0]),
        widths=spread(sizes[:, 1]),
        commonest=by_size[0][0] if by_size else None,
        sizes=len(by_size),
        modes=dict(Counter(filter(None, looks.modes)).most_common()),
        rotated=looks.rotated,
        unreadable=tuple(looks.unreadable),
    )


def spread(lengths: NDArray[np.int64]) -> Spread | None:
    """The smallest, the middle and the largest; None of nothing."""
    return Spread(int(lengths.min()), float(np.median(lengths)), int(lengths.max())) if len(lengths) else None


# --------------------------------------------------------------------------- comparing them


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


def obstacles(source: Source, looks: Mapping[PartName, Looks]) -> Iterator[str]:
    """Why nothing can be trained on a source as it is: what `load_splits` would say."""
    training = source.parts.get("train") or source.parts.get("all")
    if training is None:
        yield f"There is nothing to train on, {' and '.join(looks)} alone."
        return
    known = set(training.labels)
    if len(known) == 1:
        yield f"All images to train on are of the class {training.labels[0]!r}; a classifier needs two or more."
    for name, seen in looks.items():
        if not any(seen.modes):
            yield f"None of the {len(seen)} images of {name} can be read."
        strange = sorted(set(source.parts[name].labels) - known - set(source.classes or ()), key=natural)
        if strange:
            yield f"In {name} there are classes that training does not have: {shown(strange)}."


# --------------------------------------------------------------------------- saying it


def table(audit: Audit) -> RenderableType:
    """What a terminal shows: how many images each class has in each part, and sentences on what stands out."""
    counts = Table("class")
    for part in audit.parts:
        counts.add_column(part.name, justify="right")
    for name, of in shown_classes(audit):
        counts.add_row(Text(printable(name)), *(f"{sum(part.classes[c] for c in of):,}" for part in audit.parts))
    counts.add_section()
    counts.add_row(some(len(audit.parts[0].classes), "class", "classes"), *(f"{p.images:,}" for p in audit.parts))
    lines = [*map(described, audit.parts), "", *findings(audit)]
    return Group(Text(f"{audit.name}: {audit.layout}"), counts, *map(Text, lines))


def shown_classes(audit: Audit) -> list[tuple[str, Sequence[str]]]:
    """The rows of the table, and the classes in each: of many classes the largest, the smallest and the rest."""
    classes = list(audit.parts[0].classes)
    if len(classes) <= FEW:
        return [(c, [c]) for c in classes]
    classes.sort(key=lambda c: -sum(part.classes[c] for part in audit.parts))
    ends = FEW // 3
    between = classes[ends:-ends]
    return [
        *((c, [c]) for c in classes[:ends]),
        (f"… {len(between):,} classes between …", between),
        *((c, [c]) for c in classes[-ends:]),
    ]


def described(part: PartAudit) -> str:
    """A part's sizes and modes, in a sentence."""
    if part.heights is None or part.widths is None or part.commonest is None:
        return f"{part.name}: no image can be read."
    size = f"all {part.commonest[0]}×{part.commonest[1]}"
    if part.sizes > 1:
        size = f"heights {part.heights}, widths {part.widths}, most often {size.removeprefix('all ')}"
    modes = ", ".join(f"{count:,} {mode}" for mode, count in part.modes.items())
    turned = f"; {part.rotated:,} turned upright as EXIF says" if part.rotated else ""
    return f"{part.name}: {size}; {modes}{turned}."


def findings(audit: Audit) -> list[str]:
    """What stands out, what matters most first, in sentences; where nothing does, one that says so."""
    said = list(audit.unfit)
    for part in audit.parts:
        files = [f"{short(file.name)} ({file.reason})" for file in part.unreadable]
        said += told(f"Cannot be read in {part.name}", "image", files)
    pairs = [" but ".join(f"{p} is {p.label!r}" for p in unlike(c, "label")) for c in audit.contradictions]
    said += told("Equal pixel for pixel and of different classes", "picture", pairs)
    pairs = [" = ".join(map(str, unlike(c, "part"))) for c in audit.leaks]
    advice = " Keep each in one, or a network is tested on what it has learned by heart."
    said += told("In more than one split, pixel for pixel", "picture", pairs, advice)
    pairs = [f"{pair.image} ~ {pair.like}" for pair in audit.lookalikes]
    apart = sum(pair.image.label != pair.like.label for pair in audit.lookalikes)
    advice = f" Of these, {some(apart, 'pair')} of different classes." * bool(apart) + (
        " They may be copies that were saved anew; pictures as simple as digits can be alike by chance. Look at them."
    )
    said += told("Nearly the same to look at", "pair", pairs, advice)
    pairs = [" = ".join(map(str, repeated(c))) for c in audit.repeats]
    said += told("More than once in one part, pixel for pixel", "picture", pairs)
    for part in audit.parts:
        said += uneven(part)
    said += told("Passed over, being no images", "file", [short(name) for name in audit.ignored])
    said += audit.notes
    return list(map(printable, said)) or ["Nothing stands out: every image can be read, and none is there twice."]


def told(what: str, one: str, cases: Sequence[str], advice: str = "") -> list[str]:
    """A sentence that counts the cases and names the first few; none where there is no case."""
    return [f"{what}: {some(len(cases), one)}: {shown(cases, NAMED)}.{advice}"] if cases else []


def uneven(part: PartAudit) -> Iterator[str]:
    """What is to be said of how many images the classes of a part have."""
    missing = [label for label, count in part.classes.items() if not count]
    if missing:
        yield f"Without an image in {part.name}: {shown(missing)}."
    counts = {label: count for label, count in part.classes.items() if count}
    most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    if part.name in ("train", "all") and counts[most] >= IMBALANCE * counts[least]:
        few = f"{counts[most]:,} images of {most} and {counts[least]:,} of {least}"
        yield f"Uneven: {part.name} has {few}; accuracy will tell little of the small classes."


def unlike(copies: Copies, what: Literal["part", "label"]) -> tuple[Place, Place]:
    """The first two images that differ in it."""
    first, *others = copies.images
    return first, next(place for place in others if getattr(place, what) != getattr(first, what))


def repeated(copies: Copies) -> Sequence[Place]:
    """The first two images of a part that has two."""
    ((part, _),) = Counter(place.part for place in copies.images).most_common(1)
    return [place for place in copies.images if place.part == part][:2]


def short(name: str) -> str:
    """The end of a path, with which a file is found in its data set."""
    return "/".join(Path(name).parts[-3:])


def printable(words: str) -> str:
    """The words, with question marks for what is no UTF-8: the names of files may be any bytes."""
    return words.encode(errors="surrogateescape").decode(errors="replace")


def some(count: int, one: str, many: str | None = None) -> str:
    """`1 image`, `2,000 images`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def plain(value: Any) -> Any:
    """The value in what JSON has: what has named fields becomes a mapping."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value
