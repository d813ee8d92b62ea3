"""What an audit has found, in numbers and in sentences."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

from convatlas.data.copies import Copies, Lookalikes, Place, short
from convatlas.data.source import PartName, Skipped
from convatlas.wording import printable, shown, some

IMBALANCE = 10
"""How many times larger one class may be than another before it is said."""
NAMED = 3
"""How many files a sentence names."""


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


def plain(value: Any) -> Any:
    """The value in what JSON has: what has named fields becomes a mapping."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value
