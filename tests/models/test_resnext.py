"""ResNeXt: Table 1's widths, and groups that are parallel paths."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convatlas.models import build
from convatlas.models.resnet import Bottleneck, Spec
from convatlas.models.resnext import VARIANTS


@pytest.mark.parametrize("name", VARIANTS)
def test_each_group_of_conv2_x_has_d_channels_and_each_stage_doubles_them(name: str) -> None:
    _, cardinality, width = VARIANTS[name]
    with torch.device("meta"):
        network = build(name)
    for i, stage in enumerate((network.conv2_x, network.conv3_x, network.conv4_x, network.conv5_x)):
        assert {block.conv2.groups for block in stage} == {cardinality}
        assert {block.conv2.out_channels for block in stage} == {cardinality * width * 2**i}
        assert {block.conv3.out_channels for block in stage} == {256 * 2**i}


def test_a_grouped_block_is_the_sum_of_its_paths() -> None:
    # Fig. 3: (c) equals (a), Eq. 2: y = x + Σ T_i(x), with T_i the i-th group through all three convolutions.
    block = Bottleneck(256, 256, stride=1, spec=Spec("bottleneck", (1, 1, 1, 1), cardinality=32, base_width=4)).eval()
    x = torch.randn(1, 256, 5, 5)
    with torch.no_grad():
        inner = block.relu1(block.bn1(block.conv1(x)))
        total = torch.zeros_like(x)
        for path in range(32):
            own = slice(4 * path, 4 * path + 4)
            y = F.conv2d(inner[:, own], block.conv2.weight[own], padding=1)
            y = F.batch_norm(y, block.bn2.running_mean[own], block.bn2.running_var[own], training=False)
            total += F.conv2d(y.relu(), block.conv3.weight[:, own])
        torch.testing.assert_close(block(x), (x + block.bn3(total)).relu(), rtol=1e-4, atol=1e-4)


def test_resnext29_has_29_layers_and_three_stages_of_256_512_and_1024_maps() -> None:
    with torch.device("meta"):
        network = build("resnext29_8x64d").eval()
        shapes = {name: tuple(y.shape[1:]) for name, y in network.walk(torch.empty(1, 3, 32, 32))}
    assert shapes["conv1"] == (64, 32, 32)
    assert shapes["conv2_x"] == (256, 32, 32)
    assert shapes["conv3_x"] == (512, 16, 16)
    assert shapes["conv4_x"] == (1024, 8, 8)
    weights = [n for n, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear) and "shortcut" not in n]
    assert len(weights) == 29
