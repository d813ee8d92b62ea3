"""What units see and what operations cost, one operation at a time."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.explanation.explain import explain
from convatlas.explanation.layers import Layer, Span
from convatlas.explanation.verify import verify


class Applied(nn.Module):
    """A forward pass that is a function of the module, with its parts and weights, and the images."""

    def __init__(self, function: Any, **parts: nn.Module | Tensor) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, nn.Parameter(part) if isinstance(part, Tensor) else part)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def last(module: nn.Module, size: tuple[int, int, int], *, real: bool = False) -> Layer:
    """The last layer, whose fields gradients confirm where they are computed."""
    found = verify(module, size, real=real)
    assert not [str(check) for check in found.checks if not check.holds]
    return explain(module, size, real=real).layers[-1]


def said(layer: Layer) -> list[str]:
    """Its notes."""
    return [str(note) for note in layer.notes]


@pytest.mark.parametrize(
    ("norm", "span", "kind"),
    [
        (nn.InstanceNorm2d(4, affine=True), 8, "instance normalisation"),
        (nn.BatchNorm2d(4, track_running_stats=False), 8, "instance normalisation"),  # the same, on one image
        (nn.BatchNorm2d(4), 3, "batch normalisation"),
        (nn.InstanceNorm2d(4, track_running_stats=True), 3, "batch normalisation"),
    ],
)
def test_a_normalisation_sees_the_whole_map_where_its_statistics_come_from_it(
    norm: nn.Module, span: int, kind: str
) -> None:
    layer = explain(nn.Sequential(nn.Conv2d(1, 4, 3), norm), (1, 8, 8))["1"]
    assert layer.receptive_field == Span(span, span)
    assert layer.stride == (Span(0, 0) if span == 8 else Span(1, 1))
    assert (layer.kind, layer.elementwise, layer.notes) == (kind, 2 * 4 * 6 * 6, ())


@pytest.mark.parametrize(
    ("pool", "stride", "units"),
    [(nn.AdaptiveMaxPool2d(1), (0, 0), (1, 1)), (nn.AdaptiveAvgPool2d((1, 3)), (0, 2), (1, 3))],
)
def test_an_adaptive_pooling_to_one_unit_sees_all_and_has_no_step(
    pool: nn.Module, stride: tuple[int, int], units: tuple[int, int]
) -> None:
    layer = last(nn.Sequential(nn.Conv2d(1, 2, 3), pool), (1, 8, 8))
    assert layer.output_shape == (2, *units)
    assert layer.stride == Span(*stride)
    assert layer.receptive_field == Span(8, 8 if units[1] == 1 else 4)


def test_a_gate_of_one_unit_lets_units_see_all() -> None:
    """CBAM's channel attention (Woo et al. 2018, Sec. 3.1) has a maximum over the whole map."""
    layer = last(Applied(lambda _, x: x * F.adaptive_max_pool2d(x, 1)), (2, 8, 8))
    assert (layer.receptive_field, layer.stride, layer.notes) == (Span(8, 8), Span(0, 0), ())


@pytest.mark.parametrize(
    "function",
    [
        lambda _, x: x + x.transpose(2, 3),
        lambda _, x: x.mean(3, keepdim=True) + x.mean(3, keepdim=True).transpose(2, 3),
    ],
)
def test_what_lies_along_two_directions_at_once_is_not_followed(function: Any) -> None:
    layer = last(Applied(function), (1, 8, 8))
    assert layer.receptive_field == Span(8, 8)
    assert said(layer) == ["what its units see is not followed: taken as all that is seen before it"]


def test_where_paths_of_other_steps_meet_each_unit_has_a_box_of_its_own() -> None:
    module = Applied(lambda m, x: m.a(x) + x[:, :, :4, :4], a=nn.Conv2d(1, 1, 2, stride=2))
    layer = last(module, (1, 8, 8))
    assert (layer.receptive_field, layer.stride) == (Span(5, 5), Span(2, 2))  # the last unit's, from 3 to 7
    assert said(layer) == [
        "its units see 2 to 5 pixels by turns",
        "the paths that meet here look at places that are shifted against each other",
    ]
    assert not layer.omissions


def test_one_unit_that_is_laid_over_all_is_not_shifted() -> None:
    module = Applied(lambda m, x: x + m.a(x), a=nn.Conv2d(1, 1, 8, stride=8))
    layer = last(module, (1, 8, 8))
    assert (layer.receptive_field, layer.notes) == (Span(8, 8), ())


@pytest.mark.parametrize(
    "enlarge",
    [
        nn.UpsamplingNearest2d(scale_factor=2),
        nn.Upsample(scale_factor=3),
        nn.Upsample(size=(13, 9)),
        nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.Upsample(size=(16, 23), mode="bilinear"),
        nn.Upsample(size=(16, 23), mode="bilinear", align_corners=True),
        nn.PixelShuffle(2),
    ],
)
def test_what_enlarges_maps_is_followed(enlarge: nn.Module) -> None:
    module = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), enlarge, nn.LazyConv2d(2, 3))
    module(torch.zeros(1, 1, 23, 37))
    layer, before = last(module, (1, 23, 37)), explain(module, (1, 23, 37))["1"]
    assert [note.kind for note in before.notes] == ["by turns"]
    assert not layer.notes
    assert layer.receptive_field.height < 13


