"""What one network of every family keeps: it can be exported, compiled, laid out otherwise, halved and copied."""

import copy

import pytest
import torch
from torch import nn

from convatlas.models import build, list_models, model_card
from convatlas.network import Network

EXAMPLES = {
    # family              one of its smaller networks
    "LeNet":              "lenet5",
    "AlexNet":            "alexnet",
    "NiN":                "nin_cifar",
    "VGG":                "vgg11_d2l",
    "GoogLeNet":          "googlenet",
    "BatchNorm":          "bn_inception",
    "ResNet":             "resnet18",
    "ResNet-CIFAR":       "resnet20",
    "PreActResNet":       "resnetv2_50",
    "PreActResNet-CIFAR": "preresnet110",
    "StochasticDepth":    "resnet110_sd",
    "WideResNet":         "wrn_40_1",
    "ResNeXt":            "resnext50_32x4d",
    "ResNeXt-CIFAR":      "resnext29_8x64d",
    "DenseNet":           "densenet_d2l",
    "DenseNet-CIFAR":     "densenet_40_12",
    "SENet":              "legacy_seresnet18",
    "ShuffleNet":         "shufflenet_v1_x0_25_g3",
    "ShuffleNetV2":       "shufflenet_v2_x0_5",
    "ViT":                "vit_cifar",
    "airbench":           "airbench94",
}  # fmt: skip


@pytest.fixture(scope="module", params=EXAMPLES.values())
def network(request: pytest.FixtureRequest) -> Network:
    """With moments in its normalisation: without them, logits of a deep new network are beyond float16."""
    torch.manual_seed(0)
    network = build(request.param).eval()
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)]
    for layer in norms:
        layer.train().momentum = 1.0
    with torch.no_grad():
        network(pictures(network, 8))
    for layer in norms:
        layer.eval()
    return network


@pytest.fixture(scope="module")
def images(network: Network) -> torch.Tensor:
    return pictures(network, 2)


def pictures(network: Network, count: int) -> torch.Tensor:
    """Noise of the size that the network's card says."""
    return torch.randn(count, *model_card(network.name).input_size, generator=torch.Generator().manual_seed(0))


def test_the_table_above_has_every_family() -> None:
    assert set(EXAMPLES) == {model_card(name).family for name in list_models()}
    assert all(model_card(name).family == family for family, name in EXAMPLES.items())


@torch.no_grad()
def test_it_is_exported_to_a_graph_that_gives_its_logits(network: Network, images: torch.Tensor) -> None:
    exported = torch.export.export(network, (images,)).module()
    torch.testing.assert_close(exported(images), network(images))


@torch.no_grad()
def test_it_is_one_graph_to_the_compiler(network: Network, images: torch.Tensor) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(images), network(images))


@pytest.mark.slow
@torch.no_grad()
def test_compiled_to_machine_code_it_gives_its_logits(network: Network, images: torch.Tensor) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(network, fullgraph=True)
    answer, same = compiled(images), network(images)
    assert (answer - same).abs().max() <= 1e-4 * same.abs().max()


@torch.no_grad()
def test_channels_last_gives_the_same_logits(network: Network, images: torch.Tensor) -> None:
    other = copy.deepcopy(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    answer, same = other(images.contiguous(memory_format=torch.channels_last)), network(images)
    assert (answer - same).abs().max() <= 1e-4 * same.abs().max()


@pytest.mark.parametrize("dtype", [torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.slow)])
@torch.no_grad()
def test_in_half_precision_it_answers_nearly_the_same(
    network: Network, images: torch.Tensor, dtype: torch.dtype
) -> None:
    whole = network(images[:1])
    half = copy.deepcopy(network).to(dtype)(images[:1].to(dtype)).float()
    assert half.isfinite().all()
    assert (half - whole).norm() <= (0.2 if dtype == torch.bfloat16 else 0.05) * whole.norm()


@torch.no_grad()
def test_its_state_is_all_of_it(network: Network, images: torch.Tensor) -> None:
    torch.manual_seed(1)
    other = build(network.name).eval()
    other.load_state_dict(network.state_dict())
    assert torch.equal(other(images), network(images))
