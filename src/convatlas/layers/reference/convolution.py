"""Cross-correlation, which convolutional layers compute, and convolution, after which they are named.

Zhang, Lipton, Li, Smola, "Dive into deep learning", chapter "Convolutional neural networks". As there, a size is one
number for both directions or a pair (vertical, horizontal).
"""

from typing import NamedTuple

import torch
from torch import Tensor

Size = int | tuple[int, int]


class Gradients(NamedTuple):
    """The loss derived by each of a convolutional layer's three inputs, in their shapes."""

    x: Tensor
    weight: Tensor
    bias: Tensor


def output_size(size: int, kernel_size: int, *, stride: int = 1, padding: int = 0) -> int:
    """⌊(n − k + 2p) / s⌋ + 1: how many windows of `kernel_size` fit into `size`, with `padding` at both ends.

    The lecture's ⌊(n − k + p + s) / s⌋ counts both ends in one p. Raises ValueError where not one window fits.
    """
    if kernel_size < 1 or stride < 1 or padding < 0:
        raise ValueError(
            f"a window has a size and a stride of at least 1 and a padding of at least 0, "
            f"and got {kernel_size}, {stride} and {padding}"
        )
    if size + 2 * padding < kernel_size:
        raise ValueError(f"a window of {kernel_size} does not fit into {size} with a padding of {padding}")
    return (size - kernel_size + 2 * padding) // stride + 1


def cross_correlate(x: Tensor, kernel: Tensor, *, stride: Size = 1, padding: Size = 0) -> Tensor:
    """`(H, W), (h, w) -> (H', W')`: y[i, j] = Σ_a Σ_b kernel[a, b] · x[i s + a, j s + b].

    Lecture, "Cross-correlation operation"; H' and W' are `output_size`. Raises ValueError for other shapes.
    """
    if x.ndim != 2 or kernel.ndim != 2:
        raise ValueError(
            f"an image (H, W) and a kernel (h, w) are needed, "
            f"and got the shapes {tuple(x.shape)}, {tuple(kernel.shape)}"
        )
    h, w = kernel.shape
    down, right = pair(stride)
    y = x.new_zeros(output_sizes(x, (h, w), stride, padding), dtype=torch.result_type(x, kernel))
    x = pad(x, padding)
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            window = x[i * down : i * down + h, j * right : j * right + w]
            y[i, j] = (kernel * window).sum()
    return y


def convolve(x: Tensor, kernel: Tensor) -> Tensor:
    """`(H, W), (h, w) -> (H − h + 1, W − w + 1)`: (f ∗ g)(i, j) = Σ_a Σ_b f(a, b) g(i − a, j − b).

    The minus signs turn the kernel by 180 degrees; that is all that sets it apart from `cross_correlate`, and a
    kernel that is learned is simply learned turned (lecture, "Convolution vs. cross-correlation operation").
    Raises ValueError for other shapes.
    """
    return cross_correlate(x, kernel.flip(0, 1))


def cross_correlate_channels(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, stride: Size = 1, padding: Size = 0
) -> Tensor:
    """`(C, H, W), (K, C, h, w), (K,) -> (K, H', W')`: a convolutional layer on one image.

    y_k = b_k + Σ_c x_c ⋆ weight_kc (lecture, "Multiple input and multiple output channels").
    Raises ValueError where the channels or the shapes do not fit.
    """
    check_channels(x, weight, bias)
    h, w = weight.shape[2:]
    y = x.new_zeros(len(weight), *output_sizes(x, (h, w), stride, padding), dtype=torch.result_type(x, weight))
    for k in range(weight.shape[0]):
        for c in range(weight.shape[1]):
            y[k] += cross_correlate(x[c], weight[k, c], stride=stride, padding=padding)
        if bias is not None:
            y[k] += bias[k]
    return y


def cross_correlate_backward(
    x: Tensor, weight: Tensor, gradient: Tensor, *, stride: Size = 1, padding: Size = 0
) -> Gradients:
    """What the loss's `gradient` (K, H', W') by the output says of the input, the weight and the bias.

    Each output is a sum of products kernel · window. So the window gets kernel · gradient, the kernel gets
    window · gradient, and what several windows share adds up. Raises ValueError where the shapes do not fit.
    """
    check_channels(x, weight)
    h, w = weight.shape[2:]
    down, right = pair(stride)
    check_gradient(gradient, (len(weight), *output_sizes(x, (h, w), stride, padding)))
    padded = pad(x, padding)
    by_padded = torch.zeros_like(padded)
    by_weight = torch.zeros_like(weight)
    for k in range(gradient.shape[0]):
        for i in range(gradient.shape[1]):
            for j in range(gradient.shape[2]):
                rows = slice(i * down, i * down + h)
                columns = slice(j * right, j * right + w)
                by_padded[:, rows, columns] += weight[k] * gradient[k, i, j]
                by_weight[k] += padded[:, rows, columns] * gradient[k, i, j]
    return Gradients(unpad(by_padded, padding), by_weight, gradient.sum((1, 2)))


def pair(size: Size) -> tuple[int, int]:
    """(vertical, horizontal)."""
    return (size, size) if isinstance(size, int) else size


def output_sizes(x: Tensor, kernel_size: Size, stride: Size, padding: Size) -> tuple[int, int]:
    """(H', W') of windows on an image `(…, H, W)`."""
    (h, w), (down, right), (above, beside) = pair(kernel_size), pair(stride), pair(padding)
    return (
        output_size(x.shape[-2], h, stride=down, padding=above),
        output_size(x.shape[-1], w, stride=right, padding=beside),
    )


def pad(x: Tensor, padding: Size, value: float = 0) -> Tensor:
    """`(…, H, W) -> (…, H + 2p, W + 2p)`: the image in a frame of `value`."""
    above, beside = pair(padding)
    height, width = x.shape[-2:]
    framed = x.new_full((*x.shape[:-2], height + 2 * above, width + 2 * beside), value)
    framed[..., above : above + height, beside : beside + width] = x
    return framed


def unpad(x: Tensor, padding: Size) -> Tensor:
    """`(…, H + 2p, W + 2p) -> (…, H, W)`: the image without its frame."""
    above, beside = pair(padding)
    return x[..., above : x.shape[-2] - above, beside : x.shape[-1] - beside]


def check_channels(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> None:
    """Raise ValueError unless image, weight and bias belong together."""
    if x.ndim != 3 or weight.ndim != 4 or x.shape[0] != weight.shape[1]:
        raise ValueError(
            f"an image (C, H, W) and a weight (K, C, h, w) are needed, "
            f"and got the shapes {tuple(x.shape)}, {tuple(weight.shape)}"
        )
    if bias is not None and bias.shape != (len(weight),):
        raise ValueError(f"a bias for each of {len(weight)} output channels is needed, and got {tuple(bias.shape)}")


def check_gradient(gradient: Tensor, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless the gradient has the shape of the output that it is of."""
    if gradient.shape != shape:
        raise ValueError(f"the output has the shape {shape}, and its gradient {tuple(gradient.shape)}")
