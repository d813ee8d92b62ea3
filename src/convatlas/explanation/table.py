"""The explanation of a network as a table for the terminal: collapsed to blocks, opened as deep as is asked for."""

import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from textwrap import wrap
from typing import TYPE_CHECKING, NamedTuple

from rich.cells import cell_len
from rich.console import Console, Group
from rich.text import Text

from convatlas.explanation.blocks import Block, divided
from convatlas.explanation.layers import COUNTING_RULE, IMAGES, Anatomy, Layer, Span, Step
from convatlas.explanation.text import size
from convatlas.wording import some

if TYPE_CHECKING:
    from convatlas.explanation.probe import Probe

WIDE = 120
"""From how many columns on kinds and formulas have a column of their own, and do not stand below."""
HEADS = ("layer", "output", "memory", "params", "", "MACs", "", "field", "stride")
MEMORY = HEADS.index("memory")
SPARE = ((), (MEMORY,), (4, 6), (8,), (7,))
"""What a terminal goes without that is narrower than all columns together: first the memory, which is then said below,
and next the shares, by their places."""


class Column(NamedTuple):
    """A column of the table."""

    place: int
    """In `HEADS`."""
    width: int


class Row(NamedTuple):
    """A line of the table, and what is said about it."""

    cells: tuple[str, ...]
    """In the order of `HEADS`."""
    kind: str
    formulas: tuple[str, ...]
    opened: bool
    """Whether the lines after it are its parts."""
    block: Block
    fed: str = ""
    """From where, if not from the line above alone."""


def table(explanation: Anatomy, *, depth: int = 1, width: int = 80) -> Group:
    """What is known of the network, its blocks down to names of `depth` parts, and the totals, in `width` columns."""
    lines = [*heading(explanation), Text(), *body(explanation, depth=depth, width=width), Text(), *notes(explanation)]
    return Group(*(part for line in lines for part in wrapped(line, width)))


def show_table(console: Console, explanation: Anatomy, *, depth: int = 1) -> None:
    """Print the table; a terminal that is narrower than the figures breaks their lines, and cuts none off."""
    console.print(table(explanation, depth=depth, width=console.width), crop=False, overflow="ignore")


def to_text(explanation: Anatomy, *, depth: int = 1, width: int = 80) -> str:
    """The same as text without colours."""
    written = io.StringIO()
    show_table(Console(file=written, width=width, highlight=False, color_system=None), explanation, depth=depth)
    return "\n".join(line.rstrip() for line in written.getvalue().splitlines())


def wrapped(line: Text, width: int) -> list[Text]:
    """A line of prose in as many as it needs; later ones are set in."""
    if line.cell_len <= width or line.no_wrap:
        return [line]
    lines = line.wrap(Console(width=width), width - 2)
    for each in lines:
        each.rstrip()
    first, *rest = lines
    return [first, *(Text("  ").append_text(more) for more in rest)]


def heading(explanation: Anatomy) -> Iterator[Text]:
    """What the network is, what its paper prints, and where it differs from that."""
    card = explanation.card
    yield Text.assemble((explanation.name, "bold"), f", for images of {size(explanation.input_size)}")
    if card is None:
        return
    yield Text(f"{card.paper.citation}, {card.table}")
    if words := changed(explanation):
        yield Text(words)
    if printed := ", ".join(figures(card.published)):
        yield Text(f"printed: {printed}")
    for deviation in card.deviations:
        yield Text(f"differs from the paper: {deviation}")


def changed(explanation: Anatomy) -> str:
    """In what the network or its images differ from those of its card; "" if in nothing."""
    changes = [f"{name} {value}" for name, value in explanation.changes.items()]
    sides = explanation.input_size[1:]
    if explanation.card and sides != explanation.card.input_size[1:] and "size" not in explanation.changes:
        changes.append(f"images of {size(sides)}")
    return f"changed: {', '.join(changes)}; what is printed is of the network without that" if changes else ""


def figures(published: Mapping[str, str | float]) -> Iterator[str]:
    """What a paper prints, in words."""
    words = {"params": "{} parameters", "macs": "{} MACs", "top1_error": "top-1 error {} %",
             "top5_error": "top-5 error {} %", "data": "on {}"}  # fmt: skip
    for name, value in published.items():
        yield words[name].format(value)


def body(explanation: Anatomy, *, depth: int, width: int) -> Iterator[Text]:
    """The heads, the blocks and the totals."""
    rows = list(with_sources(list(rows_of(explanation, explanation.layers, depth=depth))))
    total = (
        "total",
        "",
        memory(explanation.activation_bytes),
        f"{explanation.params:,}",
        "",
        amount(explanation.macs) or "0",
        "",
        "",
        "",
    )
    texts = list(zip(HEADS, total, *(row.cells for row in rows), strict=True))
    columns = [Column(place, max(map(cell_len, column))) for place, column in enumerate(texts)]
    for spare in SPARE:
        columns = [column for column in columns if column.place not in spare]
        gap = 2 if taken(columns, 2) <= width else 1
        if taken(columns, gap) <= width:
            break
    yield line_of(HEADS, columns, gap, style="bold", more="  what, and why" if width >= WIDE else "")
    for row in rows:
        yield from placed(row, columns, gap, width=width)
    yield Text("─" * taken(columns, gap), style="dim", no_wrap=True)
    yield line_of(total, columns, gap, style="bold")


