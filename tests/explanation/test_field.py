"""What units see and what operations cost, one operation at a time."""

import pytest
from torch import nn

from convatlas.explanation.explain import Span, explain


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
