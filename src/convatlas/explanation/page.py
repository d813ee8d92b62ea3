"""A network as a page that stands alone. Here is what it shows; `page.html.jinja` is how it looks."""

import base64
import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from importlib.resources import files
from itertools import groupby
from typing import TYPE_CHECKING

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from PIL import Image, ImageOps

from convatlas import __version__
from convatlas.explanation.boxes import MANY
from convatlas.explanation.diagram import ARROW, render, style
from convatlas.explanation.layers import IMAGES, Anatomy, Layer, Step
from convatlas.explanation.layout import lay_out
from convatlas.explanation.signals import signals
from convatlas.explanation.table import begins, changed, fed_by, last_maps, memory
from convatlas.explanation.table import share as percent
from convatlas.wording import printable

if TYPE_CHECKING:
    from convatlas.explanation.probe import Probe

COLOURS = {
    #          light      dark
    "ink":    ("#20211f", "#e4e4e0"),
    "muted":  ("#5a5b56", "#b4b5af"),
    "rule":   ("#dcdcd6", "#3a3b38"),
    "paper":  ("#fdfdfb", "#171816"),
    "panel":  ("#f0f0ea", "#262724"),
    "blue":   ("#0068a3", "#56b4e9"),
    "orange": ("#b34d00", "#f0a030"),
}  # fmt: skip
FOLDED = 3
"""A module of at least so many layers can be opened and closed; the layers of a smaller one are its parent's."""
MANY_UNITS = 64
"""After so many units, at most, a unit sees again what the first sees, whole pixels on."""
SIDE = 448
"""Pixels: the longer side of a photograph on the page, which stays small so."""


@dataclass(frozen=True, slots=True)
class Row:
    """A layer in the table."""

    place: int
    """Among all layers of the network, from 0."""
    label: str
    """Its name without its module's."""
    layer: Layer
    fed: str
    """From where, if not from the layer above alone."""


@dataclass(frozen=True, slots=True)
class Module:
    """A module in the table, with what is in it."""

    name: str
    label: str
    number: int
    """Among all modules of the page, in no order."""
    rows: tuple[Row, ...]
    """All of its layers."""
    parts: "tuple[Row | Module, ...]"
    drawing: Markup
    """Of how its layers hang together; "" where that is a chain, or is like a module before."""

    @property
    def last(self) -> Layer:
        """The layer that answers for it."""
        return self.rows[-1].layer

    @property
    def params(self) -> int:
        """Of all of its layers."""
        return sum(row.layer.params for row in self.rows)

    @property
    def macs(self) -> int:
        """Of all of its layers."""
        return sum(row.layer.macs for row in self.rows)

    @property
    def activation_bytes(self) -> int:
        """Of the outputs of all of its layers, in float32, for one image."""
        return sum(row.layer.activation_bytes for row in self.rows)


class Table:
    """The modules of a network, one in the other."""

    def __init__(self, explanation: Anatomy) -> None:
        self.explanation = explanation
        self.numbers = iter(range(len(explanation.layers) * 9))
        self.seen: set[tuple[object, ...]] = set()
        self.links: dict[str, str] = {}
        before = [IMAGES, *(layer.name for layer in explanation.layers)]
        rows = [
            Row(place, layer.name, layer, fed_by(layer.name, layer.inputs, before[place]))
            for place, layer in enumerate(explanation.layers)
        ]
        self.modules = [
            self.module(name, name, tuple(part))
            for name, part in groupby(rows, key=lambda row: row.layer.name.partition(".")[0])
        ]

    def module(self, name: str, label: str, rows: tuple[Row, ...]) -> Module:
        """The module of that name, which has these layers."""
        number = next(self.numbers)
        self.links.setdefault(name, f"#m{number}")
        drawing = self.drawing(name, rows)
        return Module(name, label, number, rows, tuple(self.parts(name, rows)), drawing)

    def parts(self, name: str, rows: Sequence[Row]) -> Iterator[Row | Module]:
        """What a module consists of."""
        prefix = f"{name}."
        inner = ((row.layer.name.removeprefix(prefix), row) for row in rows)
        for label, group in groupby(inner, key=lambda pair: pair[0].partition(".")[0]):
            found = [(rest, row) for rest, row in group]
            if len(found) >= FOLDED and len(found) < len(rows):
                yield self.module(prefix + label, label, tuple(row for _, row in found))
                continue
            for rest, row in found:
                self.links.setdefault(row.layer.name, f"#l{row.place}")
                yield replace(row, label=rest)

    def drawing(self, name: str, rows: Sequence[Row]) -> Markup:
        """The module opened, if it has branches and is the first of its kind."""
        kind = tuple((row.layer.name.removeprefix(name), row.layer.kind, row.layer.window) for row in rows)
        if len(rows) < FOLDED or kind in self.seen:
            return Markup()
        self.seen.add(kind)
        drawing = lay_out(self.explanation, part=name)
        branched = len(drawing.edges) >= len(drawing.boxes)
        return Markup(render(drawing)) if branched and len(drawing.boxes) <= MANY + 1 else Markup()


