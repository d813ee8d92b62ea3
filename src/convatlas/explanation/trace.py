"""What a module computes, operation by operation, written down while it runs."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from convatlas.errors import InputError

Size = tuple[int, int, int]


class Value(NamedTuple):
    """A tensor that flows through the network: the output of an operation, or the images."""

    operation: int
    """The place of the operation that made it in `Trace.operations`; −1 for the images."""
    place: int
    """Which of its outputs it is."""
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Weight:
    """A tensor that is computed from parameters alone, and so is the same for every image."""

    parameters: frozenset[str]
    shape: tuple[int, ...]
    repeated: int = 1
    """How often each of its numbers is in it: a weight that is expanded over tokens is no more numbers."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of one of torch's operators."""

    name: str
    """As torch calls it: `convolution`, `max_pool2d_with_indices`."""
    path: str
    """The module that called it, by its name in the network; "" is the network itself."""
    call: int
    """Which call of a module this was part of: a module can be called twice."""
    arguments: dict[str, Any]
    """By the operator's own names; a tensor is a Value or a Weight, or a list of such."""
    outputs: tuple[Value, ...]
    pointwise: bool
    """Whether torch says that each number of the output depends on the numbers at its place alone."""

    @property
    def output(self) -> Value:
        """The first output, which of most operators is the only one that is used."""
        return self.outputs[0]

    @property
    def inputs(self) -> list[Value]:
        """What it is computed from, without weights."""
        return [value for value in flat(self.arguments.values()) if isinstance(value, Value)]

    @property
    def weights(self) -> list[Weight]:
        """The weights it is computed with."""
        return [value for value in flat(self.arguments.values()) if isinstance(value, Weight)]


@dataclass(frozen=True, slots=True)
class Trace:
    """A forward pass."""

    images: tuple[int, ...]
    operations: list[Operation]
    parameters: dict[str, int]
    """How many numbers each parameter has; one that has several names is here under its first."""
    leaves: dict[str, nn.Module]
    """The modules without parts of their own, by path."""
    answers: dict[int, tuple[str, Value]]
    """What each call of a module answered, first where that is several tensors, with the module's path."""


def flat(values: Any) -> Iterator[Any]:
    """The values in lists of lists, one after the other."""
    for value in values:
        if isinstance(value, list | tuple) and not isinstance(value, Value):
            yield from flat(value)
        else:
            yield value


def attempt(module: nn.Module, size: Size, device: str) -> tuple["Recorder", Exception | None]:
    """The pass as far as it came, and what ended it."""
    if lazy := [name for name, tensor in module.named_parameters() if is_lazy(tensor)]:
        raise InputError(f"{lazy[0]} has no shape before its module has seen an image; call the module on one first")
    if isinstance(module, torch.jit.ScriptModule):
        raise InputError("a TorchScript module hides its operations; give the module that it was made from")
    if device != "meta" and any(tensor.is_meta for tensor in module.parameters()):
        raise InputError("the weights are on the meta device, without numbers to compute with; leave out real=True")
    recorder = Recorder(device)
    # Half precision is answered in half precision.
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.get_default_dtype())
    images = torch.zeros((1, *size), device=device, dtype=dtype)
    recorder.learn(images, Value(-1, 0, tuple(images.shape)))
    with evaluating(module), moved(module, recorder), recorder.watching(module), torch.no_grad(), recorder:
        try:
            answers = [tensor for tensor in tree_leaves(module(images)) if isinstance(tensor, Tensor)]
            if not any(isinstance(recorder.known(answer), Value) for answer in answers):
                raise InputError("the answer does not come from the images by operations of torch alone, as in numpy")
        except Exception as error:
            return recorder, error
    return recorder, None


