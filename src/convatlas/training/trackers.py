"""Where the figures of a run are written down as it goes: TensorBoard's events always, and the loggers asked for.

Which they are is no part of the recipe, since no number depends on it. They stand in the run's folder with the names
that they gave the run, so that one that is resumed goes on in the same place.
"""

import json
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Literal, get_args

from accelerate import Accelerator
from accelerate.tracking import GeneralTracker, MLflowTracker, TensorBoardTracker, WandBTracker
from accelerate.utils import is_mlflow_available, is_wandb_available

from convatlas.errors import InputError
from convatlas.files import write_text
from convatlas.training.recipe import Recipe
from convatlas.training.run import Run
from convatlas.wording import nearest

Logger = Literal["wandb", "mlflow"]
INSTALLED = {"wandb": is_wandb_available, "mlflow": is_mlflow_available}
PROJECT = "convatlas"
"""Under which a logger files runs, where its own variables in the environment name no other."""


def check_loggers(loggers: Sequence[str]) -> None:
    """Raise InputError for a logger that is unknown, or not installed."""
    for name in loggers:
        if name not in get_args(Logger):
            raise InputError(f"there is no logger {name!r} (nearest: {nearest(name, get_args(Logger))})")
        if not INSTALLED[name]():
            raise InputError(f"{name} is not installed: pip install 'convatlas[{name}]'")


def remember(run: Run, loggers: Sequence[Logger]) -> None:
    """Have the run's figures go to these loggers too, from now on and whenever it is resumed."""
    names = remembered(run)
    added = {name: uuid.uuid4().hex[:8] if name == "wandb" else None for name in loggers if name not in names}
    if added:
        write(run, names | added)


def remembered(run: Run) -> dict[str, str | None]:
    """The run's loggers, and the name that each gave the run: None before it has given one."""
    path = run.directory / "loggers.json"
    if not path.is_file():
        return {}
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read; remove it, and name the loggers with --logger again") from error
    return dict(names)


def write(run: Run, names: dict[str, str | None]) -> None:
    """Write `loggers.json`."""
    write_text(run.directory / "loggers.json", json.dumps(names, indent=2) + "\n")


def trackers(run: Run) -> list[GeneralTracker]:
    """TensorBoard's, and those of the run's loggers; none has begun."""
    names = remembered(run)
    check_loggers(list(names))
    made: list[GeneralTracker] = [TensorBoardTracker(".", logging_dir=str(run.directory))]
    if "wandb" in names:
        project, place = os.environ.get("WANDB_PROJECT", PROJECT), str(run.directory)
        made.append(WandBTracker(project, name=run.directory.name, id=names["wandb"], resume="allow", dir=place))
    if "mlflow" in names:
        made.append(MLflowTracker(PROJECT, run_id=names["mlflow"], run_name=run.directory.name))
    for tracker in made:
        tracker.main_process_only = True  # of several processes the first speaks for all
    return made


@contextmanager
def tracking(accelerator: Accelerator, run: Run, recipe: Recipe) -> Iterator[None]:
    """In the block the accelerator's trackers have begun; they end with it if it fails, or else with the training.

    Raises InputError where one cannot begin.
    """
    begin(accelerator, run, recipe)
    try:
        yield
    except BaseException:
        for tracker in accelerator.trackers:
            tracker.finish()  # or else the next run of this process would be told to the logger as this one
        raise


def begin(accelerator: Accelerator, run: Run, recipe: Recipe) -> None:
    """Have the trackers begin, and tell loggers the recipe."""
    try:
        accelerator.init_trackers(PROJECT)
        if not accelerator.is_main_process:
            return
        names = remembered(run)
        for tracker in accelerator.trackers:
            if tracker.name in names:
                tracker.store_init_configuration(asdict(recipe))
        if "mlflow" in names:
            write(run, names | {"mlflow": accelerator.get_tracker("mlflow", unwrap=True).info.run_id})
    except (OSError, InputError):
        raise
    except Exception as error:  # each logger has errors of its own
        said = str(error).strip().partition("\n")[0].rstrip(".")
        raise InputError(f"a logger cannot begin: {said}; then go on with convatlas resume {run.directory}") from error
