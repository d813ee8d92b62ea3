"""What a data set is made of, and what is wrong with it, before anything is trained on it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from convatlas.data.copies import compared, equal
from convatlas.data.decoding import OnImages
from convatlas.data.findings import Audit, PartAudit, Spread, described, findings
from convatlas.data.looks import Looks, look_at
from convatlas.data.source import Part, PartName, Source, natural
from convatlas.wording import printable, shown, some

FEW = 30
"""How many classes are shown one by one."""


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
