"""The channel shuffle is the permutation of ShuffleNet's Sec. 3.1."""

import pytest
import torch
from torch import nn

from convatlas.layers.shuffle import ChannelShuffle


def test_channel_j_of_group_i_becomes_channel_i_of_group_j() -> None:
    x = torch.arange(6.0).view(1, 6, 1, 1).expand(2, 6, 3, 5)
    assert ChannelShuffle(2)(x)[1, :, 2, 4].tolist() == [0, 3, 1, 4, 2, 5]


@pytest.mark.parametrize(("groups", "channels"), [(1, 5), (2, 8), (3, 12), (4, 12), (8, 8), (3, 240)])
def test_it_is_a_permutation_whose_inverse_swaps_the_groups_and_their_size(groups: int, channels: int) -> None:
    x = torch.randn(2, channels, 3, 4)
    y = ChannelShuffle(groups)(x)
    order = ChannelShuffle(groups)(torch.arange(channels).view(1, channels, 1, 1)).flatten()
    assert sorted(order.tolist()) == list(range(channels))
    assert torch.equal(y, x[:, order])
    assert torch.equal(ChannelShuffle(channels // groups)(y), x)


@pytest.mark.parametrize(("shuffle", "seen"), [(False, 4), (True, 12)])
def test_an_output_of_two_grouped_layers_sees_all_inputs_only_with_the_shuffle(shuffle: bool, seen: int) -> None:
    layers = nn.Sequential(
        nn.Conv2d(12, 12, kernel_size=1, groups=3),
        ChannelShuffle(3) if shuffle else nn.Identity(),
        nn.Conv2d(12, 12, kernel_size=1, groups=3),
    )
    x = torch.randn(1, 12, 1, 1, requires_grad=True)
    layers(x)[0, 0].sum().backward()
    assert x.grad is not None
    assert int((x.grad != 0).sum()) == seen
