"""Runs side by side, as tables for the terminal and as curves over the epochs."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from convatlas.errors import InputError
from convatlas.training.drawings import MUTED, PAPER, drawing, shortened
from convatlas.training.records import Group, Mean, Record, chosen, data_name, differing, grouped
from convatlas.training.report import duration, percent, written

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from rich.console import Group as Parts
    from rich.table import Table

SHADE = 0.15
"""How dark a band is, from 0 to 1."""
LINES = ("solid", "dashed", "dotted")
"""After so many runs as there are colours, the colours come again in the next of these."""
OVER_SEEDS = "± is the standard deviation over seeds, of runs that have ended"
BAND = "± standard deviation over seeds, as far as all of them go"
SHOWN = ("model", "data", "seed", "epochs")
"""Fields of recipes that have a place of their own in the tables."""
RIGHT = ("epochs", "validation", "test", "time")


def runs_table(records: Sequence[Record], names: Mapping[Path, str]) -> "Table":
    """A line for each run; of the fields of recipes, those that were chosen otherwise in one of them."""
    fields = [name for name in chosen(records) if name not in SHOWN or name == "seed"]
    heads = ("run", "model", "data", *fields, "epochs", "validation", "test", "time", "status")
    table = _table(heads, right={*fields, *RIGHT})
    for record in records:
        recipe = record.recipe
        table.add_row(
            names[record.directory],
            recipe.model if recipe else "",
            data_name(recipe) if recipe else "",
            *(written(getattr(recipe, name)) if recipe else "" for name in fields),
            epochs(record),
            accuracy(record.val_accuracy),
            accuracy(record.test_accuracy),
            time(record.seconds),
            record.status,
        )
    return table


def seeds_table(records: Sequence[Record]) -> "Table | None":
    """A line for each recipe of which runs with several seeds have ended; None where there is none."""
    groups = [group for group in grouped(records) if len(group.done) > 1]
    if not groups:
        return None
    several = [record for group in groups for record in group.done]
    fields = [name for name in chosen(several) if name not in SHOWN]
    heads = ("over seeds", "model", "data", *fields, "seeds", "validation", "test")
    table = _table(heads, right={*fields, *RIGHT})
    for group in groups:
        assert group.recipe
        table.add_row(
            group.name, group.recipe.model, data_name(group.recipe),
            *(written(getattr(group.recipe, name)) for name in fields),
            seeds(group.done), mean(group.val_accuracy), mean(group.test_accuracy),
        )  # fmt: skip
    return table


def compared_table(groups: Sequence[Group], *, width: int = 80) -> "Parts":
    """A column for each group, as many beside each other as `width` columns hold: what differs, and what came out."""
    from rich.console import Group as Parts
    from rich.text import Text

    def of_recipe(name: str) -> Callable[[Group], str]:
        return lambda group: shortened(written(getattr(group.recipe, name)), 30) if group.recipe else ""

    recipes = [group.recipe for group in groups if group.recipe]
    lines: dict[str, Callable[[Group], str]] = {}
    if len({recipe.data for recipe in recipes}) > 1:
        lines["data"] = lambda group: data_name(group.recipe) if group.recipe else ""
    lines |= {name: of_recipe(name) for name in differing(recipes) if name == "model" or name not in SHOWN}
    if len({seeds(group.records) for group in groups}) > 1 or any(len(group.records) > 1 for group in groups):
        lines["seed"] = lambda group: seeds(group.records)
    lines |= {
        "epochs": lambda group: each(epochs(record) for record in group.records),
        "best epoch": lambda group: each(record.best_epoch for record in group.records),
        "validation": lambda group: mean(group.val_accuracy),
        "test": lambda group: mean(group.test_accuracy),
        "time": lambda group: time(group.seconds),
        "status": lambda group: each(record.status for record in group.records),
    }
    heads = max(map(len, lines))
    parts: list[Table | Text] = []
    rest = list(groups)
    while rest:
        shown, taken = list[Group](), heads
        while rest and (not shown or taken + 2 + widest(rest[0], lines) <= width):
            taken += 2 + widest(rest[0], lines)
            shown.append(rest.pop(0))
        table = _table(("", *(group.name for group in shown)), right={group.name for group in shown})
        table.columns[0].min_width = heads
        for name, cell in lines.items():
            table.add_row(name, *map(cell, shown))
        parts += [table, Text()]
    return Parts(*parts[:-1])


def widest(group: Group, lines: Mapping[str, Callable[[Group], str]]) -> int:
    """How wide a group's column is."""
    return max(len(group.name), *(len(cell(group)) for cell in lines.values()))


