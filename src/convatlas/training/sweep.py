"""Several runs of a recipe, one after another: with each value of a field, or all combinations of several fields."""

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from convatlas.errors import InputError, WorkError
from convatlas.training.recipe import Recipe
from convatlas.wording import nearest, some

if TYPE_CHECKING:
    from convatlas.training.trackers import Logger


def swept_values(words: Sequence[str]) -> dict[str, list[Any]]:
    """The values of each field, of words such as `lr=0.1,0.05`. Raises InputError for what is no field, or no value."""
    known = [field.name for field in fields(Recipe)]
    values: dict[str, list[Any]] = {}
    for word in words:
        name, sign, text = word.partition("=")
        name = name.replace("-", "_")
        if not sign:
            raise InputError(f"--sweep takes a field and its values, such as lr=0.1,0.05, and not {word!r}")
        if name not in known:
            raise InputError(f"--sweep: a recipe has no {name!r} (nearest: {nearest(name, known)})")
        try:
            read = yaml.safe_load(f"[{text}]")
        except yaml.YAMLError:
            read = []
        if not read:
            raise InputError(f"--sweep: {name} has no values that can be read: {word!r}")
        values.setdefault(name, []).extend(read)
    return values


def combinations(values: Mapping[str, Sequence[Any]], base: Callable[[str | None], Recipe]) -> dict[str, Recipe]:
    """A recipe for each combination of values, by a name such as `lr=0.1,seed=0`.

    `base` is the recipe to be changed, for a model if there are several: each has its own where nothing else is given.
    Raises InputError for a value that the field cannot have.
    """
    recipes: dict[str, Recipe] = {}
    for combination in itertools.product(*values.values()):
        given = dict(zip(values, combination, strict=True))
        recipe = base(given.get("model"))
        if isinstance(given.get("changes"), Mapping):
            given["changes"] = recipe.changes | dict(given["changes"])
        recipe = replace(recipe, **given)
        name = ",".join(f"{field}={plain(getattr(recipe, field))}" for field in values)
        if recipes.setdefault(name, recipe) != recipe:
            raise InputError(f"--sweep has two runs whose folder would be called {name}")
    return recipes


def plain(value: object) -> str:
    """A value as a part of a folder's name."""
    return re.sub(r"[^\w.+-]+", "-", str(value)).strip("-")


def sweep(
    recipes: Mapping[str, Recipe],
    folder: Path,
    *,
    devices: int = 1,
    loggers: Sequence["Logger"] = (),
    quiet: bool = False,
) -> list[Path]:
    """The folders of the runs, each below `folder` under its name, once all have ended.

    A run that has ended already is not repeated, and one that was interrupted goes on. One that fails leaves the others
    to go on. Raises InputError, before anything is written, for a model that is not there, and for a folder that
    holds another run; KeyboardInterrupt where a run is interrupted.
    """
    from convatlas.models import model_card
    from convatlas.training.loop import resume, train
    from convatlas.training.progress import Display
    from convatlas.training.records import read_record

    for name, recipe in recipes.items():
        model_card(recipe.model)
        check_folder(folder / name, recipe)
    display = Display(quiet=quiet)
    for number, (name, recipe) in enumerate(recipes.items(), start=1):
        path, place = folder / name, f"run {number} of {len(recipes)}: {name}"
        status = read_record(path).status if holds_something(path) else None
        if status in ("done", "failed"):
            display.say(f"{place} is {status} already")
            continue
        display.say(place)
        try:
            if status is None:
                train(recipe, output=path, devices=devices, loggers=loggers, quiet=quiet)
            else:
                resume(path, devices=devices, loggers=loggers, quiet=quiet)
        except WorkError as error:
            display.say(f"{name} failed: {error}")
        if read_record(path).status == "interrupted":
            left = some(len(recipes) - number, "run")
            raise KeyboardInterrupt(f"interrupted in {path}, with {left} to come; the same command goes on")
    return [folder / name for name in recipes]


def holds_something(folder: Path) -> bool:
    """Whether there is a folder that is not empty."""
    return folder.exists() and any(folder.iterdir())


def check_folder(folder: Path, recipe: Recipe) -> None:
    """Raise InputError where the folder holds what is no run of the recipe that could go on."""
    from convatlas.training.job import asked_otherwise
    from convatlas.training.records import read_record

    if not holds_something(folder):
        return
    record = read_record(folder)
    if record.status == "running":
        raise InputError(f"{folder} is being trained by another process; wait until it has ended")
    if record.recipe is None or record.status == "damaged":
        raise InputError(f"{folder} is damaged: {record.fault}; remove it, or choose another --output")
    if other := asked_otherwise(recipe, record.recipe):
        raise InputError(f"{folder} holds a run of another recipe ({other}); choose another --output")
