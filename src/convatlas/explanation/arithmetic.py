"""The arithmetic of layers: sizes, parameters and costs, each as a number and as the sum in words.

Sizes are of one direction. Costs are multiply-accumulates (MACs) on one image.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import prod
from typing import NamedTuple


class Sum(NamedTuple):
    """A number, and how it comes about: `55 = ⌊(227 − 11 + 2·0) / 4⌋ + 1`."""

    value: int
    formula: str

    def __str__(self) -> str:
        return self.formula


class Window(NamedTuple):
    """A layer as what it sees of the one before: a kernel of so many units, and a step of so many to the next."""

    kernel_size: int
    stride: int = 1
    dilation: int = 1
    padding: int = 0


class Resizing(NamedTuple):
    """Where the units of a resized map stand in the map before: unit i at i · ratio + shift."""

    ratio: Fraction
    shift: Fraction
    between: bool
    """Whether a unit is a weighted sum of the two on its sides; or else it is a copy of the one before its place."""


def output_size(
    size: int, kernel_size: int, *, stride: int = 1, padding: int = 0, dilation: int = 1, ceil_mode: bool = False
) -> Sum:
    """How many units a window of `kernel_size` gives along a side of `size`: ⌊(n − k + 2p) / s⌋ + 1.

    With `dilation` d the window reaches over d · (k − 1) + 1; with `ceil_mode` the last may reach out of the frame,
    but has to begin in the image or the frame before it. Raises ValueError where no window fits.
    """
    if min(kernel_size, stride, dilation) < 1 or padding < 0:
        raise ValueError(
            "kernel_size, stride and dilation are at least 1 and padding at least 0, "
            f"and not {kernel_size}, {stride}, {dilation} and {padding}"
        )
    reach = dilation * (kernel_size - 1) + 1
    rest = size - reach + 2 * padding
    units = (-(-rest // stride) if ceil_mode else rest // stride) + 1
    if units < 1:
        raise ValueError(f"a window of {reach} does not fit into {size} with a padding of {padding}")
    k = str(kernel_size) if dilation == 1 else f"({dilation}·({kernel_size} − 1) + 1)"
    left, right = "⌈⌉" if ceil_mode else "⌊⌋"
    formula = f"{left}({size} − {k} + 2·{padding}) / {stride}{right} + 1"
    if ceil_mode and (units - 1) * stride >= size + padding:
        return Sum(units - 1, f"{units - 1} = {formula} − 1: the last window would begin outside")
    return Sum(units, f"{units} = {formula}")


def transposed_size(
    size: int, kernel_size: int, *, stride: int = 1, padding: int = 0, dilation: int = 1, output_padding: int = 0
) -> Sum:
    """How many units a transposed window gives: (n − 1) · s − 2p + d · (k − 1) + output_padding + 1."""
    units = (size - 1) * stride - 2 * padding + dilation * (kernel_size - 1) + output_padding + 1
    return Sum(
        units, f"{units} = ({size} − 1)·{stride} − 2·{padding} + {dilation}·({kernel_size} − 1) + {output_padding} + 1"
    )


def adaptive_size(size: int, units: int) -> Sum:
    """How many units an adaptive pooling gives of `size`: as many as are asked for, of windows as even as can be.

    Unit i is of those from ⌊i · n / m⌋ to before ⌈(i + 1) · n / m⌉, so that windows overlap where m does not divide n.
    """
    if units == 1:
        return Sum(1, f"1 of all {size}")
    if size % units == 0:
        return output_size(size, size // units, stride=size // units)
    formula = f"{units} of {size}: unit i of those from ⌊i·{size}/{units}⌋ to before ⌈(i + 1)·{size}/{units}⌉"
    return Sum(units, formula)


def adaptive_places(size: int, units: int) -> int:
    """How many places all windows of an adaptive pooling have together, one direction of it."""
    return sum(-(-(unit + 1) * size // units) - unit * size // units for unit in range(units))


def resized_size(size: int, units: int, resizing: Resizing) -> Sum:
    """How many units an upsampling gives of `size`, and where in the map before they stand."""
    ratio, shift, between = resizing
    even = ratio * units == size and units % size == 0
    count = f"{units} = {units // size} · {size}" if even else f"{units} of {size}"
    if even and not between:
        return Sum(units, count)
    place = f"i·{ratio}" + (f" {'−' if shift < 0 else '+'} {abs(shift)}" if shift else "")
    return Sum(units, f"{count}: unit i stands at {place if between else f'⌊{place}⌋'}")


def mean_size(sizes: Sequence[int]) -> Sum:
    """The one unit that a mean over whole maps leaves: `1 = the mean of 7·7`."""
    return Sum(1, f"1 = the mean of {times(sizes)}")


def concatenated_size(parts: Sequence[int]) -> Sum:
    """How many channels, or whatever lies side by side, several maps have together: `256 = 64 + 128 + 32 + 32`."""
    return Sum(sum(parts), f"{sum(parts)} = {' + '.join(map(str, parts))}")


def shuffled_channels(channels: int, groups: int) -> Sum:
    """As many channels as before, of each group one in turn. Zhang, Zhou, Lin and Sun 2018, Sec. 3.1."""
    check_groups(channels, channels, groups)
    return Sum(channels, f"{channels} = {groups} · {channels // groups}, of each group one in turn")


def elements(shape: Sequence[int]) -> Sum:
    """How many numbers a map or tokens have, each of which an addition gives: `802,816 = 256 · 56·56`."""
    factors = [str(shape[0]), times(shape[1:])] if len(shape) == 3 else map(str, shape)
    return Sum(prod(shape), f"{prod(shape):,} = {' · '.join(factors)}")


def conv_params(
    in_channels: int, out_channels: int, kernel_size: Sequence[int], *, groups: int = 1, bias: bool = True
) -> Sum:
    """The weights of a convolution: each filter has k · k numbers for each channel of its group, and perhaps a bias.

    Raises ValueError where the groups do not divide the channels.
    """
    check_groups(in_channels, out_channels, groups)
    value = out_channels * (prod(kernel_size) * (in_channels // groups) + bias)
    inner = f"{times(kernel_size)}·{share(in_channels, groups)}"
    return Sum(value, f"{value:,} = {out_channels} · " + (f"({inner} + 1)" if bias else inner))


def conv_macs(
    in_channels: int, out_channels: int, kernel_size: Sequence[int], output: Sequence[int], *, groups: int = 1
) -> Sum:
    """The products of a convolution: each unit of each map is one of k · k · channels products."""
    value = prod(output) * out_channels * prod(kernel_size) * (in_channels // groups)
    return Sum(
        value, f"{value:,} = {times(output)} · {out_channels} · {times(kernel_size)}·{share(in_channels, groups)}"
    )


def dense_params(in_features: int, out_features: int, *, bias: bool = True) -> Sum:
    """The weights of a dense layer."""
    value = out_features * (in_features + bias)
    return Sum(value, f"{value:,} = {out_features} · " + (f"({in_features} + 1)" if bias else str(in_features)))


def norm_params(features: int, *, bias: bool = True) -> Sum:
    """The weights of a normalisation: a factor γ, and perhaps a summand β, for each channel or feature."""
    return Sum(features * (1 + bias), f"{features * (1 + bias):,} = {1 + bias} · {features}")


def tensor_params(shapes: Sequence[Sequence[int]]) -> Sum:
    """The weights of tensors as they are, such as the positions of tokens: `151,296 = 197 · 768`."""
    value = sum(prod(shape) for shape in shapes)
    return Sum(value, f"{value:,} = " + " + ".join(" · ".join(map(str, shape)) for shape in shapes))


def product_macs(rows: int, inner: int, columns: int, *, times: int = 1) -> Sum:
    """The products of a product of matrices, `times` over."""
    value = times * rows * inner * columns
    factors = [n for n in (times, rows, columns) if n > 1] + [inner]
    return Sum(value, f"{value:,} = " + " · ".join(map(str, factors)))


def receptive_field(stack: Sequence[Window]) -> Sum:
    """How far into the input a unit of the last of these layers sees: 1 + Σ d · (k − 1) · (the strides before it).

    Araujo, Norris and Sim 2019, "Computing receptive fields of convolutional neural networks", eq. 2.
    """
    value, step, terms = 1, 1, ["1"]
    for kernel_size, stride, dilation, _ in stack:
        value += dilation * (kernel_size - 1) * step
        terms.append("·".join([*(str(n) for n in (dilation,) if n > 1), f"({kernel_size} − 1)", str(step)]))
        step *= stride
    return Sum(value, f"{value:,} = {' + '.join(terms)}")


class Conv(NamedTuple):
    """A convolution of square kernels without a bias, as factorisations are counted."""

    in_channels: int
    out_channels: int
    kernel_size: int
    groups: int = 1

    @property
    def params(self) -> Sum:
        """Its weights."""
        return conv_params(self.in_channels, self.out_channels, (self.kernel_size,) * 2, groups=self.groups, bias=False)

    def macs(self, height: int, width: int) -> Sum:
        """Its products, where its maps are of `height` × `width`."""
        return conv_macs(
            self.in_channels, self.out_channels, (self.kernel_size,) * 2, (height, width), groups=self.groups
        )


def total(parts: Sequence[Sum]) -> Sum:
    """What several sums come to together: `69,632 = 16,384 + 36,864 + 16,384`."""
    value = sum(part.value for part in parts)
    return Sum(value, f"{value:,} = {' + '.join(f'{part.value:,}' for part in parts)}")


def stack_params(convs: Sequence[Conv]) -> Sum:
    """The weights of several convolutions: of a factorisation, or of the branches of a block."""
    return total([conv.params for conv in convs])


def stack_macs(convs: Sequence[Conv], height: int, width: int) -> Sum:
    """The products of several convolutions that all give maps of `height` × `width`."""
    return total([conv.macs(height, width) for conv in convs])


def saving(before: Sum, after: Sum) -> float:
    """How many times less the second costs."""
    return before.value / after.value


def check_groups(in_channels: int, out_channels: int, groups: int) -> None:
    """Raise ValueError unless `groups` divides both numbers of channels."""
    if groups < 1 or in_channels % groups or out_channels % groups:
        raise ValueError(f"{in_channels} and {out_channels} channels do not divide into {groups} groups")


def times(sizes: Sequence[int]) -> str:
    """`11·11`."""
    return "·".join(map(str, sizes))


def share(channels: int, groups: int) -> str:
    """`48`, or how it is a share: `(96/2)`."""
    return str(channels) if groups == 1 else f"({channels}/{groups})"
