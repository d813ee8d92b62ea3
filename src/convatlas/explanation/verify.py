"""Receptive fields against gradients: what a unit was computed to see, and what its gradient says that it sees.

The forward pass is done again with every layer a positive line: a convolution's and a dense layer's weights are ones,
maximum pooling averages, products become sums, and activations and normalisation let pass. Nothing can cancel then, so
that a pixel has a gradient exactly if a path leads from it to the unit.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil, floor
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from convatlas.errors import InputError
from convatlas.explanation.explain import Assembly, Model, prepared
from convatlas.explanation.field import AS_IT_IS, several
from convatlas.explanation.reach import Field
from convatlas.explanation.trace import Operation, Size, Value, Weight, trace


class Box(NamedTuple):
    """A part of the image, in pixels, all four included."""

    top: int
    left: int
    bottom: int
    right: int

    def __str__(self) -> str:
        return f"{self.bottom - self.top + 1}×{self.right - self.left + 1} from ({self.top}, {self.left})"


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit of a layer, in all of its channels."""

    place: tuple[int, int]
    """Down and across; 0 in a direction in which all units see the same."""
    computed: Box
    """What the arithmetic says, as far as it is in the image."""
    seen: Box | None
    """The smallest box around the gradient that is not zero; None where all of it is."""
    agrees: bool

    def __str__(self) -> str:
        if self.agrees:
            return f"unit {self.place}: {self.seen}"
        return f"unit {self.place}: {self.computed} by arithmetic, {self.seen or 'nothing'} by gradient"


@dataclass(frozen=True, slots=True)
class Check:
    """A layer, and some of its units: at two corners and in the middle."""

    layer: str
    units: tuple[Unit, ...]

    @property
    def holds(self) -> bool:
        """Whether the gradients say what was computed."""
        return all(unit.agrees for unit in self.units)

    def __str__(self) -> str:
        units = self.units if self.holds else [unit for unit in self.units if not unit.agrees]
        return f"{self.layer}: {'; '.join(map(str, units))}"


@dataclass(frozen=True, slots=True)
class Verification:
    """The layers of a network whose receptive fields were held against gradients."""

    checks: tuple[Check, ...]
    left_out: dict[str, str] = field(default_factory=dict)
    """Layers that were not, and why."""

    @property
    def holds(self) -> bool:
        """Whether no gradient disagrees."""
        return all(check.holds for check in self.checks)


def verify(
    model: Model,
    input_size: Size | None = None,
    *,
    layers: Sequence[str] | None = None,
    real: bool = False,
    **changes: Any,
) -> Verification:
    """Whether units of `layers`, by their names in `explain`, see the boxes of the image that were computed for them.

    If `layers` is None, those whose units see something else than the units before them. The other arguments are those
    of `explain`, and raise what it raises; an unknown layer raises InputError too.
    """
    module, size, _, _ = prepared(model, input_size, real=real, **changes)
    assembly = Assembly(trace(module, size, device="cpu" if real else "meta"))
    known = [group.name for group in assembly.groups]
    if unknown := set(layers or ()) - set(known):
        raise InputError(f"no layer is called {sorted(unknown)[0]!r}; the first of this network are {known[:5]}")
    lines = Lines(assembly.trace.operations, assembly.trace.images)
    checks, left_out = [], {}
    for group in assembly.groups:
        index = group.operations[-1]
        operation, reaches = assembly.trace.operations[index], assembly.fields[index][0]
        before = [assembly.field(value).reach for value in operation.inputs]
        if group.name not in layers if layers is not None else reaches.known and reaches.reach in before:
            continue
        if not reaches.known:
            left_out[group.name] = "what its units see was not computed"
        elif index in lines.unclear:
            left_out[group.name] = f"there is no line for {lines.unclear[index]}"
        else:
            checks.append(Check(group.name, tuple(lines.units(operation.output, reaches))))
    return Verification(tuple(checks), left_out)


