"""What an operation costs, what it is called, and why its output has its shape.

The counting rule: a multiply-accumulate (MAC) is a product with a weight, or in attention of two inputs, that is added
up: in convolutions, dense layers and products of matrices. All else is listed apart, as elementwise operations.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Literal

from convatlas.explanation.arithmetic import (
    Sum,
    adaptive_places,
    adaptive_size,
    concatenated_size,
    conv_macs,
    conv_params,
    dense_params,
    elements,
    mean_size,
    norm_params,
    output_size,
    product_macs,
    resized_size,
    shuffled_channels,
    tensor_params,
    transposed_size,
)
from convatlas.explanation.operators import (
    ATTENTION,
    CREATING,
    PADDING,
    operands,
    resizings,
    several,
    windows,
    without_batch,
)
from convatlas.explanation.trace import Operation, Weight

Family = Literal["conv", "grouped", "pool", "dense", "attention", "join", "shuffle", "other"]
"""What layers are taken together as, in drawings and sums; `conv` and `grouped` are convolutions."""
WEIGHTED: tuple[Family, ...] = ("conv", "grouped", "dense")
"""The families whose layers a network's depth counts."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one operation on one image."""

    kind: str
    """What it is called; "" for what only turns or cuts a tensor."""
    family: Family = "other"
    macs: int = 0
    elementwise: int = 0
    params: int = 0
    """Of the weights in the shape in which they are used."""
    formulas: tuple[str, ...] = ()
    window: tuple[int, ...] = ()
    """Of a convolution or a pooling: (height, width)."""
    counted: bool = True
    """False where there is no rule for the operation, and 0 is no count."""


Rule = Callable[[Operation], Cost]


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
    "sub": "subtraction", "div": "division", "pow": "power", "neg": "sign",
    "native_dropout": "dropout", "_prelu_kernel": "PReLU",
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
        *CREATING,
    ]
)
"""Operations that move numbers and compute none."""


def numbers(operation: Operation) -> int:
    """How many numbers the first output has, without the batch."""
    return prod(operation.output.shape)


def convolution(operation: Operation) -> Cost:
    """Its size in each direction, its parameters and its products."""
    given, x, y = operation.arguments, operation.inputs[0], operation.output
    groups, each = int(given["groups"]), windows(operation)
    kernel, sides = [window.kernel_size for window in each], x.shape[2:]
    if given["transposed"]:
        extras = several(given["output_padding"], len(each))
        sizes = [
            transposed_size(n, k, stride=s, padding=p, dilation=d, output_padding=extra)
            for n, (k, s, d, p), extra in zip(sides, each, extras, strict=True)
        ]
    else:
        sizes = [
            output_size(n, k, stride=s, padding=p, dilation=d) for n, (k, s, d, p) in zip(sides, each, strict=True)
        ]
    ins, outs = x.shape[1], y.shape[1]
    params = conv_params(ins, outs, kernel, groups=groups, bias=given.get("bias") is not None)
    # A transposed convolution spreads each unit of its input, so that these are counted, over all of its filters.
    macs = conv_macs(ins, outs, kernel, sides if given["transposed"] else y.shape[2:], groups=groups)
    kind = "transposed convolution" if given["transposed"] else "convolution"
    if groups > 1:
        kind = f"depthwise {kind}" if groups == ins else f"grouped {kind}"
    return Cost(
        kind,
        "grouped" if groups > 1 else "conv",
        macs=macs.value,
        params=params.value,
        formulas=said(*sizes, params, macs),
        window=tuple(kernel),
    )


def said(*sums: Sum) -> tuple[str, ...]:
    """The sums in words, each once: directions are often alike."""
    return tuple(dict.fromkeys(each.formula for each in sums))


def pooling(kind: str) -> Rule:
    """The rule of a pooling."""

    def rule(operation: Operation) -> Cost:
        each, ceil_mode = windows(operation), bool(operation.arguments.get("ceil_mode"))
        sizes = [
            output_size(n, k, stride=s, padding=p, dilation=d, ceil_mode=ceil_mode)
            for n, (k, s, d, p) in zip(operation.inputs[0].shape[-len(each) :], each, strict=True)
        ]
        kernel = tuple(window.kernel_size for window in each)
        return Cost(kind, "pool", elementwise=numbers(operation) * prod(kernel), formulas=said(*sizes), window=kernel)

    return rule


