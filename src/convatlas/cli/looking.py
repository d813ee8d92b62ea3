"""`convatlas data` and `convatlas models`: what there is."""

from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from convatlas.cli.words import parse, print_json
from convatlas.errors import InputError
from convatlas.wording import nearest


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


@dataclass(frozen=True, kw_only=True)
class ModelsOptions:
    """List the networks of the atlas."""

    pattern: Positional[str] = "*"
    """Such as 'resnet*'."""
    json: bool = False
    """Print JSON."""


def models(words: list[str]) -> int:
    """List the networks of the atlas."""
    options = parse(ModelsOptions, "models", words)
    import torch
    from rich.console import Console
    from rich.table import Table

    from convatlas.models import build, list_models, model_card

    names = list_models(options.pattern)
    if not names:
        raise InputError(
            f"no model matches {options.pattern!r}; the nearest: {nearest(options.pattern, list_models())}"
        )
    cards = [model_card(name) for name in names]
    with torch.device("meta"):
        parameters = {name: sum(p.numel() for p in build(name).parameters()) for name in names}
    if options.json:
        print_json(
            [
                {"name": c.name, "family": c.family, "paper": c.paper.citation, "year": c.year, "table": c.table,
                 "input_size": c.input_size, "num_classes": c.num_classes, "parameters": parameters[c.name],
                 "published": dict(c.published), "deviations": c.deviations}
                for c in cards
            ]
        )  # fmt: skip
        return 0
    table = Table(box=None, pad_edge=False, header_style="bold")
    rows = [
        (c.name, str(c.year), "×".join(map(str, c.input_size)), f"{parameters[c.name]:,}",
         f"{c.published['top1_error']} %" if "top1_error" in c.published else "",
         f"{c.paper.authors.split(',')[0]}, {c.paper.title}")
        for c in cards
    ]  # fmt: skip
    heads = ("model", "year", "images", "parameters", "error", "paper")
    for head, column in zip(heads, zip(*rows, strict=True), strict=True):
        # A narrow terminal cuts the titles of the papers, and nothing else.
        width = 0 if head == "paper" else max(map(len, column))
        justify: Literal["left", "right"] = "right" if head in ("parameters", "error") else "left"
        table.add_column(head, justify=justify, min_width=width, no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console(highlight=False).print(table)
    return 0