def taken(columns: Sequence[Column], gap: int) -> int:
    """How wide they are together, `gap` apart."""
    return sum(column.width for column in columns) + gap * (len(columns) - 1)


def rows_of(
    explanation: Anatomy, layers: Sequence[Layer], *, depth: int, level: int = 1, shown: int = 0, indent: str = ""
) -> Iterator[Row]:
    """The blocks at a level, and where they are opened the blocks within them.

    Of their names, the first `shown` parts stand above already.
    """
    for block in divided(layers, level, fold=level == depth):
        opens = level < depth and len(block.layers) > 1
        alone = opens and len(divided(block.layers, level + 1, fold=False)) == 1  # what only wraps one part
        if not alone:
            name = indent + ".".join(block.name.split(".")[shown:])
            yield Row(cells(explanation, block, name), block.kind, () if opens else block.formulas, opens, block)
        if opens:
            within = (shown, indent) if alone else (level, indent + "  ")
            yield from rows_of(
                explanation, block.layers, depth=depth, level=level + 1, shown=within[0], indent=within[1]
            )


def with_sources(rows: Sequence[Row]) -> Iterator[Row]:
    """The rows, each with what feeds it where that is not the end of the row above; opened ones leave it to theirs."""
    owner = {layer.name: row.block.name for row in rows if not row.opened for layer in row.block.layers}
    before = IMAGES
    for row in rows:
        if row.opened:
            yield row
            continue
        sources = tuple(dict.fromkeys(owner.get(name, name) for name in row.block.sources))
        yield row._replace(fed=fed_by(row.block.name, sources, before))
        before = row.block.name


def fed_by(name: str, sources: Sequence[str], before: str) -> str:
    """`from branch1, branch2`, by their names without the module that they share with `name`; "" if from `before`."""
    if tuple(sources) in ((), (before,)):
        return ""
    module = name.rpartition(".")[0] + "."
    return f"from {', '.join(source.removeprefix(module) for source in sources)}"


def cells(explanation: Anatomy, block: Block, name: str) -> tuple[str, ...]:
    """A block's cells."""
    last = block.last
    return (
        name + (f" ×{block.times}" if block.times > 1 else ""),
        size(block.output_shape),
        memory(sum(layer.activation_bytes for layer in block.layers)),
        f"{block.params:,}" if block.params else "",
        share(block.params, explanation.params),
        amount(block.macs),
        share(block.macs, explanation.macs),
        "all" if last.sees_all else sides(block.receptive_field),
        sides(last.stride) if any(last.stride) else "",
    )


def placed(row: Row, columns: Sequence[Column], gap: int, *, width: int) -> Iterator[Text]:
    """A row with what is said about it: beside it where there is room, and else below."""
    beside, left = width >= WIDE, taken(columns, gap)
    elementwise, last = sum(layer.elementwise for layer in row.block.layers), row.block.last
    no_columns = [
        f"{amount(elementwise)} elementwise" if elementwise else "",
        begins(last),
        "" if any(column.place == MEMORY for column in columns) else f"memory {row.cells[MEMORY]}",
    ]
    said = [row.kind, *filter(None, [row.fed, *row.formulas, *no_columns])]
    words = list(packed(said, width - left - 2 if beside else width - 6))
    style = "bold" if row.opened else ""
    if beside:
        yield line_of(row.cells, columns, gap, style=style, more=f"  {words.pop(0)}")
    else:
        yield line_of(row.cells, columns, gap, style=style)
    for word in words:
        yield Text(" " * (left + 2 if beside else 6) + word, style="dim", no_wrap=True)


def begins(layer: Layer) -> str:
    """`begins at pixel −3`: there what the first unit sees, in the frame of padding; "" at pixel 0."""
    down, across = (f"{first:g}".replace("-", "−") for first in layer.offset)
    if layer.sees_all or not any(layer.offset):
        return ""
    return f"begins at pixel {down}" + (f" down, {across} across" if down != across else "")


def packed(parts: Sequence[str], width: int) -> Iterator[str]:
    """The kind and the formulas, as many to a line as go."""
    line = ""
    for part in chain.from_iterable(wrap(words, max(width, 20)) for words in parts):
        if line and len(line) + 3 + len(part) > width:
            yield line
            line = part
        else:
            line = f"{line};  {part}" if line else part
    yield line


def line_of(cells: Sequence[str], columns: Sequence[Column], gap: int, *, style: str, more: str = "") -> Text:
    """Cells one beside the other, `gap` apart, and `more` behind them."""
    texts = []
    for place, width in columns:
        cell, blank = cells[place], " " * (width - cell_len(cells[place]))
        texts.append(cell + blank if HEADS[place] in ("layer", "output") else blank + cell)
    line = (" " * gap).join(texts)
    return Text(line if more else line.rstrip(), style=style, no_wrap=True).append(more, style="not bold dim")