def to_html(explanation: Anatomy, *, picture: Image.Image | None = None, probe: "Probe | None" = None) -> str:
    """A page about the network, that asks for nothing from elsewhere: figures, drawing, and a table of all layers.

    Pointing at a layer, or coming to it with the keyboard, shows what its middle unit sees: on `picture`, cut to the
    shape of the images, or on one of ours. With what a `probe` of the network found, signals and gradients are on it
    too. Raises InputError for a module that computes nothing.
    """
    whole = lay_out(explanation)
    here = files(__package__)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(times=times, grouped=grouped, short=short, mark=mark, runs=runs, memory=memory)
    table, maps = Table(explanation), last_maps(explanation.layers)
    script = SCRIPT.strip()
    text = environment.from_string((here / "page.html.jinja").read_text(encoding="utf-8")).render(
        e=explanation, card=explanation.card, modules=table.modules, colours=COLOURS, share=share, field=field,
        says=says, sees=sees, begins=begins, maps=maps, last=maps or explanation.layers[-1],
        shares=shares(explanation), style=Markup(style()), arrow=Markup(ARROW),
        drawing=Markup(render(whole, links=table.links)),
        script=Markup(script), hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        photograph=None if picture is None else data_uri(picture, explanation.input_size[1:]),
        version=__version__, changes=changed(explanation),
        percent=percent, signals=None if probe is None else signals(probe, table.links),
    )  # fmt: skip
    return printable(text)


SCRIPT = """
const by = id => document.getElementById(id)
const all = (rule, name = '') => document.querySelectorAll(rule.replace('$', CSS.escape(name)))
const show = mark => {
  const [x, y, w, h, dx, dy] = mark.dataset.field.split(' ').map(Number)
  by('dim').setAttribute('d', `M-9999-9999H9999V9999H-9999ZM${x} ${y}v${h}h${w}v${-h}Z`)
  for (const [id, left, top] of [['unit', x, y], ['next', x + dx, y + dy]]) {
    for (const [name, value] of [['x', left], ['y', top], ['width', w], ['height', h]]) by(id).setAttribute(name, value)
  }
  by('says').textContent = mark.dataset.says
  all('.seen').forEach(box => box.classList.remove('seen'))
  all('.box[data-layers~="$"]', mark.dataset.layer).forEach(box => box.classList.add('seen'))
}
const look = event => {
  const target = event.target.closest('[data-field], .box, a')
  const box = target?.closest('.box') ?? target?.querySelector('.box')
  const mark = box ? all('tbody[data-layer="$"]', box.dataset.layers.split(' ').pop())[0] : target
  if (mark?.dataset.field) show(mark)
}
const open = () => {
  const target = location.hash && by(location.hash.slice(1))
  for (let at = target; at; at = at.parentElement) if (at.tagName === 'DETAILS') at.open = true
  if (!target) return
  target.scrollIntoView()
  look({ target: target.querySelector('summary') ?? target })
}
addEventListener('mouseover', look)
addEventListener('focusin', look)
addEventListener('hashchange', open)
open()
"""
"""Shows what is pointed at, and opens what a link leads to."""


