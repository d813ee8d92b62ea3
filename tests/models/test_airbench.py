"""airbench94: its maps, its identities, its frozen scales."""

import torch
from torch import nn

from convatlas.models import build


def test_its_maps_are_31_15_7_and_3_wide() -> None:
    walk = dict(build("airbench94").eval().walk(torch.zeros(1, 3, 32, 32)))
    assert [tuple(walk[f"block{n}"].shape[1:]) for n in (1, 2, 3)] == [(64, 15, 15), (256, 7, 7), (256, 3, 3)]
    assert walk["whiten"].shape[1:] == (24, 31, 31)  # 2 · 3 · 2² filters


def test_the_first_filters_of_a_new_convolution_pass_their_channel_on() -> None:
    conv = build("airbench94").get_submodule("block1.conv1")
    x = torch.randn(1, 24, 9, 9)
    y = conv(x)
    torch.testing.assert_close(y[:, :24], x)
    assert not torch.equal(y[:, 24:48], x)


def test_the_scales_of_its_normalisation_stay_1_and_are_counted() -> None:
    network = build("airbench94")
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) == 6
    assert not any(norm.weight.requires_grad for norm in norms)
    assert sum(p.numel() for p in network.parameters() if not p.requires_grad) == 2 * (64 + 256 + 256)
    assert sum(p.numel() for p in network.parameters()) == 1_972_792
