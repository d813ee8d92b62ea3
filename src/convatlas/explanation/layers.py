"""What an explanation is made of: the layers of a network, and what they come to."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

from convatlas.explanation.costs import WEIGHTED, Family
from convatlas.explanation.trace import Size
from convatlas.registry import Card
from convatlas.wording import nearest

IMAGES = "images"
"""The name of what feeds the first layer."""
COUNTING_RULE = (
    "a MAC is one multiply-accumulate of a convolution, a dense layer or a product of two inputs, as in attention; "
    "all else is listed apart, as elementwise operations"
)


class Span(NamedTuple):
    """What a unit sees, in pixels: down and across."""

    height: int
    width: int


class Step(NamedTuple):
    """A way in the image, in pixels: down and across. Behind a transposed convolution it may be a part of one."""

    height: int | float
    width: int | float


@dataclass(frozen=True, slots=True)
class Note:
    """What is to be known of a layer beside its numbers."""

    kind: Literal["uncounted", "unfollowed", "by turns", "shifted"]
    """Operations that have no rule; a field that is taken as all; units of one map that do not all see as much; paths
    that meet and look at other places."""
    text: str

    @property
    def omits(self) -> bool:
        """Whether something of the layer was not analysed."""
        return self.kind in ("uncounted", "unfollowed")

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer, or an operation between layers."""

    name: str
    """The module's, or that of the module that computes it and what is computed: `conv2_x.0.addition`."""
    kind: str
    family: Family
    """What it is taken together with, in drawings and sums."""
    module: str
    """The class of the module, where the layer is one; or ""."""
    inputs: tuple[str, ...]
    """The layers that feed it; `images` is the network's input."""
    output_shape: tuple[int, ...]
    """Without the batch: (C, H, W), or (features,)."""
    params: int
    """Its own; parameters that several layers share are the first one's."""
    macs: int
    elementwise: int
    """All other operations: one for each number of a pointwise layer, two for each that is normalised, one for each
    place of a window that is pooled."""
    activation_bytes: int
    """Of its output in float32, for one image."""
    receptive_field: Span
    """Padding included, so that it can be larger than the image; the largest, where units see by turns."""
    stride: Step
    """From one unit to the next, in pixels of the image, in the mean; 0 where all units see the same."""
    offset: Step
    """The first pixel that the first unit sees: below 0 it is padding."""
    sees_all: bool
    """Whether every unit sees the whole image."""
    formulas: tuple[str, ...]
    """How the numbers come about."""
    notes: tuple[Note, ...] = ()
    window: tuple[int, ...] = ()
    """What a unit of a convolution or a pooling looks at: (height, width)."""
    answers: tuple[str, ...] = ()
    """The modules around it whose answer it computes, by name: those that the layer is the end of."""

    @property
    def omissions(self) -> tuple[Note, ...]:
        """What could not be analysed."""
        return tuple(note for note in self.notes if note.omits)


def answering(name: str, layers: Sequence[Layer]) -> Layer:
    """Of a module's layers, the one that computes its answer; the last where none does, as in a list of modules."""
    return next((layer for layer in reversed(layers) if name in layer.answers), layers[-1])


@dataclass(frozen=True)
class Anatomy:
    """A network on one image, layer by layer: what tables, pages and drawings are made of."""

    name: str
    input_size: Size
    layers: tuple[Layer, ...]
    card: Card | None = None
    """Where the network is one of the atlas."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """In what it differs from the network of its card: fields of the spec, `num_classes` and `in_channels`."""
    unused: Mapping[str, int] = field(default_factory=dict)
    """Parameters that this pass does not use, by name: counted in `params`, and in no layer."""

    @cached_property
    def params(self) -> int:
        """All parameters, of which those that have several names count once."""
        return sum(layer.params for layer in self.layers) + sum(self.unused.values())

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of convolutions, dense layers and products, on one image."""
        return sum(layer.macs for layer in self.layers)

    @cached_property
    def activation_bytes(self) -> int:
        """Of all outputs in float32, which is what training keeps, about, for one image."""
        return sum(layer.activation_bytes for layer in self.layers)

    @cached_property
    def elementwise(self) -> int:
        """All other operations, on one image."""
        return sum(layer.elementwise for layer in self.layers)

    @cached_property
    def depth(self) -> int:
        """How many layers with weights the longest path has: convolutions and dense layers, as papers count them.

        Those of a gate do not count, such as squeeze-and-excitation's: SE-ResNet-50 has 50 layers.
        """
        behind = {IMAGES: 0}
        for layer in self.layers:
            before = (behind[name] for name in self.weighed(layer))
            behind[layer.name] = (layer.family in WEIGHTED) + max(before, default=0)
        read = {name for layer in self.layers for name in layer.inputs}
        return max(depth for name, depth in behind.items() if name not in read)

    def weighed(self, layer: Layer) -> list[str]:
        """What feeds a layer, but of a product of maps no gate, which is a factor that is computed from another."""
        if layer.kind != "multiplication" or len(layer.inputs) < 2:
            return list(layer.inputs)
        return [name for name in layer.inputs if not any(self.leads(other, name) for other in layer.inputs)]

    def leads(self, start: str, end: str) -> bool:
        """Whether a layer is computed from another, or from what that is computed from."""
        if start in (end, IMAGES):
            return False
        reached = {end}
        for layer in reversed(self.layers):
            if layer.name == start:
                return start in reached
            if layer.name in reached:
                reached |= set(layer.inputs)
        return False

    @property
    def left_out(self) -> tuple[Layer, ...]:
        """The layers of which something could not be analysed."""
        return tuple(layer for layer in self.layers if layer.omissions)

    def __getitem__(self, name: str) -> Layer:
        """The layer of that name. Raises KeyError, with the nearest names, where there is none."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        known = [layer.name for layer in self.layers]
        raise KeyError(f"no layer is called {name!r}; the nearest: {nearest(name, known)}")

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON has it; sizes are `[height, width]`, costs of one image."""
        card = self.card
        return {
            "name": self.name,
            "input_size": list(self.input_size),
            "paper": card.paper.citation if card else None,
            "table": card.table if card else None,
            "published": dict(card.published) if card else {},
            "deviations": list(card.deviations) if card else [],
            "changes": dict(self.changes),
            "params": self.params,
            "macs": self.macs,
            "elementwise": self.elementwise,
            "activation_bytes": self.activation_bytes,
            "depth": self.depth,
            "counting_rule": COUNTING_RULE,
            "left_out": {layer.name: list(map(str, layer.omissions)) for layer in self.left_out},
            "unused": dict(self.unused),
            "layers": [
                {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(layer).items()}
                for layer in self.layers
            ],
        }