def adaptive(kind: str) -> Rule:
    """The rule of a pooling whose windows are chosen for the output's size."""

    def rule(operation: Operation) -> Cost:
        before, after = operation.inputs[0].shape, operation.output.shape
        pairs = list(zip(before[-2:], after[-2:], strict=True))
        places = prod(adaptive_places(size, units) for size, units in pairs)
        sizes = [adaptive_size(size, units) for size, units in pairs]
        return Cost(kind, "pool", elementwise=prod(before[:-2]) * places, formulas=said(*sizes))

    return rule


def enlarged(kind: str, seen: int) -> Rule:
    """The rule of an upsampling, each of whose units is a weighted sum of `seen` units, or of none, a copy."""

    def rule(operation: Operation) -> Cost:
        before, after = operation.inputs[0].shape[-2:], operation.output.shape[-2:]
        sizes = map(resized_size, before, after, resizings(operation))
        return Cost(kind, elementwise=seen * numbers(operation), formulas=said(*sizes))

    return rule


def channel_shuffle(operation: Operation) -> Cost:
    """The channels in another order."""
    channels = shuffled_channels(operation.inputs[0].shape[1], operation.arguments["groups"])
    return Cost("channel shuffle", "shuffle", formulas=said(channels))


def mean(operation: Operation) -> Cost:
    """Of each number that goes in; of whole maps it is global average pooling (Lin, Chen, Yan 2013, Sec. 3.2)."""
    x = operation.inputs[0].shape
    dims = {d % len(x) for d in several(operation.arguments.get("dim") or list(range(len(x))), 1)}
    if len(x) == 4 and dims == {2, 3}:
        return Cost("global average pooling", "pool", elementwise=prod(x), formulas=said(mean_size(x[2:])))
    return Cost("mean", "pool", elementwise=prod(x))


def joining(kind: str) -> Rule:
    """The rule of a sum or product, of two maps or with a constant."""

    def rule(operation: Operation) -> Cost:
        shape, maps = without_batch(operation.output.shape), len(operation.inputs) > 1
        formulas = said(elements(shape)) if maps and len(shape) > 1 else ()
        return Cost(kind, "join", elementwise=numbers(operation), formulas=formulas)

    return rule


def reduction(kind: str) -> Rule:
    """The rule of what makes one number of many: each that goes in counts."""
    return lambda operation: Cost(kind, elementwise=prod(operation.inputs[0].shape))


def normalization(kind: str) -> Rule:
    """The rule of a normalisation: a product and a sum for each number, a γ and a β for each channel or feature."""

    def rule(operation: Operation) -> Cost:
        weight, bias = (operation.arguments.get(name) for name in ("weight", "bias"))
        params = [norm_params(prod(weight.shape), bias=bias is not None)] if isinstance(weight, Weight) else []
        return Cost(kind, elementwise=2 * numbers(operation), formulas=said(*params))

    return rule


def batch_normalization(operation: Operation) -> Cost:
    """A line for each channel in evaluation.

    Without running statistics its line comes from the one image: torch has the same operation for instance
    normalisation, and on one image it is the same (Ulyanov, Vedaldi and Lempitsky 2016, eq. 3).
    """
    alone = operation.arguments.get("training") and operation.inputs[0].shape[0] == 1
    return normalization("instance normalisation" if alone else "batch normalisation")(operation)


def softmax(operation: Operation) -> Cost:
    """One for each number."""
    return Cost("softmax", "attention", elementwise=numbers(operation))


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
        return Cost("product", "attention", macs=macs.value, formulas=said(macs))
    added = operation.arguments["self"]
    bias = [added.shape] if isinstance(added, Weight) and added not in (left, right) else []
    # The same matrix for each row of tokens is one.
    single = prod(weight.shape[:-2]) == weight.repeated
    if weight is right and single and len(weight.shape) > 1 and bias in ([], [(columns,)]):
        params = dense_params(inner, columns, bias=bool(bias))
    else:
        params = tensor_params([weight.shape[-2:] if single else weight.shape, *bias])
    return Cost("dense", "dense", macs=macs.value, params=params.value, formulas=said(params, macs))


