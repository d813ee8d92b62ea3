"""The learning rate at every step, and what decays."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convatlas import Recipe
from convatlas.data.batches import Batch
from convatlas.models import build
from convatlas.network import Answers
from convatlas.training.optim import balanced, drops, learning_rate, loss_of, make_optimizer, set_rate
from convatlas.training.run import Row


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


def test_linear_falls_from_its_top_to_nearly_nothing_in_a_straight_line() -> None:
    assert rates(schedule="linear", warmup=0) == pytest.approx([1 - step / 100 for step in range(100)])
    assert rates(schedule="linear", warmup=2)[20:] == pytest.approx([1 - step / 80 for step in range(80)])


def test_step_can_come_every_so_many_epochs() -> None:
    assert rates(schedule="step", warmup=0, every=3, gamma=0.5) == pytest.approx(
        [1.0] * 30 + [0.5] * 30 + [0.25] * 30 + [0.125] * 10
    )
    assert rates(schedule="step", warmup=0, every=0.5, gamma=0.5)[:20:5] == pytest.approx([1, 0.5, 0.25, 0.125])


def test_a_warm_up_can_stay_at_a_rate_of_its_own() -> None:
    recipe = Recipe(model="resnet110", epochs=182, lr=0.1, schedule="step", warmup=1.14, warmup_lr=0.01)
    steps = (0, 401, 402, 32_031, 32_032, 48_047, 48_048)  # of 64,000, as in He et al. 2015, Sec. 4.2
    lrs = [learning_rate(recipe, step, steps_per_epoch=352) for step in steps]
    assert lrs == pytest.approx([0.01, 0.01, 0.1, 0.1, 0.01, 0.01, 0.001])


def test_rates_are_in_proportion_to_the_batch_where_the_recipe_says_of_which_batch_they_are() -> None:
    assert rates(schedule="constant", warmup=1, warmup_lr=0.25, batch_size=512, lr_batch=128) == [1] * 10 + [4] * 90
    assert rates(schedule="constant", warmup=0, batch_size=32, lr_batch=128) == [0.25] * 100


ACCURACIES = (10, 30, 30, 20, 40, 40, 39, 38, 37, 41)


def epoch_by_epoch(accuracies: Sequence[float], **changes: object) -> list[float]:
    recipe = Recipe(model="lenet", epochs=10, lr=1.0, schedule="plateau", warmup=0, **changes)  # type: ignore[arg-type]
    rows: list[Row] = [{"val_accuracy": accuracy, "val_loss": 1.0} for accuracy in accuracies]
    return [
        learning_rate(recipe, 10 * epoch, steps_per_epoch=10, rows=rows[:epoch]) for epoch in range(len(accuracies) + 1)
    ]


def test_plateau_drops_after_so_many_epochs_that_were_no_better_and_counts_anew_from_there() -> None:
    rates = epoch_by_epoch(ACCURACIES, plateau=2, gamma=0.1)
    assert rates == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    rates = epoch_by_epoch(ACCURACIES, plateau=3, gamma=0.1)
    assert rates == pytest.approx([1] * 8 + [0.1] * 3)


@pytest.mark.parametrize("plateau", [1, 2, 3])
def test_plateau_drops_when_torchs_scheduler_does(plateau: int) -> None:
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max", patience=plateau - 1, threshold=0, factor=0.1
    )
    expected = [1.0]
    for accuracy in ACCURACIES:
        theirs.step(accuracy)
        expected.append(optimizer.param_groups[0]["lr"])
    assert epoch_by_epoch(ACCURACIES, plateau=plateau, gamma=0.1) == pytest.approx(expected)


def test_of_two_epochs_that_are_right_as_often_the_one_with_less_loss_is_better() -> None:
    falling: list[Row] = [{"val_accuracy": 50, "val_loss": loss} for loss in (3, 2, 1)]
    assert drops(falling, plateau=1) == 0
    assert drops(falling[::-1], plateau=1) == 2


def test_each_stage_learns_at_a_share_of_the_rate_of_the_stage_above_it() -> None:
    network = build("vgg11", num_classes=2, size=32, width=1 / 64)
    optimizer = make_optimizer(network, Recipe(model="vgg11", layer_decay=0.5))
    set_rate(optimizer, 0.8)
    rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    stages = ("fc8", "fc7", "fc6", "conv5", "conv4", "conv3", "conv2", "conv1")  # poolings have nothing to learn
    for above, name in enumerate(stages):
        assert [rate.pop(id(p)) for p in network.get_submodule(name).parameters()] == pytest.approx(
            [0.8 * 0.5**above] * len(list(network.get_submodule(name).parameters()))
        )
    assert not rate


def test_auxiliary_classifiers_learn_as_fast_as_the_classifier() -> None:
    network = build("googlenet", num_classes=2, auxiliary=True)
    optimizer = make_optimizer(network, Recipe(model="googlenet", layer_decay=0.5))
    factor = {id(p): group["factor"] for group in optimizer.param_groups for p in group["params"]}
    assert network.auxiliary is not None
    assert {factor[id(p)] for p in network.auxiliary.parameters()} == {1}
    assert factor[id(network.get_submodule("linear").weight)] == 1


def test_what_is_frozen_is_no_parameter_of_the_optimizer() -> None:
    network = build("lenet")
    for parameter in network.get_submodule("conv1").parameters():
        parameter.requires_grad = False
    groups = make_optimizer(network, Recipe(model="lenet")).param_groups
    assert sum(p.numel() for group in groups for p in group["params"]) == 61_706 - 156


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
    weights = balanced(labels.bincount(minlength=5))
    assert weights[labels].mean().item() == pytest.approx(1)
    totals = torch.bincount(labels, weights[labels], minlength=5)
    assert totals.tolist() == pytest.approx([40 / 3, 40 / 3, 0, 40 / 3, 0])  # classes without images have no weight
    assert balanced(torch.tensor([2] * 5)).tolist() == [1] * 5


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