def test_bilinear_upsampling_by_two_stands_between_two_units() -> None:
    found = explain(nn.Sequential(nn.Conv2d(1, 1, 1), nn.Upsample(scale_factor=2, mode="bilinear")), (1, 8, 8))
    assert found["1"].receptive_field == Span(2, 2)
    assert found["1"].elementwise == 4 * 16 * 16


def test_shuffled_channels_and_stacked_maps_see_what_they_saw() -> None:
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ChannelShuffle(2), nn.Conv2d(4, 2, 3))
    layer = last(module, (1, 8, 8))
    assert (layer.receptive_field, layer.notes) == (Span(5, 5), ())
    module = Applied(
        lambda m, x: torch.stack([m.a(x), m.b(x)], 1).sum(1), a=nn.Conv2d(1, 1, 3, padding=1), b=nn.Conv2d(1, 1, 1)
    )
    layer = last(module, (1, 8, 8))
    assert (layer.receptive_field, layer.stride, layer.notes) == (Span(3, 3), Span(1, 1), ())


def test_maps_rolled_or_mirrored_along_the_image_are_not_followed() -> None:
    conv = nn.Conv2d(1, 2, 3)
    for function, width in (
        (lambda m, x: torch.relu(m.a(x).roll((1, 1), (2, 3))), 8),
        (lambda m, x: torch.relu(m.a(x).flip(1)), 3),
    ):
        assert explain(Applied(function, a=conv), (1, 8, 8)).layers[-1].receptive_field == Span(width, width)


@pytest.mark.parametrize(
    ("module", "kind", "elementwise"),
    [
        (nn.GroupNorm(1, 2), "group normalisation", 2 * 2 * 8 * 8),
        (nn.LayerNorm(8), "layer normalisation", 2 * 2 * 8 * 8),
        (Applied(lambda _, x: x.sum((2, 3))), "sum", 2 * 8 * 8),
        (Applied(lambda _, x: x.amax((2, 3))), "maximum", 2 * 8 * 8),
        (nn.ReLU6(), "ReLU6", 2 * 8 * 8),
        (nn.Hardtanh(), "hardtanh", 2 * 8 * 8),
    ],
)
def test_what_is_no_product_is_counted_by_the_rule(module: nn.Module, kind: str, elementwise: int) -> None:
    (layer,) = explain(nn.Sequential(module), (2, 8, 8)).layers
    assert (layer.kind, layer.elementwise, layer.notes) == (kind, elementwise, ())


def test_attention_with_learned_queries_is_counted() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(m.queries, x[:, :1], x[:, 1:])

    layer = explain(Applied(forward, queries=torch.ones(1, 1, 5, 6)), (2, 7, 6), real=True).layers[-1]
    assert (layer.kind, layer.macs) == ("attention", 5 * 7 * 6 + 5 * 7 * 6)


@pytest.mark.parametrize(
    ("function", "shapes", "params", "macs", "formula", "span"),
    [
        (lambda m, x: m.w @ x[0, 0], [(5, 8)], 40, 5 * 8 * 6, "40 = 5 · 8", (8, 1)),
        (lambda m, x: x[0, 0] @ m.w, [(6, 5)], 30, 8 * 6 * 5, "30 = 5 · 6", (1, 6)),
        (lambda m, x: torch.bmm(x[0], m.w), [(2, 6, 5)], 60, 2 * 8 * 6 * 5, "60 = 2 · 6 · 5", (1, 6)),
        (lambda m, x: torch.baddbmm(m.b, x[0], m.w), [(2, 6, 5), (2, 1, 5)], 70, 2 * 8 * 6 * 5,
         "70 = 2 · 6 · 5 + 2 · 1 · 5", (1, 6)),
        (lambda m, x: torch.mv(x[0, 0], m.w), [(6,)], 6, 8 * 6, "6 = 6", (1, 6)),
    ],
)  # fmt: skip
def test_a_weight_on_the_left_or_for_each_of_a_batch_is_counted_by_its_own_shape(
    function: Any, shapes: list[tuple[int, ...]], params: int, macs: int, formula: str, span: tuple[int, int]
) -> None:
    weights = {name: torch.ones(shape) for name, shape in zip("wb", shapes, strict=False)}
    layer = explain(Applied(function, **weights), (2, 8, 6)).layers[-1]
    assert (layer.kind, layer.params, layer.macs, layer.formulas[0]) == ("dense", params, macs, formula)
    assert layer.receptive_field == Span(*span)


def test_a_product_that_is_added_to_is_held_against_gradients_too() -> None:
    module = Applied(lambda m, x: torch.baddbmm(m.b, x[0], m.w), w=torch.ones(2, 6, 5), b=torch.ones(2, 1, 5))
    found = verify(module, (2, 8, 6))
    assert (len(found.checks), found.holds, found.left_out) == (1, True, {})
