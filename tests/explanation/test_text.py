"""The explanation as JSON, Mermaid and Graphviz."""

import json
import re

import pytest
from torch import nn

import convatlas as ca
from convatlas.explanation.text import to_dot, to_mermaid


def test_json_holds_everything_under_stable_names() -> None:
    explanation = ca.explain("alexnet")
    content = json.loads(json.dumps(explanation.to_dict(), allow_nan=False))
    assert list(content) == [
        "name", "input_size", "paper", "table", "published", "deviations", "changes", "params", "macs", "elementwise",
        "activation_bytes", "depth", "counting_rule", "left_out", "unused", "layers",
    ]  # fmt: skip
    assert (content["params"], content["macs"], content["depth"]) == (60_965_224, 724_406_816, 8)
    assert content["input_size"] == [3, 227, 227]
    assert content["published"]["top1_error"] == 40.7
    conv1 = content["layers"][0]
    assert conv1["name"] == "conv1.conv"
    assert conv1["inputs"] == ["images"]
    assert conv1["output_shape"] == [96, 55, 55]
    assert conv1["receptive_field"] == [11, 11]
    assert "34,944 = 96 · (11·11·3 + 1)" in conv1["formulas"]
    assert len(content["layers"]) == len(explanation.layers)


def test_changes_of_a_network_are_in_its_json() -> None:
    network = ca.create_model("resnet18", num_classes=10, shortcut="A")
    assert ca.explain(network).to_dict()["changes"] == {"shortcut": "A", "num_classes": 10}


@pytest.mark.parametrize(
    ("name", "depth"),
    # Sec. 3.1 of VGG, Table 1 of GoogLeNet and of ResNet count the layers with weights
    [("alexnet", 8), ("vgg11", 11), ("vgg16", 16), ("vgg19", 19), ("googlenet", 22), ("resnet18", 18),
     ("resnet50", 50), ("resnet152", 152), ("resnet110", 110), ("densenet121", 121)],
)  # fmt: skip
def test_depth_is_as_papers_count_it(name: str, depth: int) -> None:
    assert ca.explain(name).depth == depth


def test_mermaid_has_a_node_for_each_block_and_an_arrow_for_each_path() -> None:
    text = to_mermaid(ca.explain("resnet18"), depth=2)
    assert text.startswith("flowchart TD\n")
    assert 'b3["pool1<br/>max pooling<br/>64×56×56"]' in text
    assert 'b4["conv2_x.0…1 ×2<br/>2 × convolution, addition<br/>64×56×56"]' in text
    nodes, arrows = re.findall(r"(b\d+)\[", text), re.findall(r"(\w+) --> (\w+)", text)
    assert {end for arrow in arrows for end in arrow} == {"images", *nodes}


def test_an_inception_block_has_its_four_paths() -> None:
    text = to_mermaid(ca.explain("googlenet"), depth=3)
    name = re.search(r'(b\d+)\["inception_3a\.concatenation', text)
    assert name
    assert len(re.findall(rf"--> {name[1]}\n", text)) == 4


def test_graphviz_is_the_same_graph() -> None:
    explanation = ca.explain("googlenet")
    dot, mermaid = to_dot(explanation, depth=2), to_mermaid(explanation, depth=2)
    assert re.findall(r"(\w+) -> (\w+)", dot) == re.findall(r"(\w+) --> (\w+)", mermaid)
    assert dot.startswith("digraph {\n")
    assert dot.endswith("}\n")
    assert 'label="pool1\\nmax pooling\\n64×56×56"' in dot


def test_names_cannot_break_out_of_their_quotation_marks() -> None:
    net = nn.Sequential()
    net.add_module('a"b\\', nn.Conv2d(3, 4, 3))
    explanation = ca.explain(net, (3, 8, 8))
    assert "a'b/" in to_mermaid(explanation)
    assert "a'b/" in to_dot(explanation)
