"""How each operation carries on what units see: a rule for each of torch's operators."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import prod

from convatlas.explanation.operators import (
    ADAPTIVE,
    ATTENTION,
    CREATING,
    ENLARGING,
    PADDING,
    POOLINGS,
    operands,
    resizings,
    several,
    windows,
)
from convatlas.explanation.reach import Axes, Field, Reach
from convatlas.explanation.trace import Operation, Value


def carried(operations: Sequence[Operation], images: Field) -> list[list[Field]]:
    """What the units of each output of each operation see, where the images' see what `images` says."""
    fields: list[list[Field]] = []
    for operation in operations:
        inputs = [images if v.operation < 0 else fields[v.operation][v.place] for v in operation.inputs]
        fields.append(carry(operation, inputs))
    return fields


def carry(operation: Operation, fields: Sequence[Field]) -> list[Field]:
    """What the units of each output see; `fields` are those of the inputs, in order."""
    if operation.name in RULES:
        field = RULES[operation.name](operation, list(fields))
    elif operation.pointwise or operation.name in AS_IT_IS:
        field = joined(fields)
    else:
        field = joined([field.whole(len(operation.output.shape), known=False) for field in fields])
    return [
        field if len(field.axes) == len(value.shape) else field.whole(len(value.shape), known=False)
        for value in operation.outputs
    ]


def joined(fields: Sequence[Field]) -> Field:
    """Of several tensors that are laid upon each other."""
    first, *others = fields
    for other in others:
        first = first.join(other)
    return first


Rule = Callable[[Operation, list[Field]], Field]
AS_IT_IS = frozenset(
    [
        "_native_batch_norm_legit_no_training",
        "clone",
        "contiguous",
        "_to_copy",
        "alias",
        "detach",
        "native_dropout",
        "_prelu_kernel",
        "dropout",
    ]
)
"""What torch does not call pointwise, and yet is in evaluation; and copies."""


def convolution(operation: Operation, fields: list[Field]) -> Field:
    """Windows of the kernel's size, over all channels."""
    spread = operation.arguments["transposed"]
    return slid(operation, fields[0].collapsed([1]), Reach.spread if spread else Reach.window)


def pooling(operation: Operation, fields: list[Field]) -> Field:
    """Windows of the pooling's size."""
    return slid(operation, fields[0], Reach.window)


def slid(operation: Operation, field: Field, sees: Callable[..., Reach]) -> Field:
    """The windows of the operation in each direction."""
    shape, each = operation.output.shape, windows(operation)
    for dim, window in zip(range(-len(each), 0), each, strict=True):
        field = field.along(dim, partial(sees, window=window, units=shape[dim]))
    return field


def adaptive(operation: Operation, fields: list[Field]) -> Field:
    """Windows that divide the map; a single one is the whole."""
    after, field = operation.output.shape, fields[0]
    for dim in (-2, -1):
        field = field.along(dim, partial(Reach.divided, units=after[dim])) if after[dim] > 1 else field.collapsed([dim])
    return field


def enlarged(operation: Operation, fields: list[Field]) -> Field:
    """Upsampling by repetition or between two units, and maps laid into each other: to larger maps or smaller."""
    field = fields[0].collapsed([-3]) if operation.name == "pixel_shuffle" else fields[0]
    for dim, resizing in zip((-2, -1), resizings(operation), strict=True):
        field = field.along(dim, partial(Reach.resized, resizing=resizing, units=operation.output.shape[dim]))
    return field


def shuffled(operation: Operation, fields: list[Field]) -> Field:
    """Units in another order, which is none of the image's."""
    given, ndim = operation.arguments, len(fields[0].axes)
    moved = [dim for dim in (given.get("dims", [1]) or range(ndim)) if fields[0].axes[dim]]
    return fields[0].collapsed(moved, known=not moved)


def padded(operation: Operation, fields: list[Field]) -> Field:
    """Units in a frame stand before the first; `pad` begins with the last dimension."""
    given, shape, field = operation.arguments, operation.output.shape, fields[0]
    pad, inner = given.get("pad") or given["padding"], INNER.get(PADDING[operation.name])
    for dim, before in zip(range(len(shape))[::-1], pad[::2], strict=False):
        if inner:
            field = field.along(dim, partial(Reach.framed, before=before, units=shape[dim], inner=inner))
        else:
            field = field.along(dim, partial(Reach.moved, start=-before, units=shape[dim]))
    return field


