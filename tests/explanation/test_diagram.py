"""Drawings: that nothing overlaps, that every line is there, and that the blocks of the papers are recognised."""

import re
from itertools import combinations, pairwise
from xml.etree import ElementTree

import pytest
from torch import nn

import convatlas as ca
from convatlas.explanation.boxes import condense
from convatlas.explanation.diagram import COLOURS, to_svg
from convatlas.explanation.explain import Explanation, explain
from convatlas.explanation.layout import Drawing, Placed, lay_out
from convatlas.models import list_models

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def explained() -> dict[str, Explanation]:
    names = ("alexnet", "googlenet", "resnet50", "seresnet50", "resnetv2_50", "densenet121", "shufflenet_v2_x1_0",
             "vit_cifar")  # fmt: skip
    return {name: explain(name) for name in names}


def overlap(one: Placed, two: Placed) -> bool:
    across = min(one.x + one.width, two.x + two.width) - max(one.x, two.x)
    down = min(one.y + one.height, two.y + two.height) - max(one.y, two.y)
    return across > 0 and down > 0


def crossed(drawing: Drawing) -> list[tuple[str, str]]:
    """Upright parts of lines that run through boxes, of which they are no end."""
    found = []
    for edge in drawing.edges:
        points = [(float(x), float(y)) for x, y in re.findall(r"[ML ](-?[\d.]+) (-?[\d.]+)", edge.path)]
        for (x, y), (other, below) in pairwise(points):
            for at, box in enumerate(drawing.boxes):
                inside = box.x < x < box.x + box.width and max(y, box.y) + 2 < min(below, box.y + box.height) - 2
                if x == other and inside and at not in (edge.source, edge.target):
                    found.append((edge.path, box.box.name))
    return found


def check(explanation: Explanation, part: str = "", depth: int | None = None) -> Drawing:
    drawing = lay_out(explanation, part=part, depth=depth)
    left, top, right, bottom = drawing.frame
    for box in drawing.boxes:
        assert left <= box.x <= box.x + box.width <= right
        assert top <= box.y <= box.y + box.height <= bottom
    assert not [(a.box.name, b.box.name) for a, b in combinations(drawing.boxes, 2) if overlap(a, b)]
    # Each input of each layer is a line of the drawing, or inside of a box; and there is no other line.
    place = {layer.name: at for at, box in enumerate(drawing.boxes) for layer in box.box.layers}
    place.update((box.box.name, at) for at, box in enumerate(drawing.boxes) if not box.box.layers)
    layers = [layer for box in drawing.boxes for layer in box.box.layers]
    true = {(place[source], place[layer.name]) for layer in layers for source in layer.inputs}
    assert {(edge.source, edge.target) for edge in drawing.edges} == {(i, j) for i, j in true if i != j}
    assert len(drawing.edges) == len({(edge.source, edge.target) for edge in drawing.edges})
    return drawing


@pytest.mark.parametrize("name", [name for name in list_models() if "1202" not in name and "1001" not in name])
def test_of_every_network_no_two_boxes_overlap_and_every_line_is_there(name: str) -> None:
    explanation = explain(name)
    drawing = check(explanation)
    drawn = [layer.name for box in drawing.boxes for layer in box.box.layers]
    assert sorted(drawn) == sorted(layer.name for layer in explanation.layers)


@pytest.mark.parametrize(
    "name", ["alexnet", "googlenet", "resnet50", "seresnet50", "resnetv2_50", "shufflenet_v2_x1_0", "vit_cifar"]
)
def test_every_module_can_be_drawn_opened(name: str, explained: dict[str, Explanation]) -> None:
    paths = {layer.name.rpartition(".")[0] for layer in explained[name].layers} - {""}
    parts = {path for name in paths for path in (name, name.rpartition(".")[0]) if path}
    for part in sorted(parts):
        assert not crossed(check(explained[name], part)), part


def test_alexnet_is_maps_whose_height_and_depth_follow_their_size(explained: dict[str, Explanation]) -> None:
    solids = {box.box.name: box.solid for box in lay_out(explained["alexnet"]).boxes}
    heights = [solids[name][1] for name in ("images", "conv1", "conv2", "conv3", "pool5")]
    assert heights == sorted(heights, reverse=True)
    assert solids["conv3"][1] == solids["conv5"][1]
    lengths = [solids[name][0] for name in ("images", "conv1", "conv2", "conv3")]
    assert lengths == sorted(lengths)
    assert solids["conv3"][0] == solids["conv4"][0] > solids["conv5"][0]


def test_an_inception_module_has_four_branches_side_by_side(explained: dict[str, Explanation]) -> None:
    boxes = {box.box.label: box for box in lay_out(explained["googlenet"], part="inception_4a").boxes}
    branches = [boxes[name] for name in ("conv_1x1.conv", "reduce_3x3.conv", "reduce_5x5.conv", "pool")]
    assert [box.x for box in branches] == sorted(box.x for box in branches)
    assert len({box.y + box.height / 2 for box in branches}) == 1
    bar = boxes["concatenation"]
    assert bar.form == "bar"
    assert bar.x < branches[0].x + branches[0].width / 2
    assert bar.x + bar.width > branches[3].x + branches[3].width / 2
    assert boxes["conv_3x3.conv"].box.words == "3×3 conv"
    assert boxes["conv_3x3.conv"].box.trimmings == "ReLU"


