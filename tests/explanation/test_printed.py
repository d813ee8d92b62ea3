"""What is printed of comparisons, probes and verifications: golden files.

    python tests/explanation/test_printed.py

writes them anew; look at the difference before it is committed.
"""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

import convatlas as ca
from convatlas.cli.explaining import say_verified
from convatlas.explanation.compare import compared_table
from convatlas.explanation.probe import Probe, Signal
from convatlas.explanation.table import probed_table
from convatlas.explanation.verify import Box, Check, Unit, Verification, verify

GOLDEN = Path(__file__).parent / "golden"
NAMES = ("alexnet", "vgg16", "googlenet", "resnet50")


def signal(
    name: str, activation: float, gradient: float | None, update: float | None = None, dead: float = 0
) -> Signal:
    return Signal(
        name=name, activation_mean=activation / 7, activation_std=activation, dead=dead, update=update,
        gradient_mean=None if gradient is None else -gradient / 900, gradient_std=gradient,
    )  # fmt: skip


PROBED = Probe(
    images=32,
    loss=2.302585,
    lr=0.1,
    signals=(
        signal("stem", 1.0, None),
        signal("stage1.0.conv", 0.91, 2.3e-10, 4.2e-9),
        signal("stage1.0.relu", 0.52, 2.5e-10, dead=0.4375),
        signal("stage1.1.conv", 0.37, 0.0031, 9.9e-4),
        signal("classifier", 12.5, 0.0625, 0.25),
    ),
)
WRONG = Verification(
    checks=(
        Check("conv1", (Unit((0, 0), Box(0, 0, 2, 2), Box(0, 0, 2, 2)),)),
        Check("conv2", (Unit((1, 1), Box(0, 0, 4, 4), Box(0, 0, 3, 4)),)),
    ),
    left_out={"sorted": "there is no line for cumsum"},
)


def compared(*names: str) -> Callable[[Console], None]:
    return lambda console: console.print(compared_table(ca.compare(*names), width=console.width))


def probed(depth: int) -> Callable[[Console], None]:
    return lambda console: console.print(probed_table(PROBED, depth=depth, width=console.width))


PRINTED: list[tuple[str, int, Callable[[Console], None]]] = [
    ("compare", 80, compared(*NAMES)),
    ("compare", 60, compared(*NAMES)),
    ("compare_unprinted", 80, compared("resnet18", "resnet18")),
    ("probe_1", 80, probed(1)),
    ("probe_3", 80, probed(3)),
    ("probe_3", 60, probed(3)),
    ("verify_lenet5", 80, lambda console: say_verified(console, verify("lenet5"))),
    ("verify_wrong", 80, lambda console: say_verified(console, WRONG)),
    ("verify_nothing", 80, lambda console: say_verified(console, Verification(()))),
]


def printed(width: int, show: Callable[[Console], None]) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    show(console)
    assert isinstance(console.file, io.StringIO)
    return "".join(f"{line.rstrip()}\n" for line in console.file.getvalue().splitlines())


@pytest.mark.parametrize(("name", "width", "show"), PRINTED)
def test_what_is_printed_is_the_golden_text(name: str, width: int, show: Callable[[Console], None]) -> None:
    text = printed(width, show)
    assert text == (GOLDEN / f"{name}_{width}.txt").read_text(encoding="utf-8")
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text


if __name__ == "__main__":
    for name, width, show in PRINTED:
        (GOLDEN / f"{name}_{width}.txt").write_text(printed(width, show), encoding="utf-8")
