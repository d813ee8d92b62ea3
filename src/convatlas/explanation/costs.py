"""What an operation costs, what it is called, and why its output has its shape.

The counting rule: a multiply-accumulate (MAC) is a product with a weight, or in attention of two inputs, that is added
up: in convolutions, dense layers and products of matrices. All else is listed apart, as elementwise operations.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from convatlas.explanation.arithmetic import Sum, conv_macs, conv_params, output_size, product_macs, transposed_size
from convatlas.explanation.field import operands, several
from convatlas.explanation.trace import Operation, Weight


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one operation on one image."""

    kind: str
    """What it is called; "" for what only turns or cuts a tensor."""
    macs: int = 0
    elementwise: int = 0
    params: int = 0
    """Of the weights in the shape in which they are used."""
    formulas: tuple[str, ...] = ()
    window: tuple[int, ...] = ()
    """Of a convolution or a pooling: (height, width)."""
    counted: bool = True
    """False where there is no rule for the operation, and 0 is no count."""


def cost_of(operation: Operation) -> Cost:
    """What the operation costs."""
    if operation.name in RULES:
        return RULES[operation.name](operation)
    if operation.name in SILENT:
        return Cost("")
    kind = KINDS.get(operation.name, operation.name.strip("_").replace("_", " "))
    if operation.pointwise or operation.name in KINDS:
        return Cost(kind, elementwise=numbers(operation))
    return Cost(kind, counted=False)


KINDS = {
    "relu": "ReLU", "sigmoid": "sigmoid", "tanh": "tanh", "gelu": "GELU", "silu": "SiLU",
    "add": "addition", "sub": "subtraction", "mul": "multiplication", "div": "division", "pow": "power", "neg": "sign",
    "native_dropout": "dropout", "_prelu_kernel": "PReLU",
    "_softmax": "softmax", "_safe_softmax": "softmax", "_log_softmax": "softmax",
}  # fmt: skip
SILENT = frozenset(
    [
        "view",
        "overlay",
        "_unsafe_view",
        "reshape",
        "flatten",
        "unflatten",
        "squeeze",
        "unsqueeze",
        "transpose",
        "permute",
        "t",
        "clone",
        "contiguous",
        "_to_copy",
        "alias",
        "detach",
        "expand",
        "select",
        "slice",
        "split",
        "split_with_sizes",
        "unbind",
        "unsafe_split",
        "stack",
        "chunk",
        "roll",
        "flip",
        "empty_like",
        "zeros_like",
        "ones_like",
    ]
)
"""Operations that move numbers and compute none."""


def numbers(operation: Operation) -> int:
    """How many numbers the first output has, without the batch."""
    return prod(operation.output.shape)


def convolution(operation: Operation) -> Cost:
    """Its size in each direction, its parameters and its products."""
    given, x, y = operation.arguments, operation.inputs[0], operation.output
    weight, bias, groups = given["weight"], given.get("bias"), int(given["groups"])
    dims = len(weight.shape) - 2
    kernel = weight.shape[2:]
    strides, paddings, dilations = (several(given[name], dims) for name in ("stride", "padding", "dilation"))
    extra = several(given["output_padding"], dims)
    sizes = [
        transposed_size(x.shape[d + 2], kernel[d], stride=strides[d], padding=paddings[d], dilation=dilations[d],
                        output_padding=extra[d])
        if given["transposed"]
        else output_size(x.shape[d + 2], kernel[d], stride=strides[d], padding=paddings[d], dilation=dilations[d])
        for d in range(dims)
    ]  # fmt: skip
    ins, outs = x.shape[1], y.shape[1]
    params = conv_params(ins, outs, kernel, groups=groups, bias=bias is not None)
    # A transposed convolution spreads each unit of its input, so that these are counted, over all of its filters.
    macs = conv_macs(ins, outs, kernel, x.shape[2:] if given["transposed"] else y.shape[2:], groups=groups)
    kind = "transposed convolution" if given["transposed"] else "convolution"
    if groups > 1:
        kind = f"depthwise {kind}" if groups == ins else f"grouped {kind}"
    formulas = (*once(sizes), params.formula, macs.formula)
    return Cost(kind, macs=macs.value, params=params.value, formulas=formulas, window=tuple(kernel))