INNER: dict[str, Callable[[int, int], int]] = {
    "reflect": lambda i, n: n - 1 - abs(n - 1 - abs(i)),
    "replicate": lambda i, n: min(max(i, 0), n - 1),
}
"""Which of n units stands in their frame at place i."""


def reduced(operation: Operation, fields: list[Field]) -> Field:
    """A mean, a sum or a maximum over some dimensions, or all."""
    given, field = operation.arguments, fields[0]
    ndim = len(field.axes)
    dim = given.get("dim")
    dims = {d % ndim for d in (range(ndim) if dim is None or dim == [] else several(dim, 1))}
    field = field.collapsed(dims)
    if len(operation.output.shape) == ndim:
        return field
    return replace(field, axes=tuple(axes for d, axes in enumerate(field.axes) if d not in dims))


def normalized(operation: Operation, fields: list[Field]) -> Field:
    """A line for each channel; without running statistics it comes from all that the channel holds."""
    field = fields[0]
    return field.collapsed(d for d in range(len(field.axes)) if d != 1) if operation.arguments["training"] else field


def mixed(operation: Operation, fields: list[Field]) -> Field:
    """A softmax or a normalisation: the shape stays, and each number depends on all along some dimensions."""
    given, field = operation.arguments, fields[0]
    if "normalized_shape" in given:
        return field.collapsed(range(-len(given["normalized_shape"]), 0))
    return field.collapsed([given["dim"]] if "dim" in given else range(1, len(field.axes)))


def product(operation: Operation, fields: list[Field]) -> Field:
    """A product with a weight sums over one dimension; of two maps, as in attention, lets each see all."""
    ndim, (left, right) = len(operation.output.shape), operands(operation)
    if len(fields) > 1:
        return joined([field.whole(ndim) for field in fields])
    if operation.name == "mv" and isinstance(left, Value):
        return replace(fields[0].collapsed([-1]), axes=fields[0].axes[:-1])
    if len(fields[0].axes) != ndim or (not isinstance(left, Value) and not isinstance(right, Value)):
        return fields[0].whole(ndim)
    return fields[0].collapsed([-1 if isinstance(left, Value) else -2])


def attention(operation: Operation, fields: list[Field]) -> Field:
    """Every token sees every other."""
    return joined([field.whole(len(operation.output.shape)) for field in fields])


def turned(operation: Operation, fields: list[Field]) -> Field:
    """The dimensions in another order."""
    given, axes = operation.arguments, list(fields[0].axes)
    if "dims" in given:
        return replace(fields[0], axes=tuple(axes[dim] for dim in given["dims"]))
    one, two = given.get("dim0", 0), given.get("dim1", 1)
    axes[one], axes[two] = axes[two], axes[one]
    return replace(fields[0], axes=tuple(axes))


def reshaped(operation: Operation, fields: list[Field]) -> Field:
    """Dimensions laid together or split; what stands for both directions at once, tokens, keeps both."""
    field, before, after = fields[0], operation.inputs[0].shape, operation.output.shape
    axes: list[Axes] = [()] * len(after)
    single: list[int] = []
    unclear: list[int] = []
    for old, new in runs(before, after):
        along = tuple(sorted({axis for dim in old for axis in field.axes[dim]}))
        wide = [dim for dim in new if after[dim] > 1] or new[:1]
        if not along:
            continue
        if not new:
            single += old
        elif len(wide) == 1:
            axes[wide[0]] = along
        elif along == (0, 1) and tuple(after[dim] for dim in wide) == field.units:
            axes[wide[0]], axes[wide[1]] = (0,), (1,)
        else:
            unclear += old
    field = field.collapsed(single).collapsed(unclear, known=not unclear)
    return replace(field, axes=tuple(axes))


def runs(before: tuple[int, ...], after: tuple[int, ...]) -> list[tuple[list[int], list[int]]]:
    """The dimensions before and after a reshaping, in the smallest groups that hold the same numbers."""
    groups, i, j = [], 0, 0
    while i < len(before) or j < len(after):
        old, new = list(range(i, min(i + 1, len(before)))), list(range(j, min(j + 1, len(after))))
        i, j = i + len(old), j + len(new)
        while (a := prod(before[d] for d in old)) != (b := prod(after[d] for d in new)):
            if a < b:
                old.append(i)
                i += 1
            else:
                new.append(j)
                j += 1
        groups.append((old, new))
    return groups


