"""`convatlas finetune`."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from convatlas.cli.choosing import RecipeOptions, chosen
from convatlas.cli.training import Logger, ended
from convatlas.cli.words import parse, print_json, scored
from convatlas.errors import InputError
from convatlas.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class FinetuneOptions(RecipeOptions):
    """Train a trained network on images of yours: --weights says where it begins, --data where the images are."""

    recipe: Annotated[str, arg(metavar="{finetuning,modern,paper}|NAME|FILE")] = "finetuning"
    """How it learns on: finetuning, or as of train. Options given here win over it."""
    output: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """The folder of the run; if not given, a new one under runs/."""
    probe: bool = False
    """Train the classifier alone, on the features as they are: a linear probe."""
    against_scratch: bool = False
    """Train the same network from nothing too, on the same images for as many epochs, and report both."""
    devices: Annotated[int, arg(metavar="INT")] = 1
    """GPUs of this machine that learn together, or processes where there are none."""
    logger: Annotated[tuple[Logger, ...], arg(metavar="{wandb,mlflow} …")] = ()
    """Where the figures go too, besides metrics.csv and TensorBoard's events."""
    json: bool = False
    """Print the results as JSON."""


def finetune(words: list[str]) -> int:
    """Train a trained network on images of yours."""
    options = chosen(FinetuneOptions, "finetune", words, model=network_of(words))
    if not any(word.startswith(("--data", "--recipe")) for word in words):
        raise InputError("finetune needs images to learn from: a folder, or all else that train takes (--data)")

    from convatlas.training.finetuning import finetune

    tuned, scratch = finetune(
        options.training, output=options.output, probe=options.probe, against_scratch=options.against_scratch,
        devices=options.devices, loggers=options.logger,
    )  # fmt: skip
    if scratch is None:
        return ended(tuned, as_json=options.json)
    both = {"finetuned": tuned, "scratch": scratch}
    if int(os.environ.get("RANK", "0")) > 0:
        return 0  # of several processes the first speaks for all
    if options.json:
        print_json({name: {"run": str(run.directory), **run.results} for name, run in both.items()})
    else:
        for name, run in both.items():
            part = "test" if run.results["test"] else "val"
            print(f"{name:>9}: {scored(run.results[part])} ({part}; {run.directory})")
    return 0 if scratch.results["status"] == "done" else 130


def network_of(words: list[str]) -> str | None:
    """The network that weights are of, by what lies beside them, where neither words nor a recipe's file name one."""
    if "-h" in words or "--help" in words:
        return None
    # What the words name, they name whatever the default is.
    asked, other = (
        parse(FinetuneOptions, "finetune", words, default=FinetuneOptions(training=Recipe(model=model)))
        for model in ("lenet", "lenet5")
    )
    weights = asked.training.weights
    if asked.training.model == other.training.model or Path(asked.recipe).is_file() or weights is None:
        return None
    from convatlas.weights.bundle import Bundle, bundle_of
    from convatlas.weights.load import find_file

    find_file(weights)
    bundle = bundle_of(weights) if Path(weights).expanduser().exists() else Bundle.read(weights)
    if bundle is None:
        raise InputError(
            f"{weights} does not say which network it is of; name it: convatlas finetune resnet56 --weights {weights}"
        )
    return bundle.model
