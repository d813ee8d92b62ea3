"""Runs read back from their folders, by what these hold: how they stand, what differs, and means over seeds."""

import csv
import dataclasses
import os
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from convatlas.errors import InputError
from convatlas.training.recipe import Recipe
from convatlas.training.run import Row, Run

Status = Literal["done", "interrupted", "running", "failed", "damaged"]
MARKS = ("recipe.yaml", "split.csv", "metrics.csv", "results.json")
"""A folder that holds one of these is a run."""
COLUMNS = ("epoch", "train_loss", "val_loss", "val_accuracy", "seconds")
"""Of `metrics.csv`, what is read here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A run as its folder tells it."""

    directory: Path
    status: Status
    """interrupted: with something left to do, and nobody at it; damaged: what is there cannot be read."""
    recipe: Recipe | None = None
    rows: Sequence[Row] = ()
    """An epoch each."""
    best_epoch: int | None = None
    val_accuracy: float | None = None
    """Of the best epoch so far, in per cent."""
    test_accuracy: float | None = None
    started: datetime
    fault: str = ""
    """What is damaged, or why it failed."""

    @property
    def seconds(self) -> float:
        """Of training, over all epochs."""
        return sum(row["seconds"] for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """What is told, as JSON has it."""
        return {
            "run": str(self.directory),
            "status": self.status,
            "recipe": dataclasses.asdict(self.recipe) if self.recipe else None,
            "epochs": len(self.rows),
            "best_epoch": self.best_epoch,
            "val_accuracy": self.val_accuracy,
            "test_accuracy": self.test_accuracy,
            "seconds": round(self.seconds, 3),
            "started": self.started.isoformat(timespec="seconds"),
            "fault": self.fault,
        }


def find_records(folder: str | Path) -> list[Record]:
    """The runs in a folder and below it, the newest last.

    Raises InputError where there is no such folder, or no run in it.
    """
    top = Path(folder).expanduser()
    if not top.is_dir():
        raise InputError(f"there is no folder {folder}; name one with runs in it")
    records = [read_record(path) for path in run_folders(top)]
    if not records:
        raise InputError(f"there are no runs in {folder}; convatlas train makes one")
    return sorted(records, key=lambda record: (record.started, record.directory))


def run_folders(top: Path) -> Iterator[Path]:
    """The folders of runs, `top` itself perhaps among them; a run does not lie in another."""
    for name, inside, files in os.walk(top):
        inside.sort()
        if set(MARKS) & set(files):
            inside.clear()
            yield Path(name)


def read_record(folder: str | Path) -> Record:
    """A run as its folder tells it, damaged ones too. Raises InputError for a folder that is none."""
    run = Run(Path(folder).expanduser())
    marks = [run.directory / name for name in MARKS if (run.directory / name).is_file()]
    if not marks:
        raise InputError(f"{folder} is not the folder of a run; convatlas runs lists those that there are")
    record = Record(
        directory=run.directory, status="running" if run.is_held else "interrupted",
        started=datetime.fromtimestamp(marks[0].stat().st_mtime, UTC),
    )  # fmt: skip
    try:
        record = replace(record, recipe=recipe_of(run))
        record = with_rows(record, run)
        return with_results(record, run) if (run.directory / "results.json").is_file() else record
    except InputError as damage:
        # What is being trained is perhaps only beginning.
        return record if record.status == "running" else replace(record, status="damaged", fault=str(damage))


def recipe_of(run: Run) -> Recipe:
    """The run's recipe. Raises InputError where it cannot be read."""
    try:
        return Recipe.read(run.directory / "recipe.yaml")
    except (TypeError, AttributeError) as error:  # a field may have a value of any kind
        raise InputError(f"{run.directory / 'recipe.yaml'} is not a recipe: {error}") from error


def with_rows(record: Record, run: Run) -> Record:
    """The record with what `metrics.csv` says. Raises InputError where it is damaged."""
    try:
        rows = run.metrics
        best = max(rows, key=lambda row: (row["val_accuracy"], -row["val_loss"]), default=None)
        complete = all(name in row for row in rows for name in COLUMNS)
    except (OSError, ValueError, TypeError, KeyError, csv.Error) as error:
        raise InputError(f"{run.directory / 'metrics.csv'} cannot be read") from error
    if not complete:
        raise InputError(f"{run.directory / 'metrics.csv'} has not the columns {', '.join(COLUMNS)}")
    if best is None:
        return record
    return replace(record, rows=rows, best_epoch=int(best["epoch"]), val_accuracy=best["val_accuracy"])


def with_results(record: Record, run: Run) -> Record:
    """The record with what `results.json` says: the accuracies there are those that are reported.

    Raises InputError where it is damaged.
    """
    try:
        results = run.results
        if results["status"] == "failed":
            return record if record.status == "running" else replace(record, status="failed", fault=results["why"])
        if results["status"] != "done":
            return record
        test = results["test"]
        return replace(
            record, status="done", best_epoch=int(results["best_epoch"]),
            val_accuracy=float(results["val"]["accuracy"]),
            test_accuracy=None if test is None else float(test["accuracy"]),
        )  # fmt: skip
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{run.directory / 'results.json'} cannot be read") from error


# --------------------------------------------------------------------------- several


class Mean(NamedTuple):
    """Of a figure over several runs."""

    mean: float
    spread: float | None
    """The standard deviation of a sample; None for one run."""
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Runs of one recipe that differ in their seed alone."""

    name: str
    """The first run's, and how many more there are."""
    records: Sequence[Record]

    @property
    def recipe(self) -> Recipe | None:
        """The first run's."""
        return self.records[0].recipe

    @property
    def of_seeds(self) -> Sequence[Record]:
        """A run of each seed: to repeat one says nothing of another. What has ended well goes before what has not."""
        runs: dict[int | None, Record] = {}
        for record in sorted(self.records, key=lambda record: record.status != "done"):
            runs.setdefault(record.recipe.seed if record.recipe else None, record)
        return list(runs.values())

    @property
    def done(self) -> Sequence[Record]:
        """Of these, the runs that have ended well."""
        return [record for record in self.of_seeds if record.status == "done"]

    @property
    def val_accuracy(self) -> Mean | None:
        """Of the runs that have ended well, or of the first where none has."""
        return mean_of(record.val_accuracy for record in self.done or self.records[:1])

    @property
    def seconds(self) -> float:
        """Of training, in the mean over the same runs."""
        return statistics.fmean(record.seconds for record in self.done or self.records[:1])

    @property
    def test_accuracy(self) -> Mean | None:
        """Of the runs that have ended well."""
        return mean_of(record.test_accuracy for record in self.done)


def mean_of(values: Iterable[float | None]) -> Mean | None:
    """The mean and its spread; None where there is nothing."""
    there = [value for value in values if value is not None]
    if not there:
        return None
    return Mean(statistics.fmean(there), statistics.stdev(there) if len(there) > 1 else None, len(there))


def grouped(records: Sequence[Record]) -> list[Group]:
    """The runs by recipe, in their order. A run whose recipe cannot be read stands alone."""
    groups: dict[object, list[Record]] = {}
    for record in records:
        key = replace(record.recipe, seed=0) if record.recipe else record.directory
        groups.setdefault(key, []).append(record)
    names = short_names(records)
    return [
        Group(name=names[first.directory] + (f" +{len(others)}" if others else ""), records=[first, *others])
        for first, *others in groups.values()
    ]


def short_names(records: Sequence[Record]) -> dict[Path, str]:
    """The name of each run's folder, with the folders above it where two would be called alike."""
    paths = [record.directory for record in records]
    last = [path.resolve().name for path in paths]
    return {path: name if last.count(name) == 1 else str(path) for path, name in zip(paths, last, strict=True)}


def data_name(recipe: Recipe) -> str:
    """The data of a recipe: of a path, its last part."""
    return Path(recipe.data).name if Path(recipe.data).is_absolute() else recipe.data


def differing(recipes: Sequence[Recipe | None]) -> list[str]:
    """The fields in which the recipes differ."""
    known = [recipe for recipe in recipes if recipe is not None]
    return [
        field.name
        for field in dataclasses.fields(Recipe)
        if any(getattr(recipe, field.name) != getattr(known[0], field.name) for recipe in known)
    ]


def chosen(records: Sequence[Record]) -> list[str]:
    """The fields in which runs of one model on one data set differ: what follows from these two is not among them."""
    pairs: dict[tuple[str, str], list[Recipe]] = {}
    for record in records:
        if record.recipe:
            pairs.setdefault((record.recipe.model, record.recipe.data), []).append(record.recipe)
    found = {name for recipes in pairs.values() for name in differing(recipes)}
    return [field.name for field in dataclasses.fields(Recipe) if field.name in found]
