"""Squeeze-and-excitation on residual networks."""

import pytest
import torch
from torch import nn

from convatlas.layers.depth import StochasticDepth
from convatlas.models import build
from convatlas.models.resnet import Block, CifarSpec
from convatlas.models.senet import SEBottleneck, SENetSpec


@pytest.mark.parametrize(
    ("reduction", "millions"), [(2, 45.7), (4, 35.7), (8, 30.7), (16, 28.1), (32, 26.9), (None, 25.6)]
)
def test_seresnet50_has_as_many_parameters_as_table_10_prints(reduction: int | None, millions: float) -> None:
    with torch.device("meta"):
        network = build("seresnet50", reduction=reduction)
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.1)


def test_se_adds_two_dense_layers_to_every_block() -> None:
    # r = 16, weights and biases: 3 blocks of 256 channels, 4 of 512, 6 of 1024, 3 of 2048
    # 3 · (2 · 256 · 16 + 16 + 256) + 4 · (2 · 512 · 32 + 32 + 512)
    # + 6 · (2 · 1024 · 64 + 64 + 1024) + 3 · (2 · 2048 · 128 + 128 + 2048)
    with torch.device("meta"):
        counts = [sum(p.numel() for p in build(name).parameters()) for name in ("seresnet50", "resnet50")]
    assert counts[0] - counts[1] == 25_392 + 133_248 + 792_960 + 1_579_392


def test_a_gate_of_zero_weights_halves_the_branch() -> None:
    x = torch.rand(2, 16, 8, 8)
    plain, gated = (Block(16, 16, stride=1, spec=CifarSpec(n=1, reduction=r)).eval() for r in (None, 4))
    gated.load_state_dict(plain.state_dict(), strict=False)
    for layer in (gated.se.reduce, gated.se.expand):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    with torch.no_grad():
        torch.testing.assert_close(gated.branch(x), plain.branch(x) / 2)


def test_senet154_has_the_sizes_of_resnext152_and_half_the_filters_in_its_first_1x1() -> None:
    with torch.device("meta"):
        network = build("senet154").eval()
        walk = dict(network.walk(torch.empty(1, 3, 224, 224)))
    stages = ("conv1", "pool1", "conv2_x", "conv3_x", "conv4_x", "conv5_x")
    assert [tuple(walk[stage].shape[1:3]) for stage in stages] == [
        (128, 112), (128, 56), (256, 56), (512, 28), (1024, 14), (2048, 7),
    ]  # fmt: skip
    assert (network.conv2_x[0].conv1.out_channels, network.conv2_x[0].conv2.out_channels) == (128, 256)
    assert network.conv3_x[0].shortcut.conv.kernel_size == (3, 3)
    assert network.conv2_x[0].shortcut.conv.kernel_size == (1, 1)


def test_a_small_senet_answers_and_learns() -> None:
    network = build("senet154", num_classes=5, layers=(1, 1, 1, 1), cardinality=4)
    network(torch.randn(2, 3, 64, 64)).logsumexp(1).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_a_block_that_halves_the_map_halves_odd_maps_too() -> None:
    block = SEBottleneck(256, 512, 512, stride=2, spec=SENetSpec()).eval()
    assert block(torch.zeros(1, 256, 7, 7)).shape == (1, 512, 4, 4)


def test_a_block_whose_branch_is_dropped_is_its_shortcut() -> None:
    block = SEBottleneck(256, 256, 256, stride=1, spec=SENetSpec(), depth=StochasticDepth(0.0)).train()
    x = torch.randn(1, 256, 2, 2)
    assert torch.equal(block(x), x.relu())


def test_what_cannot_be_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match=r"base_width an even one, .* and not 6 and 5"):
        SENetSpec(cardinality=6, base_width=5)
    with pytest.raises(ValueError, match=r"a whole number from 1 to 256, .* and not 1000"):
        SENetSpec(reduction=1000)
    with pytest.raises(ValueError, match="dropout is a share"):
        SENetSpec(dropout=1)
