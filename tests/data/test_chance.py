"""Random numbers that depend on nothing but their keys."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convatlas.data.chance import beta, mix, normal, order, seed_torch, uniform, whole


@given(seed=st.integers(0, 2**40), epoch=st.integers(0, 10_000), count=st.integers(1, 300))
def test_an_epoch_is_a_permutation(seed: int, epoch: int, count: int) -> None:
    assert sorted(order(seed, epoch, count)) == list(range(count))


@given(seed=st.integers(0, 2**40), epoch=st.integers(0, 1000), start=st.integers(0, 1000))
def test_a_number_is_the_same_alone_and_among_others(seed: int, epoch: int, start: int) -> None:
    together = uniform(seed, epoch, np.arange(start, start + 20), "crop")
    alone = uniform(seed, epoch, np.array([start + 7]), "crop")
    assert alone[0] == together[7]
    assert ((together >= 0) & (together < 1)).all()


def test_numbers_are_even_and_do_not_depend_on_each_other() -> None:
    index = np.arange(100_000)
    first, second = uniform(0, 0, index, "top"), uniform(0, 0, index, "left")
    assert abs(first.mean() - 0.5) < 0.005
    assert abs(first.var() - 1 / 12) < 0.001
    for other in (second, uniform(0, 1, index, "top"), uniform(1, 0, index, "top"), np.roll(first, 1)):
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.01
    assert np.bincount(whole(0, 0, index, "top", below=9)).min() > 10_000


def test_normal_draws_are_of_the_normal_distribution() -> None:
    drawn = normal(0, 0, np.arange(100_000), "lighting")
    assert np.isfinite(drawn).all()
    for moment, expected in enumerate((1, 0, 1, 0, 3)):
        assert (drawn**moment).mean() == pytest.approx(expected, abs=0.05)
    assert normal(0, 0, np.array([70]), "lighting")[0] == drawn[70]


@pytest.mark.parametrize("alpha", [0.01, 0.2, 1.0, 8.0, 1000.0])
def test_beta_draws_are_of_the_beta_distribution(alpha: float) -> None:
    drawn = beta(0, 0, np.arange(20_000), "mixup", alpha=alpha)
    assert ((drawn >= 0) & (drawn <= 1)).all()
    assert drawn.mean() == pytest.approx(0.5, abs=0.01)
    assert drawn.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.03)
    assert beta(0, 0, np.array([70]), "mixup", alpha=alpha)[0] == drawn[70]


def test_the_numbers_are_the_same_on_every_machine() -> None:
    assert mix(0, 1, "order").tolist() == [839015994837804838]
    assert order(0, 0, 8).tolist() == [1, 3, 6, 5, 0, 7, 4, 2]
    assert order(0, 0, 100).tolist() != order(0, 1, 100).tolist() != order(1, 1, 100).tolist()


def test_torch_draws_the_same_after_the_same_keys() -> None:
    import torch

    draws = []
    for key in (1, 1, 2):
        seed_torch(key, "weights")
        draws.append(torch.rand(3).tolist())
    assert draws[0] == draws[1] != draws[2]
