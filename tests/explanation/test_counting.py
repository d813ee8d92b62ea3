"""The page on counting: its totals come to the sum of the layers by each tool's rule."""

from pathlib import Path

from convatlas.explanation.explain import explain
from convatlas.explanation.layers import Layer

PAGE = (Path(__file__).parents[2] / "docs" / "counting.md").read_text(encoding="utf-8")


def row(tool: str) -> int:
    """The total that the page gives for a tool."""
    (line,) = (line for line in PAGE.splitlines() if line.startswith(f"| {tool} "))
    return int(line.split("|")[2].replace(",", ""))


def test_each_tools_total_is_its_rule_over_the_layers() -> None:
    found = explain("resnet50_v1_5")

    def layers(kind: str) -> list[Layer]:
        return [layer for layer in found.layers if layer.kind == kind]

    norms = sum(layer.elementwise for layer in layers("batch normalisation"))
    relus, additions = (sum(layer.elementwise for layer in layers(kind)) for kind in ("ReLU", "addition"))
    others = sum(layer.params for layer in layers("batch normalisation")) + 1_000
    pooled = 64 * 112 * 112 + 2_048 * 7 * 7
    assert row("convatlas") == found.macs
    assert row("torchinfo") == found.macs + others
    assert row("fvcore") == found.macs + norms
    assert row("ptflops (from source)") == found.macs + norms + relus + pooled + 1_000
    assert row("… with its counts of functions") == row("ptflops (from source)") + additions
    assert row("thop (from source)") == found.macs + 2 * norms + 2_048 * (49 + 1)
    assert row("torch's `FlopCounterMode`") == 2 * found.macs
    assert f"{explain('resnet50').macs:,}" in PAGE
