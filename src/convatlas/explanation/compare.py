"""Networks side by side: where their weights sit, what they cost, how far they see, and how often they err."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import cos, pi, sin
from typing import TYPE_CHECKING, Any

from convatlas.errors import InputError
from convatlas.explanation.explain import Explanation, Model, explain
from convatlas.explanation.layers import COUNTING_RULE, Span
from convatlas.explanation.table import amount, changed, last_maps, memory, sides
from convatlas.explanation.text import size
from convatlas.explanation.trace import Size

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Group


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A network, in a row."""

    name: str
    year: int | None
    """Of its paper; None for a module that is none of the atlas."""
    input_size: Size
    params: int
    conv_params: int
    """Of convolutions."""
    dense_params: int
    """Of dense layers; what is in neither is of normalisation and the like."""
    macs: int
    activation_bytes: int
    """Of all outputs in float32, for one image."""
    depth: int
    """Layers with weights on the longest path."""
    receptive_field: Span | None
    """Of the last feature map, in pixels, padding included, or the image's size where all units see all of it; None
    where there are no maps."""
    sees_all: bool
    """Whether each of its units sees all of the image, as behind a squeeze-and-excitation or attention."""
    top1_error: float | None
    """As printed, in per cent."""
    top5_error: float | None
    measured_on: str | None
    """What the errors were measured on."""


def compare(
    *models: Model | Explanation | Sequence[Model | Explanation], input_size: Size | None = None, real: bool = False
) -> list[Compared]:
    """A row for each network, of those given or of lists of them, each what `explain` takes or what it gave.

    `input_size` (C, H, W) and `real` are as for `explain`, and so are the errors.
    """
    each = [one for given in models for one in (given if isinstance(given, list | tuple) else (given,))]
    return [row(one if isinstance(one, Explanation) else explain(one, input_size, real=real)) for one in each]


def row(explanation: Explanation) -> Compared:
    """What is compared of a network."""
    card = explanation.card
    # What is printed is of the network as its paper has it, on images of its size.
    printed: dict[str, Any] = dict(card.published) if card and not changed(explanation) else {}
    image, maps = Span(*explanation.input_size[1:]), last_maps(explanation.layers)
    everything = maps is not None and maps.sees_all
    return Compared(
        name=explanation.name,
        year=card.year if card else None,
        input_size=explanation.input_size,
        params=explanation.params,
        conv_params=sum(layer.params for layer in explanation.layers if layer.family in ("conv", "grouped")),
        dense_params=sum(layer.params for layer in explanation.layers if layer.family == "dense"),
        macs=explanation.macs,
        activation_bytes=explanation.activation_bytes,
        depth=explanation.depth,
        receptive_field=image if everything else maps.receptive_field if maps else None,
        sees_all=everything,
        top1_error=printed.get("top1_error"),
        top5_error=printed.get("top5_error"),
        measured_on=printed.get("data") if printed.keys() & {"top1_error", "top5_error"} else None,
    )


def as_json(rows: Sequence[Compared]) -> list[dict[str, Any]]:
    """The rows, as JSON has them."""
    return [
        {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(one).items()}
        for one in rows
    ]


def field(one: Compared) -> str:
    """The receptive field of the last map, or that it is all."""
    if one.receptive_field is None:
        return ""
    return "all" if one.sees_all else sides(one.receptive_field)


def compared_table(rows: Sequence[Compared], *, width: int = 80) -> "Group":
    """A column for each network, as many beside each other as `width` columns hold, and a line for each quantity."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    lines: dict[str, Callable[[Compared], str]] = {
        "year": lambda one: str(one.year or ""),
        "images": lambda one: size(one.input_size),
        "parameters": lambda one: f"{one.params:,}",
        "  in convolutions": lambda one: f"{one.conv_params:,}",
        "  in dense layers": lambda one: f"{one.dense_params:,}",
        "MACs": lambda one: amount(one.macs) or "0",
        "outputs, float32": lambda one: memory(one.activation_bytes),
        "layers deep": lambda one: str(one.depth),
        "field of the last map": field,
        "top-1 error": lambda one: f"{one.top1_error} %" if one.top1_error is not None else "",
        "top-5 error": lambda one: f"{one.top5_error} %" if one.top5_error is not None else "",
    }
    lines = {name: cell for name, cell in lines.items() if any(map(cell, rows))}  # what nobody has is no line
    widest = max(len(text) for one in rows for text in (one.name, *(cell(one) for cell in lines.values())))
    beside = max((width - max(map(len, lines))) // (widest + 2), 1)
    parts: list[Table | Text] = []
    for start in range(0, len(rows), beside):
        some = rows[start : start + beside]
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        table.add_column("", no_wrap=True, min_width=max(map(len, lines)))
        for one in some:
            table.add_column(one.name, justify="right", no_wrap=True, min_width=widest)
        for name, cell in lines.items():
            table.add_row(name, *map(cell, some))
        parts += [table, Text()]
    if any(one.measured_on for one in rows):
        parts.append(Text("errors are as printed: " + printed_on(rows), style="dim"))
    parts.append(Text(f"counted on one image: {COUNTING_RULE}", style="dim"))
    return Group(*parts)


def printed_on(rows: Sequence[Compared]) -> str:
    """What the errors were measured on, each said once."""
    names: dict[str, list[str]] = {}
    for one in rows:
        if one.measured_on:
            names.setdefault(one.measured_on, []).append(one.name)
    names = {what: list(dict.fromkeys(those)) for what, those in names.items()}
    return "; ".join(f"{', '.join(those)} on {what}" for what, those in names.items())


COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555")
"""Okabe and Ito's, which all kinds of sight tell apart."""