@contextmanager
def moved(module: nn.Module, recorder: "Recorder") -> Iterator[None]:
    """The weights on the recorder's device, under the same names, and afterwards the module's own again.

    `torch.func.functional_call` would leave a module that is in two places with another's weights.
    """
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    owners: list[dict[str, Any]] = [held for part in module.modules() for held in (part._parameters, part._buffers)]
    before = [dict(held) for held in owners]
    # Old weight and spectral normalisation keep what they compute as a plain attribute.
    plain = [(part, {k: v for k, v in vars(part).items() if isinstance(v, Tensor)}) for part in module.modules()]
    there: dict[int, Tensor] = {}
    for tensor in (tensor for held in before for tensor in held.values() if tensor is not None):
        if id(tensor) not in there:
            there[id(tensor)] = tensor.detach().to(recorder.device)
            weight = Weight(frozenset({names[id(tensor)]} if id(tensor) in names else ()), tuple(tensor.shape))
            recorder.learn(there[id(tensor)], weight)
            recorder.learn(tensor, weight)  # of which a module may keep a list, as nn.LSTM does
    try:
        for held in owners:
            held.update({name: there[id(tensor)] for name, tensor in held.items() if tensor is not None})
        yield
    finally:
        for held, was in zip(owners, before, strict=True):
            held.clear()
            held.update(was)
        for part, tensors in plain:
            vars(part).update(tensors)


def same(x: Tensor, *_: Any) -> Tensor:
    """What an operation returns whose output is like its input."""
    return torch.empty_like(x)


