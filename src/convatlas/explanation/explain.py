"""`explain`: what a network is made of, layer by layer, in numbers and in words."""

import os
import re
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import fields, replace
from fractions import Fraction
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from convatlas.errors import InputError
from convatlas.explanation.costs import WEIGHTED, Cost, Family, arranged, cost_of, no_parameters, plain
from convatlas.explanation.field import carried
from convatlas.explanation.forward import trace
from convatlas.explanation.groups import Group, grouped
from convatlas.explanation.layers import IMAGES, Anatomy, Layer, Note, Span, Step
from convatlas.explanation.operators import with_biases, without_batch
from convatlas.explanation.reach import Field, Reach, of_images
from convatlas.explanation.trace import Operation, Size, Trace, Unfilled, Value
from convatlas.models import build, list_models, model_card
from convatlas.network import Network
from convatlas.registry import Card
from convatlas.wording import some

if TYPE_CHECKING:
    from PIL.Image import Image

    from convatlas.explanation.probe import Probe

Model = str | os.PathLike[str] | nn.Module
"""What is explained: a name of the atlas, the folder of a run, or any module."""
LARGEST = 65_536
"""Pixels of a side, or channels, at most: of more, torch cannot count the numbers of a map."""


class Explanation(Anatomy):
    """A network on one image, and the views of it; printed, it is a table of its stages."""

    def __repr__(self) -> str:
        images = "×".join(map(str, self.input_size))
        return f"<{self.name} on {images}: {len(self.layers)} layers, {self.params:,} parameters, {self.macs:,} MACs>"

    def __str__(self) -> str:
        return self.to_text()

    def to_text(self, *, depth: int = 1, width: int = 80) -> str:
        """The table of the blocks whose names have up to `depth` parts, in `width` columns."""
        from convatlas.explanation.table import to_text

        return to_text(self, depth=depth, width=width)

    def to_svg(self, *, part: str = "", depth: int | None = None) -> str:
        """A drawing that stands alone, of the network or of the module `part` opened: see `diagram.to_svg`."""
        from convatlas.explanation.diagram import to_svg

        return to_svg(self, part=part, depth=depth)

    def to_html(self, *, picture: "Image | None" = None, probe: "Probe | None" = None) -> str:
        """A page that stands alone, with `picture` to show receptive fields on, and what `probe` found: see `page`."""
        from convatlas.explanation.page import to_html

        return to_html(self, picture=picture, probe=probe)


def explain(model: Model, input_size: Size | None = None, *, real: bool = False, **changes: Any) -> Explanation:
    """What `model`, a name, a run's folder or any module, is made of, on images of `input_size` (C, H, W).

    One forward pass on the meta device, in which no weights are allocated and nothing is computed; `real` makes it on
    the processor, with an image of zeros, for modules that look at what they compute. `changes` are fields of a named
    network's spec. Raises InputError for an unknown name or change, a folder that holds no run, images that the network
    does not take, and a module that cannot be run so.
    """
    module, size, card, name = prepared(model, input_size, real=real, **changes)
    found = trace(module, size, device="cpu" if real else "meta")
    layers, unused = Assembly(found).layers()
    changed = differences(module, card) if isinstance(module, Network) and card else {}
    return Explanation(name, size, layers, card=card, changes=changed, unused=unused)


def prepared(
    model: Model, input_size: Size | None, *, real: bool, **changes: Any
) -> tuple[nn.Module, Size, Card | None, str]:
    """The module, the size of its images, its card where it is one of the atlas, and its name.

    Raises InputError for an unknown name or change, and where the size cannot be known.
    """
    if not isinstance(model, str | os.PathLike | nn.Module):
        raise InputError(f"a network is a name, the folder of a run or a torch.nn.Module, and not {model!r}")
    if input_size is not None and not (
        isinstance(input_size, list | tuple)
        and len(input_size) == 3
        and all(type(side) is int and 0 < side <= LARGEST for side in input_size)
    ):
        raise InputError(f"input_size is (C, H, W), three whole numbers from 1 to {LARGEST:,}, and not {input_size!r}")
    folder = None if isinstance(model, nn.Module) else folder_of(model)
    if changes and (folder or isinstance(model, nn.Module)):
        what = "the run" if folder else "a module"
        raise InputError(f"changes are for networks of the atlas, by name, and not for {what}: {', '.join(changes)}")
    card, name, size = None, type(model).__name__, input_size
    if isinstance(model, nn.Module):
        module = model
    else:
        with nullcontext() if real else Unfilled(), torch.device("cpu" if real else "meta"):
            if folder:
                from convatlas.weights.bundle import Bundle

                bundle = Bundle.read(folder)
                module, size = bundle.build(), size or bundle.images.size
            else:
                card, name = model_card(str(model)), str(model)
                module = build(name, **(({"in_channels": size[0]} if size else {}) | changes))
    if isinstance(module, Network) and card is None and module.name != "network":
        card, name = model_card(module.name), module.name
    if size is None and isinstance(module, Network) and card is not None:
        side = module.least_size if module.fixed_size else card.input_size[1]
        size = (module.in_channels, side, side)
    if size is None:
        raise InputError(f"{name} does not say what images it takes; give input_size, such as (3, 224, 224)")
    return module, size, card, name