def sliced(operation: Operation, fields: list[Field]) -> Field:
    """Some of the units."""
    given, dim = operation.arguments, operation.arguments.get("dim", 0) % len(fields[0].axes)
    size = operation.inputs[0].shape[dim]
    start, _, step = slice(given.get("start"), given.get("end"), given.get("step", 1)).indices(size)
    units = operation.output.shape[dim]
    return fields[0].along(dim, partial(Reach.moved, start=start, step=step, units=units))


def selected(operation: Operation, fields: list[Field]) -> Field:
    """One unit of a dimension; of a direction, the whole."""
    dim = operation.arguments.get("dim", 0) % len(fields[0].axes)
    same = operation.inputs[0].shape[dim] == 1 or all(fields[0].reach[axis].same for axis in fields[0].axes[dim])
    field = fields[0].collapsed([dim], known=same)
    return replace(field, axes=field.axes[:dim] + field.axes[dim + 1 :])


def parted(operation: Operation, fields: list[Field]) -> Field:
    """Parts of a dimension: channels as they are; of a direction, the whole."""
    dim, field = operation.arguments.get("dim", 0) % len(fields[0].axes), fields[0]
    return field.collapsed([dim], known=False) if field.axes[dim] else field


def unsqueezed(operation: Operation, fields: list[Field]) -> Field:
    """A new dimension of one."""
    dim = operation.arguments.get("dim", 0) % len(operation.output.shape)
    return replace(fields[0], axes=(*fields[0].axes[:dim], (), *fields[0].axes[dim:]))


def stacked(operation: Operation, fields: list[Field]) -> Field:
    """Tensors of one shape behind each other in a new dimension."""
    return unsqueezed(operation, [joined(fields)])


def expanded(operation: Operation, fields: list[Field]) -> Field:
    """New dimensions in front."""
    more = len(operation.output.shape) - len(fields[0].axes)
    return replace(fields[0], axes=((),) * more + fields[0].axes)


def concatenated(operation: Operation, fields: list[Field]) -> Field:
    """Maps behind each other in a dimension; of a direction of the image, each sees what all see."""
    dim, field = operation.arguments.get("dim", 0), joined(fields)
    return field.collapsed([dim], known=False) if field.axes[dim] and len(fields) > 1 else field


def created(operation: Operation, fields: list[Field]) -> Field:
    """Zeros and the like see nothing."""
    field = fields[0].whole(len(operation.output.shape))
    down, across = (replace(reach, turn=(None,)) for reach in field.reach)
    return replace(field, reach=(down, across), known=True, aligned=True)


RULES: dict[str, Rule] = {
    "convolution": convolution,
    **dict.fromkeys(POOLINGS, pooling),
    **dict.fromkeys(ADAPTIVE, adaptive),
    **dict.fromkeys(ENLARGING, enlarged),
    **dict.fromkeys(("channel_shuffle", "native_channel_shuffle", "roll", "flip"), shuffled),
    **dict.fromkeys(PADDING, padded),
    **dict.fromkeys(("mean", "sum", "amax", "amin", "logsumexp", "var", "max", "prod", "argmax"), reduced),
    **dict.fromkeys(("_softmax", "_safe_softmax", "_log_softmax", "native_layer_norm", "native_group_norm"), mixed),
    **dict.fromkeys(("native_batch_norm", "_native_batch_norm_legit"), normalized),
    **dict.fromkeys(("addmm", "mm", "bmm", "baddbmm", "addbmm", "linear", "dot", "mv"), product),
    **dict.fromkeys(ATTENTION, attention),
    **dict.fromkeys(("transpose", "permute", "t"), turned),
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "squeeze", "flatten", "unflatten"), reshaped),
    "unsqueeze": unsqueezed,
    "stack": stacked,
    "expand": expanded,
    "slice": sliced,
    "select": selected,
    **dict.fromkeys(("split", "unsafe_split", "split_with_sizes", "unbind_copy", "chunk"), parted),
    "unbind": selected,
    "cat": concatenated,
    **dict.fromkeys(CREATING, created),
}  # fmt: skip