def once(sizes: list[Sum]) -> list[str]:
    """The formulas of all directions, or one if they are the same."""
    return list(dict.fromkeys(size.formula for size in sizes))


def pooling(kind: str) -> Callable[[Operation], Cost]:
    """The rule of a pooling."""

    def rule(operation: Operation) -> Cost:
        given, x = operation.arguments, operation.inputs[0]
        dims = (
            len(given["kernel_size"]) if isinstance(given["kernel_size"], list) and len(given["kernel_size"]) > 2 else 2
        )
        kernel = several(given["kernel_size"], dims)
        strides = several(given.get("stride") or kernel, dims)
        paddings, dilations = several(given.get("padding", 0), dims), several(given.get("dilation", 1), dims)
        sizes = [
            output_size(x.shape[d - dims], kernel[d], stride=strides[d], padding=paddings[d], dilation=dilations[d],
                        ceil_mode=bool(given.get("ceil_mode")))
            for d in range(dims)
        ]  # fmt: skip
        return Cost(
            kind, elementwise=numbers(operation) * prod(kernel), formulas=tuple(once(sizes)), window=tuple(kernel)
        )

    return rule


def adaptive(operation: Operation) -> Cost:
    """A pooling whose windows are chosen for the output's size."""
    before, after = operation.inputs[0].shape[-2:], operation.output.shape[-2:]
    kind = "adaptive max pooling" if "max" in operation.name else "adaptive average pooling"
    formulas = tuple(dict.fromkeys(f"{n} of {m}" for n, m in zip(after, before, strict=True)))
    return Cost(kind, elementwise=prod(operation.inputs[0].shape), formulas=formulas)


def enlarged(kind: str, seen: int) -> Callable[[Operation], Cost]:
    """The rule of an upsampling, each of whose units is a weighted sum of `seen` units, or of none, a copy."""

    def rule(operation: Operation) -> Cost:
        before, after = operation.inputs[0].shape[-2:], operation.output.shape[-2:]
        formulas = tuple(dict.fromkeys(f"{m} of {n}" for n, m in zip(before, after, strict=True)))
        return Cost(kind, elementwise=seen * numbers(operation), formulas=formulas)

    return rule


def mean(operation: Operation) -> Cost:
    """Of each number that goes in; of whole maps it is global average pooling (Lin, Chen, Yan 2013, Sec. 3.2)."""
    x = operation.inputs[0].shape
    dims = {d % len(x) for d in several(operation.arguments.get("dim") or list(range(len(x))), 1)}
    if len(x) == 4 and dims == {2, 3}:
        formula = f"1 = the mean of {x[2]}·{x[3]}"
        return Cost("global average pooling", elementwise=prod(x), formulas=(formula,))
    return Cost("mean", elementwise=prod(x))


def reduction(kind: str) -> Callable[[Operation], Cost]:
    """The rule of what makes one number of many: each that goes in counts."""
    return lambda operation: Cost(kind, elementwise=prod(operation.inputs[0].shape))


def line(kind: str) -> Callable[[Operation], Cost]:
    """The rule of a normalisation: a product and a sum for each number."""
    return lambda operation: Cost(kind, elementwise=2 * numbers(operation))


def clipped(operation: Operation) -> Cost:
    """Between two bounds, which of ReLU6 are 0 and 6."""
    bounds = (operation.arguments.get("min_val", -1), operation.arguments.get("max_val", 1))
    return Cost("ReLU6" if bounds == (0, 6) else "hardtanh", elementwise=numbers(operation))


