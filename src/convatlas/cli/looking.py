"""`convatlas data` and `convatlas models`: what there is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from convatlas.cli.words import parse, print_json
from convatlas.errors import InputError
from convatlas.wording import nearest

if TYPE_CHECKING:
    from convatlas.registry import Card


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Look at a data set before it is trained on: classes, sizes, kinds, damage and duplicates."""

    data: Annotated[Positional[str], arg(metavar="DATA")]
    """As for train: digits, a name of the Hub, or a path."""
    label_column: str | None = None
    """The column of the labels, where a data set has several."""
    json: bool = False
    """Print what was found as JSON."""


def data(words: list[str]) -> int:
    """Look at a data set before it is trained on."""
    options = parse(DataOptions, "data", words)
    from rich.console import Console

    from convatlas.data.audit import audit, table
    from convatlas.data.sources import open_source
    from convatlas.training.progress import Display

    display = Display()
    source = open_source(options.data, label_column=options.label_column)
    with display.decoding():
        found = audit(source, on_images=display.decoded)
    if options.json:
        print_json(found.to_dict())
    else:
        Console(highlight=False).print(table(found))
    return 0


Sort = Literal["history", "name", "year", "params", "macs", "error"]


@dataclass(frozen=True, kw_only=True)
class ModelsOptions:
    """List the networks of the atlas."""

    pattern: Positional[str] = "*"
    """Such as 'resnet*'."""
    sort: Sort = "history"
    """By what, the least first."""
    json: bool = False
    """Print JSON."""


def models(words: list[str]) -> int:
    """List the networks of the atlas."""
    options = parse(ModelsOptions, "models", words)
    from rich.console import Console
    from rich.table import Table

    from convatlas.counts import counts_of
    from convatlas.data.source import natural
    from convatlas.models import list_models, model_card

    names = list_models(options.pattern)
    if not names:
        raise InputError(
            f"no model matches {options.pattern!r}; the nearest: {nearest(options.pattern.lower(), list_models())}"
        )
    cards = [model_card(name) for name in names]
    counts = {name: counts_of(name) for name in names}
    by: dict[Sort, Callable[[Card], Any]] = {
        "history": lambda c: names.index(c.name),
        "name": lambda c: natural(c.name),
        "year": lambda c: c.year,
        "params": lambda c: counts[c.name].params,
        "macs": lambda c: counts[c.name].macs,
        "error": lambda c: c.published.get("top1_error", math.inf),  # where none is printed, last
    }
    cards.sort(key=by[options.sort])
    if options.json:
        print_json(
            [
                {"name": c.name, "family": c.family, "paper": c.paper.citation, "year": c.year, "table": c.table,
                 "input_size": c.input_size, "num_classes": c.num_classes, "parameters": counts[c.name].params,
                 "macs": counts[c.name].macs, "published": dict(c.published), "deviations": c.deviations}
                for c in cards
            ]
        )  # fmt: skip
        return 0
    rows = [
        (c.name, str(c.year), "×".join(map(str, c.input_size)), f"{counts[c.name].params:,}",
         millions(counts[c.name].macs),
         f"{c.published['top1_error']} %" if "top1_error" in c.published else "",
         f"{c.paper.authors.split(',')[0]}, {c.paper.title}")
        for c in cards
    ]  # fmt: skip
    table = Table(box=None, pad_edge=False, header_style="bold")
    heads = ("model", "year", "images", "parameters", "MACs", "error", "paper")
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    # A narrow terminal cuts the titles of the papers, and nothing else.
    console = Console(highlight=False)
    others = sum(widths[:-1]) + 2 * len(widths[:-1])
    widths[-1] = max(min(widths[-1], console.width - others), len("paper"))
    console.width = max(console.width, others + widths[-1])
    for head, width in zip(heads, widths, strict=True):
        justify: Literal["left", "right"] = "right" if head in ("parameters", "MACs", "error") else "left"
        table.add_column(head, justify=justify, width=width, no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console.print(table)
    return 0


def millions(count: int) -> str:
    """`40.55 M` or, of a thousand millions and more, `3.86 G`."""
    return f"{count / 1e9:,.2f} G" if count >= 1e9 else f"{count / 1e6:.2f} M"
