"""A network condensed to boxes: what a drawing shows as one, from the layers and what feeds them."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from math import prod

from convatlas.errors import InputError
from convatlas.explanation.costs import Family
from convatlas.explanation.layers import IMAGES, Anatomy, Layer, answering
from convatlas.wording import nearest, some

FEW = 4
"""A network is opened until it has more boxes than so many."""
MANY = 16
"""A module is opened as far as it has no more than so many."""
SHORT = {
    "convolution": "conv", "depthwise convolution": "depthwise", "grouped convolution": "grouped",
    "max pooling": "max pool", "average pooling": "avg pool", "global average pooling": "global avg pool",
    "adaptive average pooling": "avg pool", "batch normalisation": "BN", "layer normalisation": "LN",
    "local response norm": "LRN", "channel shuffle": "shuffle",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Box:
    """What is drawn as one: layers, or a layer outside of the drawing that feeds it."""

    name: str
    layers: tuple[Layer, ...]
    main: tuple[Layer, ...]
    """The layers without what only trims them, such as activations; or all, where there is nothing else."""
    label: str
    """The name without that of the module that is drawn."""
    inputs: tuple[int, ...]
    """The boxes that feed it, by their places."""
    shape: tuple[int, ...]
    """Of its output."""
    repeats: int = 1
    """How many blocks of one kind it is."""
    step: int = 1
    """How much coarser its output is than its input."""

    @property
    def family(self) -> Family:
        """That of the layer that does most of the work."""
        return max(self.main, key=lambda layer: layer.macs).family if self.layers else "other"

    @property
    def words(self) -> str:
        """What it does: `3×3 conv`, `4 blocks`, `7 layers`."""
        if not self.layers:
            return ""
        if all(layer.family == "other" for layer in self.main):
            return ", ".join(dict.fromkeys(short(layer) for layer in self.main))
        if len(self.main) > 1:
            computing = [layer for layer in self.main if layer.family != "join"]
            if len(alike := {short(layer) for layer in self.main}) == 1:
                return f"{len(self.main)} × {alike.pop()}"
            return f"{self.repeats} blocks" if self.repeats > 1 else some(len(computing or self.main), "layer")
        return short(self.main[0]) + (f", /{self.step}" if self.step > 1 else "")

    @property
    def trimmings(self) -> str:
        """`BN, ReLU`: what follows or goes before its one layer."""
        if len(self.main) > 1:
            return ""
        kinds = (short(layer) for layer in self.layers if layer not in self.main and layer.kind != "flatten")
        return ", ".join(dict.fromkeys(kinds))

    @property
    def size(self) -> str:
        """`96×55×55`."""
        return "×".join(map(str, self.shape))

    @property
    def title(self) -> str:
        """All of it in words, for who cannot see it or points at it."""
        if not self.layers:
            return f"{self.name}: {self.size}"
        kinds = ", ".join(dict.fromkeys(layer.kind for layer in self.layers))
        params, macs = sum(layer.params for layer in self.layers), sum(layer.macs for layer in self.layers)
        return f"{self.name}: {kinds}; output {self.size}; {params:,} parameters, {macs:,} MACs"


def short(layer: Layer) -> str:
    """`3×3 conv`."""
    return " ".join(filter(None, ["×".join(map(str, layer.window)), SHORT.get(layer.kind, layer.kind)]))


def trims(layer: Layer, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether it is drawn with its neighbour: normalisation, activation and what else leaves as many numbers."""
    if layer.family != "other" or layer.macs or len(layer.inputs) != 1:
        return False
    return prod(layer.output_shape) == prod(shapes[layer.inputs[0]])


def condense(explanation: Anatomy, *, part: str = "", depth: int | None = None) -> list[Box]:
    """The boxes of a network, or of the module `part`, in the order of their execution, so that edges go forward.

    Layers are one box that share the first `depth` components of their names after `part`. By default a network has
    as many as give it a few boxes, a stage opens to its blocks, and a module as far as it is not crowded. Raises
    InputError for an unknown part, a depth below 1 and a module that computes nothing.
    """
    if depth is not None and depth < 1:
        raise InputError(f"the depth of a drawing is 1, its stages, or more, and got {depth}")
    if not explanation.layers:
        raise InputError(f"{explanation.name} computes nothing from its images, so there is nothing to draw")
    layers = [layer for layer in explanation.layers if inside(layer.name, part)]
    if not layers:
        known = sorted({name for layer in explanation.layers for name in above(layer.name)})
        raise InputError(f"{explanation.name} has no part {part!r}; the nearest: {nearest(part, known)}")
    deepest = max(layer.name.count(".") for layer in layers) + 1 - (part.count(".") + 1 if part else 0)
    depths = range(1, max(deepest, 1) + 1)
    if depth is None and part and repeats(part, layers) > 1:
        depth = 1
    if depth is None and part:
        fitting = (boxes for d in reversed(depths) if len(boxes := boxed(explanation, layers, part, d)) <= MANY)
    elif depth is None:
        fitting = (boxes for d in depths if len(boxes := boxed(explanation, layers, part, d)) > FEW)
    else:
        return boxed(explanation, layers, part, depth)
    return next(fitting, None) or boxed(explanation, layers, part, 1 if part else depths[-1])


