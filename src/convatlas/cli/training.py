"""`convatlas train` and `convatlas resume`."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from convatlas.cli.choosing import RecipeOptions, chosen
from convatlas.cli.sweeping import run_sweep
from convatlas.cli.trying import show_dry_run
from convatlas.cli.words import complain, parse, print_json, scored
from convatlas.errors import InputError
from convatlas.training.recipes import text

if TYPE_CHECKING:
    from convatlas.training.run import Run

Logger = Literal["wandb", "mlflow"]  # as in training.trackers, which is heavy to import


@dataclass(frozen=True, kw_only=True)
class TrainOptions(RecipeOptions):
    """Train a network on images. What is not given is as the network's own recipe says."""

    show_recipe: bool = False
    """Print the recipe's file, to be copied and changed, and train nothing."""
    output: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """The folder of the run; if not given, a new one under runs/. With --sweep, the folder of its runs."""
    devices: Annotated[int, arg(metavar="INT")] = 1
    """GPUs of this machine that learn together, or processes where there are none; each step is shared by them."""
    sweep: Annotated[UseAppendAction[tuple[tuple[str, ...], ...]], arg(metavar="FIELD=VALUE,VALUE… …")] = ()
    """Train with each of these values of a field of the recipe, one run after another; of several fields, with all
    combinations: lr=0.1,0.05 seed=0,1,2. The same command goes on with a sweep that was interrupted."""
    logger: Annotated[tuple[Logger, ...], arg(metavar="{wandb,mlflow} …")] = ()
    """Where the figures go too, besides metrics.csv and TensorBoard's events."""
    profile: bool = False
    """Trace some of the first steps, and say in the run's folder `profile` where their time went."""
    dry_run: bool = False
    """Print what would be done, with its recipe and what it takes of memory and time, and write nothing."""
    json: bool = False
    """Print the results as JSON."""


def train(words: list[str]) -> int:
    """Train a network on images, with a report of how it went."""
    options = chosen(TrainOptions, "train", words)
    if options.show_recipe:
        print(text(options.recipe, model=options.training.model, data=options.training.data), end="")
        return 0
    if options.dry_run and options.sweep:
        raise InputError("--dry-run looks at one run, and --sweep makes several: leave one of them out")
    if options.dry_run:
        return show_dry_run(options.training, as_json=options.json)
    if options.sweep:
        return run_sweep(
            [word for group in options.sweep for word in group],
            lambda model: chosen(TrainOptions, "train", words, model=model).training,
            output=options.output, devices=options.devices, loggers=options.logger, json=options.json,
        )  # fmt: skip

    from convatlas.training.loop import train

    if options.profile and options.devices > 1:
        raise InputError("--profile looks at one process; leave out --devices")
    run = train(
        options.training,
        output=options.output,
        devices=options.devices,
        loggers=options.logger,
        profile=options.profile,
    )
    page = run.directory / "profile" / "profile.md"
    if options.profile and page.is_file():  # and not where it was interrupted before
        complain(f"{page} says where the time went", 0)
    return ended(run, as_json=options.json)


@dataclass(frozen=True, kw_only=True)
class ResumeOptions:
    """Go on with a run that was interrupted, to the same weights as if it had not been."""

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """The folder of the run."""
    devices: Annotated[int, arg(metavar="INT")] = 1
    """As of train; not necessarily as many as it was begun with."""
    logger: Annotated[tuple[Logger, ...], arg(metavar="{wandb,mlflow} …")] = ()
    """Where the figures go too, besides where they went before."""
    json: bool = False
    """Print the results as JSON."""


def resume(words: list[str]) -> int:
    """Go on with a run that was interrupted."""
    options = parse(ResumeOptions, "resume", words)
    from convatlas.training.loop import resume

    return ended(resume(options.run, devices=options.devices, loggers=options.logger), as_json=options.json)


def ended(run: "Run", *, as_json: bool) -> int:
    """Print how a run ended, and return the exit status. Of several processes the first speaks for all."""
    if int(os.environ.get("RANK", "0")) > 0:
        return 0
    results = run.results
    if as_json:
        print_json({"run": str(run.directory), **results})
    elif results["test"]:
        print(f"test: {scored(results['test'])}")
    else:
        print(f"validation: accuracy {results['val']['accuracy']:.2f} % (epoch {results['best_epoch']})")
    if not as_json:
        print(f"run: {run.directory}")
    if results["status"] == "done":
        return 0
    return complain(f"interrupted; the best weights are kept; go on with convatlas resume {run.directory}", 130)
