"""ResNeXt: Table 1's widths, and groups that are parallel paths."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convatlas.models import build
from convatlas.models.resnet import Bottleneck, Spec


def widths(name: str) -> list[set[tuple[int, int, int, int]]]:
    """Of each stage: the filters of a block's three convolutions, and the groups of the second."""
    with torch.device("meta"):
        network = build(name)
    return [
        {(b.conv1.out_channels, b.conv2.out_channels, b.conv3.out_channels, b.conv2.groups) for b in stage}
        for stage in (network.conv2_x, network.conv3_x, network.conv4_x, network.conv5_x)
    ]


def test_the_blocks_of_resnext50_are_those_of_table_1() -> None:
    assert widths("resnext50_32x4d") == [
        {(128, 128, 256, 32)}, {(256, 256, 512, 32)}, {(512, 512, 1024, 32)}, {(1024, 1024, 2048, 32)},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "cardinality", "width"),
    [  # Table 2, "width of group conv.": C · d, for conv2
        ("resnext50_2x40d", 2, 80),
        ("resnext50_4x24d", 4, 96),
        ("resnext50_8x14d", 8, 112),
        ("resnext50_32x4d", 32, 128),
        ("resnext101_2x40d", 2, 80),
        ("resnext101_4x24d", 4, 96),
        ("resnext101_8x14d", 8, 112),
        ("resnext101_32x4d", 32, 128),
        # Table 4
        ("resnet101_1x100d", 1, 100),
        ("resnext101_2x64d", 2, 128),
        ("resnext101_64x4d", 64, 256),
        # torchvision's
        ("resnext101_32x8d", 32, 256),
    ],
)
def test_conv2_x_has_the_widths_of_table_2(name: str, cardinality: int, width: int) -> None:
    assert widths(name)[0] == {(width, width, 256, cardinality)}


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
