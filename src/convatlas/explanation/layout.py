"""Boxes in their places, and the lines between them.

Rows are of a chain, and what skips a part of it is an arc above, as in the papers on AlexNet and DenseNet; in columns
each branch has a lane of its own, as in those on GoogLeNet and ResNet.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from convatlas.explanation.boxes import Box, condense
from convatlas.explanation.layers import Anatomy

SKIPS = 3
"""A module that is a chain is drawn as one where more lines than so many skip boxes of it."""
WIDTH = 1040
"""Pixels: where a row ends."""

SIGNS = {"addition": "+", "multiplication": "×"}


class Point(NamedTuple):
    """In pixels: to the right, and down."""

    x: float
    y: float


class Frame(NamedTuple):
    """The ends of a drawing in each direction."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Placed:
    """A box in its place, with its labels."""

    box: Box
    x: float
    y: float
    width: float
    height: float
    form: str
    """`maps`, `sheet`, `sign`, `bar` or `end`."""
    solid: tuple[float, float, float] = (0, 0, 0)
    """Of maps: how long, high and deep they are drawn."""


@dataclass(frozen=True, slots=True)
class Edge:
    """A line from one box to another, by their places in the drawing."""

    source: int
    target: int
    path: str
    arc: bool = False


@dataclass(frozen=True, slots=True)
class Drawing:
    """Boxes and lines in their places."""

    name: str
    boxes: tuple[Placed, ...]
    edges: tuple[Edge, ...]
    frame: Frame


def text_width(words: str, *, name: bool = False) -> float:
    """About how wide a line of text is in a wide font: a name is bold, and larger."""
    return (7.8 if name else 6.5) * len(words)


def lay_out(explanation: Anatomy, *, part: str = "", depth: int | None = None, width: float = WIDTH) -> Drawing:
    """The drawing of a network or of a part of it; errors are those of `condense`."""
    boxes = condense(explanation, part=part, depth=depth)
    levels = ranks(boxes)
    skips = sum(j - i > 1 for j, box in enumerate(boxes) for i in box.inputs)
    chain = len(set(levels)) == len(boxes)
    name = f"{explanation.name}, {part}" if part else explanation.name
    if not part or (chain and skips > SKIPS):
        return in_rows(name, boxes, width)
    return in_columns(name, boxes, levels)


def ranks(boxes: Sequence[Box]) -> list[int]:
    """How many boxes are on the longest path to each."""
    found: list[int] = []
    for box in boxes:
        found.append(1 + max((found[i] for i in box.inputs), default=-1))
    return found


def solid(shape: Sequence[int], scale: tuple[int, int, int]) -> tuple[float, float, float]:
    """How long (channels), high and deep maps are drawn: roots, since the largest are a hundred times the smallest."""
    channels, side, features = scale
    if len(shape) == 3:
        length = 4 + 52 * (shape[0] / channels) ** 0.5
        return length, 4 + 112 * (shape[1] / side) ** 0.65, 0.32 * (4 + 112 * (shape[2] / side) ** 0.65)
    return 9, 8 + 100 * ((shape[-1] if shape else 1) / features) ** 0.4, 4


