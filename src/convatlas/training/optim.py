"""What steps, and how the learning rate changes: both a function of the recipe, the step and the epochs before it."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.data.batches import Batch
from convatlas.layers.depth import StochasticDepth
from convatlas.network import Answers
from convatlas.training.recipe import Recipe
from convatlas.training.run import Row


def make_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """SGD, Adam or AdamW over the parameters that learn, fused if possible.

    Biases, normalisation and other vectors decay with `decay_all` alone. Each group of parameters keeps, under
    "factor", what its rate is of the recipe's.
    """
    factors = stage_factors(network, recipe.layer_decay)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            factor = factors.get(name.partition(".")[0], 1.0)
            decay = recipe.weight_decay if parameter.ndim > 1 or recipe.decay_all else 0.0
            groups.setdefault((factor, decay), []).append(parameter)
    options = [{"params": own, "factor": factor, "weight_decay": decay} for (factor, decay), own in groups.items()]
    # torch's fused SGD cannot take weights that are sharded, nor those that come to have a gradient after others: of a
    # stage that thaws, or of a branch that is dropped in the first step.
    drops = any(isinstance(layer, StochasticDepth) for layer in network.modules())
    fused = not (recipe.sharded or recipe.thaw or drops)
    if recipe.optimizer == "sgd":
        nesterov = recipe.nesterov and recipe.momentum > 0
        return torch.optim.SGD(options, lr=recipe.lr, momentum=recipe.momentum, nesterov=nesterov, fused=fused)
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return kind(options, lr=recipe.lr, fused=fused)


def stage_factors(network: nn.Module, layer_decay: float) -> dict[str, float]:
    """What each stage's rate is of the classifier's: `layer_decay` to the power of the stages with weights above it.

    Auxiliary classifiers are no stages, and learn as the classifier does.
    """
    stages = [name for name, stage in network.named_children() if name != "auxiliary" and list(stage.parameters())]
    return {name: layer_decay**above for above, name in enumerate(reversed(stages))}


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Let each group of parameters take its next step at its factor of `lr`."""
    for group in optimizer.param_groups:
        group["lr"] = group["factor"] * lr


def loss_of(answers: Answers, batch: Batch, recipe: Recipe, class_weights: Tensor | None = None) -> Tensor:
    """The cross-entropy of the logits, in nats, and a share of each auxiliary classifier's."""
    losses = (cross_entropy(logits, batch, recipe, class_weights) for logits in answers.auxiliary)
    return cross_entropy(answers.logits, batch, recipe, class_weights) + recipe.auxiliary_weight * sum(losses)


def cross_entropy(logits: Tensor, batch: Batch, recipe: Recipe, class_weights: Tensor | None = None) -> Tensor:
    """`(N, K) -> ()`: the mean over images, in nats; of a mixed image, of both its classes by their shares.

    An image counts what its class's weight is, and the mean is still over the number of images: so what parts of a step
    add up to does not depend on how it was parted.
    With a class of rubbish, which competes but is never right, it is LeCun et al.'s Eq. 9: where logits are minus
    distances, it goes on drawing the right class nearer until the distance is below the rubbish's.
    """
    if recipe.rubbish:
        logits = F.pad(logits, (0, 1), value=-recipe.rubbish)

    def losses(labels: Tensor) -> Tensor:
        each = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing, reduction="none")
        return each if class_weights is None else each * class_weights[labels]

    if batch.others is None:
        return losses(batch.labels).mean()
    assert batch.share is not None
    return (batch.share * losses(batch.labels) + (1 - batch.share) * losses(batch.others)).mean()


def balanced(counts: Tensor) -> Tensor:
    """`int64 (K,) -> float32 (K,)`: weights of classes of so many images; each counts alike, an image 1 on average."""
    weights = counts.sum() / (counts.count_nonzero() * counts)
    return torch.where(counts > 0, weights, 0)


def learning_rate(recipe: Recipe, step: int, *, steps_per_epoch: int, rows: Sequence[Row] = ()) -> float:
    """The learning rate of a step, counted from 0 over the whole run; `rows` are of the epochs that have ended.

    Over the warm-up it rises in a straight line, or stays at `warmup_lr`. Then `constant` stays; `linear` falls in a
    straight line to 0; `cosine` falls so as half a cosine (Loshchilov and Hutter 2017), and `onecycle` too, after a
    warm-up that is a share of the run (Smith 2018); `step` is multiplied by gamma at each milestone, or every so many
    epochs; `plateau`, whenever the epochs have not become better for a while. With `lr_batch` all of it is in
    proportion to the batch (Goyal et al. 2017).
    """
    assert recipe.epochs is not None
    scale = recipe.batch_size / (recipe.lr_batch or recipe.batch_size)
    lr, total = scale * recipe.lr, recipe.epochs * steps_per_epoch
    share = recipe.schedule == "onecycle" and recipe.warmup < 1
    warmup = recipe.warmup * (total if share else steps_per_epoch)
    if step < warmup:
        return scale * recipe.warmup_lr or lr * (step + 1) / (math.floor(warmup) + 1)
    done = (step - warmup) / max(1.0, total - warmup)
    match recipe.schedule:
        case "constant":
            return lr
        case "linear":
            return lr * (1 - done)
        case "cosine" | "onecycle":
            return lr * (1 + math.cos(math.pi * done)) / 2
        case "step" if recipe.every:
            return lr * recipe.gamma ** int(step / (recipe.every * steps_per_epoch))
        case "step":
            return lr * recipe.gamma ** sum(step >= share * total for share in recipe.milestones)
        case "plateau":
            return lr * recipe.gamma ** drops(rows, plateau=recipe.plateau)


def drops(rows: Sequence[Row], *, plateau: int) -> int:
    """How often the rate has dropped: each time that `plateau` epochs on end were no better than the best.

    They are counted from the last drop, or the last epoch that was better. The rows say it all, so a run that goes on
    after an interrupt has the rates that it would have had.
    """
    count = waited = 0
    best = (-math.inf, -math.inf)
    for row in rows:
        waited = 0 if standing(row) > best else waited + 1
        best = max(best, standing(row))
        if waited == plateau:
            count, waited = count + 1, 0
    return count


def standing(row: Row) -> tuple[float, float]:
    """By which epochs are compared: the higher validation accuracy is better, and of equals the lower loss."""
    return row["val_accuracy"], -row["val_loss"]
