"""Torch's operators by what they do, and their arguments read in one place."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from convatlas.explanation.arithmetic import Resizing, Window
from convatlas.explanation.trace import Operation, Weight

POOLINGS = {
    "max_pool2d_with_indices": 2, "max_pool3d_with_indices": 3, "avg_pool2d": 2, "avg_pool3d": 3,
}  # fmt: skip
"""How many directions their windows have."""
ADAPTIVE = ("_adaptive_avg_pool2d", "adaptive_max_pool2d")
ENLARGING = ("upsample_nearest2d", "upsample_bilinear2d", "pixel_shuffle")
ATTENTION = (
    "_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_fused_attention_overrideable",
    "_scaled_dot_product_efficient_attention",
)  # fmt: skip
PADDING = {"constant_pad_nd": "constant", "reflection_pad2d": "reflect", "replication_pad2d": "replicate"}
"""What a frame is made of, as `torch.nn.functional.pad` calls it."""
CREATING = (
    "empty_like", "zeros_like", "ones_like", "full_like", "new_empty", "new_empty_strided", "new_zeros", "new_ones",
    "new_full",
)  # fmt: skip
"""Which take a shape from their argument, and none of its numbers."""


def without_batch(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape for one image: the first dimension is the batch, unless heads or the like were laid into it."""
    return shape[1:] if shape[:1] == (1,) else shape


def several(value: Any, dims: int) -> list[int]:
    """An argument that is one number for all directions, or a list with one for each."""
    values = list(value) if isinstance(value, list | tuple) else [value]
    return [int(v) for v in (values * dims if len(values) == 1 else values)]


def windows(operation: Operation) -> list[Window]:
    """The windows of a convolution or a pooling, one for each direction."""
    given = operation.arguments
    if operation.name in POOLINGS:
        dims = POOLINGS[operation.name]
        kernel = several(given["kernel_size"], dims)
    else:
        kernel = list(given["weight"].shape[2:])
        dims = len(kernel)
    strides = several(given.get("stride") or kernel, dims)
    paddings, dilations = several(given.get("padding", 0), dims), several(given.get("dilation", 1), dims)
    return [Window(*each) for each in zip(kernel, strides, dilations, paddings, strict=True)]


def resizings(operation: Operation) -> list[Resizing]:
    """What an upsampling, or a pixel shuffle, does down and across."""
    given, before, after = operation.arguments, operation.inputs[0].shape[-2:], operation.output.shape[-2:]
    between = operation.name == "upsample_bilinear2d"
    if between and given["align_corners"]:
        ratios = [Fraction(n - 1, max(m - 1, 1)) for n, m in zip(before, after, strict=True)]
        return [Resizing(ratio, Fraction(0), between) for ratio in ratios]
    scales = (given.get("scales_h"), given.get("scales_w"))
    ratios = [
        1 / Fraction(scale).limit_denominator(1_000_000) if scale else Fraction(n, m)
        for scale, n, m in zip(scales, before, after, strict=True)
    ]
    return [Resizing(ratio, (ratio - 1) / 2 if between else Fraction(0), between) for ratio in ratios]


def operands(operation: Operation) -> tuple[Any, Any]:
    """What a product of matrices multiplies, without what it is added to."""
    given = operation.arguments
    pairs = (("mat1", "mat2"), ("batch1", "batch2"), ("self", "mat2"), ("self", "vec"), ("input", "weight"))
    left, right = next((pair for pair in pairs if given.keys() >= set(pair)), ("self", "tensor"))
    return given[left], given[right]


def biases(operations: Sequence[Operation]) -> Iterator[tuple[int, int]]:
    """The products with a weight, each with the addition of its bias, where torch makes the two apart.

    It does so where tokens do not lie one behind the other, and `addmm` else.
    """
    for index, operation in enumerate(operations):
        if operation.name not in ("mm", "bmm") or not any(weight.parameters for weight in operation.weights):
            continue
        after = index + 1
        while after < len(operations) and operations[after].name in ("view", "_unsafe_view"):
            after += 1
        given = operations[after].arguments if after < len(operations) and operations[after].name == "add" else {}
        bias, before = given.get("other"), operations[after - 1].output
        if isinstance(bias, Weight) and given["self"] == before and bias.shape == operation.output.shape[-1:]:
            yield index, after


def with_biases(operations: Sequence[Operation]) -> list[Operation]:
    """The same operations, of which products with a weight add its bias themselves."""
    changed = list(operations)
    for index, after in biases(operations):
        (left, right), bias = operands(operations[index]), operations[after].arguments["other"]
        given = {"self": bias, "batch1": left, "batch2": right}
        changed[index] = replace(operations[index], name="baddbmm", arguments=given)
        changed[after] = replace(operations[after], name="alias", arguments={"self": operations[after].inputs[0]})
    return changed