def in_rows(name: str, boxes: Sequence[Box], width: float) -> Drawing:
    """From left to right, in rows that end where no arc is cut."""
    shapes = [box.shape for box in boxes]
    scale = (
        max((shape[0] for shape in shapes if len(shape) == 3), default=1),
        max((max(shape[1:]) for shape in shapes if len(shape) == 3), default=1),
        max((shape[-1] for shape in shapes if len(shape) < 3 and shape), default=1),
    )
    solids = [solid(shape, scale) for shape in shapes]
    cells = [
        max(length + deep, *(text_width(line, name=at == 0) for at, line in enumerate(labels(box))))
        for box, (length, _, deep) in zip(boxes, solids, strict=True)
    ]
    gap = 16.0
    spans = [(i, j) for j, box in enumerate(boxes) for i in box.inputs]
    whole = {at for at in range(len(boxes)) if any(i < at <= j and (i, j) != (at - 1, at) for i, j in spans)}
    rows = broken(cells, width, gap, whole)
    for limit in range(int(max(cells)), int(width), 10):  # as many rows, of about one length
        if len(even := broken(cells, limit, gap, whole)) == len(rows):
            rows = even
            break

    placed: list[Placed] = []
    middle: list[Point] = []  # of the maps, without labels
    tops: list[float] = []
    y = 4.0
    for row in rows:
        longest = max((j - i for i, j in spans if j in row and j - i > 1), default=0)
        high = max(solids[at][1] + solids[at][2] for at in row)
        axis = y + high / 2 + (22 + 9 * longest if longest else 0)
        x = 2.0
        for at in row:
            length, height, deep = solids[at]
            left, lines = x + (cells[at] - length - deep) / 2, len(labels(boxes[at]))
            top = axis - (height + deep) / 2
            bottom = axis + high / 2 + 8 + 15 * lines
            placed.append(Placed(boxes[at], x, top, cells[at], bottom - top, "maps", solids[at]))
            middle.append(Point(left, axis))
            tops.append(top)
            x += cells[at] + gap
        y = max(box.y + box.height for box in placed) + 30

    edges = []
    row_of = {at: number for number, row in enumerate(rows) for at in row}
    crowded = sum(j - i > 1 for i, j in spans) > SKIPS
    for i, j in spans:
        start = Point(middle[i].x + solids[i][0] + solids[i][2] + 2, middle[i].y)
        end = Point(middle[j].x - 3, middle[j].y)
        if row_of[i] != row_of[j]:
            turn = min(placed[at].y for at in rows[row_of[j]]) - 14
            right = max(placed[at].x + placed[at].width for at in rows[row_of[i]]) + 10
            path = rounded([start, Point(right, start.y), Point(right, turn), Point(-8, turn), Point(-8, end.y), end])
            edges.append(Edge(i, j, path))
        elif j - i == 1:
            edges.append(Edge(i, j, rounded([start, end])))
        else:
            shift = 0 if crowded else 6
            first = Point(middle[i].x + (solids[i][0] + 2 * solids[i][2]) / 2 + shift, tops[i] - 1)
            last = Point(middle[j].x + (solids[j][0] + 2 * solids[j][2]) / 2 - shift, tops[j] - 3)
            peak = min(tops[i : j + 1]) - (14 + 12 * (j - i))
            bend = f"C{first.x:.1f} {peak:.1f} {last.x:.1f} {peak:.1f} {last.x:.1f} {last.y:.1f}"
            edges.append(Edge(i, j, f"M{first.x:.1f} {first.y:.1f}{bend}", arc=crowded))
    return framed(name, placed, edges)


def broken(cells: Sequence[float], width: float, gap: float, whole: set[int]) -> list[list[int]]:
    """Cells in rows no wider than `width`, none of which begins with one of `whole`."""
    rows: list[list[int]] = [[]]
    x = 0.0
    for at, cell in enumerate(cells):
        if rows[-1] and x + cell > width and at not in whole:
            rows.append([])
            x = 0.0
        rows[-1].append(at)
        x += cell + gap
    return rows


def labels(box: Box) -> list[str]:
    """The lines below maps."""
    words = box.words if box.words != box.label else ""
    return [line for line in (box.label, words, box.trimmings, box.size) if line]


def rounded(points: Sequence[Point], radius: float = 7) -> str:
    """A line through points, straight along the axes, with its corners rounded."""
    points = [p for at, p in enumerate(points) if at == 0 or p != points[at - 1]]
    path = [f"M{points[0].x:.1f} {points[0].y:.1f}"]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        one, two = toward(corner, before, radius), toward(corner, after, radius)
        path.append(f"L{one.x:.1f} {one.y:.1f}Q{corner.x:.1f} {corner.y:.1f} {two.x:.1f} {two.y:.1f}")
    return "".join(path) + f"L{points[-1].x:.1f} {points[-1].y:.1f}"