def _table(heads: Sequence[str], *, right: set[str]) -> "Table":
    """A table with these heads and no lines yet; nothing in it is cut or folded."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for head in heads:
        justify: Literal["left", "right"] = "right" if head in right else "left"
        table.add_column(head, justify=justify, no_wrap=True)
    return table


# --------------------------------------------------------------------------- words


def accuracy(value: float | None) -> str:
    """`97.50 %`, or nothing."""
    return "" if value is None else percent(value)


def mean(of: Mean | None) -> str:
    """`97.50 %`, or `97.50 ± 0.31 %` of several."""
    if of is None:
        return ""
    return percent(of.mean) if of.spread is None else f"{of.mean:.2f} ± {percent(of.spread)}"


def seeds(records: Sequence[Record]) -> str:
    """`0, 1, 2`: each once, in their order."""
    return ", ".join(map(str, sorted({record.recipe.seed for record in records if record.recipe})))


def epochs(record: Record) -> str:
    """`12/30`: done, of how many."""
    return f"{len(record.rows)}/{record.recipe.epochs}" if record.recipe else ""


def time(seconds: float) -> str:
    """Of training, or nothing where no epoch has ended."""
    return duration(seconds) if seconds else ""


def each(values: Iterable[object]) -> str:
    """Each value, or the one that all have."""
    words = ["" if value is None else str(value) for value in values]
    return words[0] if len(set(words)) == 1 else ", ".join(words)


def label(group: Group, fields: Sequence[str]) -> str:
    """What a curve is called: by what differs, where that is one or two fields, or else by its folder."""
    runs, recipe = with_curves(group), group.recipe
    mean = f" (mean of {len(runs)} seeds)" if len(runs) > 1 else ""
    if recipe is None or not 1 <= len(fields) <= 2:
        return shortened(group.name, 40) + mean
    said = ", ".join(
        data_name(recipe) if name == "data" else
        recipe.model if name == "model" else
        f"seed {seeds(runs)}" if name == "seed" else f"{name} {written(getattr(recipe, name))}"
        for name in fields
    )  # fmt: skip
    return shortened(said, 40) + mean


# --------------------------------------------------------------------------- drawing


def curves(groups: Sequence[Group]) -> "Figure":
    """Loss and validation accuracy over the epochs: of several seeds the mean, in a band of their deviation.

    Raises InputError where no run has ended an epoch.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch
    from matplotlib.ticker import MaxNLocator

    from convatlas.explanation.compare import COLOURS

    drawn = [group for group in groups if with_curves(group)]
    if not drawn:
        raise InputError("none of the runs has ended an epoch, so there are no curves to draw")
    fields = differing([group.recipe for group in groups])
    panels = {
        "Training loss": "train_loss",
        "Validation loss": "val_loss",
        "Validation accuracy, per cent": "val_accuracy",
    }
    with drawing():
        figure = Figure(figsize=(10.5, 3.4), dpi=200, layout="constrained")
        every: Sequence[Axes] = figure.subplots(1, len(panels))
        for axes, (title, column) in zip(every, panels.items(), strict=True):
            lines = [
                draw(axes, group, column, COLOURS[index % len(COLOURS)], LINES[index // len(COLOURS) % len(LINES)])
                for index, group in enumerate(drawn)
            ]
            axes.set_title(title, loc="left", fontsize=9.5)
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=(1, 2, 5, 10), integer=True))
            axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=(1, 2, 5, 10)))
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        keys: list[Line2D | Patch] = [*lines]
        names = [label(group, fields) for group in drawn]
        if any(len(with_curves(group)) > 1 for group in drawn):
            keys.append(Patch(facecolor=MUTED, alpha=SHADE))
            names.append(BAND)
        figure.legend(keys, names, loc="outside lower left", ncols=min(4, len(names)), handlelength=1.6)
    return figure


def with_curves(group: Group) -> list[Record]:
    """A run of each seed of which an epoch has ended."""
    return [record for record in group.of_seeds if record.rows]


def draw(axes: "Axes", group: Group, column: str, colour: str, style: str) -> "Line2D":
    """One group's curve, as far as all of its seeds go; the best epoch of a single run is marked."""
    runs = with_curves(group)
    values = list(zip(*([row[column] for row in record.rows] for record in runs), strict=False))
    epochs = [int(row["epoch"]) for row in runs[0].rows[: len(values)]]
    means = [statistics.fmean(some) for some in values]
    (line,) = axes.plot(epochs, means, color=colour, linewidth=1.4, linestyle=style,
                        marker="o" if len(epochs) == 1 else "", markersize=3)  # fmt: skip
    if len(runs) > 1:
        spread = [statistics.stdev(some) for some in values]
        below, above = ([m + sign * s for m, s in zip(means, spread, strict=True)] for sign in (-1, 1))
        axes.fill_between(epochs, below, above, color=colour, alpha=SHADE, linewidth=0)
    elif (best := runs[0].best_epoch) in epochs and column != "train_loss":
        axes.plot(best, means[epochs.index(best)], "o", color=colour, markersize=5, markeredgecolor=PAPER)
    return line
