"""Which stages of a network learn: a trained network is fine-tuned from the top."""

from convatlas.errors import InputError
from convatlas.network import Network
from convatlas.training.recipe import Recipe
from convatlas.wording import nearest


def frozen_stages(network: Network, recipe: Recipe, *, epoch: int) -> tuple[str, ...]:
    """The stages that stay as they are in this epoch, counted from 0: those up to `freeze`, less what is thawed."""
    if recipe.freeze is None:
        return ()
    frozen = network.stages[: network.stages.index(recipe.freeze) + 1]
    thawed = int(epoch / recipe.thaw) if recipe.thaw else 0
    return frozen[: max(0, len(frozen) - thawed)]


def freeze(network: Network, stages: tuple[str, ...]) -> None:
    """Have these stages stay as they are, averages of batch normalisation included, and all others learn.

    `network.train()` undoes the second of these, so this comes after it.
    """
    for name, stage in network.named_children():
        learns = name not in stages
        stage.requires_grad_(learns)
        if not learns:
            stage.eval()


def check_freeze(network: Network, recipe: Recipe) -> None:
    """Raise InputError where the recipe freezes a stage that is not there, or the classifier with all below it."""
    if recipe.freeze is None:
        return
    if recipe.freeze not in network.stages:
        raise InputError(
            f"{recipe.model} has no stage {recipe.freeze!r} to freeze (nearest: "
            f"{nearest(recipe.freeze, network.stages)}); its stages are {', '.join(network.stages)}"
        )
    if recipe.freeze == network.stages[-1] and not recipe.thaw:
        raise InputError(f"{recipe.freeze} is the classifier, with which nothing of {recipe.model} would learn")
