"""The MNIST network of the paper on batch normalisation, against Sec. 3 and 4.1."""

import pytest
import torch

from convatlas.errors import InputError
from convatlas.models import build


def count(name: str) -> int:
    return sum(p.numel() for p in build(name).parameters())


def test_normalisation_takes_three_layers_biases_and_adds_a_scale_and_a_shift_for_each_unit() -> None:
    assert count("mnist_mlp") == 784 * 100 + 100 + 2 * (100 * 100 + 100) + 100 * 10 + 10
    assert count("mnist_mlp_bn") == count("mnist_mlp") - 3 * 100 + 3 * 2 * 100


def test_a_hidden_layer_is_the_sigmoid_of_the_normalised_sum() -> None:
    torch.manual_seed(0)
    network, x = build("mnist_mlp_bn"), torch.rand(60, 1, 28, 28)
    u = x.flatten(1) @ network.fc1.dense.weight.T
    expected = torch.sigmoid((u - u.mean(0)) / (u.var(0, unbiased=False) + 1e-5).sqrt())
    torch.testing.assert_close(network.fc1(x), expected, atol=1e-5, rtol=1e-4)


def test_a_spec_that_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="norm is one of batch, none"):
        build("mnist_mlp", norm="layer")
    with pytest.raises(InputError, match="hidden has the units of each hidden layer"):
        build("mnist_mlp", hidden=())
