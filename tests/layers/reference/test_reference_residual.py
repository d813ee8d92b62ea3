"""The residual block from scratch: autograd's gradient of a block of two convolutions, and the 1 in 1 + F'."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from convatlas.layers.reference.convolution import cross_correlate_backward, cross_correlate_channels
from convatlas.layers.reference.perceptron import RELU
from convatlas.layers.reference.residual import residual, residual_backward


@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**31))
@settings(deadline=None, max_examples=20)
def test_a_block_of_two_convolutions_has_autograds_gradient(channels: int, height: int, width: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(channels, height, width), *[(channels, channels, 3, 3)] * 2]
    x, first, second = (torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes)

    a = cross_correlate_channels(x, first, padding=1)

    def branch(x: Tensor) -> Tensor:
        z = RELU.function(cross_correlate_channels(x, first, padding=1))
        return cross_correlate_channels(z, second, padding=1)

    def branch_backward(gradient: Tensor) -> Tensor:
        by_z = cross_correlate_backward(RELU.function(a), second, gradient, padding=1).x
        return cross_correlate_backward(x, first, by_z * RELU.derivative(a), padding=1).x

    theirs = x.clone().requires_grad_()
    expected = theirs + F.conv2d(F.relu(F.conv2d(theirs, first, padding=1)), second, padding=1)
    torch.testing.assert_close(residual(x, branch), expected.detach())
    gradient = torch.randn(x.shape, dtype=torch.float64, generator=generator)
    (by_autograd,) = torch.autograd.grad(expected, theirs, gradient)
    torch.testing.assert_close(residual_backward(gradient, branch_backward), by_autograd)


def test_a_hundred_layers_of_slope_08_lose_the_gradient_and_a_hundred_blocks_do_not() -> None:
    """The lecture's 0.8¹⁰⁰ ≈ 2 · 10⁻¹⁰; a block's factor is 1 + F', here of an F that hardly does anything."""
    plain = with_shortcuts = torch.ones(1, dtype=torch.float64)
    for _ in range(100):
        plain = 0.8 * plain
        with_shortcuts = residual_backward(with_shortcuts, lambda gradient: 0.001 * gradient)
    assert plain.item() == pytest.approx(2e-10, rel=0.05)
    assert with_shortcuts.item() == pytest.approx(1.001**100)


def test_a_branch_that_answers_0_makes_the_identity() -> None:
    x = torch.arange(6.0).reshape(1, 2, 3)
    assert torch.equal(residual(x, torch.zeros_like), x)
    assert torch.equal(residual_backward(x, torch.zeros_like), x)


def test_a_branch_that_changes_the_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"made \(2, 2\) of \(4,\), and cannot be added to it"):
        residual(torch.ones(4), lambda x: x.reshape(2, 2))
    with pytest.raises(ValueError, match=r"made \(1,\) of \(4,\)"):
        residual_backward(torch.ones(4), lambda gradient: gradient[:1])
