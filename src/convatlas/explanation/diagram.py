"""A network as a drawing, from its graph: whole, as maps whose height and depth follow their size; a module as a chart.

Three steps, each of what the one before returns: `boxes.condense` makes boxes of layers, `layout.lay_out` places them,
and `render` writes the SVG.
"""

from collections.abc import Mapping, Sequence
from html import escape

from convatlas.explanation.layers import Anatomy
from convatlas.explanation.layout import SIGNS, WIDTH, Drawing, Placed, chart_lines, labels, lay_out
from convatlas.wording import shown

COLOURS = {
    #             light: fill, line     dark: fill, line; hues of Okabe and Ito, which the colour-blind tell apart
    "conv":      (("#d3e5f4", "#0068a3"), ("#16364e", "#56b4e9")),
    "grouped":   (("#dff0f2", "#2b7f88"), ("#173c40", "#7fd0d8")),
    "pool":      (("#fbe2cd", "#b34d00"), ("#4a2d0c", "#f0a030")),
    "dense":     (("#f0dcea", "#97397a"), ("#43213a", "#e08fc4")),
    "attention": (("#f8efbe", "#7d6600"), ("#3d370f", "#e6d84a")),
    "join":      (("#ffffff", "#4a4b48"), ("#232421", "#c4c4be")),
    "shuffle":   (("#ededE8", "#6a6b66"), ("#2c2d2a", "#9b9c96")),
    "other":     (("#ededE8", "#6a6b66"), ("#2c2d2a", "#9b9c96")),
}  # fmt: skip


def to_svg(explanation: Anatomy, *, part: str = "", depth: int | None = None, width: float = WIDTH) -> str:
    """The network as an SVG that stands alone, light or dark as the screen is; `width` is that of a row, in pixels.

    `part` draws one module opened, such as `inception_4a`, and `depth` says how many components of the layers' names
    after it make a box. Raises InputError for an unknown part and a depth below 1.
    """
    return render(lay_out(explanation, part=part, depth=depth, width=width), alone=True)


def style() -> str:
    """The rules that every drawing has; a page has them once."""
    light = "".join(f"--ca-{name}:{fill};--ca-{name}-line:{line};" for name, ((fill, line), _) in COLOURS.items())
    dark = "".join(f"--ca-{name}:{fill};--ca-{name}-line:{line};" for name, (_, (fill, line)) in COLOURS.items())
    kinds = "".join(f".ca .{name}{{--fill:var(--ca-{name});--line:var(--ca-{name}-line)}}" for name in COLOURS)
    fonts = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue','DejaVu Sans',sans-serif"
    return (
        f".ca{{{light}--ca-ink:#20211f;--ca-muted:#5a5b56;font:12px {fonts}}}"
        f"@media screen and (prefers-color-scheme:dark){{.ca{{{dark}--ca-ink:#e4e4e0;--ca-muted:#b4b5af}}}}"
        f"{kinds}"
        ".ca text{fill:var(--ca-ink);text-anchor:middle}.ca .less{fill:var(--ca-muted);font-size:11px}"
        ".ca .name{font-weight:600}"
        ".ca .face{fill:var(--fill);stroke:var(--line);stroke-width:1.2;stroke-linejoin:round}"
        ".ca .shade{fill:var(--line);fill-opacity:.22;stroke:var(--line);stroke-width:1.2;stroke-linejoin:round}"
        ".ca .slice{fill:none;stroke:var(--line);stroke-width:.7;opacity:.6}"
        ".ca .area{fill:none;pointer-events:all}"
        ".ca .end rect[rx]{stroke-dasharray:3 3}"
        ".ca .edge{fill:none;stroke:var(--ca-muted);stroke-width:1.2;marker-end:url(#ca-arrow)}"
        ".ca marker path{fill:var(--ca-muted)}"
        ".ca a{outline:none}.ca a:is(:hover,:focus-visible) .face,.ca .seen .face{stroke-width:3}"
    )


ARROW = (
    '<marker id="ca-arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
    'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 .5 8 4 0 7.5z"/></marker>'
)
HUES = ("conv", "pool", "dense", "grouped", "attention")
"""Of arcs in turn, by their source, as in the drawing of the DenseNet paper."""


