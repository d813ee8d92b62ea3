"""The learning rate at every step, and what decays."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convatlas import Recipe
from convatlas.data.batches import Batch
from convatlas.models import build
from convatlas.network import Answers
from convatlas.training.optim import balanced, learning_rate, loss_of, make_optimizer


def rates(**changes: object) -> list[float]:
    recipe = Recipe(model="lenet", epochs=10, lr=1.0, **changes)  # type: ignore[arg-type]
    return [learning_rate(recipe, step, steps_per_epoch=10) for step in range(100)]


def test_cosine_falls_from_its_top_to_nearly_nothing_as_half_a_cosine() -> None:
    cosine = rates(schedule="cosine", warmup=0)
    assert cosine[0] == 1
    assert cosine[50] == pytest.approx(0.5)
    assert cosine[25] == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert 0 < cosine[-1] < 0.001
    assert cosine == sorted(cosine, reverse=True)


def test_a_warm_up_rises_in_equal_steps_over_its_epochs() -> None:
    warm = rates(schedule="constant", warmup=2)
    assert warm[:3] == pytest.approx([1 / 21, 2 / 21, 3 / 21])
    assert warm[20:] == [1] * 80


def test_step_is_multiplied_by_gamma_at_its_milestones() -> None:
    assert rates(schedule="step", warmup=0, milestones=(0.5, 0.75), gamma=0.1) == pytest.approx(
        [1.0] * 50 + [0.1] * 25 + [0.01] * 25
    )


def test_onecycle_rises_over_its_share_and_then_falls_to_nearly_nothing() -> None:
    cycle = rates(schedule="onecycle", warmup=0.3)
    assert cycle.index(max(cycle)) == 30
    assert cycle[:31] == sorted(cycle[:31])
    assert cycle[30:] == sorted(cycle[30:], reverse=True)
    assert cycle[-1] < 0.001


def test_biases_and_normalisation_do_not_decay_unless_asked() -> None:
    network = build("resnet20")
    decays, rests = make_optimizer(network, Recipe(model="resnet20", weight_decay=0.5)).param_groups
    assert (decays["weight_decay"], rests["weight_decay"]) == (0.5, 0.0)
    assert all(p.ndim > 1 for p in decays["params"])
    assert all(p.ndim == 1 for p in rests["params"])
    assert sum(p.numel() for g in (decays, rests) for p in g["params"]) == 269_722
    (everything,) = make_optimizer(network, Recipe(model="resnet20", decay_all=True)).param_groups
    assert sum(p.numel() for p in everything["params"]) == 269_722


def test_nesterov_steps_as_its_formula() -> None:
    parameter = nn.Parameter(torch.ones(2, 1))
    module = nn.Module()
    module.p = parameter
    optimizer = make_optimizer(module, Recipe(model="resnet20", lr=0.1, momentum=0.9, weight_decay=0.0))
    velocity, value = 0.0, 1.0
    for gradient in (1.0, -2.0, 0.5):
        parameter.grad = torch.full((2, 1), gradient)
        optimizer.step()
        velocity = 0.9 * velocity + gradient
        value -= 0.1 * (gradient + 0.9 * velocity)
    torch.testing.assert_close(parameter.detach(), torch.full((2, 1), value))


def test_an_auxiliary_classifier_counts_three_tenths() -> None:
    sure, even = torch.tensor([[math.log(3.0), 0.0]]), torch.zeros(1, 2)  # ln 4/3 and ln 2, of class 0
    recipe = Recipe(model="lenet", label_smoothing=0.0)
    batch = Batch(torch.zeros(1, 1, 1, 1), torch.tensor([0]))
    loss = loss_of(Answers(sure, (even, even)), batch, recipe)
    assert loss.item() == pytest.approx(math.log(4 / 3) + 2 * 0.3 * math.log(2))
    assert loss_of(Answers(sure, ()), batch, recipe).item() == pytest.approx(math.log(4 / 3))


def mixed_batch(count: int = 12, classes: int = 5) -> tuple[torch.Tensor, Batch]:
    generator = torch.Generator().manual_seed(0)
    labels, others = torch.randint(0, classes, (2, count), generator=generator)
    share = torch.rand(count, generator=generator)
    return torch.randn(count, classes, generator=generator), Batch(torch.zeros(count, 1, 1, 1), labels, others, share)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_the_loss_of_a_mixed_batch_is_the_cross_entropy_with_both_classes_as_target(label_smoothing: float) -> None:
    logits, batch = mixed_batch()
    assert batch.others is not None
    assert batch.share is not None
    target = batch.share[:, None] * F.one_hot(batch.labels, 5) + (1 - batch.share)[:, None] * F.one_hot(batch.others, 5)
    expected = F.cross_entropy(logits, target, label_smoothing=label_smoothing)  # which takes shares as targets too
    recipe = Recipe(model="lenet", label_smoothing=label_smoothing)
    torch.testing.assert_close(loss_of(Answers(logits, ()), batch, recipe), expected)
    plain = Batch(batch.images, batch.labels)
    expected = F.cross_entropy(logits, batch.labels, label_smoothing=label_smoothing)
    torch.testing.assert_close(loss_of(Answers(logits, ()), plain, recipe), expected)


def test_balanced_weights_let_classes_count_alike_and_an_image_1_on_average() -> None:
    labels = torch.tensor([0] * 30 + [1] * 6 + [3] * 4)
    weights = balanced(labels, 5)
    assert weights[labels].mean().item() == pytest.approx(1)
    totals = torch.bincount(labels, weights[labels], minlength=5)
    assert totals.tolist() == pytest.approx([40 / 3, 40 / 3, 0, 40 / 3, 0])  # classes without images have no weight
    assert balanced(torch.arange(10) % 5, 5).tolist() == [1] * 5


def test_weighted_losses_of_parts_add_up_to_that_of_the_whole() -> None:
    logits, batch = mixed_batch()
    recipe, weights = Recipe(model="lenet", label_smoothing=0.1), torch.tensor([0.2, 1.0, 3.0, 0.5, 2.0])
    whole = loss_of(Answers(logits, ()), batch, recipe, weights)
    parts = [
        loss_of(Answers(logits[a:b], ()), Batch(*(part[a:b] for part in batch if part is not None)), recipe, weights)
        * (b - a)
        for a, b in ((0, 5), (5, 6), (6, 12))
    ]
    torch.testing.assert_close(sum(parts) / 12, whole)
    plain = Batch(batch.images, batch.labels)
    each = F.cross_entropy(logits, batch.labels, label_smoothing=0.1, reduction="none")
    expected = (each * weights[batch.labels]).mean()
    torch.testing.assert_close(loss_of(Answers(logits, ()), plain, recipe, weights), expected)
