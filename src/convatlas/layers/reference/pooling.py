"""Pooling: one number for each window, channel by channel (lecture, "Pooling layers")."""

import torch
from torch import Tensor

from convatlas.layers.reference.convolution import Size, check_gradient, output_sizes, pad, pair, unpad


def max_pool(x: Tensor, kernel_size: Size, *, stride: Size | None = None, padding: Size = 0) -> Tensor:
    """`(C, H, W) -> (C, H', W')`: the greatest of each window; by default the windows lie side by side.

    The frame is −∞, so that it never wins. Raises ValueError where the shapes do not fit.
    """
    y = output_of(x, kernel_size, stride, padding)
    padded = pad(x, padding, -torch.inf)
    for i in range(y.shape[1]):
        for j in range(y.shape[2]):
            rows, columns = window(i, j, kernel_size, stride)
            y[:, i, j] = padded[:, rows, columns].amax((1, 2))
    return y


def max_pool_backward(
    x: Tensor, gradient: Tensor, kernel_size: Size, *, stride: Size | None = None, padding: Size = 0
) -> Tensor:
    """`(C, H, W), (C, H', W') -> (C, H, W)`: each window's gradient goes to its greatest, the first of equals.

    The others could change a little and the output would not. Raises ValueError where the shapes do not fit.
    """
    check_gradient(gradient, tuple(output_of(x, kernel_size, stride, padding).shape))
    padded = pad(x, padding, -torch.inf)
    by_padded = torch.zeros_like(padded)
    for c in range(gradient.shape[0]):
        for i in range(gradient.shape[1]):
            for j in range(gradient.shape[2]):
                rows, columns = window(i, j, kernel_size, stride)
                down, right = divmod(int(padded[c, rows, columns].argmax()), pair(kernel_size)[1])
                by_padded[c, rows.start + down, columns.start + right] += gradient[c, i, j]
    return unpad(by_padded, padding)


def average_pool(x: Tensor, kernel_size: Size, *, stride: Size | None = None, padding: Size = 0) -> Tensor:
    """`(C, H, W) -> (C, H', W')`: the mean of each window; by default the windows lie side by side.

    The frame is 0 and counts. Raises ValueError where the shapes do not fit.
    """
    y = output_of(x, kernel_size, stride, padding)
    padded = pad(x, padding)
    for i in range(y.shape[1]):
        for j in range(y.shape[2]):
            rows, columns = window(i, j, kernel_size, stride)
            y[:, i, j] = padded[:, rows, columns].mean((1, 2))
    return y


def average_pool_backward(
    x: Tensor, gradient: Tensor, kernel_size: Size, *, stride: Size | None = None, padding: Size = 0
) -> Tensor:
    """`(C, H, W), (C, H', W') -> (C, H, W)`: each window's gradient in equal parts to its h · w inputs.

    Raises ValueError where the shapes do not fit.
    """
    check_gradient(gradient, tuple(output_of(x, kernel_size, stride, padding).shape))
    h, w = pair(kernel_size)
    by_padded = torch.zeros_like(pad(x, padding))
    for i in range(gradient.shape[1]):
        for j in range(gradient.shape[2]):
            rows, columns = window(i, j, kernel_size, stride)
            by_padded[:, rows, columns] += gradient[:, i, j, None, None] / (h * w)
    return unpad(by_padded, padding)


def output_of(x: Tensor, kernel_size: Size, stride: Size | None, padding: Size) -> Tensor:
    """Zeros `(C, H', W')`. Raises ValueError where there is no such output."""
    if x.ndim != 3:
        raise ValueError(f"an image (C, H, W) is needed, and got the shape {tuple(x.shape)}")
    if not x.is_floating_point():
        raise ValueError(f"neither a mean nor −∞ is a whole number: floating-point is needed, and got {x.dtype}")
    for size, around in zip(pair(kernel_size), pair(padding), strict=True):
        if 2 * around > size:
            raise ValueError(f"a padding of {around} is more than half a window of {size}, which could lie outside")
    return x.new_zeros(len(x), *output_sizes(x, kernel_size, kernel_size if stride is None else stride, padding))


def window(i: int, j: int, kernel_size: Size, stride: Size | None) -> tuple[slice, slice]:
    """The rows and the columns under output (i, j)."""
    (h, w), (down, right) = pair(kernel_size), pair(kernel_size if stride is None else stride)
    return slice(i * down, i * down + h), slice(j * right, j * right + w)
