"""Layers drawn together to blocks, by the names of their modules: what tables and drawings show of a deep network."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from convatlas.explanation.layers import Anatomy, Layer, Span, answering


@dataclass(frozen=True, slots=True)
class Block:
    """Layers that lie behind each other and have the first parts of their names in common."""

    name: str
    """That part; or of equal blocks that are shown as one, `conv2_x.1…2`."""
    layers: tuple[Layer, ...]
    times: int = 1
    """How many equal blocks this is."""

    @property
    def kind(self) -> str:
        """What it does, in words: of several layers, those that have products, and what pools and joins; of equal
        blocks, what each does.
        """
        one = self.layers[: len(self.layers) // self.times]
        if len(one) == 1:
            return one[0].kind
        leading = [layer.kind for layer in one if layer.macs or layer.family == "pool"]
        leading += [layer.kind for layer in one if layer.kind in ("addition", "concatenation")]
        counts = Counter(leading or [layer.kind for layer in one])
        return ", ".join(kind if count == 1 else f"{count} × {kind}" for kind, count in counts.items())

    @property
    def last(self) -> Layer:
        """The layer that computes what the block gives."""
        parts = self.layers[-1].name.split(".")[: self.name.count(".") + 1]
        return answering(".".join(parts), self.layers)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """What it gives, without the batch."""
        return self.last.output_shape

    @property
    def params(self) -> int:
        """Of all of its layers."""
        return sum(layer.params for layer in self.layers)

    @property
    def macs(self) -> int:
        """Of all of its layers."""
        return sum(layer.macs for layer in self.layers)

    @property
    def receptive_field(self) -> Span:
        """The largest of any of its layers."""
        fields = [layer.receptive_field for layer in self.layers]
        return Span(max(field.height for field in fields), max(field.width for field in fields))

    @property
    def formulas(self) -> tuple[str, ...]:
        """How its numbers come about; of several layers with products there is no one sum, and so none here."""
        if sum(layer.macs > 0 for layer in self.layers) > 1:
            return ()
        return tuple(dict.fromkeys(formula for layer in self.layers for formula in layer.formulas))

    @property
    def sources(self) -> tuple[str, ...]:
        """The layers outside of it that feed it."""
        own = {layer.name for layer in self.layers}
        return tuple(dict.fromkeys(name for layer in self.layers for name in layer.inputs if name not in own))


def divided(layers: Sequence[Layer], level: int, *, fold: bool = True) -> list[Block]:
    """Blocks of layers whose names agree in their first `level` parts.

    With `fold`, blocks that a `Sequential` numbers, follow each other and are equal but for what they see are one.
    """
    parts = groupby(layers, key=lambda layer: ".".join(layer.name.split(".")[:level]))
    blocks = [Block(name, tuple(inside)) for name, inside in parts]
    if not fold:
        return blocks
    folded: list[list[Block]] = []
    for block in blocks:
        if folded and likeness(block) == likeness(folded[-1][0]) and follows(block, folded[-1][-1]):
            folded[-1].append(block)
        else:
            folded.append([block])
    return [joined(equal) for equal in folded]


def follows(block: Block, before: Block) -> bool:
    """Whether a block is one of a numbered row, and computed from the one before it alone."""
    return len(block.layers) > 1 and block.name.rpartition(".")[2].isdecimal() and block.sources == (before.last.name,)


def likeness(block: Block) -> tuple[object, ...]:
    """What equal blocks have in common."""
    return tuple(
        (layer.name.removeprefix(block.name), layer.kind, layer.output_shape, layer.params, layer.macs)
        for layer in block.layers
    )


def joined(equal: Sequence[Block]) -> Block:
    """Equal blocks as one."""
    if len(equal) == 1:
        return equal[0]
    name = f"{equal[0].name}…{equal[-1].name.rpartition('.')[2]}"
    return Block(name, tuple(layer for block in equal for layer in block.layers), len(equal))


@dataclass(frozen=True, slots=True)
class Edge:
    """From one block to the next; a source of "images" is the network's input."""

    source: str
    target: str


def graph(explanation: Anatomy, depth: int) -> tuple[list[Block], list[Edge]]:
    """The blocks whose names have up to `depth` parts, each name once, and which of them feeds which."""
    blocks: list[Block] = []
    taken: Counter[str] = Counter()
    for block in divided(explanation.layers, depth):
        taken[block.name] += 1  # a module that is called again later stands there again
        again = f" ({taken[block.name]})" if taken[block.name] > 1 else ""
        blocks.append(Block(block.name + again, block.layers, block.times))
    owner = {layer.name: block.name for block in blocks for layer in block.layers}
    edges = [Edge(owner.get(source, source), block.name) for block in blocks for source in block.sources]
    return blocks, list(dict.fromkeys(edges))
