"""Receptive fields against gradients: of every family, of small modules, and by a gradient that is taken here."""

from itertools import groupby

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from convatlas.errors import InputError
from convatlas.explanation import field
from convatlas.explanation.explain import explain
from convatlas.explanation.verify import Box, verify
from convatlas.models import build, list_models, model_card

FIRSTS = list({model_card(name).family: name for name in reversed(list_models())}.values())
"""The first network of each family."""


def small(name: str) -> tuple[int, int, int]:
    """Images on which the first layers' units do not see all, where the network takes small ones."""
    channels, height, width = model_card(name).input_size
    with torch.device("meta"):
        network = build(name)
    if network.fixed_size or height <= 32:
        return channels, height, width
    return channels, max(64, network.least_size), 72


def spread(names: list[str], count: int) -> list[str]:
    """The first, the last and some between."""
    return [names[round(i * (len(names) - 1) / (count - 1))] for i in range(count)]


@pytest.mark.parametrize("name", FIRSTS)
def test_units_of_every_family_see_the_box_that_was_computed(name: str) -> None:
    size = small(name)
    layers = [next(same) for _, same in groupby(explain(name, size).layers, key=lambda layer: layer.receptive_field)]
    chosen = set(spread([layer.name for layer in layers], 5))
    found = verify(name, size, layers=sorted(chosen))
    assert not found.left_out
    assert {check.layer for check in found.checks} == chosen
    assert not [str(check) for check in found.checks if not check.holds]


C = nn.Conv2d
MODULES = {
    "windows that do not come out even": nn.Sequential(
        C(1, 2, 3, stride=2), C(2, 2, 3, padding=1), nn.MaxPool2d(2, ceil_mode=True), C(2, 2, 3, padding=1)
    ),
    "dilation": nn.Sequential(
        C(1, 2, 3, dilation=2, padding=2), C(2, 2, 3, padding=3, dilation=3), nn.MaxPool2d(3, 2, 1, dilation=2)
    ),
    "transposed": nn.Sequential(
        C(1, 2, 3, stride=2, padding=1), nn.ConvTranspose2d(2, 2, 4, stride=2, padding=1), C(2, 2, 3, padding=1),
        nn.ConvTranspose2d(2, 2, 3, stride=3, output_padding=1, dilation=2),
    ),
    "same, and other frames": nn.Sequential(
        C(1, 2, (5, 3), padding="same"), C(2, 2, (3, 1), padding="same", dilation=2),
        C(2, 2, 3, padding=1, padding_mode="reflect"), C(2, 2, 3, padding=1, padding_mode="replicate"),
    ),
    "adaptive": nn.Sequential(C(1, 2, 3), nn.AdaptiveAvgPool2d(7), C(2, 2, 3)),
    "normalisation by the image's own statistics": nn.Sequential(
        C(1, 4, 3), nn.InstanceNorm2d(4), C(4, 4, 3), nn.BatchNorm2d(4, track_running_stats=False),
    ),
    "normalisation": nn.Sequential(C(1, 4, 3), nn.GroupNorm(2, 4), C(4, 4, 3), nn.LocalResponseNorm(3)),
}  # fmt: skip


@pytest.mark.parametrize("which", MODULES)
def test_units_of_a_module_see_the_box_that_was_computed(which: str) -> None:
    found = verify(MODULES[which], (1, 23, 37))
    assert found.checks
    assert not found.left_out
    assert not [str(check) for check in found.checks if not check.holds]


def gradient_box(module: nn.Module, image: Tensor, unit: tuple[int, int]) -> Box:
    """Where the gradient of one unit of a plain chain of convolutions with positive weights is not zero."""
    module(image)[0, :, unit[0], unit[1]].sum().backward()
    assert image.grad is not None
    rows, columns = (image.grad[0, 0].abs().sum(axis).nonzero().flatten().tolist() for axis in (1, 0))
    return Box(rows[0], columns[0], rows[-1], columns[-1])


@settings(deadline=None, max_examples=30)
@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(0, 2), st.integers(1, 2)), min_size=1, max_size=3
    )
)
def test_the_boxes_are_those_of_torchs_own_gradient(windows: list[tuple[int, int, int, int]]) -> None:
    module = nn.Sequential(*(
        nn.Conv2d(1, 1, kernel, stride=stride, padding=min(padding, kernel - 1), dilation=dilation, bias=False)
        for kernel, stride, padding, dilation in windows
    )).double()  # fmt: skip
    for weight in module.parameters():
        nn.init.ones_(weight)
    name = str(len(windows) - 1)
    # Three windows of four, two pixels apart, at every third place, need 79.
    (check,) = verify(module, (1, 101, 107), layers=[name]).checks
    assert check.holds
    for unit in check.units:
        image = torch.zeros(1, 1, 101, 107, dtype=torch.double, requires_grad=True)
        assert gradient_box(module, image, unit.place) == unit.seen


def test_a_wrong_field_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(field.RULES, "max_pool2d_with_indices", lambda _, fields: fields[0])
    found = verify(nn.Sequential(nn.Conv2d(1, 1, 3), nn.MaxPool2d(2), nn.Conv2d(1, 1, 3)), (1, 20, 20))
    assert not found.holds
    (wrong,) = (check for check in found.checks if not check.holds)
    assert str(wrong).startswith("2: unit (0, 0): 5×5 from (0, 0) by arithmetic, 8×8 from (0, 0) by gradient")


def test_what_was_not_computed_is_left_out_with_what_is_behind_it() -> None:
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(5), nn.Conv2d(4, 1, 3))
    found = verify(module, (1, 8, 8))
    assert [check.layer for check in found.checks] == ["0"]
    assert list(found.left_out) == ["1", "2"]
    assert found.left_out["2"] == "what its units see was not computed"


def test_a_check_is_a_line() -> None:
    (check,) = verify(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1)), (1, 4, 4)).checks
    assert str(check) == ("0: unit (0, 0): 2×2 from (0, 0); unit (2, 2): 3×3 from (1, 1); unit (3, 3): 2×2 from (2, 2)")


def test_an_unknown_layer_is_refused() -> None:
    with pytest.raises(InputError, match="no layer is called 'fc9'; the first of this network are"):
        verify("lenet", layers=["fc9"])
