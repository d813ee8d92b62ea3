"""The numbers that papers and lectures quote, each from a call; and the page that is made of them."""

import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from convatlas.explanation.arithmetic import (
    Conv,
    Sum,
    Window,
    conv_params,
    dense_params,
    output_size,
    receptive_field,
    saving,
    stack_macs,
    stack_params,
    total,
)
from convatlas.explanation.explain import explain

NAIVE = stack_macs([Conv(256, 128, 1), Conv(256, 192, 3), Conv(256, 96, 5)], 28, 28)
REDUCED = stack_macs(
    [Conv(256, 64, 1), Conv(256, 64, 1), Conv(256, 128, 1), Conv(64, 192, 3), Conv(64, 96, 5), Conv(256, 64, 1)], 28, 28
)


@pytest.mark.parametrize(
    ("found", "quoted"),
    [
        (output_size(227, 11, stride=4), 55),
        (output_size(224, 11, stride=4, padding=1), 54),
        (receptive_field([Window(3)] * 3), 7),
        (conv_params(3, 96, (11, 11)), 34_944),
        (Conv(256, 256, 3).params, 589_824),
        (stack_params([Conv(256, 64, 1), Conv(64, 64, 3), Conv(64, 256, 1)]), 69_632),
        (NAIVE, 854_196_224),
        (REDUCED, 271_351_808),
        (total([REDUCED, Conv(64, 192, 3).macs(28, 28)]), 358_055_936),
        (dense_params(16 * 5 * 5, 120, bias=False), 48_000),
        (dense_params(256 * 5 * 5, 4_096, bias=False), 26_214_400),
        (dense_params(512 * 7 * 7, 4_096, bias=False), 102_760_448),
        (Conv(200, 32, 5).macs(32, 32), 163_840_000),
    ],
)
def test_numbers_that_are_quoted(found: Sum, quoted: int) -> None:
    assert found.value == quoted
    assert found.formula.startswith(f"{quoted:,} = ")


def test_groups_divide_the_weights_and_the_products() -> None:
    assert saving(Conv(256, 256, 3).params, Conv(256, 256, 3, groups=32).params) == 32
    assert saving(Conv(256, 256, 3).macs(14, 14), Conv(256, 256, 3, groups=32).macs(14, 14)) == 32


@pytest.mark.parametrize(
    ("name", "changes", "params"),
    [
        ("alexnet", {}, 60_965_224), ("alexnet", {"groups": 1}, 62_378_344), ("alexnet_owt", {}, 61_100_840),
        ("alexnet_d2l", {}, 46_764_746), ("googlenet", {}, 6_998_552),
    ],
)  # fmt: skip
def test_the_four_alexnets_and_googlenet(name: str, changes: dict[str, int], params: int) -> None:
    assert explain(name, **changes).params == params


@given(
    st.lists(
        st.builds(Window, st.integers(1, 7), st.integers(1, 4), st.integers(1, 3)),
        min_size=1,
        max_size=6,
    )
)
def test_a_stack_sees_what_the_same_layers_are_explained_to_see(stack: list[Window]) -> None:
    side = 1
    for kernel, stride, dilation, _ in reversed(stack):
        side = (side - 1) * stride + dilation * (kernel - 1) + 1
    with torch.device("meta"):
        module = nn.Sequential(*(nn.Conv2d(1, 1, k, stride=s, dilation=d) for k, s, d, _ in stack))
    last = explain(module, (1, side, side)).layers[-1]
    assert receptive_field(stack).value == last.receptive_field.height == side
    assert last.output_shape == (1, 1, 1)


def test_a_window_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="a window of 5 does not fit into 4 with a padding of 0"):
        output_size(4, 3, dilation=2)


def test_the_page_is_what_its_script_makes() -> None:
    script = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "make_arithmetic.py"))
    assert script["PAGE"].read_text(encoding="utf-8") == script["made"](), "run python docs/make_arithmetic.py"


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: output_size(8, 0), "kernel_size, stride and dilation are at least 1"),
        (lambda: output_size(8, 3, stride=0), "kernel_size, stride and dilation are at least 1"),
        (lambda: output_size(8, 3, padding=-1), "padding at least 0"),
        (lambda: conv_params(100, 10, (3, 3), groups=3), "100 and 10 channels do not divide into 3 groups"),
    ],
)
def test_a_layer_that_cannot_be_is_refused(call: Callable[[], object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        call()
