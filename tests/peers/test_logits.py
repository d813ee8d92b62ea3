"""With a peer's weights, our networks give the peer's logits, of torchvision and of timm."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

from convatlas.models import build
from convatlas.weights import load_weights

TOLERANCE = 2e-5  # of the largest logit; the fixtures' README says what it catches

OURS: dict[str, str] = {
    # the peer's                     ours
    # ResNet, WideResNet, ResNeXt
    "torchvision/resnet18":          "resnet18",
    "torchvision/resnet34":          "resnet34",
    "torchvision/resnet50":          "resnet50_v1_5",
    "torchvision/resnet101":         "resnet101_v1_5",
    "torchvision/wide_resnet50_2":   "wide_resnet50_2",
    "torchvision/resnext50_32x4d":   "resnext50_32x4d",
    "torchvision/resnext101_32x8d":  "resnext101_32x8d",
    "timm/resnet18":                 "resnet18",
    "timm/resnet50":                 "resnet50_v1_5",
    "timm/resnext50_32x4d":          "resnext50_32x4d",
    # PreActResNet
    "timm/resnetv2_50":              "resnetv2_50",
    # SENet on residual networks
    "timm/seresnet50":               "seresnet50_v1_5",
    "timm/seresnet152":              "seresnet152_v1_5",
    "timm/seresnext50_32x4d":        "seresnext50_32x4d",
    "timm/legacy_seresnet50":        "legacy_seresnet50",
    "timm/legacy_seresnext50_32x4d": "legacy_seresnext50_32x4d",
    # the peer's                      ours
    "torchvision/densenet121":        "densenet121",
    "torchvision/densenet169":        "densenet169",
    "timm/densenet121":               "densenet121",
    "torchvision/shufflenet_v2_x0_5": "shufflenet_v2_x0_5",
    "torchvision/shufflenet_v2_x1_0": "shufflenet_v2_x1_0",
    "torchvision/shufflenet_v2_x2_0": "shufflenet_v2_x2_0",
    "torchvision/vit_b_16":           "vit_b_16",
    "timm/vit_base_patch16_224":      "vit_b_16",
    # AlexNet, VGG
    "torchvision/alexnet":       "alexnet_owt",
    "torchvision/vgg11":         "vgg11",
    "torchvision/vgg11_bn":      "vgg11_bn",
    "torchvision/vgg13_bn":      "vgg13_bn",
    "torchvision/vgg16":         "vgg16",
    "torchvision/vgg16_bn":      "vgg16_bn",
    "torchvision/vgg19":         "vgg19",
    "timm/vgg16":                "vgg16",
    "torchvision/googlenet": "googlenet_tv",
}  # fmt: skip


@pytest.fixture(scope="session")
def fill(shared_peers: Path) -> ModuleType:
    """The module beside the fixtures, which draws each tensor from its name."""
    spec = importlib.util.spec_from_file_location("fill", shared_peers / "fill.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LARGE = (
    "resnet101", "resnext101_32x8d", "wide_resnet50_2", "seresnet152",
    "vgg11", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19",
)  # fmt: skip
"""These take three seconds and more, and a VGG 2.5 GB."""


@pytest.mark.parametrize(
    "peer", [pytest.param(peer, marks=pytest.mark.slow) if peer.endswith(LARGE) else peer for peer in OURS]
)
def test_ours_answers_as_the_peer_with_the_peers_weights(fill: ModuleType, shared_peers: Path, peer: str) -> None:
    fixture = fill.load_fixture(str(shared_peers / f"{peer}.json"))
    network = load_weights(build(OURS[peer]), fill.peer_state_dict(fixture)).eval()
    with torch.no_grad():
        assert fill.logits_error(fixture, network(fill.peer_input(fixture["input_shape"]))) < TOLERANCE
