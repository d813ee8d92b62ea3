"""Dropout from scratch: both conventions have the same mean in training and at test time."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convatlas.layers.reference.dropout import (
    inverted_dropout,
    keep_mask,
    original_dropout,
    original_dropout_at_test,
)


@given(st.floats(0, 0.95), st.integers(0, 2**31))
@settings(deadline=None, max_examples=40)
def test_the_mean_over_many_draws_is_what_is_computed_at_test_time(p: float, seed: int) -> None:
    h = torch.tensor([-2.0, 0.5, 3.0], dtype=torch.float64)
    many = h.expand(20_000, 3)
    mask = keep_mask(many, p, torch.Generator().manual_seed(seed))
    spread = 6 * h.abs() * (p * (1 - p) / len(many)) ** 0.5 + 1e-9  # six standard errors of a mean of Bernoulli draws
    inverted, original = inverted_dropout(many, mask, p).mean(0), original_dropout(many, mask).mean(0)
    assert ((inverted - h).abs() <= spread / (1 - p)).all()
    assert ((original - original_dropout_at_test(h, p)).abs() <= spread).all()


def test_the_neuron_of_the_lecture_computes_half_of_its_sum_on_average() -> None:
    """¼ (w₁x + w₂y) + ¼ (w₁x + 0) + ¼ (0 + 0) + ¼ (0 + w₂y) = ½ (w₁x + w₂y)."""
    weights, h = torch.tensor([2.0, 3.0]), torch.tensor([5.0, 7.0])
    generator = torch.Generator().manual_seed(0)
    masks = {tuple(keep_mask(h, 0.5, generator).tolist()) for _ in range(100)}
    assert masks == {(0, 0), (0, 1), (1, 0), (1, 1)}
    outputs = [(weights * original_dropout(h, torch.tensor(mask))).sum() for mask in masks]
    assert sum(outputs) / 4 == (weights * original_dropout_at_test(h, 0.5)).sum() == 15.5
    doubled = [(weights * inverted_dropout(h, torch.tensor(mask), 0.5)).sum() for mask in masks]
    assert sum(doubled) / 4 == (weights * h).sum() == 31


def test_one_seed_gives_one_mask_and_without_dropping_all_is_kept() -> None:
    h = torch.ones(5, 4, dtype=torch.float64)
    first, again = (keep_mask(h, 0.3, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first, again)
    assert first.dtype == h.dtype
    assert keep_mask(h, 0, torch.Generator()).all()


def test_the_gradient_of_inverted_dropout_goes_back_through_the_same_function() -> None:
    h = torch.randn(20, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    mask = keep_mask(h, 0.4, torch.Generator().manual_seed(1))
    gradient = torch.arange(20.0).double()
    (expected,) = torch.autograd.grad(inverted_dropout(h, mask, 0.4), h, gradient)
    assert torch.equal(inverted_dropout(gradient, mask, 0.4), expected)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 0 and less than 1, and got 1"):
        keep_mask(torch.ones(3), 1, torch.Generator())
    with pytest.raises(ValueError, match="and got 1"):
        inverted_dropout(torch.ones(3), torch.ones(3), 1)
    with pytest.raises(ValueError, match="and got 7"):
        original_dropout_at_test(torch.ones(3), 7)
    with pytest.raises(ValueError, match=r"need a mask of that shape, and got \(2,\)"):
        inverted_dropout(torch.ones(3), torch.ones(2), 0.5)
    with pytest.raises(ValueError, match=r"units of shape \(3,\)"):
        original_dropout(torch.ones(3), torch.ones(1))