def render(drawing: Drawing, *, alone: bool = False, links: Mapping[str, str] | None = None) -> str:
    """The drawing as an SVG element; with `links`, a box whose name has one leads there.

    Drawings that do not stand `alone` need the page to have `style()` and, once, `ARROW`.
    """
    left, top, right, bottom = drawing.frame
    width, height = right - left, bottom - top
    sources = list(dict.fromkeys(edge.source for edge in drawing.edges if edge.arc))
    lines = []
    for edge in drawing.edges:
        hue = HUES[sources.index(edge.source) % len(HUES)] if edge.arc else ""
        colour = f' style="stroke:var(--ca-{hue}-line)"' if hue else ""
        joins = f'class="edge" data-edge="{edge.source}-{edge.target}"'
        lines.append(f'<path {joins}{colour} d="{edge.path}"/>')
    what = f"{drawing.name}: {shown([box.box.name for box in drawing.boxes], 30)}"
    role = "group" if links else "img"  # what is in an image cannot be followed
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="ca" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="{left:.0f} {top:.0f} {width:.0f} {height:.0f}" role="{role}" aria-label="{escape(what)}">'
    )
    rules = f"<title>{escape(what)}</title><style>{style()}</style><defs>{ARROW}</defs>" if alone else ""
    return head + rules + "".join(lines) + "".join(drawn(box, links or {}) for box in drawing.boxes) + "</svg>"


def drawn(placed: Placed, links: Mapping[str, str]) -> str:
    """A box with its labels."""
    box = placed.box
    shape = maps(placed) if placed.form == "maps" else chart(placed)
    end = " end" if not box.layers else ""
    names = escape(" ".join(layer.name.replace(" ", "_") for layer in box.layers))
    marks = f'class="box {box.family}{end}" data-box="{escape(box.name)}" data-layers="{names}"'
    if box.name not in links:
        return f"<g {marks}><title>{escape(box.title)}</title>{shape}</g>"
    # What is between the maps and their name is pointed at too.
    area = f'class="area" x="{placed.x:.1f}" y="{placed.y:.1f}" width="{placed.width:.1f}" height="{placed.height:.1f}"'
    body = f"<g {marks}><title>{escape(box.title)}</title><rect {area}/>{shape}</g>"
    return f'<a href="{links[box.name]}" aria-label="{escape(box.title)}">{body}</a>'


def maps(placed: Placed) -> str:
    """Maps behind each other: the front is as long as there are channels and as high as a map, which reaches back."""
    box, (length, high, deep) = placed.box, placed.solid
    x, y = placed.x + (placed.width - length - deep) / 2, placed.y + deep
    front = f'<rect class="face" x="{x:.1f}" y="{y:.1f}" width="{length:.1f}" height="{high:.1f}"/>'
    top = f"M{x:.1f} {y:.1f}l{deep:.1f} {-deep:.1f}h{length:.1f}l{-deep:.1f} {deep:.1f}z"
    side = f"M{x + length:.1f} {y:.1f}l{deep:.1f} {-deep:.1f}v{high:.1f}l{-deep:.1f} {deep:.1f}z"
    slabs = min(box.repeats, max(int(length / 3), 1))
    cuts = "".join(
        f"M{x + length * at / slabs:.1f} {y + high:.1f}v{-high:.1f}l{deep:.1f} {-deep:.1f}" for at in range(1, slabs)
    )
    backs = f'<path class="face" d="{top}{side}"/><path class="shade" d="{top}{side}"/>'
    slices = f'<path class="slice" d="{cuts}"/>' if cuts else ""
    middle, lines = placed.x + placed.width / 2, labels(box)
    first = placed.y + placed.height - 15 * len(lines) + 11
    return backs + front + slices + written(lines, middle, first)


def written(lines: Sequence[str], x: float, y: float) -> str:
    """Lines of text about `x`: the first a name."""
    return "".join(
        f'<text class="{"name" if at == 0 else "less"}" x="{x:.1f}" y="{y + 15 * at:.1f}">{escape(line)}</text>'
        for at, line in enumerate(lines)
    )


def chart(placed: Placed) -> str:
    """A box of a chart."""
    middle, centre = placed.x + placed.width / 2, placed.y + placed.height / 2
    if placed.form == "sign":
        sign = SIGNS[placed.box.main[0].kind]
        trimmed = placed.box.trimmings
        place = f'x="{middle + 19:.1f}" y="{centre - 8:.1f}"'
        beside = f'<text class="less" style="text-anchor:start" {place}>{escape(trimmed)}</text>' if trimmed else ""
        return (
            f'<circle class="face" cx="{middle:.1f}" cy="{centre:.1f}" r="13"/>'
            f'<text style="font-size:18px" x="{middle:.1f}" y="{centre + 6:.1f}">{sign}</text>{beside}'
        )
    corner = placed.height / 2 if placed.form == "end" else 3
    return (
        f'<rect class="face" x="{placed.x:.1f}" y="{placed.y:.1f}" width="{placed.width:.1f}" '
        f'height="{placed.height:.1f}" rx="{corner:.1f}"/>' + written(chart_lines(placed.box), middle, placed.y + 16)
    )
