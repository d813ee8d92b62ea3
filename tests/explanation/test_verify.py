"""Receptive fields against gradients: of every family, of small modules, and by a gradient that is taken here."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction
from itertools import groupby

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.errors import InputError
from convatlas.explanation import field
from convatlas.explanation.explain import explain
from convatlas.explanation.reach import Reach
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


def gradient_box(module: nn.Module, image: Tensor, unit: tuple[int, int]) -> Box | None:
    """Where the gradient of one unit of a plain chain of layers with positive weights is not zero."""
    module(image)[0, :, unit[0], unit[1]].sum().backward()
    assert image.grad is not None
    seen = image.grad[0, 0] > 1e-12
    rows, columns = (seen.any(axis).nonzero().flatten().tolist() for axis in (1, 0))
    return Box(rows[0], columns[0], rows[-1], columns[-1]) if rows else None


@st.composite
def positive_layers(draw: st.DrawFn) -> nn.Module:
    """A layer that is a line, and that torch has with weights of one."""
    kernel, stride, dilation = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
    padding = draw(st.integers(0, kernel - 1))
    layer: nn.Module = draw(
        st.sampled_from([
            nn.Conv2d(1, 1, kernel, stride=stride, padding=padding, dilation=dilation, bias=False),
            nn.ConvTranspose2d(1, 1, kernel, stride=stride, padding=padding, dilation=dilation, bias=False),
            nn.AvgPool2d(kernel, stride, padding // 2, ceil_mode=dilation == 2),
            nn.AdaptiveAvgPool2d((5, 8 + kernel)),
            nn.Upsample(scale_factor=(2, 3, 1.5)[stride - 1]),
            nn.Upsample(scale_factor=(2, 3, 0.5)[stride - 1], mode="bilinear"),
            nn.Upsample(size=(12, 9 + kernel), mode="bilinear", align_corners=True),
        ])
    )  # fmt: skip
    for weight in layer.parameters():
        nn.init.ones_(weight)
    return layer.double()


@settings(deadline=None, max_examples=40)
@given(st.lists(positive_layers(), min_size=1, max_size=4))
def test_the_boxes_are_those_of_torchs_own_gradient(layers: list[nn.Module]) -> None:
    module, size = nn.Sequential(*layers), (1, 31, 37)
    try:
        output = module(torch.zeros(1, *size, dtype=torch.double))
    except RuntimeError:  # a window is larger than what comes to it
        assume(False)
    assume(output.numel())
    (check,) = verify(module, size, layers=[str(len(layers) - 1)]).checks
    assert check.holds, str(check)
    for unit in check.units:
        image = torch.zeros(1, *size, dtype=torch.double, requires_grad=True)
        assert gradient_box(module, image, unit.place) == unit.computed


def test_a_resnet_on_an_image_larger_than_its_field_sees_a_box_within_it() -> None:
    """By torch's own gradient, of the network itself with positive weights."""
    network, size = build("resnet20").double().eval(), (3, 160, 144)
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.constant_(part.weight, 1 / part.weight[0].numel())
    (check,) = verify("resnet20", size, layers=["conv4_x.2.relu2"]).checks
    last, unit = explain("resnet20", size)["conv4_x.2.relu2"], check.units[1]
    image = torch.ones(1, *size, dtype=torch.double, requires_grad=True)
    maps = dict(network.walk(image))["conv4_x"]
    maps[0, :, unit.place[0], unit.place[1]].sum().backward()
    assert image.grad is not None
    rows, columns = (image.grad[0].abs().sum((0, axis)).nonzero().flatten().tolist() for axis in (2, 1))
    top, left = (first + step * place for first, step, place in zip(last.offset, last.stride, unit.place, strict=True))
    field = last.receptive_field
    assert (rows[0], columns[0], rows[-1], columns[-1]) == unit.computed
    assert unit.computed == Box(int(top), int(left), int(top) + field.height - 1, int(left) + field.width - 1)
    assert top > 0
    assert left > 0
    assert check.holds


class UNet(nn.Module):
    """Two steps down and up again, with the maps of each height set beside (Ronneberger, Fischer, Brox 2015)."""

    def __init__(self, up: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.a, self.b, self.c = C(1, 2, 3, padding=1), C(2, 2, 3, padding=1), C(2, 2, 3, padding=1)
        self.up1, self.up2, self.d, self.e = up(), up(), C(4, 2, 3, padding=1), C(4, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        y = self.b(F.max_pool2d(x, 2))
        z = self.up1(self.c(F.max_pool2d(y, 2)))
        return torch.as_tensor(self.e(torch.cat([x, self.up2(self.d(torch.cat([y, z], 1)))], 1)))


@pytest.mark.parametrize(
    "up",
    [
        lambda: nn.ConvTranspose2d(2, 2, 2, stride=2),
        lambda: nn.ConvTranspose2d(2, 2, 4, stride=2, padding=1),
        lambda: nn.Upsample(scale_factor=2),
        lambda: nn.Upsample(scale_factor=2, mode="bilinear"),
    ],
)
def test_every_unit_of_a_u_net_sees_the_box_that_was_computed(
    up: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convatlas.explanation.verify.MOST", 16)
    found = verify(UNet(up), (1, 32, 36))
    assert not [str(check) for check in found.checks if not check.holds]
    assert max(len(check.units) for check in found.checks) >= 2 + 4  # as many as there are by turns


def test_a_wrong_field_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(field.RULES, "max_pool2d_with_indices", lambda _, fields: fields[0])
    found = verify(nn.Sequential(nn.Conv2d(1, 1, 3), nn.MaxPool2d(2), nn.Conv2d(1, 1, 3)), (1, 20, 20))
    assert not found.holds
    (wrong,) = (check for check in found.checks if not check.holds)
    assert str(wrong).startswith("2: unit (0, 0): 5×5 from (0, 0) by arithmetic, 8×8 from (0, 0) by gradient")


def test_a_sum_with_a_map_of_which_some_units_see_nothing_is_left_out() -> None:
    """In rows that see nothing, what the units of one path would see across is none of the sum's."""
    found = verify(UNet(lambda: nn.ConvTranspose2d(2, 2, 1, stride=2, output_padding=1)), (1, 32, 36))
    assert found.holds
    assert next(iter(found.left_out)) == "concatenation"


def test_a_wrong_stride_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Reach.behind

    def wrong(self: Reach, units: int, ratio: Fraction, seen: Callable[[int], Iterable[int]]) -> Reach:
        reach = right(self, units, ratio, seen)
        return reach if reach.advance is None else replace(reach, advance=reach.advance + 1)

    monkeypatch.setattr(Reach, "behind", wrong)
    found = verify(nn.Sequential(nn.Conv2d(1, 1, 3), nn.MaxPool2d(2)), (1, 20, 20))
    assert not found.holds


def test_what_was_not_computed_is_left_out_with_what_is_behind_it() -> None:
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Upsample(scale_factor=2, mode="bicubic"), nn.Conv2d(4, 1, 3))
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