def folder_of(model: str | os.PathLike[str]) -> Path | None:
    """The folder of a run that is meant; None where it is a name of the atlas, or like one: those are words.

    Raises InputError where there is no such folder, and for `package.module:name`, which only the command line imports.
    """
    if isinstance(model, str) and model in list_models():
        return None
    folder = Path(model).expanduser()
    if folder.exists():
        return folder
    if isinstance(model, str) and ":" in model:
        raise InputError(f"{model} is for the command line; import the module, and give it as it is")
    if isinstance(model, str) and not any(sign in model for sign in "/\\~."):
        return None
    raise InputError(f"there is no folder {model}; name the folder of a run, or a network of the atlas")


def differences(network: Network, card: Card) -> dict[str, Any]:
    """In what a network differs from that of its card: what is printed of the one is not true of the other."""
    pairs = [(f.name, getattr(network.spec, f.name), getattr(card.spec, f.name)) for f in fields(card.spec)]
    pairs += [("num_classes", network.num_classes, card.num_classes)]
    pairs += [("in_channels", network.in_channels, card.input_size[0])]
    return {name: ours for name, ours, theirs in pairs if ours != theirs}


class Assembly:
    """From operations to layers."""

    def __init__(self, found: Trace) -> None:
        self.trace = found = replace(found, operations=with_biases(found.operations))
        self.images = of_images(found.images)
        self.costs: list[Cost] = [cost_of(operation) for operation in found.operations]
        self.fields = carried(found.operations, self.images)
        self.groups = grouped(found.operations, self.costs, found.leaves)
        self.owner = {index: group for group in self.groups for index in group.operations}
        self.answers: dict[str, list[str]] = {}
        """The modules whose answer a layer computes, by its name."""
        for path, value in found.answers.values():
            self.answers.setdefault(next(self.behind([value], None), IMAGES), []).append(path)

    def field(self, value: Value) -> Field:
        """What the units of a value see."""
        return self.images if value.operation < 0 else self.fields[value.operation][value.place]

    def output(self, group: Group) -> Value:
        """What a layer gives: what its module answers, if the layer computes that, or else its last operation."""
        _, answer = self.trace.answers.get(group.call, ("", None)) if group.call is not None else ("", None)
        last = self.trace.operations[group.operations[-1]].output
        return answer if answer and self.owner.get(answer.operation) is group else last

    def layers(self) -> tuple[tuple[Layer, ...], dict[str, int]]:
        """All layers, and the parameters that none of them uses."""
        left = dict(self.trace.parameters)
        return tuple(self.layer(group, left) for group in self.groups), left

    def layer(self, group: Group, left: dict[str, int]) -> Layer:
        """One layer; its parameters are taken out of `left`."""
        operations = [self.trace.operations[index] for index in group.operations]
        costs = [self.costs[index] for index in group.operations]
        weights = [weight for operation in operations for weight in operation.weights]
        used = {name for weight in weights for name in weight.parameters}
        module = self.trace.leaves.get(group.path)
        if not any(cost.kind for cost in costs) and (order := arranged(operations)):
            costs.append(order)
        output = self.output(group)
        last = self.field(output)
        idle = int(getattr(module, "idle_macs", 0))
        params = sum(left.pop(name, 0) for name in sorted(used))
        kind = kind_of(costs, module)
        # A module of many small operations, such as local response normalisation, is not explained by each of them.
        formulas = [formula for cost in costs if cost.kind == kind for formula in cost.formulas]
        shaped = sum(cost.params for cost in costs)
        if not shaped and (counted := plain(weights)) and counted.value == params:
            formulas += [counted.formula] if not any(f.startswith(f"{params:,} = ") for f in formulas) else []
        if shaped > params:
            zeros = f"{params:,} of the {shaped:,} are parameters here: the others are zeros"
            formulas.append(zeros if idle else no_parameters(operations, shaped, params))
        if idle:
            formulas.append(f"{idle:,} of the products are with these zeros, and do not count")
        return Layer(
            name=group.name,
            kind=kind,
            family=family_of(kind, costs, module),
            module="" if module is None else type(module).__name__,
            inputs=tuple(dict.fromkeys(self.sources(group, operations))),
            output_shape=without_batch(output.shape),
            params=params,
            macs=sum(cost.macs for cost in costs) - idle,
            elementwise=sum(cost.elementwise for cost in costs),
            activation_bytes=4 * prod(output.shape),
            receptive_field=Span(*(reach.size for reach in last.reach)),
            stride=Step(*(number(reach.stride) for reach in last.reach)),
            offset=Step(*(reach.first for reach in last.reach)),
            sees_all=all(
                not reach.stride and reach.first <= 0 and reach.first + reach.size >= side
                for reach, side in zip(last.reach, self.trace.images[-2:], strict=True)
            ),
            formulas=tuple(dict.fromkeys(formulas)),
            notes=tuple(dict.fromkeys(self.notes(operations, group))),
            window=next((cost.window for cost in costs if cost.kind == kind), ()),
            answers=tuple(
                path
                for path in dict.fromkeys(self.answers.get(group.name, ()))
                if group.call is None or path != group.path
            ),
        )

    def sources(self, group: Group, operations: list[Operation]) -> Iterator[str]:
        """The names of the layers from which values come into the group."""
        for operation in operations:
            yield from self.behind(operation.inputs, group)

    def behind(self, values: list[Value], group: Group | None) -> Iterator[str]:
        """The layers that made these values, through what only turns or cuts."""
        for value in values:
            if value.operation < 0:
                yield IMAGES
            elif (owner := self.owner.get(value.operation)) is None:
                yield from self.behind(self.trace.operations[value.operation].inputs, group)
            elif owner is not group:
                yield owner.name

    def seen(self, values: list[Value], group: Group) -> Iterator[Field]:
        """What units of the layers that made these values see, other than the group, before what only turns or cuts."""
        for value in values:
            if value.operation < 0:
                yield self.images
            elif (owner := self.owner.get(value.operation)) is None:
                yield from self.seen(self.trace.operations[value.operation].inputs, group)
            elif owner is not group:
                yield self.field(value)

    def notes(self, operations: list[Operation], group: Group) -> Iterator[Note]:
        """What could not be analysed here, where units see by turns more and less, and where paths disagree."""
        for index in group.operations:
            if not self.costs[index].counted:
                yield Note("uncounted", f"the operations of {self.trace.operations[index].name} are not counted")
        before = [field for operation in operations for field in self.seen(operation.inputs, group)]
        after = self.field(self.output(group))
        if not after.known and all(each.known for each in before):
            yield Note("unfollowed", "what its units see is not followed: taken as all that is seen before it")
        if after.by_turns and not any(each.by_turns for each in before):
            said = [seen_by_turns(reach) for reach in after.reach]
            words = said[0] if said[0] == said[1] else f"{said[0]}, down, and {said[1]}, across"
            yield Note("by turns", f"its units see {words}")
        if not after.aligned and all(each.aligned for each in before):
            yield Note("shifted", "the paths that meet here look at places that are shifted against each other")


