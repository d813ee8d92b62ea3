"""A network as a drawing, from its graph: whole, as maps whose height and depth follow their size; a module as a chart.

Three steps, each of what the one before returns: `condense` makes boxes of layers, `in_rows` or `in_columns` places
them, and `render` writes the SVG. Rows are of a chain, and what skips a part of it is an arc above, as in the papers on
AlexNet and DenseNet; in columns each branch has a lane of its own, as in those on GoogLeNet and ResNet.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from math import prod
from typing import NamedTuple

from convatlas.errors import InputError
from convatlas.explanation.explain import IMAGES, Explanation, Layer
from convatlas.wording import nearest, shown, some

FEW = 4
"""A network is opened until it has more boxes than so many."""
MANY = 16
"""A module is opened as far as it has no more than so many."""
SKIPS = 3
"""A module that is a chain is drawn as one where more lines than so many skip boxes of it."""
WIDTH = 1040
"""Pixels: where a row ends."""

FAMILIES = {
    # what a kind is drawn as, by a word of its name; the first that is found
    "depthwise": "grouped", "grouped": "grouped", "convolution": "conv",
    "pooling": "pool", "subsampling": "pool", "mean": "pool",
    "dense": "dense", "RBF": "dense", "attention": "attention", "product": "attention", "softmax": "attention",
    "addition": "join", "concatenation": "join", "multiplication": "join",
}  # fmt: skip
SHORT = {
    "convolution": "conv", "depthwise convolution": "depthwise", "grouped convolution": "grouped",
    "max pooling": "max pool", "average pooling": "avg pool", "global average pooling": "global avg pool",
    "adaptive average pooling": "avg pool", "batch normalisation": "BN", "layer normalisation": "LN",
    "local response norm": "LRN", "channel shuffle": "shuffle",
}  # fmt: skip
SIGNS = {"addition": "+", "multiplication": "×"}

COLOURS = {
    #             light: fill, line     dark: fill, line; hues of Okabe and Ito, which the colour-blind tell apart
    "conv":      (("#d3e5f4", "#0068a3"), ("#16364e", "#56b4e9")),
    "grouped":   (("#dff0f2", "#2b7f88"), ("#173c40", "#7fd0d8")),
    "pool":      (("#fbe2cd", "#b34d00"), ("#4a2d0c", "#f0a030")),
    "dense":     (("#f0dcea", "#97397a"), ("#43213a", "#e08fc4")),
    "attention": (("#f8efbe", "#7d6600"), ("#3d370f", "#e6d84a")),
    "join":      (("#ffffff", "#4a4b48"), ("#232421", "#c4c4be")),
    "other":     (("#ededE8", "#6a6b66"), ("#2c2d2a", "#9b9c96")),
}  # fmt: skip


def family(kind: str) -> str:
    """What a layer of that kind is drawn as."""
    return next((drawn for word, drawn in FAMILIES.items() if word in kind), "other")


# --------------------------------------------------------------------------- layers to boxes


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
    def kind(self) -> str:
        """That of the layer that does most of the work."""
        return max(self.main, key=lambda layer: layer.macs).kind if self.layers else "input"

    @property
    def words(self) -> str:
        """What it does: `3×3 conv`, `4 blocks`, `7 layers`."""
        if not self.layers:
            return ""
        if all(family(layer.kind) == "other" for layer in self.main):
            return ", ".join(dict.fromkeys(short(layer) for layer in self.main))
        if len(self.main) > 1:
            computing = [layer for layer in self.main if family(layer.kind) != "join"]
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
    if family(layer.kind) != "other" or "shuffle" in layer.kind or layer.macs or len(layer.inputs) != 1:
        return False
    return prod(layer.output_shape) == prod(shapes[layer.inputs[0]])


def condense(explanation: Explanation, *, part: str = "", depth: int | None = None) -> list[Box]:
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


def boxed(explanation: Explanation, layers: list[Layer], part: str, depth: int) -> list[Box]:
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
        at, last, main = len(boxes), group[-1], [layer for layer in group if layer.name not in trimming] or group
        name = common(stem(layer.name, part, depth) for layer in main)
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
    rest = [layer.name.removeprefix(f"{name}.").split(".") for layer in layers if family(layer.kind) != "join"]
    blocks = Counter(path[0] for path in rest)
    alike = len({re.sub(r"\d+", "", block) for block in blocks}) == 1 and max(map(len, rest)) > 1
    return len(blocks) if alike else 1


# --------------------------------------------------------------------------- boxes to places


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


def lay_out(explanation: Explanation, *, part: str = "", depth: int | None = None, width: float = WIDTH) -> Drawing:
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


# --------------------------------------------------------------------------- places to SVG


def to_svg(explanation: Explanation, *, part: str = "", depth: int | None = None, width: float = WIDTH) -> str:
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
    kind = "other" if not box.layers else family(box.kind)
    end = " end" if not box.layers else ""
    names = escape(" ".join(layer.name.replace(" ", "_") for layer in box.layers))
    marks = f'class="box {kind}{end}" data-box="{escape(box.name)}" data-layers="{names}"'
    body = f"<g {marks}><title>{escape(box.title)}</title>{shape}</g>"
    return f'<a href="{links[box.name]}" aria-label="{escape(box.title)}">{body}</a>' if box.name in links else body


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
