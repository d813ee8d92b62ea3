"""`convatlas find-lr`, and `convatlas train --dry-run`: what a few steps tell."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from convatlas.cli.choosing import RecipeOptions, chosen
from convatlas.cli.words import check_plot, complain, print_json, write_plot
from convatlas.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class FindRateOptions(RecipeOptions):
    """Find a learning rate: let it grow step by step, and look where the loss falls, and where it explodes.

    The learning-rate range test of Smith 2017. What is learned is not kept.
    """

    lowest: float = 1e-6
    """The learning rate of the first step."""
    highest: float = 10.0
    """The learning rate of the last step."""
    steps: int = 200
    """How many steps lie between."""
    plot: Annotated[Path | None, arg(metavar="FILE")] = None
    """Draw the loss over the learning rate, as a .png, .svg or .pdf."""
    json: bool = False
    """Print all of it as JSON."""


def find_lr(words: list[str]) -> int:
    """Find a learning rate, by a few steps at ever larger ones."""
    options = chosen(FindRateOptions, "find-lr", words)
    check_plot(options.plot)

    from convatlas.training.range_test import draw, find_learning_rate, sparkline

    found = find_learning_rate(
        options.training, lowest=options.lowest, highest=options.highest, steps=options.steps
    )  # fmt: skip
    fell = found.steepest is not None and found.tenth is not None
    if options.json:
        print_json(found.to_dict())
    else:
        bars, scale = sparkline(found)
        print(f"loss  {bars}\nlr    {scale}")
        if fell:
            print(f"steepest descent                        --lr {found.steepest:.2g}")
            print(f"a tenth of the rate at the least loss   --lr {found.tenth:.2g}")
    if options.plot:  # last, so that a full disk does not take the rates along
        write_plot(draw(found), options.plot)
    return 0 if fell else complain("the loss did not fall at any learning rate, so none is suggested", 1)


def show_dry_run(recipe: Recipe, *, as_json: bool) -> int:
    """Print what `train` would do."""
    from convatlas.training.dry_run import dry_run

    planned = dry_run(recipe)
    if as_json:
        print_json(planned.to_dict())
    else:
        print(planned.to_yaml(), end="")
    return 0