def charted(rows: Sequence[Compared]) -> tuple[str, list[Compared]]:
    """Which error is drawn, the one that is printed of more of the networks, and those that have it, each once."""
    which = max(("top1_error", "top5_error"), key=lambda name: sum(getattr(one, name) is not None for one in rows))
    return which, list(dict.fromkeys(one for one in rows if getattr(one, which) is not None))


def chart(rows: Sequence[Compared]) -> "Figure":
    """Error against MACs; the area of a circle stands for the parameters.

    Raises InputError where no network has a printed error, or where they were measured on different data sets.
    """
    from matplotlib.figure import Figure

    which, drawn = charted(rows)
    if not drawn:
        raise InputError(f"of {', '.join(one.name for one in rows)} no error is printed, and a chart shows errors")
    sets = list(dict.fromkeys(data_set(one) for one in drawn))
    if len(sets) > 1:
        raise InputError(f"errors on {' and '.join(sets)} cannot share an axis: chart networks of one data set")

    figure = Figure(figsize=(7.2, 4.8), dpi=200, layout="constrained")
    axes = figure.add_subplot()
    costs = [one.macs / 1e9 for one in drawn]
    errors = [float(getattr(one, which)) for one in drawn]
    # Parameters as area: the largest circle has this diameter, in points.
    widest, most = 44 if len(drawn) <= 8 else 26, max(one.params for one in drawn)
    areas = [max(widest**2 * one.params / most, 16) for one in drawn]
    colours = [COLOURS[index % len(COLOURS)] for index in range(len(drawn))]
    axes.scatter(costs, errors, s=areas, c=colours, alpha=0.55, edgecolors=colours, linewidths=1.2, zorder=2)
    axes.set_xscale("log")
    axes.margins(x=0.16, y=0.2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in "25" else "")
    axes.tick_params(axis="x", which="minor", pad=5)  # on the line of the major ones, whose ticks are longer
    axes.set_xlabel("multiply-accumulates of one image, in thousand millions (G)")
    axes.set_ylabel(f"{'top-1' if which == 'top1_error' else 'top-5'} error on {sets[0]}, %, as printed")
    axes.set_title("Error against cost; the area of a circle is the number of parameters", fontsize=10, loc="left")
    axes.grid(color="#dddddd", linewidth=0.6, zorder=0)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    place_labels(figure, drawn, list(zip(costs, errors, strict=True)), areas)
    return figure


def data_set(one: Compared) -> str:
    """`ImageNet`, of "ImageNet-2012, 10-crop val"."""
    return (one.measured_on or "").replace(",", " ").split()[0].removesuffix("-2012")


NEAR = 2
"""How many points a name is away from its circle; where it has to be farther, a line leads to it."""


def place_labels(
    figure: "Figure", drawn: Sequence[Compared], points: Sequence[tuple[float, float]], areas: Sequence[float]
) -> None:
    """Write each network's name near its circle, where it covers no other name and no circle if that can be."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    axes = figure.axes[0]
    canvas = FigureCanvasAgg(figure)
    # This sets the scales, so that places on the paper are known.
    canvas.draw()  # type: ignore[no-untyped-call]
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    figure.set_layout_engine("none")  # and keeps them
    dots = figure.dpi / 72
    radii = [area**0.5 / 2 for area in areas]
    circles = [
        Bbox.from_extents(x - r * dots, y - r * dots, x + r * dots, y + r * dots)
        for (x, y), r in zip(axes.transData.transform(points), radii, strict=True)
    ]
    frame, taken, lines = axes.get_window_extent(renderer), list[Bbox](), list[tuple[float, float]]()
    turns = [
        (cos(pi * turn / 8), sin(pi * turn / 8)) for turn in (4, 12, 0, 8, 2, 6, 10, 14, 1, 3, 5, 7, 9, 11, 13, 15)
    ]
    for index in sorted(range(len(drawn)), key=lambda i: points[i]):
        text = axes.annotate(
            f"{drawn[index].name}, {amount(drawn[index].params)}" if len(drawn) <= 8 else drawn[index].name,
            points[index], xytext=(0, 0), textcoords="offset points", ha="center", va="center",
            fontsize=8.5 if len(drawn) <= 8 else 7.5, zorder=4,
            arrowprops={"arrowstyle": "-", "color": "#777777", "linewidth": 0.6, "shrinkA": 1, "shrinkB": 0},
        )  # fmt: skip
        extent = Text.get_window_extent(text, renderer)  # without the line
        wide, high = extent.width / dots / 2, extent.height / dots / 2
        x, y = axes.transData.transform(points[index])
        box = Bbox.from_extents(x - wide * dots, y - high * dots, x + wide * dots, y + high * dots).padded(2)
        places = []
        for far in (NEAR, 8, 16, 24, 36, 50, 66, 84):
            for across, up in turns:
                shift = (across * (radii[index] + far + wide), up * (radii[index] + far + high))
                place = box.translated(shift[0] * dots, shift[1] * dots)
                inside = frame.x0 <= place.x0 and place.x1 <= frame.x1 and frame.y0 <= place.y0 <= place.y1 <= frame.y1
                line = [(x + shift[0] * dots * k / 20, y + shift[1] * dots * k / 20) for k in range(20)]
                names = sum(place.overlaps(other) for other in taken)
                hidden = sum(place.overlaps(circle) for circle in circles)
                crossed = sum(any(other.contains(*point) for point in line) for other in taken)
                crossed += any(place.contains(*point) for point in lines)
                cost = 1000 * names + 100 * (not inside) + 50 * crossed + 30 * hidden + far
                places.append((cost, far, shift, place, line))
        _, far, shift, place, line = min(places, key=lambda each: each[0])
        text.set_position(shift)
        taken.append(place)
        if far == NEAR:
            assert text.arrow_patch is not None
            text.arrow_patch.set_visible(False)
        else:
            lines += line
