"""Squeeze-and-excitation against arithmetic that is written out."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convatlas.layers.gating import SqueezeExcitation


def test_two_channels_are_gated_as_equations_2_to_4_say() -> None:
    block = SqueezeExcitation(2, reduction=1)
    with torch.no_grad():
        block.reduce.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, -4.0]]).view(2, 2, 1, 1))
        block.reduce.bias.copy_(torch.tensor([0.5, 0.0]))
        block.expand.weight.copy_(torch.tensor([[0.1, 5.0], [-0.2, 6.0]]).view(2, 2, 1, 1))
        block.expand.bias.copy_(torch.tensor([0.0, 1.0]))
    x = torch.tensor([[[[1.0, 3.0]], [[2.0, 6.0]]]])
    # squeeze: z = (2, 4); W1 z + b1 = (1·2 + 2·4 + 0.5, 3·2 − 4·4) = (10.5, −10), of which ReLU leaves (10.5, 0);
    # W2 · + b2 = (0.1 · 10.5, −0.2 · 10.5 + 1) = (1.05, −1.1)
    gates = torch.sigmoid(torch.tensor([1.05, -1.1]))
    torch.testing.assert_close(block(x), x * gates.view(1, 2, 1, 1))


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 5), st.integers(0, 2**31))
@settings(deadline=None, max_examples=20)
def test_every_channel_is_multiplied_by_one_number_between_0_and_1(groups: int, n: int, size: int, seed: int) -> None:
    torch.manual_seed(seed)
    x = torch.randn(n, 4 * groups, size, size).abs() + 0.1
    gates = SqueezeExcitation(4 * groups, reduction=4)(x) / x
    assert ((gates > 0) & (gates < 1)).all()
    torch.testing.assert_close(gates, gates[:, :, :1, :1].expand_as(gates))


@pytest.mark.parametrize(
    ("channels", "reduction", "params"),
    [
        (256, 16, 8_464),  # 256 · 16 + 16, and 16 · 256 + 256
        (64, 4, 2_128),    # 64 · 16 + 16, and 16 · 64 + 64
        (8, 8, 25),        # 8 · 1 + 1, and 1 · 8 + 8
        (100, 16, 1_306),  # 6 units: 100 · 6 + 6, and 6 · 100 + 100
    ],
)  # fmt: skip
def test_the_two_layers_have_c_over_r_units_between_and_biases(channels: int, reduction: int, params: int) -> None:
    assert sum(p.numel() for p in SqueezeExcitation(channels, reduction).parameters()) == params


@pytest.mark.parametrize("reduction", [0, 65])
def test_a_reduction_that_leaves_no_unit_is_refused(reduction: int) -> None:
    with pytest.raises(ValueError, match=f"a whole number from 1 to 64, .*, and not {reduction}"):
        SqueezeExcitation(64, reduction)


def test_the_papers_other_squeeze_and_gates() -> None:
    x = torch.tensor([[[[1.0, 3.0]], [[2.0, 6.0]]]])
    for gate, expected in (("relu", 3.0), ("tanh", 0.995055), ("sigmoid", 0.952574)):
        block = SqueezeExcitation(2, reduction=2, squeeze="max", gate=gate)
        with torch.no_grad():
            block.reduce.weight.copy_(torch.tensor([1.0, 0.0]).view(1, 2, 1, 1))  # sees the first channel's greatest, 3
            block.expand.weight.fill_(1)
            for bias in (block.reduce.bias, block.expand.bias):
                bias.zero_()
        torch.testing.assert_close(block(x), x * expected)
