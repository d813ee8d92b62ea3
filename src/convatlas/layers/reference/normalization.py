"""Batch normalisation: Ioffe and Szegedy 2015, "Batch normalization", Sec. 3."""

from typing import NamedTuple

import torch
from torch import Tensor


class Normalized(NamedTuple):
    """What batch normalisation computes in training."""

    y: Tensor
    mean: Tensor  # (C,), of the batch
    variance: Tensor  # (C,), of the batch, divided by m


class Running(NamedTuple):
    """The averages that training keeps for evaluation, `(C,)` each; they begin at 0 and 1."""

    mean: Tensor
    variance: Tensor


class Gradients(NamedTuple):
    """The loss derived by each of batch normalisation's three inputs, in their shapes."""

    x: Tensor
    gamma: Tensor
    beta: Tensor


def batch_norm(x: Tensor, gamma: Tensor, beta: Tensor, *, epsilon: float = 1e-5) -> Normalized:
    """`(N, C, …), (C,), (C,) -> (N, C, …)`: each channel to the mean β and the standard deviation γ.

    Algorithm 1: x̂ = (x − μ) / √(σ² + ε), y = γ x̂ + β, where μ and σ² are of the m values that a channel has in the
    batch: N of a dense layer, N · H · W of a convolution (Sec. 3.2). Raises ValueError where the shapes do not fit,
    or a channel has one value.
    """
    check(x, gamma, beta)
    if x[:, 0].numel() < 2:
        raise ValueError("a channel needs two values to have a variance, and has one")
    y, mean, variance = torch.empty_like(x), torch.empty_like(gamma), torch.empty_like(gamma)
    for c in range(x.shape[1]):
        channel = x[:, c]
        mean[c] = channel.sum() / channel.numel()
        variance[c] = ((channel - mean[c]) ** 2).sum() / channel.numel()
        normalized = (channel - mean[c]) / (variance[c] + epsilon).sqrt()
        y[:, c] = gamma[c] * normalized + beta[c]
    return Normalized(y, mean, variance)


def average(running: Running, x: Tensor, batch: Normalized, *, momentum: float = 0.1) -> Running:
    """The running averages after one more batch `x`: (1 − momentum) · old + momentum · new.

    The variance of the batch is taken as m / (m − 1) · σ², which is unbiased (Algorithm 2, step 10). Raises
    ValueError where a channel has one value.
    """
    m = x[:, 0].numel()
    if m < 2:
        raise ValueError("a channel needs two values to have a variance, and has one")
    return Running(
        (1 - momentum) * running.mean + momentum * batch.mean,
        (1 - momentum) * running.variance + momentum * batch.variance * m / (m - 1),
    )


def batch_norm_at_test(x: Tensor, gamma: Tensor, beta: Tensor, running: Running, *, epsilon: float = 1e-5) -> Tensor:
    """`(N, C, …) -> (N, C, …)`: a fixed line for each channel, whatever else is in the batch.

    Algorithm 2, step 11: y = γ / √(Var + ε) · x + (β − γ E / √(Var + ε)). Raises ValueError where the shapes do not
    fit.
    """
    check(x, gamma, beta, *running)
    y = torch.empty_like(x)
    for c in range(x.shape[1]):
        slope = gamma[c] / (running.variance[c] + epsilon).sqrt()
        y[:, c] = slope * x[:, c] + (beta[c] - slope * running.mean[c])
    return y


def batch_norm_backward(x: Tensor, gamma: Tensor, gradient: Tensor, *, epsilon: float = 1e-5) -> Gradients:
    """What the loss's `gradient` by y, in training, says of x, γ and β: Sec. 3, the six equations of the chain rule.

    x counts three times: by itself, in the mean and in the variance. Raises ValueError where the shapes do not fit.
    """
    if gradient.shape != x.shape:
        raise ValueError(f"the output has the shape {tuple(x.shape)}, and its gradient {tuple(gradient.shape)}")
    _, mean, variance = batch_norm(x, gamma, gamma, epsilon=epsilon)
    by_x, by_gamma, by_beta = torch.empty_like(x), torch.empty_like(gamma), torch.empty_like(gamma)
    for c in range(x.shape[1]):
        m = x[:, c].numel()
        centred = x[:, c] - mean[c]
        deviation = (variance[c] + epsilon).sqrt()

        by_normalized = gradient[:, c] * gamma[c]
        by_variance = (by_normalized * centred).sum() * -1 / 2 * deviation**-3
        by_mean = by_normalized.sum() * -1 / deviation + by_variance * (-2 * centred).sum() / m
        by_x[:, c] = by_normalized / deviation + by_variance * 2 * centred / m + by_mean / m
        by_gamma[c] = (gradient[:, c] * centred / deviation).sum()
        by_beta[c] = gradient[:, c].sum()
    return Gradients(by_x, by_gamma, by_beta)


def check(x: Tensor, *of_channels: Tensor) -> None:
    """Raise ValueError unless x is floating-point, with one number for each channel: γ, β, the running averages."""
    if not x.is_floating_point():
        raise ValueError(f"a mean of whole numbers is none: floating-point numbers are needed, and got {x.dtype}")
    if x.ndim < 2 or any(each.shape != (x.shape[1],) for each in of_channels):
        raise ValueError(
            f"a batch (N, C, …) needs γ, β and averages of shape (C,), "
            f"and got the shapes {', '.join(str(tuple(each.shape)) for each in (x, *of_channels))}"
        )