class Lines:
    """The network with every operation a positive line, and its gradients."""

    def __init__(self, operations: Sequence[Operation], images: tuple[int, ...]) -> None:
        self.images = torch.zeros(images, requires_grad=True)
        self.tensors: dict[tuple[int, int], Tensor] = {(-1, 0): self.images}
        self.dilated = any(max(several(operation.arguments.get("dilation", 1), 1)) > 1 for operation in operations)
        self.unclear: dict[int, str] = {}
        """The operations that have no line, or are behind one that has none, with the name of that one."""
        for index, operation in enumerate(operations):
            blame = [self.unclear[v.operation] for v in operation.inputs if v.operation in self.unclear]
            if blame or not (line := line_of(operation)):
                self.unclear[index] = blame[0] if blame else operation.name
                continue
            result = line(operation, self.given(operation))
            for value, tensor in zip(operation.outputs, result if isinstance(result, list | tuple) else [result]):  # noqa: B905 - indices and statistics have no gradient
                assert tuple(tensor.shape) == value.shape, (operation.name, tensor.shape, value.shape)
                if tensor.requires_grad:
                    # Only where it is not zero matters, and over a thousand layers numbers would vanish or overflow.
                    tensor.register_hook(lambda gradient: None if gradient is None else (gradient > 0).float())
                self.tensors[value.operation, value.place] = tensor

    def given(self, operation: Operation) -> dict[str, Any]:
        """The arguments: what was computed for values, and zeros for weights."""

        def put(value: Any) -> Any:
            if isinstance(value, Value):
                return self.tensors[value.operation, value.place]
            if isinstance(value, Weight):
                return torch.zeros(()).expand(value.shape)
            return [put(item) for item in value] if isinstance(value, list) else value

        return {name: put(value) for name, value in operation.arguments.items()}

    def units(self, value: Value, reaches: Field) -> Iterator[Unit]:
        """The first and the last corner and the middle of a map."""
        along = {axis for axes in reaches.axes for axis in axes}
        height, width = (units if axis in along else 1 for axis, units in enumerate(reaches.units))
        everything = self.seen(value, torch.ones(value.shape))
        if not all(everything):  # no path from the image leads here
            return
        # Down and across are apart in every layer, so that two corners say what four would.
        places = dict.fromkeys([(0, 0), (height // 2, width // 2), (height - 1, width - 1)])
        found = {place: self.seen(value, one_of(value, reaches, place, width)) for place in places}
        for place, seen in found.items():
            ways = [
                way(reaches, axis, place[axis], everything[axis], seen[axis], self.images.shape[axis - 2], self.dilated)
                for axis in (0, 1)
            ]
            computed = Box(ways[0].first, ways[1].first, ways[0].last, ways[1].last)
            down, across = seen
            box = Box(down[0], across[0], down[-1], across[-1]) if down else None
            yield Unit(place, computed, box, all(each.agrees for each in ways))

    def seen(self, value: Value, chosen: Tensor) -> tuple[list[int], list[int]]:
        """The rows and the columns of the image that the chosen units see."""
        (gradient,) = torch.autograd.grad(
            self.tensors[value.operation, value.place], self.images, chosen, retain_graph=True, materialize_grads=True
        )
        mask = gradient[0].sum(0) > 0
        return mask.any(1).nonzero().flatten().tolist(), mask.any(0).nonzero().flatten().tolist()


def one_of(value: Value, reaches: Field, place: tuple[int, int], width: int) -> Tensor:
    """Ones at a place of a map, in all channels, and zeros elsewhere."""
    chosen = torch.zeros(value.shape)
    at = [place[axes[0]] if len(axes) == 1 else place[0] * width + place[1] for axes in reaches.axes]
    chosen[tuple(n if axes else slice(None) for n, axes in zip(at, reaches.axes, strict=True))] = 1
    return chosen


class Way(NamedTuple):
    """What a unit sees in one direction."""

    first: int
    last: int
    agrees: bool


def way(reaches: Field, axis: int, unit: int, everything: list[int], seen: list[int], size: int, dilated: bool) -> Way:
    """What was computed in one direction, as far as it is in the image, and whether `seen` is that.

    A unit in the frame is no path to the image: where windows do not come out even, no unit sees the last pixels, and
    so a later layer's padding does not either. A box is cut to `everything`, what all units of its map see.
    """
    reach = reaches.reach[axis]
    first, last = reach.first + unit * reach.stride, reach.last + unit * reach.stride
    low, high = max(ceil(first), everything[0]), min(floor(last), everything[-1], size - 1)
    if not seen:
        return Way(low, high, not reaches.exact or dilated)  # nothing feeds some units of such layers
    # Dilated windows leave out units, so that the one at which a box is cut may be one that is not looked at.
    starts = seen[0] == low or (seen[0] > low and (not reaches.exact or (dilated and first < low)))
    ends = seen[-1] == high or (seen[-1] < high and (not reaches.exact or (dilated and last > high)))
    return Way(low, high, starts and ends)


# --------------------------------------------------------------------------- every operation a line

Line = Callable[[Operation, dict[str, Any]], Any]


def line_of(operation: Operation) -> Line | None:
    """How an operation is done as a line, or None where there is no rule."""
    if operation.name in LINES:
        return LINES[operation.name]
    return added if operation.pointwise or operation.name in AS_IT_IS else None


def convolution(operation: Operation, given: dict[str, Any]) -> Tensor:
    """With weights of one, so that all channels of a group are one sum."""
    x, groups, kernel = given["input"], given["groups"], given["weight"].shape[2:]
    sums = x.reshape(1, groups, x.shape[1] // groups, *x.shape[2:]).sum(2)
    y: Tensor = itself(operation, given | {"input": sums, "weight": torch.ones(groups, 1, *kernel), "bias": None})
    each = operation.output.shape[1] // groups
    return y.unsqueeze(2).expand(1, groups, each, *y.shape[2:]).reshape(operation.output.shape)


def pooling(operation: Operation, given: dict[str, Any]) -> Tensor:
    """A mean instead of a maximum; of dilated windows too, which torch's own mean does not have."""
    x: Tensor = given["self"]
    dims = 3 if "3d" in operation.name else 2
    kernel = several(given["kernel_size"], dims)
    stride = several(given.get("stride") or kernel, dims)
    padding, dilation = several(given.get("padding", 0), dims), several(given.get("dilation", 1), dims)
    if set(dilation) == {1}:
        mean = F.avg_pool3d if dims == 3 else F.avg_pool2d
        return mean(x, kernel, stride, padding, ceil_mode=bool(given.get("ceil_mode")))
    maps = x.reshape(-1, 1, *x.shape[-dims:])
    frame = [side for n, s in zip(reversed(padding), reversed(stride), strict=True) for side in (n, n + s)]
    convolve = F.conv3d if dims == 3 else F.conv2d
    y = convolve(F.pad(maps, frame), torch.ones(1, 1, *kernel), stride=stride, dilation=dilation)
    for dim in range(-dims, 0):
        y = y.narrow(dim, 0, operation.output.shape[dim])
    return y.reshape(operation.output.shape)


def added(operation: Operation, given: dict[str, Any]) -> Tensor:
    """The sum of all that it is computed from, place by place."""
    return sum((x.expand(operation.output.shape) for x in tensors(operation, given)), torch.zeros(()))


def reduced(_: Operation, given: dict[str, Any]) -> Tensor:
    """A sum over some dimensions, or all."""
    dim = given.get("dim")
    x: Tensor = given["self"]
    return x.sum(several(dim, 1) if dim not in (None, []) else None, keepdim=given.get("keepdim", False))


def mixed(operation: Operation, given: dict[str, Any]) -> Tensor:
    """The sum over the dimensions along which each number depends on all."""
    (x,) = tensors(operation, given)
    if "normalized_shape" in given:
        dims = list(range(-len(given["normalized_shape"]), 0))
    else:
        dims = [given["dim"]] if "dim" in given else list(range(1, x.ndim))
    return x.sum(dims, keepdim=True).expand(x.shape)


def normalized(_: Operation, given: dict[str, Any]) -> Tensor:
    """As it is, or without running statistics the sum over all that a channel holds."""
    x: Tensor = given["input"]
    return x.sum([d for d in range(x.ndim) if d != 1], keepdim=True).expand(x.shape) if given["training"] else x


def product(operation: Operation, given: dict[str, Any]) -> Tensor:
    """Rows by columns, with ones for weights."""
    batched = "batch1" in given
    left: Tensor = given["batch1" if batched else "mat1" if "mat1" in given else "self"]
    right: Tensor = given["batch2" if batched else "mat2"]
    return left.sum(-1, keepdim=True) + right.sum(-2, keepdim=True) + torch.zeros(operation.output.shape)


def attention(_: Operation, given: dict[str, Any]) -> Tensor:
    """Each token sees its own question, and every other's key and value."""
    query: Tensor = given["query"]
    key, value = given["key"], given["value"]
    others: Tensor = key.sum((-2, -1), keepdim=True) + value.sum((-2, -1), keepdim=True)
    return (query.sum(-1, keepdim=True) + others).expand(*query.shape[:-1], value.shape[-1])


def averaged(operation: Operation, given: dict[str, Any]) -> Tensor:
    """A mean over windows that divide the map."""
    return F.adaptive_avg_pool2d(given["self"], (operation.output.shape[-2], operation.output.shape[-1]))


def itself(operation: Operation, given: dict[str, Any]) -> Any:
    """What is a line already: torch's own."""
    return getattr(torch.ops.aten, operation.name)(**given)


def tensors(operation: Operation, given: dict[str, Any]) -> list[Tensor]:
    """The arguments that come from the images."""
    return [given[name] for name, value in operation.arguments.items() if isinstance(value, Value)]


LINES: dict[str, Line] = {
    "convolution": convolution,
    **dict.fromkeys(("max_pool2d_with_indices", "max_pool3d_with_indices", "avg_pool2d", "avg_pool3d"), pooling),
    **dict.fromkeys(("_adaptive_avg_pool2d", "adaptive_max_pool2d"), averaged),
    **dict.fromkeys(("mean", "sum", "amax", "amin", "logsumexp", "var", "max", "prod"), reduced),
    **dict.fromkeys(("_softmax", "_safe_softmax", "_log_softmax", "native_layer_norm", "native_group_norm"), mixed),
    **dict.fromkeys(("native_batch_norm", "_native_batch_norm_legit"), normalized),
    **dict.fromkeys(("addmm", "mm", "bmm", "baddbmm"), product),
    **dict.fromkeys(
        ("_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_fused_attention_overrideable",
         "_scaled_dot_product_efficient_attention"),
        attention,
    ),
    **dict.fromkeys(
        ("constant_pad_nd", "reflection_pad2d", "replication_pad2d", "cat", "slice", "select", "split", "expand",
         "split_with_sizes", "unbind", "unsqueeze", "squeeze", "transpose", "permute", "t", "stack", "roll",
         "flip", "upsample_nearest2d", "upsample_bilinear2d", "pixel_shuffle", "channel_shuffle",
         "native_channel_shuffle"),
        itself,
    ),
    # Tensors of zeros and expanded ones are laid out in another way than the module's were: torch may have to copy.
    **dict.fromkeys(
        ("view", "_unsafe_view", "reshape", "flatten", "unflatten"), lambda operation, given: given["self"].reshape(
            operation.output.shape
        )
    ),
}  # fmt: skip