def attention(operation: Operation) -> Cost:
    """Each token's product with each, and the sum that it weighs."""
    query, key, value = (operation.arguments[name] for name in ("query", "key", "value"))
    scores = product_macs(query.shape[-2], query.shape[-1], key.shape[-2], times=prod(query.shape[:-2]))
    answers = product_macs(query.shape[-2], value.shape[-2], value.shape[-1], times=prod(query.shape[:-2]))
    return Cost("attention", "attention", macs=scores.value + answers.value, formulas=said(scores, answers))


def concatenation(operation: Operation) -> Cost:
    """The channels, or whatever lies side by side, added up."""
    parts = [value.shape[operation.arguments.get("dim", 0)] for value in operation.arguments["tensors"]]
    return Cost("concatenation", "join", formulas=said(concatenated_size(parts)) if len(parts) > 1 else ())


def padding(operation: Operation) -> Cost:
    """A frame, or channels of zeros."""
    sides = zip(operation.inputs[0].shape, operation.output.shape, strict=True)
    return Cost("padding", formulas=said(*(concatenated_size([n, m - n]) for n, m in sides if n != m)))


def arranged(operations: Sequence[Operation]) -> Cost | None:
    """What a module does that only moves numbers: a channel shuffle, if it splits the channels and turns the parts."""
    for before, after in pairwise(operations):
        x, groups = before.inputs[0].shape, before.output.shape
        swaps = after.name == "transpose" and {after.arguments["dim0"], after.arguments["dim1"]} == {1, 2}
        if swaps and len(x) == 4 and len(groups) == 5 and groups[3:] == x[2:] and operations[-1].output.shape == x:
            return Cost("channel shuffle", "shuffle", formulas=said(shuffled_channels(x[1], groups[1])))
    return None


def no_parameters(operations: Sequence[Operation], shaped: int, params: int) -> str:
    """Why of the `shaped` numbers that operations use as weights, `params` alone are parameters that count here."""
    given = [operation.arguments.get(name) for operation in operations for name in ("weight", "bias")]
    fixed = any(isinstance(weight, Weight) and not weight.parameters for weight in given)
    if not any(weight.parameters for operation in operations for weight in operation.weights):
        return f"the {shaped:,} are {'a fixed tensor' if fixed else 'computed from the image'}, and no parameters"
    if fixed:
        why = "the others are a fixed tensor"
    elif params:
        why = "the others are the same ones again"
    else:
        why = "another layer has them too, where they are counted"
    return f"{params:,} of the {shaped:,} are parameters here: {why}"


def plain(weights: Sequence[Weight]) -> Sum | None:
    """The numbers of weights that no rule counts, such as the positions of tokens; None if they are but one row."""
    shapes = []
    for shape in (weight.shape for weight in weights if weight.parameters):
        shape = shape[1:] if len(shape) > 2 and shape[0] == 1 else shape
        while len(shape) > 1 and shape[-1] == 1:
            shape = shape[:-1]
        shapes.append(shape)
    return tensor_params(shapes) if sum(map(len, shapes)) > 1 else None


RULES: dict[str, Rule] = {
    "convolution": convolution,
    **dict.fromkeys(("max_pool2d_with_indices", "max_pool3d_with_indices"), pooling("max pooling")),
    **dict.fromkeys(("avg_pool2d", "avg_pool3d"), pooling("average pooling")),
    "_adaptive_avg_pool2d": adaptive("adaptive average pooling"),
    "adaptive_max_pool2d": adaptive("adaptive max pooling"),
    "upsample_nearest2d": enlarged("nearest upsampling", 0),
    "upsample_bilinear2d": enlarged("bilinear upsampling", 4),
    "pixel_shuffle": enlarged("pixel shuffle", 0),
    **dict.fromkeys(("channel_shuffle", "native_channel_shuffle"), channel_shuffle),
    "add": joining("addition"),
    "mul": joining("multiplication"),
    "mean": mean,
    "sum": reduction("sum"),
    "amax": reduction("maximum"),
    "amin": reduction("minimum"),
    **dict.fromkeys(("_softmax", "_safe_softmax", "_log_softmax"), softmax),
    "native_layer_norm": normalization("layer normalisation"),
    "native_group_norm": normalization("group normalisation"),
    **dict.fromkeys(
        ("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training"), batch_normalization
    ),
    "hardtanh": clipped,
    **dict.fromkeys(("addmm", "mm", "bmm", "baddbmm", "mv"), product),
    **dict.fromkeys(ATTENTION, attention),
    "cat": concatenation,
    **dict.fromkeys(PADDING, padding),
}  # fmt: skip
