"""Wide residual networks: depth and width in the name, and dropout between the convolutions."""

import pytest
import torch
from torch import nn

from convatlas.models import build
from convatlas.models.wide_resnet import VARIANTS


@pytest.mark.parametrize("name", VARIANTS)
def test_the_numbers_in_the_name_are_its_depth_and_its_width(name: str) -> None:
    depth, k = map(int, name.split("_")[1:])
    with torch.device("meta"):
        network = build(name).eval()
        walk = dict(network.walk(torch.empty(1, 3, 32, 32)))
    shapes = [tuple(walk[stage].shape[1:]) for stage in ("conv1", "conv2_x", "conv3_x", "conv4_x")]
    assert shapes == [(16, 32, 32), (16 * k, 32, 32), (32 * k, 16, 16), (64 * k, 8, 8)]  # Table 1
    convolutions = sum(isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3) for m in network.modules())
    assert convolutions == depth - 3  # three of the depth are projections


def test_dropout_stands_between_the_convolutions_of_each_block() -> None:
    unit = build("wrn_16_8", dropout=0.3, width=16).conv2_x[1]
    assert [name for name, _ in unit.residual.named_children()][:5] == ["conv1", "bn1", "relu1", "dropout", "conv2"]
    assert unit.residual.dropout.p == 0.3
