"""The learning rate at every step, and what decays."""

import math

import pytest
import torch
from torch import nn

from convatlas import Recipe
from convatlas.models import build
from convatlas.network import Answers
from convatlas.training.optim import learning_rate, loss_of, make_optimizer


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
    loss = loss_of(Answers(sure, (even, even)), torch.tensor([0]), recipe)
    assert loss.item() == pytest.approx(math.log(4 / 3) + 2 * 0.3 * math.log(2))
    assert loss_of(Answers(sure, ()), torch.tensor([0]), recipe).item() == pytest.approx(math.log(4 / 3))
