"""What a module computes, operation by operation: one forward pass on the meta device, where nothing is allocated."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

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


def flat(values: Any) -> Iterator[Any]:
    """The values in lists of lists, one after the other."""
    for value in values:
        if isinstance(value, list | tuple) and not isinstance(value, Value):
            yield from flat(value)
        else:
            yield value


def trace(module: nn.Module, size: Size, *, device: str = "meta") -> Trace:
    """What `module` computes on one image of `size` (C, H, W), in evaluation, with its weights left as they are.

    Raises InputError where the module cannot be run so, with the module at which it stops.
    """
    names = dict((*module.named_parameters(), *module.named_buffers()))
    parameters = {name: parameter.numel() for name, parameter in module.named_parameters()}
    with torch.no_grad():
        tensors = {name: tensor.to(device) for name, tensor in names.items()}
    recorder = Recorder({name: tensors[name] for name in parameters}, meta=device == "meta")
    images = torch.empty((1, *size), device=device)
    recorder.values[id(images)] = Value(-1, 0, tuple(images.shape))
    with evaluating(module), recorder.watching(module), torch.no_grad(), recorder:
        try:
            # A module may hold the same tensor under two names, and some may not be parameters by name.
            torch.func.functional_call(module, tensors, (images,), tie_weights=True)
        except InputError:
            raise
        except Exception as error:
            raise InputError(recorder.reason(error, size)) from error
    leaves = {path: part for path, part in module.named_modules() if not any(part.children())}
    return Trace(tuple(images.shape), recorder.operations, parameters, leaves)


NORM = torch.ops.aten.native_batch_norm.default


def normalized(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What batch normalisation returns in evaluation: torch takes half of a pass on the meta device to find it out."""
    return torch.empty_like(x), x.new_empty(0), x.new_empty(0)


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

    weights: dict[str, Tensor]
    meta: bool
    operations: list[Operation] = field(default_factory=list)
    values: dict[int, Value | Weight] = field(default_factory=dict)
    stack: list[tuple[str, int]] = field(default_factory=lambda: [("", 0)])
    calls: int = 0

    def __post_init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kept: list[Tensor] = list(self.weights.values())  # an id stands for a tensor as long as that lives
        for name, tensor in self.weights.items():
            self.values[id(tensor)] = Weight(frozenset([name]), tuple(tensor.shape))

    @contextmanager
    def watching(self, module: nn.Module) -> Iterator[None]:
        """Know of every part when it begins and when it ends."""
        with ExitStack() as stack:
            for path, part in module.named_modules():
                if path:
                    for handle in (
                        part.register_forward_pre_hook(self.entering(path)),
                        part.register_forward_hook(self.leaving),
                    ):
                        stack.callback(handle.remove)
            yield

    def entering(self, path: str) -> Any:
        """A hook for the part at `path`."""

        def enter(*_: Any) -> None:
            self.calls += 1
            self.stack.append((path, self.calls))

        return enter

    def leaving(self, *_: Any) -> None:
        """A hook for the end of a part."""
        self.stack.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        names = [argument.name for argument in func._schema.arguments]
        arguments = {name: self.known(value) for name, value in (*zip(names, args, strict=False), *kwargs.items())}
        result = normalized(args[0]) if func is NORM and self.meta else func(*args, **kwargs)
        inputs = [value for value in flat(arguments.values()) if isinstance(value, Value | Weight)]
        outputs = [tensor for tensor in flat([result]) if isinstance(tensor, Tensor)]
        known: Sequence[Value | Weight]
        if any(isinstance(value, Value) for value in inputs):
            place, (path, call) = len(self.operations), self.stack[-1]
            known = values = tuple(Value(place, at, tuple(tensor.shape)) for at, tensor in enumerate(outputs))
            name = func.overloadpacket.__name__.removesuffix("_")  # `relu_` does in place what `relu` does
            pointwise = torch.Tag.pointwise in func.tags
            self.operations.append(Operation(name, path, call, arguments, values, pointwise))
        else:
            parameters = frozenset[str]().union(*(v.parameters for v in inputs if isinstance(v, Weight)))
            known = [Weight(parameters, tuple(tensor.shape)) for tensor in outputs]
        for tensor, value in zip(outputs, known, strict=True):
            self.values[id(tensor)] = value
            self.kept.append(tensor)
        return result

    def known(self, value: Any) -> Any:
        """What stands for an argument: a tensor's Value or Weight, and the rest as it is."""
        if isinstance(value, Tensor):
            return self.values.get(id(value), Weight(frozenset(), tuple(value.shape)))
        if isinstance(value, list | tuple):
            return [self.known(item) for item in value]
        return value

    def reason(self, error: Exception, size: Size) -> str:
        """Why the pass ended, in a sentence."""
        path = self.stack[-1][0] or "the network itself"
        words = " ".join(str(error).split()) or type(error).__name__
        what = f"images of {size[0]}×{size[1]}×{size[2]}"
        return f"{what} get as far as {path}, which says: {words}"