def kind_of(costs: list[Cost], module: nn.Module | None) -> str:
    """What a layer is called: its one computation, or else its module."""
    kinds = [cost.kind for cost in costs if cost.macs] or [cost.kind for cost in costs if cost.kind]
    if len(set(kinds)) == 1 or (kinds and module is None):
        return kinds[0]
    return words(type(module).__name__) if module is not None else "reshaping"


def family_of(kind: str, costs: list[Cost], module: nn.Module | None) -> Family:
    """What a layer of that kind is taken as: what its module says, or what most of its work is."""
    declared: Family | None = getattr(module, "layer_family", None)
    if declared:
        return declared
    if any(cost.macs for cost in costs):
        return max(costs, key=lambda cost: (cost.family in WEIGHTED, cost.macs)).family
    return next((cost.family for cost in costs if cost.kind == kind), "other")


def seen_by_turns(reach: Reach) -> str:
    """`2 or 3 pixels by turns, the same again 4 units and 2 pixels on`."""
    sizes = sorted(pixels.size if pixels else 0 for pixels in reach.turn)
    least, most = sizes[0], sizes[-1]
    several = f"{least} {'or' if most == least + 1 else 'to'} {most} pixels by turns"
    words = several if least < most else f"{some(most, 'pixel')} each" + " in uneven steps" * (len(sizes) > 1)
    if len(sizes) == 1 or len(sizes) >= reach.units:
        return words
    return f"{words}, the same again {some(len(sizes), 'unit')} and {some(reach.advance or 0, 'pixel')} on"


def words(name: str) -> str:
    """`LocalResponseNorm` as `local response norm`, and `RBF` as it is."""
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+", name)
    return " ".join(part if part.isupper() and len(part) > 1 else part.lower() for part in parts)


def number(pixels: Fraction) -> int | float:
    """A number of pixels: behind a transposed convolution it may be a part of one."""
    return int(pixels) if pixels.denominator == 1 else float(pixels)
