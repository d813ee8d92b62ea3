"""How many parameters a network has, and how many multiply-accumulates it does on an image of its paper's size."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from convatlas.registry import build, model_card


class Counts(NamedTuple):
    """Of one network, as its paper has it."""

    params: int
    macs: int
    """Multiply-accumulates of convolutions and dense layers, for one image; without the auxiliary classifiers."""


def counts_of(name: str) -> Counts:
    """The parameters and multiply-accumulates of the network of that name: a pass on the meta device.

    Raises InputError for an unknown name.
    """
    with torch.device("meta"), ShapesOnly():
        network = build(name).eval()
    with torch.device("meta"), torch.no_grad(), ShapesOnly() as shapes:
        network(torch.empty(1, *model_card(name).input_size))
    idle = sum(getattr(module, "idle_macs", 0) for module in network.modules())
    return Counts(sum(p.numel() for p in network.parameters()), shapes.macs - idle)


# Functions of each element by itself, whose output has the shape that their inputs have together.
OF_ELEMENTS = {
    *("add", "sub", "mul", "div", "relu", "sigmoid", "tanh", "silu", "gelu", "hardtanh", "hardswish", "hardsigmoid"),
    *("leaky_relu", "elu", "clamp", "clamp_min", "pow", "neg"),
}
NORMS = {"native_batch_norm", "native_layer_norm", "native_group_norm"}


class ShapesOnly(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts as torch's own counter does, and leaves out what has nothing to count and takes most of its time.

    On the meta device drawing, normalisation, means, dense layers and functions of elements are worked out in
    Python, up to a millisecond each, and the first of them loads torch's compiler, which takes a second.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.macs = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch loads its compiler, a second, to keep it from compiling this

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """The function's output, on the meta device: its shape."""
        output = output_of(func, args, kwargs or {})
        if count := flop_registry.get(func._overloadpacket):
            # an operation each for multiplying and adding
            self.macs += count(*args, **(kwargs or {}), out_val=output) // 2
        return output


def output_of(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """A tensor of the shape that the function's output has."""
    name = func._overloadpacket.__name__
    if name.endswith("_") and (torch.Tag.pointwise in func.tags or torch.Tag.nondeterministic_seeded in func.tags):
        return args[0]  # in-place: first weights, for the most part
    if name in NORMS:
        return args[0], args[0].new_empty(0), args[0].new_empty(0)
    if name in OF_ELEMENTS:
        inputs = [x for x in args if isinstance(x, Tensor)]
        return inputs[0].new_empty(together([x.shape for x in inputs]))
    if name == "addmm":
        return args[1].new_empty(args[1].shape[0], args[2].shape[1])
    if func is torch.ops.aten.mean.dim:
        func = torch.ops.aten.sum.dim_IntList
    return func(*args, **kwargs)


def together(shapes: Sequence[torch.Size]) -> tuple[int, ...]:
    """The shape that tensors of these shapes are brought to when they are added."""
    return tuple(max(sizes) for sizes in zip_longest(*(shape[::-1] for shape in shapes), fillvalue=1))[::-1]
