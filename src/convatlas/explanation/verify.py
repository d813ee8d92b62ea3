"""Receptive fields against gradients: what a unit was computed to see, and what its gradient says that it sees.

The forward pass is done again with every layer a positive line: a convolution's and a dense layer's weights are ones,
maximum pooling averages, products become sums, and activations and normalisation let pass. Nothing can cancel then, so
that a pixel has a gradient exactly if a path leads from it to the unit.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from convatlas.errors import InputError
from convatlas.explanation.explain import Assembly, Model, prepared
from convatlas.explanation.field import AS_IT_IS, carried
from convatlas.explanation.forward import trace
from convatlas.explanation.operators import (
    ADAPTIVE,
    ATTENTION,
    CREATING,
    ENLARGING,
    PADDING,
    POOLINGS,
    several,
    windows,
)
from convatlas.explanation.reach import Field, of_images
from convatlas.explanation.trace import Operation, Size, Value, Weight

MOST = 4
"""Of units that see by turns more and less, so many are looked at."""
ROUNDING = 1e-9
"""A gradient below it is none: the weight of a unit that another stands upon, as computed."""


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
    """Down and across; 0 in a direction in which there is one."""
    computed: Box | None
    """What the arithmetic says, without what would be seen in padding; None where that is all."""
    seen: Box | None
    """The smallest box around the gradient that is not zero; None where all of it is."""

    @property
    def agrees(self) -> bool:
        """Whether both are the same box, to the pixel."""
        return self.computed == self.seen

    def __str__(self) -> str:
        if self.agrees:
            return f"unit {self.place}: {self.seen or 'nothing'}"
        both = f"{self.computed or 'nothing'} by arithmetic, {self.seen or 'nothing'} by gradient"
        return f"unit {self.place}: {both}"


@dataclass(frozen=True, slots=True)
class Check:
    """A layer, and some of its units: at two corners, and in the middle of each kind that there are by turns."""

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
    bounded = carried(assembly.trace.operations, of_images(assembly.trace.images, bounded=True))
    checks, left_out = [], {}
    for group in assembly.groups:
        output = assembly.output(group)
        index, field = output.operation, assembly.field(output)
        operation, inside = assembly.trace.operations[index], bounded[index][output.place]
        before = [assembly.field(value).reach for value in operation.inputs]
        if group.name not in layers if layers is not None else field.known and field.reach in before:
            continue
        if not (field.known and inside.known):
            left_out[group.name] = "what its units see was not computed"
        elif index in lines.unclear:
            left_out[group.name] = f"there is no line for {lines.unclear[index]}"
        else:
            checks.append(Check(group.name, tuple(lines.units(output, field, inside))))
    return Verification(tuple(checks), left_out)


class Lines:
    """The network with every operation a positive line, and its gradients."""

    def __init__(self, operations: Sequence[Operation], images: tuple[int, ...]) -> None:
        self.images = torch.zeros(images, requires_grad=True)
        self.tensors: dict[tuple[int, int], Tensor] = {(-1, 0): self.images}
        self.mirrored = any(PADDING.get(operation.name, "constant") != "constant" for operation in operations)
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
                    tensor.register_hook(lambda gradient: None if gradient is None else (gradient > ROUNDING).float())
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

    def units(self, value: Value, field: Field, inside: Field) -> Iterator[Unit]:
        """The first and the last corner and the middle of a map."""
        height, width = field.units
        # Down and across are apart in every layer, so that two corners say what four would.
        places = [(0, 0), (height - 1, width - 1)]
        turn = max(len(reach.turn) for reach in field.reach)
        places += [
            (min(height // 2 + on, height - 1), min(width // 2 + on, width - 1)) for on in range(min(turn, MOST))
        ]
        for place in dict.fromkeys(sorted(places)) if 0 not in value.shape else ():
            seen = self.seen(value, one_of(value, field, place, width))
            yield Unit(place, computed(field, inside, place, mirrored=self.mirrored), seen)

    def seen(self, value: Value, chosen: Tensor) -> Box | None:
        """The part of the image that the chosen units see."""
        tensor = self.tensors[value.operation, value.place]
        if not tensor.requires_grad:
            return None
        (gradient,) = torch.autograd.grad(tensor, self.images, chosen, retain_graph=True, materialize_grads=True)
        mask = gradient[0].sum(0) > ROUNDING
        down, across = (mask.any(dim).nonzero().flatten().tolist() for dim in (1, 0))
        return Box(down[0], across[0], down[-1], across[-1]) if down else None


def one_of(value: Value, reaches: Field, place: tuple[int, int], width: int) -> Tensor:
    """Ones at a place of a map, in all channels, and zeros elsewhere."""
    chosen = torch.zeros(value.shape)
    at = [place[axes[0]] if len(axes) == 1 else place[0] * width + place[1] for axes in reaches.axes]
    chosen[tuple(n if axes else slice(None) for n, axes in zip(at, reaches.axes, strict=True))] = 1
    return chosen


def computed(field: Field, inside: Field, place: tuple[int, int], *, mirrored: bool) -> Box | None:
    """What a unit sees `inside` of the image, where its whole field agrees with that; or else the part of that.

    Where nothing of the field is padding, both are the same; and else it contains what is seen, or stands in the frame
    beside it, if that is of `mirrored` units.
    """
    whole = [reach.of(unit) for reach, unit in zip(field.reach, place, strict=True)]
    parts = [reach.of(unit) for reach, unit in zip(inside.reach, place, strict=True)]
    for one, part in zip(whole, parts, strict=True):
        if not part:
            continue
        contained = one and one.first <= part.first and part.last <= one.last
        if not (one == part if part.whole else contained or mirrored):
            parts = whole
    down, across = parts
    return Box(down.first, across.first, down.last, across.last) if down and across else None


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
    each, shape = windows(operation), operation.output.shape
    dims = len(each)
    kernel, stride, dilation, padding = (list(values) for values in zip(*each, strict=True))
    if set(dilation) == {1}:
        mean = F.avg_pool3d if dims == 3 else F.avg_pool2d
        return mean(x, kernel, stride, padding, ceil_mode=bool(given.get("ceil_mode")))
    maps = x.reshape(-1, 1, *x.shape[-dims:])
    frame = [side for n, s in zip(reversed(padding), reversed(stride), strict=True) for side in (n, n + s)]
    convolve = F.conv3d if dims == 3 else F.conv2d
    y = convolve(F.pad(maps, frame), torch.ones(1, 1, *kernel), stride=stride, dilation=dilation)
    for dim in range(-dims, 0):
        y = y.narrow(dim, 0, shape[dim])
    return y.reshape(shape)


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


def between(operation: Operation, given: dict[str, Any]) -> Tensor:
    """Torch's own upsampling, so finely that the weight of a unit with another upon it is known from none."""
    y: Tensor = itself(operation, given | {"self": given["self"].double()})
    return y.float()


