"""The recipe of a command line, for the verbs that take one."""

from dataclasses import dataclass, field, replace
from typing import Annotated, TypeVar

from tyro.conf import OmitArgPrefixes, arg

from convatlas.cli.words import parse
from convatlas.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class RecipeOptions:
    """Which recipe: options for each of its fields, and a file."""

    training: OmitArgPrefixes[Recipe] = field(default_factory=Recipe)
    recipe: Annotated[str, arg(metavar="{modern,paper}|NAME|FILE")] = "modern"
    """modern or paper: the network's own, of today or of its paper; or a paper's by name, such as resnet-cifar; or a
    YAML file, such as the recipe.yaml of a run. Options given here win over it."""


Options = TypeVar("Options", bound=RecipeOptions)


def chosen(kind: type[Options], verb: str, words: list[str], *, model: str | None = None) -> Options:
    """The verb's options, with their recipe whole in `training`; `model` is taken for the one that the words name."""
    # What the words leave open is as the recipe has it: so they are read once to learn which, and again with that for
    # defaults, which is also what the help shows.
    asked = parse(kind, verb, [word for word in words if word not in ("-h", "--help")])
    base = Recipe.named(asked.recipe, model=model or asked.training.model, data=asked.training.data)
    # Changes are added to the file's: as a default, a mapping would become an option for each of its names.
    options = parse(kind, verb, words, default=kind(training=replace(base, changes={})))
    recipe = replace(options.training, changes=base.changes | options.training.changes)
    return replace(options, training=replace(recipe, model=model) if model else recipe)