def notes(explanation: Anatomy) -> Iterator[Text]:
    """How it was counted, what was not, and what else is to be known of a layer."""
    yield Text(
        f"{some(explanation.depth, 'layer')} with weights on the longest path; "
        f"all outputs are {memory(explanation.activation_bytes)} in float32; "
        f"{amount(explanation.elementwise) or 'no'} elementwise operations"
    )
    yield Text(f"counted on one image: {COUNTING_RULE}", style="dim")
    yield Text(
        "field: the pixels that a unit sees, the frame of padding included; the first unit's begins at pixel 0 where "
        "no other is said; stride: from one unit to the next; memory: of outputs, in float32",
        style="dim",
    )
    for layer in explanation.left_out:
        yield Text(f"left out: {layer.name}: {'; '.join(map(str, layer.omissions))}", style="yellow")
    for layer in explanation.layers:
        if others := [note.text for note in layer.notes if not note.omits]:
            yield Text(f"note: {layer.name}: {'; '.join(others)}", style="dim")
    if explanation.unused:
        count = sum(explanation.unused.values())
        names = dict.fromkeys(name.split(".")[0] for name in explanation.unused)
        yield Text(
            f"not used on this way, and in the total: {count:,} parameters of {', '.join(names)}", style="yellow"
        )


def last_maps(layers: Sequence[Layer]) -> Layer | None:
    """The last layer whose output is several units side by side: maps, or tokens by heads; None where there is none."""
    for layer in reversed(layers):
        if len(layer.output_shape) == 3 and max(layer.output_shape[1:]) > 1:
            return layer
    return None


def share(part: int, whole: int) -> str:
    """`61.9 %`; nothing for nothing."""
    if not part:
        return ""
    return f"{100 * part / whole:.1f} %" if part / whole >= 0.0005 else "< 0.1 %"


def amount(count: int) -> str:
    """`105.42 M`, of a thousand millions and more `3.86 G`, of less than a million `117.6 k`."""
    for unit, least in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= least:
            return f"{count / least:,.2f} {unit}"
    return str(count) if count else ""


def memory(count: int) -> str:
    """`1.16 MB`, `672 B`."""
    return f"{amount(count)}B" if count >= 1000 else f"{count} B"


def sides(span: Span | Step) -> str:
    """`11`, or where they differ `11×5`."""
    return str(span.height) if span.height == span.width else f"{span.height}×{span.width}"


def probed_table(probe: "Probe", *, depth: int = 1, width: int = 80) -> Group:
    """The signals and gradients of a batch, in `width` columns; of a block, what leaves it, and the largest update
    within it. A narrow terminal goes without the means.
    """
    from rich.table import Table

    heads = ("layer", "activation", "±", "gradient", "±", "dead", "update")
    lines = list(probed_lines(probe, depth))
    needed = sum(max(map(cell_len, column)) for column in zip(heads, *lines, strict=True)) + 2 * (len(heads) - 1)
    shown: Sequence[int] = range(len(heads))
    if needed > width:
        heads, shown = ("layer", "", "± activation", "", "± gradient", "dead", "update"), (0, 2, 4, 5, 6)
    rows = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for place in shown:
        if place:
            rows.add_column(heads[place], justify="right", no_wrap=True)
        else:
            rows.add_column(heads[place], overflow="fold")
    for line in lines:
        rows.add_row(*(line[place] for place in shown))
    about = Text("means and deviations (±) of what leaves the layer, and of the loss's gradient by it; dead: channels "
                 "that are 0 for all images; update: lr · |gradient| / |weights|", style="dim")  # fmt: skip
    missing = [Text(f"left out: {words}", style="yellow")] if (words := probed_without(probe)) else []
    prose = [part for line in (about, *missing) for part in wrapped(line, width)]
    return Group(Text(probed_heading(probe), style="bold"), rows, *prose)


def probed_heading(probe: "Probe") -> str:
    """What was pushed through, and what came of it."""
    return f"one batch of {some(probe.images, 'image')}: loss {probe.loss:.4f}; lr {probe.lr:g}"


def probed_without(probe: "Probe") -> str:
    """The layers of which a probe has nothing to say, and why; "" if there are none."""
    return f"{', '.join(probe.left_out)}: what they answer has no mean" if probe.left_out else ""


def probed_lines(probe: "Probe", depth: int) -> Iterator[tuple[str, ...]]:
    """The cells of each block whose name has `depth` parts."""
    for block, _ in probe.blocks(depth):
        yield (
            block.name, digits(block.activation_mean), digits(block.activation_std), digits(block.gradient_mean),
            digits(block.gradient_std), share(round(1e6 * block.dead), 10**6), digits(block.update),
        )  # fmt: skip


def digits(number: float | None) -> str:
    """Three digits: `0.0123`, `1.23e-09`."""
    if number is None:
        return ""
    return f"{number:.3g}" if number == 0 or abs(number) >= 0.001 else f"{number:.2e}"
