"""ResNets against Table 1 and Sec. 4.2, and against the logits of another implementation with real weights."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from convatlas import create_model
from convatlas.errors import InputError
from convatlas.layers.residual import PadShortcut
from convatlas.models import build, model_card
from convatlas.models.resnet import LATER, LECTURES, SEC_4_2, TABLE_1, Block, Bottleneck, CifarSpec, Spec
from convatlas.weights import load_weights


@pytest.mark.parametrize("name", [*TABLE_1, *LATER, *LECTURES, *SEC_4_2])
def test_the_number_in_the_name_counts_the_layers_with_weights(name: str) -> None:
    with torch.device("meta"):
        network = build(name, **({} if model_card(name).spec.shortcut == "none" else {"shortcut": "A"}))
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == int("".join(re.findall(r"^[a-z]+(\d+)", name)))


@pytest.mark.parametrize("name", TABLE_1)
def test_the_output_sizes_are_those_of_table_1(name: str) -> None:
    with torch.device("meta"):
        walk = dict(build(name).eval().walk(torch.empty(1, 3, 224, 224)))
    sizes = {stage: y.shape[-1] for stage, y in walk.items() if stage.startswith("conv")}
    assert sizes == {"conv1": 112, "conv2_x": 56, "conv3_x": 28, "conv4_x": 14, "conv5_x": 7}
    assert walk["conv5_x"].shape[1] == (512 if name in ("plain18", "plain34", "resnet18", "resnet34") else 2048)


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
        block = Block(16, 16, stride=1, spec=CifarSpec(n=1, shortcut=shortcut)).eval()
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


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_option_a_adds_no_parameters_to_a_plain_network_on_imagenet(block: str) -> None:
    with torch.device("meta"):
        plain, padded = (build("resnet34", block=block, shortcut=option) for option in ("none", "A"))
    assert sum(p.numel() for p in plain.parameters()) == sum(p.numel() for p in padded.parameters())


def test_a_bottleneck_with_silent_convolutions_passes_what_is_positive() -> None:
    block = Bottleneck(256, 256, stride=1, spec=Spec("bottleneck", (1, 1, 1, 1))).eval()
    nn.init.zeros_(block.bn3.weight)
    x = torch.randn(2, 256, 4, 4)
    torch.testing.assert_close(block(x), x.relu())


def test_the_weights_have_the_variance_of_he() -> None:
    torch.manual_seed(0)
    for layer in build("resnet18").modules():
        if isinstance(layer, nn.Conv2d):
            fan_in = layer.weight[0].numel()
            assert layer.weight.var().item() == pytest.approx(2 / fan_in, rel=0.1)
            assert layer.weight.mean().item() == pytest.approx(0, abs=5 * (2 / fan_in / layer.weight.numel()) ** 0.5)


def test_a_small_stem_keeps_the_size_and_takes_images_of_8_pixels() -> None:
    network = build("resnet18", num_classes=10, stem="small").eval()
    assert network.stages[:2] == ("conv1", "conv2_x")
    with torch.no_grad():
        assert dict(network.walk(torch.zeros(1, 3, 32, 32)))["conv2_x"].shape == (1, 64, 32, 32)
        assert network(torch.zeros(1, 3, 8, 8)).shape == (1, 10)
    with pytest.raises(ValueError, match="8×8"):
        network(torch.zeros(1, 3, 7, 7))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shortcut": "D"}, "shortcut is one of A, B, C, none, and not 'D'"),
        ({"layers": (2, 2)}, "layers is a list of 4"),
        ({"layers": (2, 2, 0, 2)}, "layers are the blocks of four stages, at least 1 each"),
        ({"stem": "large"}, "stem is one of 7x7, 7x7_ceil, small"),
        ({"stride_in": "last"}, "stride_in is one of first, 3x3"),
        ({"cardinality": 32}, "a basic block has neither cardinality nor base_width"),
        ({"reduction": 0}, "reduction, of squeeze-and-excitation, is a whole number from 1 to 64, .* and not 0"),
        ({"reduction": 1000}, "reduction, of squeeze-and-excitation, is a whole number from 1 to 64, .* and not 1000"),
        ({"survival": 0.0}, "survival is a probability above 0"),
        ({"survival": 0.5, "shortcut": "none"}, "a plain network has no stochastic depth"),
        ({"gate": "step"}, "gate is one of sigmoid, relu, tanh"),
    ],
)
def test_what_cannot_be_is_refused_in_words(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build("resnet18", **changes)


def test_a_group_without_channels_is_refused() -> None:
    with pytest.raises(InputError, match="base_width 3 is for a width of 64: of 16 it leaves a group no channel"):
        build("resnet20", block="bottleneck", base_width=3)


def test_torchvisions_weights_do_not_fit_the_papers_resnet50() -> None:
    theirs = {"layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1)}
    with torch.device("meta"):
        network = build("resnet50")
    with pytest.raises(InputError, match="do not fit resnet50"):
        load_weights(network, theirs)


@pytest.mark.parametrize("name", ["resnet20", "resnet18"])
def test_it_is_exported_and_takes_other_layouts_and_types(name: str) -> None:
    network = build(name, reduction=4).eval()
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = network(x)
        torch.testing.assert_close(torch.export.export(network, (x,)).module()(x), expected)
        channels_last = network.to(memory_format=torch.channels_last)
        torch.testing.assert_close(
            channels_last(x.to(memory_format=torch.channels_last)), expected, rtol=1e-3, atol=1e-3
        )
        assert network.bfloat16()(x.bfloat16()).isfinite().all()
