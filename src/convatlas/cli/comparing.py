"""`convatlas compare`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from convatlas.cli.explaining import IMAGE_SIZE, as_typed, subject_of
from convatlas.cli.words import complain, parse, print_json
from convatlas.errors import InputError


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """Set networks side by side: where their weights sit, what they cost, how far they see, how often they err."""

    models: Annotated[Positional[tuple[str, ...]], arg(metavar="MODEL …", help_behavior_hint="(one or more)")]
    """Networks of the atlas, folders of runs, or package.module:name."""
    input: Annotated[tuple[int, int, int] | None, IMAGE_SIZE] = None
    """The channels, height and width of the images; if not given, as each network has it."""
    real: bool = False
    """Compute with weights on the processor, from an image of zeros, for modules that look at what they compute."""
    chart: Annotated[Path | None, arg(metavar="FILE")] = None
    """Draw the published errors against the cost, as a .png, .svg or .pdf."""
    json: bool = False
    """Print JSON."""


def compare(words: list[str]) -> int:
    """Set networks side by side: weights, cost, depth, what they see, and published errors."""
    options = parse(CompareOptions, "compare", words)
    if not options.models:
        raise InputError("compare needs the names of networks, such as: convatlas compare alexnet vgg16 resnet50")
    if options.chart and options.chart.suffix not in (".png", ".svg", ".pdf"):
        raise InputError(f"--chart draws a .png, .svg or .pdf, and not {options.chart.name}")
    from rich.console import Console

    from convatlas.explanation.compare import as_json, chart, charted, compare, compared_table

    with as_typed():
        rows = compare(*map(subject_of, options.models), input_size=options.input, real=options.real)
    if options.chart:
        from convatlas.files import writing

        figure = chart(rows)
        with writing(options.chart) as path:
            figure.savefig(path, format=options.chart.suffix[1:])
        _, drawn = charted(rows)
        absent = dict.fromkeys(one.name for one in rows if one not in drawn)
        complain(
            f"wrote {options.chart}" + (f", without {', '.join(absent)}: no error is printed" if absent else ""), 0
        )
    if options.json:
        print_json(as_json(rows))
    else:
        console = Console(highlight=False)
        console.print(compared_table(rows, width=console.width))
    return 0