def product(operation: Operation) -> Cost:
    """A dense layer, or a product of two matrices that both come from the image."""
    left, right = operands(operation)
    rows, inner, columns = left.shape[-2], left.shape[-1], right.shape[-1] if len(right.shape) > 1 else 1
    macs = product_macs(rows, inner, columns, times=prod(left.shape[:-2]))
    weight = next((w for w in (left, right) if isinstance(w, Weight) and w.parameters), None)
    if weight is None:
        return Cost("product", macs=macs.value, formulas=(macs.formula,))
    added = operation.arguments["self"]
    bias = added.shape if isinstance(added, Weight) and added not in (left, right) else None
    weights = prod(weight.shape) + (prod(bias) if bias else 0)
    each = " · ".join(map(str, weight.shape)) + (f" + {' · '.join(map(str, bias))}" if bias else "")
    if weight is right and len(weight.shape) == 2 and bias in (None, (columns,)):
        each = f"{columns} · ({inner} + 1)" if bias else f"{columns} · {inner}"
    return Cost("dense", macs=macs.value, params=weights, formulas=(f"{weights:,} = {each}", macs.formula))


def attention(operation: Operation) -> Cost:
    """Each token's product with each, and the sum that it weighs."""
    query, key, value = (operation.arguments[name] for name in ("query", "key", "value"))
    scores = product_macs(query.shape[-2], query.shape[-1], key.shape[-2], times=prod(query.shape[:-2]))
    answers = product_macs(query.shape[-2], value.shape[-2], value.shape[-1], times=prod(query.shape[:-2]))
    return Cost("attention", macs=scores.value + answers.value, formulas=(scores.formula, answers.formula))


def normalization(operation: Operation) -> Cost:
    """A line for each channel in evaluation: a product and a sum for each number, a γ and a β for each channel.

    Without running statistics its line comes from the one image: torch has the same operation for instance
    normalisation, and on one image it is the same (Ulyanov, Vedaldi and Lempitsky 2016, eq. 3).
    """
    channels = operation.inputs[0].shape[1]
    formulas = (
        (f"{2 * channels:,} = 2 · {channels}",) if operation.weights and operation.arguments.get("weight") else ()
    )
    alone = operation.arguments.get("training") and operation.inputs[0].shape[0] == 1
    kind = "instance normalisation" if alone else "batch normalisation"
    return Cost(kind, elementwise=2 * numbers(operation), formulas=formulas)


def concatenation(operation: Operation) -> Cost:
    """The channels, or whatever lies side by side, added up."""
    dim = operation.arguments.get("dim", 0)
    parts = [value.shape[dim] for value in operation.arguments["tensors"]]
    return Cost("concatenation", formulas=(f"{sum(parts)} = {' + '.join(map(str, parts))}",))


def padding(operation: Operation) -> Cost:
    """A frame, or channels of zeros."""
    before, after = operation.inputs[0].shape, operation.output.shape
    changed = (f"{m} = {n} + {m - n}" for n, m in zip(before, after, strict=True) if n != m)
    return Cost("padding", formulas=tuple(dict.fromkeys(changed)))


RULES: dict[str, Callable[[Operation], Cost]] = {
    "convolution": convolution,
    **dict.fromkeys(("max_pool2d_with_indices", "max_pool3d_with_indices"), pooling("max pooling")),
    **dict.fromkeys(("avg_pool2d", "avg_pool3d"), pooling("average pooling")),
    **dict.fromkeys(("_adaptive_avg_pool2d", "adaptive_max_pool2d"), adaptive),
    "upsample_nearest2d": enlarged("nearest upsampling", 0),
    "upsample_bilinear2d": enlarged("bilinear upsampling", 4),
    "pixel_shuffle": enlarged("pixel shuffle", 0),
    **dict.fromkeys(("channel_shuffle", "native_channel_shuffle"), lambda _: Cost("channel shuffle")),
    "mean": mean,
    "sum": reduction("sum"),
    "amax": reduction("maximum"),
    "amin": reduction("minimum"),
    "native_layer_norm": line("layer normalisation"),
    "native_group_norm": line("group normalisation"),
    "hardtanh": clipped,
    **dict.fromkeys(("addmm", "mm", "bmm", "baddbmm", "mv"), product),
    **dict.fromkeys(
        ("_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_fused_attention_overrideable",
         "_scaled_dot_product_efficient_attention"),
        attention,
    ),
    **dict.fromkeys(
        ("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training"), normalization
    ),
    "cat": concatenation,
    **dict.fromkeys(("constant_pad_nd", "reflection_pad2d", "replication_pad2d"), padding),
}  # fmt: skip
