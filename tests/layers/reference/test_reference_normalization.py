"""Batch normalisation from scratch: its law, torch's function, and autograd's gradients."""

from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from convatlas.layers.reference.normalization import (
    Running,
    average,
    batch_norm,
    batch_norm_at_test,
    batch_norm_backward,
)


class Case(NamedTuple):
    x: Tensor
    gamma: Tensor
    beta: Tensor


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A batch of a dense layer or of a convolution."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    n, channels = draw(st.integers(2, 5)), draw(st.integers(1, 4))
    size = draw(st.just(()) | st.tuples(st.integers(1, 4), st.integers(1, 4)))
    shapes = ((n, channels, *size), (channels,), (channels,))
    x, gamma, beta = (torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes)
    return Case(3 * x + 2, gamma, beta)


@given(cases())
@settings(deadline=None, max_examples=40)
def test_training_evaluation_and_gradients_are_torchs(case: Case) -> None:
    inputs = [tensor.clone().requires_grad_() for tensor in case]
    zeros, ones = torch.zeros_like(case.gamma), torch.ones_like(case.gamma)
    mean, variance = zeros.clone(), ones.clone()
    expected = F.batch_norm(inputs[0], mean, variance, *inputs[1:], training=True, momentum=0.1)
    batch = batch_norm(*case)
    torch.testing.assert_close(batch.y, expected.detach())

    running = average(Running(zeros, ones), case.x, batch, momentum=0.1)
    torch.testing.assert_close(running, Running(mean, variance))
    at_test = F.batch_norm(case.x, mean, variance, case.gamma, case.beta)
    torch.testing.assert_close(batch_norm_at_test(*case, running), at_test)

    gradient = torch.randn_like(expected)
    by_hand = batch_norm_backward(case.x, case.gamma, gradient)
    for ours, theirs in zip(by_hand, torch.autograd.grad(expected, inputs, gradient), strict=True):
        torch.testing.assert_close(ours, theirs)


@given(cases(), st.floats(0.5, 100), st.floats(-100, 100))
@settings(deadline=None, max_examples=20)
def test_the_output_does_not_see_how_the_input_is_scaled_and_shifted(case: Case, scale: float, shift: float) -> None:
    once = batch_norm(*case, epsilon=1e-12).y
    torch.testing.assert_close(batch_norm(scale * case.x + shift, case.gamma, case.beta, epsilon=1e-12).y, once,
                               rtol=1e-5, atol=1e-5)  # fmt: skip


def test_a_channel_of_1_2_3_4_is_worked_out_as_in_algorithm_1() -> None:
    x = torch.tensor([[1.0], [2.0], [3.0], [4.0]], dtype=torch.float64)
    y, mean, variance = batch_norm(x, torch.full((1,), 2.0).double(), torch.full((1,), 5.0).double(), epsilon=0)
    assert (mean.item(), variance.item()) == (2.5, 1.25)
    assert y.flatten().tolist() == pytest.approx([5 + 2 * distance / 1.25**0.5 for distance in (-1.5, -0.5, 0.5, 1.5)])
    begun = Running(torch.zeros(1).double(), torch.ones(1).double())
    assert average(begun, x, batch_norm(x, begun.variance, begun.mean)).variance.item() == pytest.approx(0.9 + 0.5 / 3)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: batch_norm(torch.ones(4, 3), torch.ones(4), torch.ones(4)), r"\(4, 3\), \(4,\), \(4,\)"),
        (lambda: batch_norm(torch.ones(1, 3), torch.ones(3), torch.ones(3)), "two values to have a variance"),
        (lambda: batch_norm(torch.ones(4, 3).int(), torch.ones(3), torch.ones(3)), "and got torch.int32"),
        (
            lambda: average(
                Running(torch.zeros(3), torch.ones(3)),
                torch.ones(1, 3),
                batch_norm(torch.ones(2, 3), torch.ones(3), torch.ones(3)),
            ),
            "two values to have a variance",
        ),
        (
            lambda: batch_norm_at_test(
                torch.ones(4, 3), torch.ones(3), torch.ones(3), Running(torch.ones(3), torch.ones(2))
            ),
            r"\(3,\), \(2,\)",
        ),
        (lambda: batch_norm_backward(torch.ones(4, 3), torch.ones(3), torch.ones(4)), r"its gradient \(4,\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(call, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        call()
