"""What steps, and how the learning rate changes: both a function of the recipe and the number of the step."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.data.batches import Batch
from convatlas.layers.depth import StochasticDepth
from convatlas.network import Answers
from convatlas.training.recipe import Recipe


def make_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """SGD, Adam or AdamW, fused if possible. Biases, normalisation and other vectors decay with `decay_all` alone."""
    decays = [p for p in network.parameters() if p.requires_grad and (p.ndim > 1 or recipe.decay_all)]
    rests = [p for p in network.parameters() if p.requires_grad and not (p.ndim > 1 or recipe.decay_all)]
    groups = [{"params": decays, "weight_decay": recipe.weight_decay}, {"params": rests, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    # A branch that is dropped in the first step has neither gradient nor momentum, which torch's fused SGD cannot take,
    # nor can it take weights that are sharded.
    fused = not recipe.sharded and not any(isinstance(layer, StochasticDepth) for layer in network.modules())
    if recipe.optimizer == "sgd":
        nesterov = recipe.nesterov and recipe.momentum > 0
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=nesterov, fused=fused)
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, lr=recipe.lr, fused=fused)


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


def balanced(labels: Tensor, num_classes: int) -> Tensor:
    """`int64 (N,) -> float32 (K,)`: weights of the classes, by which each counts alike, and an image 1 on average."""
    counts = labels.bincount(minlength=num_classes)
    weights = len(labels) / (counts.count_nonzero() * counts)
    return torch.where(counts > 0, weights, 0)


def learning_rate(recipe: Recipe, step: int, *, steps_per_epoch: int) -> float:
    """The learning rate of a step, counted from 0 over the whole run.

    It rises in a straight line over the warm-up, and then: `constant` stays; `step` is multiplied by gamma
    at each milestone; `cosine` falls as half a cosine to 0 (Loshchilov and Hutter 2017); `onecycle` is the
    same after a warm-up that is a share of the run (Smith 2018).
    """
    assert recipe.epochs is not None
    total = recipe.epochs * steps_per_epoch
    share = recipe.schedule == "onecycle" and recipe.warmup < 1
    warmup = recipe.warmup * (total if share else steps_per_epoch)
    if step < warmup:
        return recipe.lr * (step + 1) / (math.floor(warmup) + 1)
    if recipe.schedule == "constant":
        return recipe.lr
    if recipe.schedule == "step":
        return recipe.lr * recipe.gamma ** sum(step >= share * total for share in recipe.milestones)
    done = (step - warmup) / max(1.0, total - warmup)
    return recipe.lr * (1 + math.cos(math.pi * done)) / 2