def inside(name: str, part: str) -> bool:
    """Whether a layer is of a module."""
    return not part or name == part or name.startswith(f"{part}.")


def above(name: str) -> Iterator[str]:
    """The modules that a layer is in, the outermost first."""
    places = [match.start() for match in re.finditer(r"\.", name)]
    return (name[:place] for place in places)


def stem(name: str, part: str, depth: int) -> str:
    """The first `depth` components of a name after `part`."""
    skip = part.count(".") + 1 if part else 0
    return ".".join(name.split(".")[: skip + depth])


def boxed(explanation: Anatomy, layers: list[Layer], part: str, depth: int) -> list[Box]:
    """The boxes at one depth. A module that is left and entered again has two, so that no edge goes back."""
    shapes = {layer.name: layer.output_shape for layer in explanation.layers} | {IMAGES: tuple(explanation.input_size)}
    trimming = {layer.name for layer in layers if trims(layer, shapes)}
    groups = {i: list(g) for i, (_, g) in enumerate(groupby(layers, key=lambda layer: stem(layer.name, part, depth)))}
    owner = {layer.name: i for i, group in groups.items() for layer in group}
    readers = defaultdict(set)
    for layer in layers:
        for source in layer.inputs:
            readers[source].add(layer.name)

    def merge(one: int, other: int, *, front: bool) -> None:
        group = groups.pop(one)
        groups[other] = group + groups[other] if front else groups[other] + group
        owner.update((layer.name, other) for layer in group)

    def sources(i: int) -> set[int]:
        return {owner.get(name, -1) for layer in groups[i] for name in layer.inputs} - {i}

    def targets(i: int) -> set[int]:
        return {owner[name] for layer in groups[i] for name in readers[layer.name]} - {i}

    # What only trims belongs to what it follows, or else, if that feeds others too, to what it goes before.
    only = [i for i, group in groups.items() if all(layer.name in trimming for layer in group)]
    for i in only:
        if len(before := sources(i)) == 1 and -1 not in before and targets(*before) == {i}:
            merge(i, *before, front=False)
    for i in reversed([i for i in only if i in groups]):
        if len(after := targets(i)) == 1:
            merge(i, *after, front=True)

    strides = {layer.name: layer.stride.height for layer in explanation.layers} | {IMAGES: 1}
    ours = {layer.name for layer in layers}
    outside = list(dict.fromkeys(name for layer in layers for name in layer.inputs if name not in ours))
    boxes = [Box(name, (), (), name, (), shapes[name]) for name in outside]
    place = {name: at for at, name in enumerate(outside)}
    for group in groups.values():
        names = {layer.name for layer in group}
        feeding = list(dict.fromkeys(name for layer in group for name in layer.inputs if name not in names))
        at, main = len(boxes), [layer for layer in group if layer.name not in trimming] or group
        name = common(stem(layer.name, part, depth) for layer in main)
        last = answering(name, group) if group[-1].name.startswith(f"{name}.") else group[-1]
        finest = max((strides[source] for source in feeding), default=1)
        boxes.append(
            Box(
                name=name,
                layers=tuple(group),
                main=tuple(main),
                label=name.removeprefix(f"{part}."),
                inputs=tuple(dict.fromkeys(place[source] for source in feeding)),
                shape=last.output_shape,
                repeats=repeats(name, main),
                step=int(last.stride.height // finest) if finest else 1,
            )
        )
        place.update((layer.name, at) for layer in group)
    return boxes


def common(names: Iterable[str]) -> str:
    """The module that all of these layers are in, or the layer."""
    first, *rest = ([*name.split(".")] for name in names)
    for other in rest:
        first = [one for one, two in zip(first, other, strict=False) if one == two]
    return ".".join(first) or "network"


def repeats(name: str, layers: Iterable[Layer]) -> int:
    """How many blocks there are, which differ by a number in their names alone."""
    rest = [layer.name.removeprefix(f"{name}.").split(".") for layer in layers if layer.family != "join"]
    blocks = Counter(path[0] for path in rest)
    alike = len({re.sub(r"\d+", "", block) for block in blocks}) == 1 and max(map(len, rest)) > 1
    return len(blocks) if alike else 1
