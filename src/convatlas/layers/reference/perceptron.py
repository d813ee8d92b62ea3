"""The multilayer perceptron and its backpropagation, as the lecture writes them.

Layer l computes a⁽ˡ⁾ = W⁽ˡ⁾ z⁽ˡ⁻¹⁾ + b⁽ˡ⁾ and z⁽ˡ⁾ = σ⁽ˡ⁾(a⁽ˡ⁾); z⁽⁰⁾ is the input, and z⁽ᴸ⁾ the output.
Lists count from 0: `layers[l - 1]` is layer l.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Activation(NamedTuple):
    """σ and its derivative σ', element by element."""

    function: Callable[[Tensor], Tensor]
    derivative: Callable[[Tensor], Tensor]


def sigmoid(a: Tensor) -> Tensor:
    """σ(a) = 1 / (1 + e⁻ᵃ)."""
    return 1 / (1 + torch.exp(-a))


SIGMOID = Activation(sigmoid, lambda a: sigmoid(a) * (1 - sigmoid(a)))
RELU = Activation(lambda a: a.clamp(min=0), lambda a: (a > 0).to(a.dtype))
IDENTITY = Activation(lambda a: a, torch.ones_like)


@dataclass(frozen=True)
class Layer:
    """A dense layer and its activation."""

    weight: Tensor  # (out, in)
    bias: Tensor  # (out,)
    activation: Activation = SIGMOID


class Values(NamedTuple):
    """What the forward pass leaves for the backward pass."""

    z: list[Tensor]  # z⁽⁰⁾ … z⁽ᴸ⁾: one more than there are layers
    a: list[Tensor]  # a⁽¹⁾ … a⁽ᴸ⁾


class Gradients(NamedTuple):
    """The loss derived by each layer's weight and bias, in their shapes."""

    weights: list[Tensor]
    biases: list[Tensor]


class DenseGradients(NamedTuple):
    """The loss derived by each of a dense layer's three inputs, in their shapes."""

    z: Tensor
    weight: Tensor
    bias: Tensor


def dense(z: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`(in,), (out, in), (out,) -> (out,)`: a_i = Σ_j W_ij z_j + b_i. Raises ValueError where the shapes do not fit."""
    if z.ndim != 1 or bias.ndim != 1 or weight.shape != (len(bias), len(z)):
        raise ValueError(
            f"a vector (in,), a weight (out, in) and a bias (out,) are needed, "
            f"and got the shapes {tuple(z.shape)}, {tuple(weight.shape)}, {tuple(bias.shape)}"
        )
    return torch.stack([(weight[i] * z).sum() + bias[i] for i in range(len(bias))])


def dense_backward(z: Tensor, weight: Tensor, delta: Tensor) -> DenseGradients:
    """What the error term δ = ∂L/∂a `(out,)` says of the layer's input, weight and bias.

    ∂L/∂z = Wᵀ δ, ∂L/∂W = δ zᵀ, ∂L/∂b = δ. Raises ValueError where the shapes do not fit.
    """
    if delta.ndim != 1 or z.ndim != 1 or weight.shape != (len(delta), len(z)):
        raise ValueError(
            f"a weight (out, in) takes a vector (in,) forwards and an error (out,) backwards, "
            f"and got the shapes {tuple(weight.shape)}, {tuple(z.shape)}, {tuple(delta.shape)}"
        )
    return DenseGradients(weight.T @ delta, delta[:, None] * z[None, :], delta)


def forward(layers: Sequence[Layer], x: Tensor) -> Values:
    """`(in,) -> z⁽ᴸ⁾`, and everything on the way to it. Raises ValueError where the shapes do not fit."""
    values = Values(z=[x], a=[])
    for layer in layers:
        values.a.append(dense(values.z[-1], layer.weight, layer.bias))
        values.z.append(layer.activation.function(values.a[-1]))
    return values


def backward(layers: Sequence[Layer], values: Values, loss_gradient: Tensor) -> Gradients:
    """From ∂L/∂z⁽ᴸ⁾ to the gradients of all weights and biases: lecture, "Backward pass through MLP (detailed)".

    Raises ValueError where the shapes do not fit.
    """
    gradients = Gradients(weights=[], biases=[])
    by_z = loss_gradient
    for layer, a, z_before in reversed(list(zip(layers, values.a, values.z[:-1], strict=True))):
        delta = by_z * layer.activation.derivative(a)  # lines 2 and 7: δ⁽ˡ⁾ = ∂L/∂z⁽ˡ⁾ ⊙ σ⁽ˡ⁾'(a⁽ˡ⁾)
        by_z, by_weight, by_bias = dense_backward(z_before, layer.weight, delta)  # lines 4 to 6
        gradients.weights.insert(0, by_weight)
        gradients.biases.insert(0, by_bias)
    return gradients


def squared_error(z: Tensor, target: Tensor) -> Tensor:
    """L = ½ Σ (z − y)². Raises ValueError where the shapes differ, which torch would broadcast."""
    if z.shape != target.shape:
        raise ValueError(f"an output {tuple(z.shape)} needs a target of that shape, and got {tuple(target.shape)}")
    return ((z - target) ** 2).sum() / 2


def squared_error_backward(z: Tensor, target: Tensor) -> Tensor:
    """∂L/∂z = z − y, which is where the backward pass begins."""
    return z - target


def descend(layers: Sequence[Layer], gradients: Gradients, *, lr: float) -> list[Layer]:
    """The layers after a step of gradient descent: W − lr · ∂L/∂W and b − lr · ∂L/∂b.

    Raises ValueError where there are not as many gradients as layers.
    """
    return [
        Layer(layer.weight - lr * by_weight, layer.bias - lr * by_bias, layer.activation)
        for layer, by_weight, by_bias in zip(layers, gradients.weights, gradients.biases, strict=True)
    ]
