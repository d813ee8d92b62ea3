"""The first weights against the variances that the papers derive."""

import math

import pytest
import torch
from torch import nn

from convatlas.layers.init import he_, lecun_, xavier_


@pytest.mark.parametrize(
    ("rule", "variance"),
    [(xavier_, 2 / (9 * 64 + 9 * 128)), (he_, 2 / (9 * 64)), (lecun_, (2.4 / (9 * 64)) ** 2 / 3)],
)
def test_a_convolution_has_the_variance_of_the_paper(rule: object, variance: float) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(64, 128, kernel_size=3)
    rule(layer)  # type: ignore[operator]
    assert layer.weight.var().item() == pytest.approx(variance, rel=0.03)


def test_xavier_is_uniform_within_its_bound() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(300, 200)
    xavier_(layer)
    bound = math.sqrt(6 / 500)
    assert layer.weight.abs().max() <= bound
    assert layer.weight.abs().max() > 0.99 * bound
    assert not layer.bias.any()


def test_he_keeps_the_signal_through_twenty_relu_layers_and_a_hundredth_of_it_does_not() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(*(layer for _ in range(20) for layer in (nn.Linear(256, 256), nn.ReLU())))
    x = torch.randn(64, 256)
    he_(network)
    with torch.no_grad():
        assert 0.2 < network(x).square().mean() / x.square().mean() < 5
        for layer in network.modules():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.01)
        assert network(x).square().mean() < 1e-20
