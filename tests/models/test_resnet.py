"""The CIFAR ResNets against Sec. 4.2, and against the logits of another implementation with real weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from convatlas import create_model
from convatlas.models import build, list_models
from convatlas.models.resnet import Block, PadShortcut


@pytest.mark.parametrize("name", list_models("resnet*") + list_models("plain*"))
def test_the_number_in_the_name_counts_the_layers_with_weights(name: str) -> None:
    with torch.device("meta"):
        network = build(name)
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == int(name.removeprefix("resnet").removeprefix("plain"))


def test_maps_are_32_16_and_8_wide_with_16_32_and_64_filters() -> None:
    shapes = {name: tuple(y.shape[1:]) for name, y in build("resnet20").walk(torch.zeros(2, 3, 32, 32))}
    assert shapes == {
        "conv1": (16, 32, 32), "conv2_x": (16, 32, 32), "conv3_x": (32, 16, 16), "conv4_x": (64, 8, 8),
        "pool": (64,), "fc": (10,),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "macs"),
    [("resnet20", 40_551_040), ("resnet56", 125_485_696), ("plain110", 252_887_680)],  # models.csv, macs_exact
)
def test_convolutions_and_the_classifier_cost_what_the_table_says(name: str, macs: int) -> None:
    network, counted = build(name), []

    def count(module: nn.Module, _: object, output: torch.Tensor) -> None:
        pixels = output[0, 0].numel() if output.ndim == 4 else 1
        counted.append(pixels * module.weight.numel())

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    network.eval()(torch.zeros(1, 3, 32, 32))
    assert sum(counted) == macs


def test_option_a_keeps_every_second_pixel_and_adds_zeros_on_both_sides() -> None:
    x = torch.arange(2 * 4 * 4.0).view(1, 2, 4, 4) + 1
    y = PadShortcut(2, 4, stride=2)(x)
    assert y.shape == (1, 4, 2, 2)
    assert torch.equal(y[:, 1:3], x[:, :, ::2, ::2])
    assert not y[:, [0, 3]].any()


def test_option_a_has_no_parameters_and_option_b_has_two_projections() -> None:
    extra = sum(p.numel() for p in build("resnet20", shortcut="B").parameters()) - 269_722
    assert extra == (16 * 32 + 2 * 32) + (32 * 64 + 2 * 64)


def test_a_block_with_silent_convolutions_passes_what_is_positive_and_a_plain_one_passes_nothing() -> None:
    x = torch.randn(2, 16, 8, 8)
    for shortcut, expected in (("A", x.relu()), ("none", torch.zeros_like(x))):
        block = Block(16, 16, stride=1, shortcut=shortcut).eval()
        nn.init.zeros_(block.bn2.weight)
        torch.testing.assert_close(block(x), expected)


def test_resnet1202_answers_and_all_its_gradients_are_finite() -> None:
    torch.manual_seed(0)
    network = build("resnet1202")
    network(torch.randn(2, 3, 8, 8)).logsumexp(1).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("depth", [20, 56])
def test_real_weights_give_the_logits_of_the_code_that_trained_them(depth: int, shared_weights: Path) -> None:
    said = json.loads((shared_weights / f"cifar10_resnet{depth}.json").read_text(encoding="utf-8"))
    network = create_model(f"resnet{depth}", weights=shared_weights / f"cifar10_resnet{depth}.safetensors").eval()
    x = torch.from_numpy(np.random.RandomState(0).standard_normal((8, 3, 32, 32)).astype(np.float32))
    expected = torch.tensor(said["logits"])
    with torch.no_grad():
        error = (network(x) - expected.view(8, 10)).abs().max() / expected.abs().max()
    assert error < 2e-5
