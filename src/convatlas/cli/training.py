"""`convatlas train` and `convatlas resume`."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from convatlas.cli.words import complain, parse, print_json, scored
from convatlas.training.recipe import Recipe
from convatlas.training.recipes import text

if TYPE_CHECKING:
    from convatlas.training.run import Run


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Train a network on images. What is not given is as the network's own recipe says."""

    training: OmitArgPrefixes[Recipe] = field(default_factory=Recipe)
    recipe: Annotated[str, arg(metavar="{modern,paper}|NAME|FILE")] = "modern"
    """modern or paper: the network's own, of today or of its paper; or a paper's by name, such as resnet-cifar; or a
    YAML file, such as the recipe.yaml of a run. Options given here win over it."""
    show_recipe: bool = False
    """Print the recipe's file, to be copied and changed, and train nothing."""
    output: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """The folder of the run; if not given, a new one under runs/."""
    json: bool = False
    """Print the results as JSON."""


def train(words: list[str]) -> int:
    """Train a network on images, with a report of how it went."""
    # What the words leave open is as the recipe has it: so they are read once to learn which, and again with that for
    # defaults, which is also what the help shows.
    asked = parse(TrainOptions, "train", [word for word in words if word not in ("-h", "--help")])
    own = {"model": asked.training.model, "data": asked.training.data}
    base = Recipe.named(asked.recipe, **own)
    # Changes are added to the file's: as a default, a mapping would become an option for each of its names.
    options = parse(TrainOptions, "train", words, default=TrainOptions(training=replace(base, changes={})))
    recipe = replace(options.training, changes=base.changes | options.training.changes)
    if options.show_recipe:
        print(text(options.recipe, **own), end="")
        return 0

    from convatlas.training.loop import train

    return ended(train(recipe, output=options.output), as_json=options.json)


@dataclass(frozen=True, kw_only=True)
class ResumeOptions:
    """Go on with a run that was interrupted, to the same weights as if it had not been."""

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """The folder of the run."""
    json: bool = False
    """Print the results as JSON."""


def resume(words: list[str]) -> int:
    """Go on with a run that was interrupted."""
    options = parse(ResumeOptions, "resume", words)
    from convatlas.training.loop import resume

    return ended(resume(options.run), as_json=options.json)


def ended(run: "Run", *, as_json: bool) -> int:
    """Print how a run ended, and return the exit status."""
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