def created(operation: Operation, _: dict[str, Any]) -> Tensor:
    """Numbers that come from nowhere."""
    return torch.zeros(operation.output.shape)


def itself(operation: Operation, given: dict[str, Any]) -> Any:
    """What is a line already: torch's own."""
    return getattr(torch.ops.aten, operation.name)(**given)


def tensors(operation: Operation, given: dict[str, Any]) -> list[Tensor]:
    """The arguments that come from the images."""
    return [given[name] for name, value in operation.arguments.items() if isinstance(value, Value)]


LINES: dict[str, Line] = {
    "convolution": convolution,
    **dict.fromkeys(POOLINGS, pooling),
    **dict.fromkeys(ADAPTIVE, averaged),
    **dict.fromkeys(("mean", "sum", "amax", "amin", "logsumexp", "var", "max", "prod"), reduced),
    **dict.fromkeys(("_softmax", "_safe_softmax", "_log_softmax", "native_layer_norm", "native_group_norm"), mixed),
    **dict.fromkeys(("native_batch_norm", "_native_batch_norm_legit"), normalized),
    **dict.fromkeys(("addmm", "mm", "bmm", "baddbmm"), product),
    **dict.fromkeys(ATTENTION, attention),
    **dict.fromkeys(CREATING, created),
    **dict.fromkeys(
        (*PADDING, *ENLARGING, "channel_shuffle", "native_channel_shuffle", "cat", "slice", "select", "split", "expand",
         "split_with_sizes", "unbind", "unsqueeze", "squeeze", "transpose", "permute", "t", "stack", "roll", "flip"),
        itself,
    ),
    "upsample_bilinear2d": between,
    # Tensors of zeros and expanded ones are laid out in another way than the module's were: torch may have to copy.
    **dict.fromkeys(
        ("view", "_unsafe_view", "reshape", "flatten", "unflatten"), lambda operation, given: given["self"].reshape(
            operation.output.shape
        )
    ),
}  # fmt: skip
