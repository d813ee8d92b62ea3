"""Fine-tuning: a trained network learns the classes of a few images, beside one that begins from nothing."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from convatlas.errors import InputError
from convatlas.models import build
from convatlas.training.loop import train
from convatlas.training.processes import several
from convatlas.training.recipe import Recipe
from convatlas.training.run import Run
from convatlas.weights.bundle import bundle_of

if TYPE_CHECKING:
    from convatlas.training.trackers import Logger


class FineTuned(NamedTuple):
    """A fine-tuned run, and the one that it is compared with, where there is one."""

    finetuned: Run
    scratch: Run | None


def finetune(
    recipe: Recipe,
    *,
    output: str | Path | None = None,
    probe: bool = False,
    against_scratch: bool = False,
    devices: int = 1,
    loggers: Sequence["Logger"] = (),
    quiet: bool = False,
) -> FineTuned:
    """Train on from the recipe's `weights`, with a new classifier where the classes are others.

    With `probe` the classifier alone learns, on features that stay as they are. With `against_scratch` the same network
    is trained from nothing too, on the same images for as many epochs, into a folder beside. Raises InputError where
    the recipe names no weights, and like `train`.
    """
    if recipe.weights is None:
        raise InputError("fine-tuning begins with trained weights: name a file, a run's folder or org/name (--weights)")
    if probe:
        recipe = replace(recipe, freeze=below_the_classifier(recipe), thaw=0.0)
    if output is not None and not several():  # of several processes, one that is started again goes on
        for folder in (output, beside(output))[: 1 + against_scratch]:
            Run.check_free(folder)
    run = train(recipe, output=output, devices=devices, loggers=loggers, quiet=quiet)
    if not against_scratch or run.results["status"] != "done":
        return FineTuned(run, None)
    whole = Recipe.read(run.directory / "recipe.yaml")
    other = train(
        from_nothing(whole), output=beside(run.directory), devices=devices, loggers=loggers, quiet=quiet
    )  # fmt: skip
    return FineTuned(run, other)


def beside(output: str | Path) -> Path:
    """The folder of the run from nothing."""
    return Path(output).with_name(Path(output).name + "-scratch")


def below_the_classifier(recipe: Recipe) -> str:
    """The last stage that a linear probe leaves as it is."""
    bundle = bundle_of(recipe.weights or "")
    changes = {**(bundle.changes if bundle is not None and bundle.model == recipe.model else {}), **recipe.changes}
    with torch.device("meta"):
        return build(recipe.model, **changes).stages[-2]


def from_nothing(tuned: Recipe) -> Recipe:
    """What the network would be trained by without weights: its own recipe, on the same images, for as many epochs."""
    own = Recipe(model=tuned.model)
    same = ("data", "label_column", "strict", "validation", "changes", "in_channels", "size", "fit", "epochs",
            "batch_size", "label_smoothing", "class_weights", "flip", "crop", "resized_crop", "policy",
            "rand_operations", "rand_magnitude", "colour", "lighting", "erase", "erasing", "mixup", "cutmix", "seed",
            "device", "loading", "workers", "cache")  # fmt: skip
    kept = {name: getattr(tuned, name) for name in same}
    return replace(own, **kept, lr_batch=own.lr_batch or own.batch_size)
