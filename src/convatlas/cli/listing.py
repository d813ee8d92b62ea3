"""`convatlas runs` and `convatlas compare-runs`: what has been trained."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from convatlas.cli.words import check_plot, complain, parse, print_json, print_table, write_plot
from convatlas.errors import InputError
from convatlas.training.recipe import Recipe
from convatlas.wording import nearest

if TYPE_CHECKING:
    from convatlas.training.records import Group, Record


@dataclass(frozen=True, kw_only=True)
class RunsOptions:
    """List the runs in a folder and below it, with what tells them apart and what came out."""

    folder: Annotated[Positional[Path], arg(metavar="[FOLDER]")] = Path("runs")
    """Where to look."""
    sort: str = "newest"
    """By what, the least first: newest, name, epochs, validation, test, time, status, or a field of the recipe."""
    json: bool = False
    """Print JSON."""


def runs(words: list[str]) -> int:
    """List runs, with what tells them apart and what came out."""
    options = parse(RunsOptions, "runs", words)
    key = sort_key(options.sort)

    from convatlas.training.records import find_records

    records = sorted(find_records(options.folder), key=key)
    if options.json:
        print_json([record.to_dict() for record in records])
        return 0
    from convatlas.training.comparison import OVER_SEEDS, runs_table, seeds_table

    names = {record.directory: os.path.relpath(record.directory, options.folder) for record in records}
    print_table(runs_table(records, names))
    if over_seeds := seeds_table(records):
        print()
        print_table(over_seeds)
        print(OVER_SEEDS)
    say_faults(records)
    return 0


def say_faults(records: Sequence["Record"]) -> None:
    """Say what is damaged or has failed, and why."""
    for record in records:
        if record.fault:
            how = "has failed" if record.status == "failed" else "is damaged"
            complain(f"{record.directory} {how}: {record.fault}", 0)


def sort_key(by: str) -> Callable[["Record"], Any]:
    """What runs are sorted by. Raises InputError for what there is not."""
    from convatlas.data.source import natural

    columns: dict[str, Callable[[Record], Any]] = {
        "newest": lambda record: record.started,
        "name": lambda record: natural(str(record.directory)),
        "epochs": lambda record: len(record.rows),
        "validation": lambda record: record.val_accuracy or 0.0,
        "test": lambda record: record.test_accuracy or 0.0,
        "time": lambda record: record.seconds,
        "status": lambda record: record.status,
    }
    if by in columns:
        return columns[by]
    fields = [field.name for field in dataclasses.fields(Recipe)]
    if by not in fields:
        raise InputError(
            f"--sort knows no {by!r} (nearest: {nearest(by, [*columns, *fields])}); it takes {', '.join(columns)}, "
            "or a field of the recipe"
        )

    def value(record: "Record") -> Any:
        given = getattr(record.recipe, by, None)
        return (0, given) if isinstance(given, int | float) else (1, str(given))

    return value


@dataclass(frozen=True, kw_only=True)
class CompareRunsOptions:
    """Set runs side by side: what differs in their recipes, what came out, and their curves.

    Runs that differ in their seed alone stand together, with mean and spread.
    """

    runs: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN")]
    """The folders of runs, or folders with runs in them."""
    plot: Annotated[Path | None, arg(metavar="FILE")] = None
    """Draw loss and validation accuracy over the epochs, as a .png, .svg or .pdf: a dot marks the best epoch, a band
    the standard deviation over seeds."""
    json: bool = False
    """Print JSON, the curves included."""


def compare_runs(words: list[str]) -> int:
    """Set runs side by side: recipes, results and curves."""
    options = parse(CompareRunsOptions, "compare-runs", words)
    if not options.runs:
        raise InputError("compare-runs needs the folders of runs, such as: convatlas compare-runs runs/a runs/b")
    check_plot(options.plot)

    from convatlas.training.records import find_records, grouped

    found = {record.directory.resolve(): record for folder in options.runs for record in find_records(folder)}
    groups = grouped(list(found.values()))
    if len(groups) == 1 and len(found) > 1:  # of one recipe alone, each run by itself too
        together = groups if len(groups[0].of_seeds) > 1 else []
        groups = [*(grouped([record])[0] for record in found.values()), *together]
    figure = None
    if options.plot:
        from convatlas.training.comparison import curves

        figure = curves(groups)
    if options.json:
        print_json(as_json(groups))
    else:
        show(groups)
    if options.plot and figure:  # last, so that a full disk does not take the table along
        write_plot(figure, options.plot)
    return 0


def show(groups: Sequence["Group"]) -> None:
    """Print the groups side by side."""
    from rich.console import Console

    from convatlas.training.comparison import OVER_SEEDS, compared_table

    print_table(compared_table(groups, width=Console().width))
    if any(len(group.of_seeds) > 1 for group in groups):
        print(f"\n{OVER_SEEDS}; the time is their mean")
    say_faults([record for group in groups for record in group.records])


def as_json(groups: Sequence["Group"]) -> dict[str, Any]:
    """The groups as JSON has them."""
    from convatlas.training.records import differing

    fields = [name for name in differing([group.recipe for group in groups]) if name != "seed"]
    return {
        "differ": fields,
        "groups": [
            {
                "name": group.name,
                "recipe": {name: getattr(group.recipe, name) for name in fields} if group.recipe else None,
                "seeds": [record.recipe.seed for record in group.records if record.recipe],
                "val_accuracy": group.val_accuracy._asdict() if group.val_accuracy else None,
                "test_accuracy": group.test_accuracy._asdict() if group.test_accuracy else None,
                "runs": [record.to_dict() | {"metrics": list(record.rows)} for record in group.records],
            }
            for group in groups
        ],
    }