def runs(parts: Sequence[Row | Module]) -> list[tuple[bool, list[Row | Module]]]:
    """Layers that follow each other together, which is a table, and modules."""
    return [(together, list(run)) for together, run in groupby(parts, key=lambda part: isinstance(part, Row))]


def shares(explanation: Anatomy) -> list[tuple[str, int, int]]:
    """Where the parameters and the MACs are: what the layers are called together, and how many of each."""
    names = {"conv": "convolutions", "grouped": "convolutions", "dense": "dense layers", "attention": "attention"}
    found = dict.fromkeys((*dict.fromkeys(names.values()), "all else"), (0, 0))
    for layer in explanation.layers:
        name = names.get(layer.family, "all else")
        params, macs = found.get(name, (0, 0))
        found[name] = params + layer.params, macs + layer.macs
    if explanation.unused:
        found["not used in this pass"] = sum(explanation.unused.values()), 0
    return [(name, params, macs) for name, (params, macs) in found.items() if params or macs]


def field(layer: Layer, size: Sequence[int]) -> str:
    """What the layer's middle unit sees, and how far on is the next: `x y width height dx dy`, in pixels."""
    _, height, width = size
    seen, stride, offset = layer.receptive_field, layer.stride, layer.offset
    shape = layer.output_shape
    # Tokens lie in a row: how many there are across is how many strides the image has.
    rows = [side // step if step else 1 for side, step in zip((height, width), stride, strict=True)]
    units = shape[1:] if len(shape) == 3 else rows
    y, x = (first + step * middle(n, step) for first, step, n in zip(offset, stride, units, strict=True))
    return f"{x:g} {y:g} {seen.width} {seen.height} {stride.width} {stride.height}"


def middle(units: float, step: float) -> float:
    """The middle one of so many units; where a step is a part of a pixel, one that is whole pixels behind the first."""
    place = (units - 1) // 2
    return place - place % Fraction(step).limit_denominator(MANY_UNITS).denominator


def says(layer: Layer, size: Sequence[int]) -> str:
    """The same in words."""
    seen, stride = layer.receptive_field, layer.stride
    if layer.sees_all:
        return f"{layer.name}: every unit sees all of the image."
    uneven = any(note.kind == "by turns" for note in layer.notes) or any(step % 1 for step in stride)
    words = f"{layer.name}: a unit sees {'at most ' * uneven}{times(seen)} pixels"
    if seen.height > size[1] or seen.width > size[2]:
        words += ", more than the image has; the rest is padding"
    if not any(stride):
        return f"{words}. All units see the same."
    return f"{words}. The next {'is' if uneven else 'unit sees as much,'} {span(stride)} on{', in the mean' * uneven}."


def span(stride: Step) -> str:
    """`8 pixels`, or `4 × 2 pixels`."""
    pixels = str(stride.height) if stride.height == stride.width else times(stride)
    return f"{pixels} pixel{'s' * (pixels != '1')}"


def sees(layer: Layer) -> str:
    """What a unit sees, `11 × 11`, or that it is all."""
    return "all" if layer.sees_all else times(layer.receptive_field)


def times(sizes: Sequence[float]) -> str:
    """`96 × 55 × 55`."""
    return " × ".join(map(str, sizes))


def grouped(number: int) -> str:
    """`60,965,224`, or a dash for nothing."""
    return f"{number:,}" if number else "–"


def short(kind: str) -> str:
    """A kind as the table names it."""
    return {"batch normalisation": "batch norm", "layer normalisation": "layer norm"}.get(kind, kind)


def mark(name: str) -> str:
    """A layer's name as an attribute that lists names has it."""
    return name.replace(" ", "_")


def share(part: int, whole: int) -> float:
    """Per cent."""
    return 100 * part / whole if whole else 0.0


def data_uri(picture: Image.Image, size: Sequence[int]) -> str:
    """The picture, its middle cut to the shape of `size` (height, width)."""
    height, width = size
    scale = SIDE / max(height, width)
    file = io.BytesIO()
    upright = ImageOps.exif_transpose(picture).convert("RGB")
    ImageOps.fit(upright, (round(width * scale), round(height * scale))).save(file, format="JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