def normalized(x: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    """What batch normalisation returns in evaluation."""
    return torch.empty_like(x), x.new_empty(0), x.new_empty(0)


def repeats(tensor: Tensor) -> int:
    """How often each number of an expanded tensor is in it."""
    return prod(size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if size and not stride)


aten = torch.ops.aten
SHORTCUTS: dict[Any, Callable[..., Any]] = {
    aten.native_batch_norm.default: normalized,
    aten.relu.default: same,
    aten.sigmoid.default: same,
    aten.add.Tensor: same,
}
"""What operators of most networks return on the meta device: torch takes more than half of a pass to find it out."""


def alike(args: Sequence[Any]) -> bool:
    """Whether a shortcut holds for the arguments: a sum of two shapes or types is not like its first."""
    x, y = args[0], args[1] if len(args) == 2 else None
    return bool(x.is_floating_point()) and (not isinstance(y, Tensor) or (x.shape, x.dtype) == (y.shape, y.dtype))


def together(args: Any, kwargs: Any) -> tuple[Any, Any]:
    """The arguments on the meta device, if one is: constants that a module keeps outside of its buffers follow it."""
    tensors = [value for value in flat((*args, *kwargs.values())) if isinstance(value, Tensor)]
    if len({tensor.is_meta for tensor in tensors}) < 2:
        return args, kwargs
    moved: tuple[Any, Any] = tree_map_only(Tensor, lambda tensor: tensor.to("meta"), (args, kwargs))
    return moved


class Unfilled(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """On the meta device there are no weights to fill with their first values."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0] if func.overloadpacket.__name__.endswith("_") else func(*args, **(kwargs or {}))


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """All parts in evaluation, and afterwards as they were."""
    before = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in before:
            part.training = training


@dataclass
class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down each operation on what comes from the images, and passes on what comes from weights alone."""

    device: str
    name: str = ""
    """Of the operation that was called last, whether or not it ended well."""
    arguments: dict[str, Any] = field(default_factory=dict)
    """What it was called with."""
    operations: list[Operation] = field(default_factory=list)
    values: dict[int, Value | Weight] = field(default_factory=dict)
    stack: list[tuple[str, int]] = field(default_factory=lambda: [("", 0)])
    calls: int = 0
    answers: dict[int, tuple[str, Value]] = field(default_factory=dict)
    """As in `Trace`."""
    where: str = ""
    """The innermost module that `error` left."""
    error: BaseException | None = None
    broken: BaseException | None = None
    """What the operation `name` raised, where it did: other errors are the module's own."""

    def __post_init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kept: dict[int, list[Tensor]] = {}

    def learn(self, tensor: Tensor, value: Value | Weight) -> None:
        """What the tensor stands for. It is kept: an id stands for a tensor as long as that lives."""
        self.values[id(tensor)] = value
        alike = self.kept.setdefault(tensor.untyped_storage()._cdata, [])
        if not any(tensor is other for other in alike):
            alike.append(tensor)

    @contextmanager
    def watching(self, module: nn.Module) -> Iterator[None]:
        """Know of every part when it begins and when it ends."""
        with ExitStack() as stack:
            for path, part in module.named_modules():
                if path:
                    for handle in (
                        part.register_forward_pre_hook(self.entering(path)),
                        part.register_forward_hook(self.leaving, always_call=True),
                    ):
                        stack.callback(handle.remove)
            yield

    def entering(self, path: str) -> Any:
        """A hook for the part at `path`."""

        def enter(*_: Any) -> None:
            self.calls += 1
            self.stack.append((path, self.calls))

        return enter

    def leaving(self, _part: nn.Module, _given: Any, answer: Any) -> None:
        """A hook for the end of a part; where an error ends it, its answer is None."""
        path, call = self.stack.pop()
        error = sys.exc_info()[1] if answer is None else None
        if error is not self.error:
            self.error, self.where = error, path
        tensors = [answer] if isinstance(answer, Tensor) else tree_leaves(answer)
        value = next((self.known(tensor) for tensor in tensors if isinstance(tensor, Tensor)), None)
        if isinstance(value, Value):
            self.answers[call] = path, value

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        names = [argument.name for argument in func._schema.arguments]
        arguments = {name: self.known(value) for name, value in (*zip(names, args, strict=False), *kwargs.items())}
        self.name, self.arguments = func.overloadpacket.__name__.removesuffix("_"), arguments  # `relu_`, in place
        if self.device == "meta":
            args, kwargs = together(args, kwargs)
        shortcut = SHORTCUTS.get(func) if self.device == "meta" else None
        try:
            result = shortcut(*args) if shortcut and alike(args) else func(*args, **kwargs)
        except Exception as error:
            self.broken = error
            raise
        inputs = [value for value in flat(arguments.values()) if isinstance(value, Value | Weight)]
        outputs = [tensor for tensor in flat([result]) if isinstance(tensor, Tensor)]
        known: Sequence[Value | Weight]
        if any(isinstance(value, Value) for value in inputs) and outputs:
            place, (path, call) = len(self.operations), self.stack[-1]
            known = values = tuple(Value(place, at, tuple(tensor.shape)) for at, tensor in enumerate(outputs))
            pointwise = torch.Tag.pointwise in func.tags
            self.operations.append(Operation(self.name, path, call, arguments, values, pointwise))
        else:
            parameters = frozenset[str]().union(*(v.parameters for v in inputs if isinstance(v, Weight)))
            known = [Weight(parameters, tuple(tensor.shape), repeats(tensor)) for tensor in outputs]
        for tensor, value in zip(outputs, known, strict=True):
            self.learn(tensor, value)
        written = [a.name for a in func._schema.arguments if a.alias_info is not None and a.alias_info.is_write]
        for tensor in (value for name, value in zip(names, args, strict=False) if name in written):
            if isinstance(tensor, Tensor) and outputs and isinstance(known[0], Value):
                self.learn(tensor, known[0])
                self.overlay(tensor, known[0])
        return result

    def overlay(self, written: Tensor, value: Value) -> None:
        """Where a view was written to, those that share its memory have the new numbers too."""
        for other in self.kept[written.untyped_storage()._cdata]:
            before = self.values[id(other)]
            if other is written or before == value:
                continue
            whole = other.numel() == written.numel() and other.is_contiguous() and written.is_contiguous()
            given = {"self": value} if whole else {"self": value, "into": before}
            after = Value(len(self.operations), 0, tuple(other.shape))
            path, call = self.stack[-1]
            self.operations.append(Operation("view" if whole else "overlay", path, call, given, (after,), False))
            self.values[id(other)] = after

    def known(self, value: Any) -> Any:
        """What stands for an argument: a tensor's Value or Weight, and the rest as it is."""
        if isinstance(value, Tensor):
            return self.values.get(id(value), Weight(frozenset(), tuple(value.shape)))
        if isinstance(value, list | tuple):
            return [self.known(item) for item in value]
        return value

    def mismatch(self) -> tuple[str, int, int] | None:
        """What a layer was given in another number than it takes, how many came and how many it takes."""
        given = self.arguments
        if self.name in ("addmm", "mm", "bmm"):
            left, right = (given[name] for name in (("mat1", "mat2") if "mat1" in given else ("self", "mat2")))
            what, came, needed = "features", left.shape[-1], right.shape[-2]
        elif self.name == "convolution":
            weight = given["weight"].shape
            needed = weight[0] if given["transposed"] else weight[1] * given["groups"]
            what, came = "channels", given["input"].shape[1]
        else:
            return None
        return (what, came, needed) if came != needed else None