def test_a_projection_is_a_branch_and_an_identity_a_line_beside(explained: dict[str, Explanation]) -> None:
    projected = lay_out(explained["resnet50"], part="conv3_x.0").boxes
    words = [box.box.words for box in projected]
    assert words == ["", "1×1 conv, /2", "1×1 conv, /2", "3×3 conv", "1×1 conv", "addition"]
    plain = lay_out(explained["resnet50"], part="conv3_x.1")
    assert len({box.x + box.width / 2 for box in plain.boxes}) == 1
    right = max(box.x + box.width for box in plain.boxes)
    skip = next(edge for edge in plain.edges if (edge.source, edge.target) == (0, 4))
    assert max(float(x) for x in re.findall(r"L(-?[\d.]+)", skip.path)) > right


def test_a_dense_block_is_a_chain_with_an_arc_from_each_to_all_that_follow(explained: dict[str, Explanation]) -> None:
    drawing = lay_out(explained["densenet121"], part="dense_block1")
    assert len(drawing.boxes) == 8  # what goes in, 6 layers, and all of them concatenated
    assert len(drawing.edges) == 8 * 7 / 2
    assert sum(edge.arc for edge in drawing.edges) == 8 * 7 / 2 - 7


def test_repeated_blocks_are_folded(explained: dict[str, Explanation]) -> None:
    boxes = condense(explained["resnet50"])
    assert [box.repeats for box in boxes] == [1, 1, 1, 3, 4, 6, 3, 1, 1]
    assert boxes[4].words == "4 blocks"
    dense = {box.name: box.repeats for box in condense(explained["densenet121"])}
    assert [dense[f"dense_block{k}"] for k in (1, 2, 3, 4)] == [6, 12, 24, 16]


@pytest.mark.parametrize("part", ["", "inception_4a"])
def test_an_svg_stands_alone_and_says_what_it_shows(part: str, explained: dict[str, Explanation]) -> None:
    text = to_svg(explained["googlenet"], part=part)
    root = ElementTree.fromstring(text)
    assert root.tag == f"{SVG}svg"
    assert root.attrib["role"] == "img"
    title = root.find(f"{SVG}title")
    assert title is not None
    assert (title.text or "").startswith("googlenet")
    assert len(root.findall(f".//{SVG}g")) == len(root.findall(f".//{SVG}g/{SVG}title"))
    assert re.findall(r'(?:href|src)="(?!#)|url\((?!#)', text) == []
    assert "prefers-color-scheme:dark" in text


def test_names_from_outside_are_escaped() -> None:
    text = to_svg(Explanation("<script>", (3, 8, 8), explain("lenet5").layers))
    assert "<script>" not in text


def luminance(colour: str) -> float:
    """Of WCAG 2.1."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, two: str) -> float:
    dark, light = sorted((luminance(one), luminance(two)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("name", COLOURS)
def test_text_and_lines_are_seen_on_every_colour(name: str) -> None:
    for (fill, line), inks, paper in zip(
        COLOURS[name], (("#20211f", "#5a5b56"), ("#e4e4e0", "#b4b5af")), ("#fdfdfb", "#171816"), strict=True
    ):
        assert min(contrast(fill, ink) for ink in inks) >= 4.5
        assert contrast(line, paper) >= 3


def test_a_module_of_the_user_s_is_drawn_with_its_branches() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 1)

        def forward(self, x):  # type: ignore[no-untyped-def]
            return self.last(self.left(x) + self.right(x).relu())

    drawing = check(explain(Two(), input_size=(3, 8, 8)))
    assert [box.box.name for box in drawing.boxes] == ["images", "left", "right", "addition", "last"]


def test_what_makes_maps_larger_has_a_box_of_its_own() -> None:
    grown = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Upsample(scale_factor=2), nn.Conv2d(4, 2, 1), nn.ReLU())
    boxes = check(explain(grown, input_size=(3, 8, 8))).boxes
    assert [box.box.shape for box in boxes] == [(3, 8, 8), (4, 8, 8), (4, 16, 16), (2, 16, 16)]
    assert [box.box.trimmings for box in boxes] == ["", "ReLU", "", "ReLU"]


def test_what_cannot_be_drawn_is_told(explained: dict[str, Explanation]) -> None:
    with pytest.raises(ca.InputError, match=r"googlenet has no part 'inception_4z'; the nearest: .*inception_4"):
        to_svg(explained["googlenet"], part="inception_4z")
    with pytest.raises(ca.InputError, match="1, its stages, or more, and got 0"):
        to_svg(explained["googlenet"], depth=0)
