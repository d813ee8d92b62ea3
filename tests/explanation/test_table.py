"""What is printed of a network: golden files, and how blocks come about.

    python tests/explanation/test_table.py

writes the golden files anew; look at the difference before it is committed.
"""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import convatlas as ca
from convatlas.explanation.blocks import divided, graph
from convatlas.explanation.table import amount, memory, share

GOLDEN = Path(__file__).parent / "golden"
PRINTED = [
    # network, depth, columns
    ("lenet5", 2, 80),
    ("alexnet", 1, 80),
    ("alexnet", 1, 140),
    ("googlenet", 1, 140),
    ("googlenet", 3, 80),
    ("resnet18", 1, 80),
    ("resnet18", 2, 140),
    ("vit_b_16", 1, 80),
]


def printed(explanation: ca.Explanation, depth: int = 1, width: int = 80) -> str:
    return explanation.to_text(depth=depth, width=width) + "\n"


def golden(name: str, depth: int, width: int) -> Path:
    return GOLDEN / f"{name}_{depth}_{width}.txt"


@pytest.mark.parametrize(("name", "depth", "width"), PRINTED)
def test_the_table_is_the_golden_one(name: str, depth: int, width: int) -> None:
    text = printed(ca.explain(name), depth, width)
    assert text == golden(name, depth, width).read_text(encoding="utf-8")
    assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize("name", ["shufflenet_v1_x1_0_g4", "seresnext101_32x8d", "vit_b_16", "densenet161"])
def test_the_table_fits_an_ordinary_terminal_and_a_narrow_one(name: str) -> None:
    explanation = ca.explain(name)
    assert all(max(map(len, printed(explanation, depth).splitlines())) <= 80 for depth in (1, 4))
    assert all(max(map(len, printed(explanation, depth, 60).splitlines())) <= 60 for depth in (1, 4))
    assert f"{explanation.params:,}" in printed(explanation, 4, 60)


@pytest.mark.parametrize("name", ["vgg16", "densenet121", "seresnet50", "shufflenet_v2_x1_0", "vit_b_16", "resnet152"])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_blocks_of_every_depth_hold_each_layer_once(name: str, depth: int) -> None:
    explanation = ca.explain(name)
    blocks, edges = graph(explanation, depth)
    assert [layer for block in blocks for layer in block.layers] == list(explanation.layers)
    assert sum(block.params for block in blocks) == explanation.params
    assert sum(block.macs for block in blocks) == explanation.macs
    names = [block.name for block in blocks]
    assert len(set(names)) == len(names)
    place = {"images": -1} | {name: index for index, name in enumerate(names)}
    assert all(place[edge.source] < place[edge.target] for edge in edges)
    assert {edge.target for edge in edges} == set(names)


def test_resnet_152_has_its_equal_blocks_folded() -> None:
    blocks = divided(ca.explain("resnet152").layers, 2)
    folded = {block.name: block.times for block in blocks if block.times > 1}
    # Table 1: 3, 8, 36 and 3 blocks, of which the first of each stage changes the shape
    assert folded == {"conv2_x.1…2": 2, "conv3_x.1…7": 7, "conv4_x.1…35": 35, "conv5_x.1…2": 2}
    last = next(block for block in blocks if block.name == "conv4_x.1…35")
    assert last.kind == "3 × convolution, addition"
    assert last.receptive_field == max(layer.receptive_field for layer in last.layers)


def test_blocks_that_do_not_follow_each_other_are_not_folded() -> None:
    class Parallel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.paths = nn.ModuleList(nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU()) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([path(x) for path in self.paths], dim=1)

    explanation = ca.explain(Parallel(), (3, 8, 8))
    assert all(block.times == 1 for block in divided(explanation.layers, 2))


def test_what_only_wraps_one_part_is_no_line_of_its_own() -> None:
    net = nn.Sequential(nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())))
    lines = printed(ca.explain(net, (3, 8, 8)), depth=3).splitlines()
    assert any(line.startswith("0.0 ") for line in lines)
    assert not any(line.startswith("0 ") for line in lines)


def test_what_feeds_a_layer_is_said_where_it_is_not_the_line_above() -> None:
    lines = printed(ca.explain("resnet18"), depth=3, width=140).splitlines()
    fed = [line for line in lines if "from " in line and "addition" in line]
    assert len(fed) == 8  # each block's
    assert "from conv2_x.0.relu2, bn2" in fed[1]
    assert not any("  from " in line for line in printed(ca.explain("alexnet"), depth=3, width=160).splitlines())


def test_memory_and_elementwise_operations_stand_in_the_table_or_below() -> None:
    explanation = ca.explain("alexnet")
    assert explanation["pool2"].activation_bytes == 4 * 256 * 13 * 13
    for width, expected in ((140, "pool2  256×13×13  173.06 kB"), (60, "memory 173.06 kB")):
        text = printed(explanation, width=width)
        assert expected in text
        assert "389.38 k elementwise;  begins at pixel −16" in text
    uneven = ca.explain(nn.Sequential(nn.Conv2d(3, 4, 3, padding=(2, 0))), (3, 8, 8))
    assert "begins at pixel −2 down, 0 across" in printed(uneven)


def test_what_is_printed_of_the_paper_is_said_to_be_of_the_unchanged_network() -> None:
    text = printed(ca.explain("resnet18", shortcut="A"))
    assert "changed: shortcut A; what is printed is of the network without that" in text
    assert "changed" not in printed(ca.explain("resnet18"))
    text = printed(ca.explain("resnet18", (3, 64, 64)))
    assert "changed: images of 64×64; what is printed is of the network without that" in text


def test_a_layer_that_could_not_be_analysed_is_said_to_be_left_out() -> None:
    class Sorted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cumsum(x, dim=2)

    explanation = ca.explain(nn.Sequential(nn.Conv2d(3, 4, 3), Sorted()), (3, 8, 8))
    text = printed(explanation)
    assert "left out: 1: " in text
    assert "1" in explanation.to_dict()["left_out"]


def test_what_is_to_be_known_of_a_layer_is_a_note_and_not_left_out() -> None:
    text = " ".join(printed(ca.explain("bn_inception")).split())
    assert "note: inception_3c.concatenation: the paths that meet here look at places that are shifted" in text
    assert "left out" not in text


def test_an_explanation_is_printed_as_its_table_and_is_short_to_look_at() -> None:
    explanation = ca.explain("lenet")
    assert str(explanation) == explanation.to_text(depth=1, width=80)
    assert repr(explanation) == "<lenet on 1×28×28: 12 layers, 61,706 parameters, 416,520 MACs>"


def test_amounts_and_shares_are_short() -> None:
    assert [amount(n) for n in (0, 640, 117_600, 105_415_200, 3_857_973_248)] == [
        "", "640", "117.60 k", "105.42 M", "3.86 G",
    ]  # fmt: skip
    assert [memory(n) for n in (40, 999, 1000, 1_161_600)] == ["40 B", "999 B", "1.00 kB", "1.16 MB"]
    assert [share(n, 10_000) for n in (0, 4, 5, 6190)] == ["", "< 0.1 %", "0.1 %", "61.9 %"]


if __name__ == "__main__":
    for each in PRINTED:
        golden(*each).write_text(printed(ca.explain(each[0]), *each[1:]), encoding="utf-8")
