"""What `explain` adds up, against the published tables, torch's own output sizes, and known receptive fields."""

import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from convatlas.explanation.explain import Explanation, explain
from convatlas.explanation.layers import Span
from convatlas.models import list_models, model_card

TABLE = runpy.run_path(str(Path(__file__).parents[1] / "papers" / "test_models_csv.py"))
LONG = ("resnet-1001", "resnet-1202", "resnet-152", "resnet-200", "resnet-164", "densenet-bc-250", "densenet-bc-190")
ROWS = {
    (name, tuple(changes.items()), TABLE["ROWS"][row]["input"], TABLE["ROWS"][row]["num_classes"]): row
    for row, (name, changes) in reversed(TABLE["OURS"].items())
}
"""A row for each network, as it is built; many rows are one network, trained by another recipe."""


@pytest.mark.parametrize(
    "row", [pytest.param(row, marks=pytest.mark.slow) if row.startswith(LONG) else row for row in ROWS.values()]
)
def test_the_layers_add_up_to_the_exact_columns_of_the_published_table(row: str) -> None:
    (name, changes), figures = TABLE["OURS"][row], TABLE["ROWS"][row]
    channels, height, width = map(int, figures["input"].split("x"))
    found = explain(name, (channels, height, width), num_classes=int(figures["num_classes"]), **changes)
    assert found.params == int(figures["params_exact"])
    if not changes.get("auxiliary"):  # what hangs on the stages in training is no part of the pass
        assert found.macs == int(figures["macs_exact"])
    assert not found.left_out


LAST_MAPS = {
    # network          layer      of what its last feature map's units see, and from one to the next
    "alexnet":        ("pool5",   195, 32),
    "vgg16":          ("pool5",   212, 32),
    "resnet18":       ("conv5_x", 435, 32),
    "resnet50":       ("conv5_x", 483, 32),
    "resnet50_v1_5":  ("conv5_x", 427, 32),
    "resnet101":      ("conv5_x", 1_027, 32),
    "resnet152":      ("conv5_x", 1_507, 32),
}  # fmt: skip
"""Araujo, Norris and Sim 2019, table of section 4, for all but the v1.5 form."""


@pytest.mark.parametrize("name", LAST_MAPS)
def test_known_receptive_fields(name: str) -> None:
    stage, size, stride = LAST_MAPS[name]
    last = [layer for layer in explain(name).layers if layer.name.startswith(stage)][-1]
    assert last.receptive_field == Span(size, size)
    assert last.stride == Span(stride, stride)


FIRSTS = list({model_card(name).family: name for name in reversed(list_models())}.values())
SUPERSCRIPTS = {"·": "*", "−": "-", "⌊": "floor(", "⌋": ")", "⌈": "ceil(", "⌉": ")"}


def check_formulas(found: Explanation) -> int:
    """Every sum in words comes to the number in front of it. How many there are."""
    count = 0
    for formula in (formula for layer in found.layers for formula in layer.formulas):
        said, is_sum, sum_ = formula.partition(" = ")
        if is_sum and not re.search("[a-z]", sum_):
            assert worth(sum_) == int(said.replace(",", "")), formula
            count += 1
    return count


def worth(sum_: str) -> int:
    """The number that a sum in words comes to."""
    from math import ceil, floor

    for sign, python in SUPERSCRIPTS.items():
        sum_ = sum_.replace(sign, python)
    value = eval(sum_.replace(",", ""), {"__builtins__": {}, "floor": floor, "ceil": ceil})
    assert value == int(value)
    return int(value)


@pytest.mark.parametrize("name", FIRSTS)
def test_every_sum_in_words_comes_to_its_number(name: str) -> None:
    found = explain(name)
    assert check_formulas(found) >= 2 * sum("convolution" in layer.kind for layer in found.layers)


sides = st.integers(1, 40)
kernels, strides, paddings, dilations = st.integers(1, 5), st.integers(1, 4), st.integers(0, 3), st.integers(1, 3)
SETTINGS = settings(deadline=None, max_examples=60)


def only(module: nn.Module, shape: tuple[int, int, int]) -> Any:
    """The one layer of a module that torch runs, whose output has the size that torch gives it on the processor."""
    images = torch.zeros(1, *shape)
    try:
        real = module(images)
    except RuntimeError:
        assume(False)
    assume(real.numel())
    found = explain(module, shape)
    check_formulas(found)
    layer = found.layers[-1]
    assert layer.output_shape == tuple(real.shape[1:])
    assert any(formula.startswith(f"{real.shape[-1]} = ") for formula in layer.formulas)
    assert found.params == sum(p.numel() for p in module.parameters())
    return layer


@SETTINGS
@given(sides, sides, kernels, kernels, strides, paddings, dilations, st.sampled_from((1, 2, 4)), st.booleans())
def test_convolutions_are_as_torch_has_them(
    height: int, width: int, kernel: int, across: int, stride: int, padding: int, dilation: int, groups: int, bias: bool
) -> None:
    module = nn.Conv2d(
        4, 8, (kernel, across), stride=stride, padding=padding, dilation=dilation, groups=groups, bias=bias
    )
    layer = only(module, (4, height, width))
    _, down, right = layer.output_shape
    assert layer.macs == down * right * module.weight.numel()


@SETTINGS
@given(sides, kernels, strides, paddings, dilations, st.sampled_from((1, 2)), st.integers(0, 2))
def test_transposed_convolutions_are_as_torch_has_them(
    side: int, kernel: int, stride: int, padding: int, dilation: int, groups: int, extra: int
) -> None:
    assume(extra < max(stride, dilation))
    module = nn.ConvTranspose2d(
        2, 4, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups, output_padding=extra
    )
    layer = only(module, (2, side, side))
    assert layer.macs == side * side * module.weight.numel()


@SETTINGS
@given(sides, sides, kernels, st.integers(1, 6), paddings, dilations, st.booleans(), st.booleans())
def test_poolings_are_as_torch_has_them(
    height: int, width: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool, mean: bool
) -> None:
    assume(padding <= kernel // 2)
    module: nn.Module = (
        nn.AvgPool2d(kernel, stride, padding, ceil_mode=ceil_mode)
        if mean
        else nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=ceil_mode)
    )
    assert only(module, (3, height, width)).macs == 0


@SETTINGS
@given(sides, st.integers(1, 2).map(lambda n: 2 * n + 1), dilations)
def test_padding_same_keeps_the_size(side: int, kernel: int, dilation: int) -> None:
    layer = only(nn.Conv2d(1, 2, kernel, padding="same", dilation=dilation), (1, side, side))
    assert layer.output_shape == (2, side, side)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not say how much memory was taken")
def test_vgg19_is_explained_in_a_process_of_its_own_without_its_weights() -> None:
    """What this process has once taken would hide them: the most that it had at a time is all that it can tell."""
    code = (
        "import torch, convatlas as ca\n"
        "def most():\n"  # of this process alone: getrusage begins with the most that the one which started it had
        "    lines = open('/proc/self/status').read().splitlines()\n"
        "    return next(int(line.split()[1]) for line in lines if line.startswith('VmHWM'))\n"
        "ca.explain('vgg11_d2l'); before = most()\n"
        "params = ca.explain('vgg19').params; explained = most()\n"
        "weights = torch.ones(params); print(params, explained - before, most() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    params, explained, allocated = map(int, done.stdout.split())
    assert params == 143_667_240
    assert explained < allocated / 50
