"""The perceptron from scratch: autograd's gradients, and something to learn."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from convatlas.layers.reference.perceptron import (
    IDENTITY,
    RELU,
    SIGMOID,
    Activation,
    Layer,
    backward,
    dense,
    dense_backward,
    descend,
    forward,
    sigmoid,
    squared_error,
    squared_error_backward,
)


def draw_layers(sizes: list[int], activations: list[Activation], generator: torch.Generator) -> list[Layer]:
    return [
        Layer(
            torch.randn(after, before, dtype=torch.float64, generator=generator),
            torch.randn(after, dtype=torch.float64, generator=generator),
            activation,
        )
        for before, after, activation in zip(sizes, sizes[1:], activations, strict=False)
    ]


def theirs(layers: list[Layer], weights: list[Tensor], biases: list[Tensor], x: Tensor) -> Tensor:
    torchs = {id(SIGMOID): torch.sigmoid, id(RELU): torch.relu, id(IDENTITY): torch.clone}
    for layer, weight, bias in zip(layers, weights, biases, strict=True):
        x = torchs[id(layer.activation)](F.linear(x, weight, bias))
    return x


@given(
    st.lists(st.integers(1, 5), min_size=2, max_size=5),
    st.lists(st.sampled_from([SIGMOID, RELU, IDENTITY]), min_size=4, max_size=4),
    st.integers(0, 2**31),
)
@settings(deadline=None, max_examples=40)
def test_the_backward_pass_of_the_lecture_gives_autograds_gradients(
    sizes: list[int], activations: list[Activation], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    layers = draw_layers(sizes, activations, generator)
    x, target = (torch.randn(size, dtype=torch.float64, generator=generator) for size in (sizes[0], sizes[-1]))
    weights = [layer.weight.clone().requires_grad_() for layer in layers]
    biases = [layer.bias.clone().requires_grad_() for layer in layers]
    output = theirs(layers, weights, biases, x)
    values = forward(layers, x)
    torch.testing.assert_close(values.z[-1], output.detach())
    ours = backward(layers, values, squared_error_backward(values.z[-1], target))
    expected = torch.autograd.grad(squared_error(output, target), weights + biases)
    for by_hand, by_autograd in zip(ours.weights + ours.biases, expected, strict=True):
        torch.testing.assert_close(by_hand, by_autograd)


def test_a_dense_layer_is_worked_out_by_hand() -> None:
    z, weight, bias = torch.tensor([1.0, 2.0]), torch.tensor([[3.0, 4.0], [5.0, 6.0]]), torch.tensor([7.0, 8.0])
    assert dense(z, weight, bias).tolist() == [3 + 8 + 7, 5 + 12 + 8]
    by_z, by_weight, by_bias = dense_backward(z, weight, torch.tensor([1.0, -1.0]))
    assert by_z.tolist() == [3 - 5, 4 - 6]
    assert by_weight.tolist() == [[1, 2], [-1, -2]]
    assert by_bias.tolist() == [1, -1]


def test_gradient_descent_learns_exclusive_or() -> None:
    layers = draw_layers([2, 4, 1], [SIGMOID, SIGMOID], torch.Generator().manual_seed(0))
    examples = [(torch.tensor([a, b]).double(), torch.tensor([a ^ b]).double()) for a in (0, 1) for b in (0, 1)]
    for _ in range(1000):
        for x, target in examples:
            values = forward(layers, x)
            layers = descend(layers, backward(layers, values, squared_error_backward(values.z[-1], target)), lr=2)
    for x, target in examples:
        assert forward(layers, x).z[-1].item() == pytest.approx(target.item(), abs=0.2)


def test_a_step_goes_against_the_gradient_and_leaves_the_old_layers_alone() -> None:
    (layer,) = old = [Layer(torch.tensor([[2.0]]), torch.tensor([1.0]), IDENTITY)]
    values = forward(old, torch.tensor([3.0]))  # 7, which should be 5: the error is 2
    (new,) = descend(old, backward(old, values, squared_error_backward(values.z[-1], torch.tensor([5.0]))), lr=0.1)
    assert (new.weight.item(), new.bias.item()) == pytest.approx((2 - 0.1 * 2 * 3, 1 - 0.1 * 2))
    assert (layer.weight.item(), layer.bias.item()) == (2, 1)


def test_the_gradient_of_ten_sigmoids_is_less_than_a_quarter_to_the_tenth() -> None:
    """σ' = σ (1 − σ) is at most ¼: the lecture's vanishing gradient."""
    a = torch.linspace(-5, 5, 101, dtype=torch.float64)
    assert SIGMOID.derivative(a).max() == SIGMOID.derivative(torch.zeros(1)) == 0.25
    torch.testing.assert_close(sigmoid(a), torch.sigmoid(a))
    layers = [Layer(torch.ones(1, 1), torch.zeros(1))] * 10
    gradients = backward(layers, forward(layers, torch.ones(1)), torch.ones(1))
    assert 0 < gradients.biases[0].item() < 0.25**10


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: dense(torch.ones(3), torch.ones(2, 4), torch.ones(2)), r"\(3,\), \(2, 4\), \(2,\)"),
        (lambda: dense(torch.ones(1, 4), torch.ones(2, 4), torch.ones(2)), r"a vector \(in,\)"),
        (
            lambda: squared_error(torch.ones(2), torch.ones(2, 1)),
            r"\(2,\) needs a target",
        ),
        (lambda: dense_backward(torch.ones(4), torch.ones(2, 4), torch.ones(4)), r"an error \(out,\) backwards"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(call, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        call()