def toward(start: Point, end: Point, far: float) -> Point:
    """A point so far on the way, or half of the way."""
    dx, dy = end.x - start.x, end.y - start.y
    length = max(abs(dx) + abs(dy), 1e-9)
    part = min(far / length, 0.5)
    return Point(start.x + part * dx, start.y + part * dy)


def framed(name: str, placed: Sequence[Placed], edges: Sequence[Edge]) -> Drawing:
    """The drawing with the frame that all of it fits into: lines may reach out to the left and above."""
    ends = [(float(x), float(y)) for edge in edges for x, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", edge.path)]
    ends += [(box.x, box.y) for box in placed] + [(box.x + box.width, box.y + box.height) for box in placed]
    xs, ys = zip(*ends, strict=True)
    return Drawing(name, tuple(placed), tuple(edges), Frame(min(xs) - 6, min(ys) - 6, max(xs) + 6, max(ys) + 6))


@dataclass(slots=True)
class Lanes:
    """Which lane each box has, and each line that passes by others; the first lane is 0, and −1 is to its left."""

    boxes: list[int]
    lines: dict[tuple[int, int], int]


def lanes(boxes: Sequence[Box], levels: Sequence[int]) -> Lanes:
    """A box goes on in the lane of what feeds it, a branch takes the next to the right, and what skips boxes passes."""
    taken: set[tuple[int, int]] = set()
    found = Lanes([0] * len(boxes), {})
    targets: dict[int, list[int]] = defaultdict(list)
    for j, box in enumerate(boxes):
        for i in box.inputs:
            targets[i].append(j)
    by_level: dict[int, list[int]] = defaultdict(list)
    for i, level in enumerate(levels):
        by_level[level].append(i)
    for level in sorted(by_level):
        for j in by_level[level]:
            # Of several that feed it, that from just above, since a line from further up passes beside.
            feeding = sorted(boxes[j].inputs, key=lambda i: (-levels[i], abs(found.boxes[i])))
            lane = found.boxes[feeding[0]] if feeding else 0
            while (lane, level) in taken:
                lane += 1
            found.boxes[j] = lane
            taken.add((lane, level))
    passing = [(i, j) for j, box in enumerate(boxes) for i in box.inputs if levels[j] - levels[i] > 1]
    for i, j in sorted(passing, key=lambda line: levels[line[1]] - levels[line[0]]):
        between = range(levels[i] + 1, levels[j])
        found.lines[i, j] = lane = beside(found.boxes[i], between, taken, len(targets[i]) == 1)
        taken.update((lane, level) for level in between)
    return found


def beside(lane: int, levels: range, taken: set[tuple[int, int]], alone: bool) -> int:
    """The nearest lane that is free along a line: its source's, if it is `alone`, or to the right or left of it."""
    away = 0 if alone else 1
    while True:
        for side in (away, -away):
            if not any((lane + side, level) in taken for level in levels):
                return lane + side
        away += 1


def in_columns(name: str, boxes: Sequence[Box], levels: Sequence[int]) -> Drawing:
    """From above to below, each branch in a lane of its own."""
    found = lanes(boxes, levels)
    forms = [form(box) for box in boxes]
    widths = [
        26.0
        if f == "sign"
        else max(92, *(text_width(line, name=at == 0) + 16 for at, line in enumerate(chart_lines(b))))
        for b, f in zip(boxes, forms, strict=True)
    ]
    heights = [26.0 if f == "sign" else 10.0 + 15 * len(chart_lines(b)) for b, f in zip(boxes, forms, strict=True)]
    columns = sorted({*found.boxes, *found.lines.values()})
    branches = set(found.boxes)
    passing = [
        level for (i, j), lane in found.lines.items() if lane in branches for level in range(levels[i] + 1, levels[j])
    ]
    busy = Counter(levels) + Counter(passing)
    wide = {lane: max([widths[i] for i in range(len(boxes)) if found.boxes[i] == lane], default=20) for lane in columns}
    centre: dict[int, float] = {}
    x = 0.0
    for lane in columns:
        centre[lane] = x + wide[lane] / 2
        x += wide[lane] + 22

    # What is alone on its level stands in the middle of the branches that it feeds or that feed it.
    xs = [centre[lane] for lane in found.boxes]
    for j, box in enumerate(boxes):
        if busy[levels[j]] > 1:
            continue
        # A line that continues a branch counts as one, and what passes beside does not.
        into = {found.boxes[i] for i in box.inputs if found.lines.get((i, j), found.boxes[i]) == found.boxes[i]}
        after = [k for k in range(len(boxes)) if j in boxes[k].inputs]
        out = {found.boxes[k] for k in after if found.lines.get((j, k), found.boxes[k]) == found.boxes[k]}
        touched = max(into, out, key=len) or {found.boxes[j]}
        if len(touched) > 1:
            xs[j] = (centre[min(touched)] + centre[max(touched)]) / 2
            if forms[j] == "bar":
                widths[j] = max(widths[j], centre[max(touched)] - centre[min(touched)] + 92)
        elif len(box.inputs) == 1 and busy[levels[box.inputs[0]]] == 1 and levels[box.inputs[0]] == levels[j] - 1:
            xs[j] = xs[box.inputs[0]]

    for j, box in reversed([*enumerate(boxes)]):
        below = [k for k in range(len(boxes)) if j in boxes[k].inputs and levels[k] == levels[j] + 1]
        if not box.inputs and len(below) == 1 and busy[levels[below[0]]] == 1:
            xs[j] = xs[below[0]]

    tall = {level: max(heights[i] for i in range(len(boxes)) if levels[i] == level) for level in set(levels)}
    tops: dict[int, float] = {}
    y = 0.0
    for level in sorted(tall):
        tops[level] = y
        y += tall[level] + 34
    placed = []
    for i, box in enumerate(boxes):
        top = tops[levels[i]] + (tall[levels[i]] - heights[i]) / 2
        placed.append(Placed(box, xs[i] - widths[i] / 2, top, widths[i], heights[i], forms[i]))

    occupied = {(lane, level) for lane, level in zip(found.boxes, levels, strict=True)}
    occupied |= {(lane, k) for (i, j), lane in found.lines.items() for k in range(levels[i] + 1, levels[j])}
    edges = []
    for j, box in enumerate(boxes):
        for i in box.inputs:
            one, two = placed[i], placed[j]
            start, end = Point(xs[i], one.y + one.height), Point(xs[j], two.y - 2)
            down = centre[found.lines[i, j]] if (i, j) in found.lines else start.x
            points = [start]
            if down != start.x:
                points += [Point(start.x, tops[levels[i] + 1] - 21), Point(down, tops[levels[i] + 1] - 21)]
            if two.form == "bar":
                reach = two.width / 2 - 16
                end = Point(min(max(down, xs[j] - reach), xs[j] + reach), end.y)
            lower, upper = sorted((found.lines.get((i, j), found.boxes[i]), found.boxes[j]))
            clear = not any((between, levels[j]) in occupied for between in range(lower + 1, upper))
            if two.form == "sign" and clear and abs(down - xs[j]) > 30:
                end = Point(xs[j] + (15 if down > xs[j] else -15), two.y + two.height / 2)
                points += [Point(down, end.y), end]
            else:
                turn = tops[levels[j]] - 13
                points += [Point(down, turn), Point(end.x, turn), end]
            edges.append(Edge(i, j, rounded(points)))
    return framed(name, placed, edges)


def form(box: Box) -> str:
    """What a box of a chart looks like."""
    if not box.layers:
        return "end"
    kinds = {layer.kind for layer in box.main}
    if len(box.main) == 1 and kinds <= SIGNS.keys():
        return "sign"
    return "bar" if kinds == {"concatenation"} and len(box.inputs) > 1 else "sheet"


def chart_lines(box: Box) -> list[str]:
    """The lines in a box of a chart."""
    if not box.layers:
        return [box.name, box.size]
    if len(box.main) > 1:
        return [box.label, box.words, box.size]
    return [line for line in (box.words, box.trimmings, box.size) if line]
