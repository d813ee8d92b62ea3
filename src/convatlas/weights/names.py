"""From others' names to ours, and which network some weights are of.

The shapes of weights do not tell all: a stride, a pooling or an activation has none. So a layout of keys belongs to
networks of one form, and what is under its names is refused by those of another, though the shapes would fit.
"""

import dataclasses
from collections.abc import Mapping
from difflib import SequenceMatcher
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from convatlas.counts import counts_of
from convatlas.models import build, list_models, model_card
from convatlas.network import Network
from convatlas.weights.layouts import LAYOUTS, Layout

FORM = (
    # what the shapes of the weights do not tell
    *("stride_in", "stem", "shortcut", "squeeze", "gate", "order", "on_shortcut", "on_branch"),
    *("norm", "pool", "activation", "padding", "heads", "shuffle", "survival"),
    # and what it goes with in the papers' tables: ResNeXt's stride, a ViT's heads
    *("block", "cardinality", "dim"),
)
"""The fields of specs that tell apart networks which could take each other's weights."""


def form(spec: Any) -> dict[str, Any]:
    """What of a spec has to be alike for weights under others' names."""
    fields = {name: getattr(spec, name) for name in FORM if hasattr(spec, name)}
    if fields.get("block") == "basic":
        del fields["stride_in"]  # there is but one convolution that could have it
    return fields


def spec_of(name: str, layout: Layout | None) -> Any:
    """The spec of the network of that name as the layout has it, or as we have it."""
    return dataclasses.replace(model_card(name).spec, **(layout.changes if layout else {}))


def to_ours(state: Mapping[str, Tensor], network: Network) -> dict[str, Tensor]:
    """The state under our names: as it is, or renamed by a layout of the network's form, if more keys are ours then.

    1×1 convolutions that another library has for our dense layers are laid flat.
    """
    specs = {layout: [spec_of(name, layout) for name in layout.names()] for layout in LAYOUTS if layout.mark in state}
    named = [dict(state)] + [
        layout.renamed(state)
        for layout, those in specs.items()
        if any(type(spec) is type(network.spec) and form(spec) == form(network.spec) for spec in those)
    ]
    ours = network.state_dict().keys()
    best = max(named, key=lambda state: len(state.keys() & ours))
    dense = {name + ".weight" for name, layer in network.named_modules() if isinstance(layer, nn.Linear)}
    return {key: value.flatten(1) if key in dense and value.ndim > 1 else value for key, value in best.items()}


class Mould(NamedTuple):
    """The names and shapes of a network's tensors, and which of them are made for its classes and channels."""

    shapes: Mapping[str, torch.Size]
    head: str
    """How the keys of the classifier begin."""
    first: str
    """The key of the first layer's weights."""

    def fits(self, state: Mapping[str, Tensor]) -> bool:
        """Whether the tensors are those of the network, for any number of classes and of channels."""
        theirs = {key: value.shape for key, value in state.items() if counts(key)}
        ours = {key: shape for key, shape in self.shapes.items() if counts(key)}
        return theirs.keys() == ours.keys() and all(self.alike(key, theirs[key], ours[key]) for key in ours)

    def alike(self, key: str, theirs: torch.Size, ours: torch.Size) -> bool:
        """Whether two shapes are one, but for the classifier's rows, the channels and what is laid flat."""
        if key.startswith(self.head):
            return True
        if key == self.first and len(theirs) == len(ours) > 1:
            return theirs[:1] + theirs[2:] == ours[:1] + ours[2:]
        return theirs == ours or (theirs[: len(ours)] == ours and theirs.numel() == ours.numel())


def counts(key: str) -> bool:
    """Whether a tensor tells of which network it is: not those that files may lack."""
    return not key.startswith("auxiliary.") and not key.endswith("num_batches_tracked")


def mould(network: Network) -> Mould:
    """The names and shapes of the network's tensors."""
    shapes = {key: value.shape for key, value in network.state_dict().items()}
    return Mould(shapes, network.stages[-1] + ".", next(iter(shapes)))


@cache
def mould_of(name: str, layout: Layout | None) -> Mould:
    """The same of the network of that name, built on the meta device, as the layout has it."""
    with torch.device("meta"):
        return mould(build(name, **(layout.changes if layout else {})))


class Likeness(NamedTuple):
    """The network that weights are of, and under whose names they are, if not under ours."""

    name: str
    layout: Layout | None

    def __str__(self) -> str:
        if self.layout is None:
            return self.name
        changes = ", ".join(f"{field}={value!r}" for field, value in self.layout.changes.items())
        return f"{self.name}{f' with {changes}' if changes else ''}, under the names of {self.layout.source}"

    def differences(self, network: Network) -> str:
        """The fields in which a network of the same name has another spec, in words; empty for another name."""
        if self.name != network.name:
            return ""
        theirs, ours = spec_of(self.name, self.layout), network.spec
        pairs = [(f.name, getattr(theirs, f.name), getattr(ours, f.name)) for f in dataclasses.fields(theirs)]
        others = ", ".join(f"{name}={their!r} and not {our!r}" for name, their, our in pairs if their != our)
        return f", with {others}" if others else ""


FARTHEST = 4097 * 1000
"""How many parameters apart networks are looked at: those of a VGG's classifier, the largest."""


def looks_like(state: Mapping[str, Tensor], near: str) -> Likeness | None:
    """The network that has tensors of these names and shapes, but for the classes and channels, and None without one.

    Of several that have, as of forms of one network, it is the one whose name is most like `near`. To be looked at
    each is built, on the meta device; so those come first that have about as many parameters.
    """
    named: dict[Layout | None, Mapping[str, Tensor]] = {None: state}
    named |= {layout: layout.renamed(state) for layout in LAYOUTS if layout.mark in state}
    sizes = {layout: parameters(renamed) for layout, renamed in named.items()}

    def apart(like: Likeness) -> int:
        return abs(sizes[like.layout] - counts_of(like.name).params)

    def distance(like: Likeness) -> tuple[float, float]:
        likeness = SequenceMatcher(None, like.name, near).ratio()
        return round(apart(like) / (sizes[like.layout] + 1), 1), -likeness

    likes = [Likeness(name, layout) for layout in named for name in (layout.names() if layout else list_models())]
    nearest = sorted((like for like in likes if apart(like) <= FARTHEST), key=distance)
    return next((like for like in nearest if mould_of(*like).fits(named[like.layout])), None)


def parameters(state: Mapping[str, Tensor]) -> int:
    """How many there are, without the auxiliary classifiers."""
    return sum(value.numel() for key, value in state.items() if counts(key) and ".running_" not in key)
