"""The graph of a network as text that other tools draw: Mermaid and Graphviz."""

from convatlas.explanation.blocks import Block, graph
from convatlas.explanation.layers import IMAGES, Anatomy


def to_mermaid(explanation: Anatomy, *, depth: int = 1) -> str:
    """A flowchart of the blocks whose names have up to `depth` parts, in Mermaid's language."""
    blocks, edges = graph(explanation, depth)
    ids = {IMAGES: "images"} | {block.name: f"b{index}" for index, block in enumerate(blocks)}
    lines = ["flowchart TD", f'  images(["{size(explanation.input_size)}"])']
    lines += [f'  {ids[block.name]}["{quoted(block, "<br/>")}"]' for block in blocks]
    lines += [f"  {ids[edge.source]} --> {ids[edge.target]}" for edge in edges]
    return "\n".join(lines) + "\n"


def to_dot(explanation: Anatomy, *, depth: int = 1) -> str:
    """The same in Graphviz' language, for `dot`."""
    blocks, edges = graph(explanation, depth)
    ids = {IMAGES: "images"} | {block.name: f"b{index}" for index, block in enumerate(blocks)}
    lines = ["digraph {", '  node [shape=box, style=rounded, fontname="Helvetica", fontsize=11]']
    lines += [f'  images [label="{size(explanation.input_size)}", shape=plaintext]']
    lines += [f'  {ids[block.name]} [label="{quoted(block, chr(92) + "n")}"]' for block in blocks]
    lines += [f"  {ids[edge.source]} -> {ids[edge.target]}" for edge in edges]
    return "\n".join([*lines, "}"]) + "\n"


def quoted(block: Block, newline: str) -> str:
    """Name, kind and output, a line each, as it may stand between quotation marks."""
    times = f" ×{block.times}" if block.times > 1 else ""
    lines = (block.name + times, block.kind, size(block.output_shape))
    return newline.join(line.replace("\\", "/").replace('"', "'") for line in lines)


def size(shape: tuple[int, ...]) -> str:
    """`96×55×55`."""
    return "×".join(map(str, shape))
