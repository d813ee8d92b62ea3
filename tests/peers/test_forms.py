"""The peers' weights are refused by networks that would answer otherwise, with the name of the form that they fit."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from convatlas.errors import InputError
from convatlas.models import build
from convatlas.network import Network
from convatlas.weights import load_weights


def on_meta(name: str, **changes: Any) -> Network:
    """The network without memory for its weights."""
    with torch.device("meta"):
        return build(name, **changes)


@pytest.fixture
def shapes_of(shared_peers: Path) -> Any:
    """What a peer calls its tensors, and their shapes."""

    def read(peer: str) -> dict[str, torch.Tensor]:
        state = json.loads((shared_peers / f"{peer}.json").read_text(encoding="utf-8"))["state"]
        return {key: torch.empty(shape, device="meta") for key, shape in state}

    return read


RESNETS, VGGS = "torchvision's and timm's ResNets", "torchvision's and timm's VGGs"


@pytest.mark.parametrize(
    ("peer", "name", "changes", "form"),
    [
        # the paper's network, and the library's of the same name
        ("torchvision/resnet50",  "resnet50",      {}, f"resnet50_v1_5, under the names of {RESNETS}"),
        ("timm/resnet50",         "resnet50",      {}, f"resnet50_v1_5, under the names of {RESNETS}"),
        ("timm/seresnet50",       "seresnet50",    {}, f"seresnet50_v1_5, under the names of {RESNETS}"),
        ("timm/legacy_seresnet50", "seresnet50",   {}, "legacy_seresnet50, under the names of timm's older SENets, .*"),
        ("torchvision/alexnet",   "alexnet",       {}, "alexnet_owt, under the names of torchvision's AlexNet"),
        ("torchvision/alexnet",   "alexnet_owt_footnote", {}, "alexnet_owt, under the names of torchvision's AlexNet"),
        ("torchvision/googlenet", "googlenet",     {}, "googlenet_tv, under the names of torchvision's GoogLeNet"),
        ("torchvision/vgg11",     "vgg11_lrn",     {}, f"vgg11, under the names of {VGGS}"),
        ("timm/resnetv2_50",      "preresnet152",  {}, "resnetv2_50, under the names of timm's pre-activated ResNets"),
        # another of the same family
        ("torchvision/vgg16",     "vgg16_bn",      {}, f"vgg16, under the names of {VGGS}"),
        ("torchvision/vgg16_bn",  "vgg16",         {}, f"vgg16_bn, under the names of {VGGS}"),
        ("torchvision/resnet101", "resnet50_v1_5", {}, f"resnet101_v1_5, under the names of {RESNETS}"),
        ("torchvision/vit_b_16",  "vit_cifar",     {}, "vit_b_16, under the names of torchvision's ViTs"),
        # a change that the shapes do not tell
        ("torchvision/resnet50",  "resnet50_v1_5", {"stride_in": "first"}, ".*, with stride_in='3x3' and not 'first'"),
        ("torchvision/resnet18",  "resnet18",      {"stem": "7x7_ceil"},   ".*, with stem='7x7' and not '7x7_ceil'"),
        ("torchvision/googlenet", "googlenet_tv",  {"pool": "ceil"},       ".*, with pool='ceil_2x2' and not 'ceil'"),
        ("torchvision/vit_b_16",  "vit_b_16",      {"heads": 6},           ".*, with heads=12 and not 6"),
        ("timm/legacy_seresnet50", "legacy_seresnet50", {"stride_in": "3x3"}, ".* stride_in='first' and not '3x3'"),
        ("torchvision/shufflenet_v2_x0_5", "shufflenet_v2_x0_5", {"shuffle": False}, ".* shuffle=True and not False"),
    ],
)  # fmt: skip
def test_weights_of_another_form_are_refused_with_its_name(
    shapes_of: Any, peer: str, name: str, changes: dict[str, Any], form: str
) -> None:
    with pytest.raises(
        InputError, match=f"^the weights of the given mapping do not fit {name}: they look like"
    ) as error:
        load_weights(on_meta(name, **changes), shapes_of(peer))
    error.match(f"those of {form}$")


@pytest.mark.parametrize(
    ("peer", "name", "changes"),
    [
        ("torchvision/resnet50", "resnet50", {"stride_in": "3x3"}),
        ("torchvision/resnet18", "resnet18", {"stride_in": "3x3"}),  # which basic blocks do not have
        ("timm/seresnet50", "resnet50", {"stride_in": "3x3", "reduction": 16}),
        ("torchvision/vgg11", "vgg11", {"dropout": 0.0}),
        ("torchvision/densenet121", "densenet121", {"saving": True}),
    ],
)
def test_the_form_is_what_counts_and_not_the_name(
    shapes_of: Any, peer: str, name: str, changes: dict[str, Any]
) -> None:
    load_weights(on_meta(name, **changes), shapes_of(peer))


@pytest.mark.parametrize(
    "name", ["lenet", "densenet121", "googlenet", "vgg16", "alexnet", "vit_b_16", "shufflenet_v2_x0_5"]
)
def test_weights_under_our_names_are_named_though_the_network_has_quite_another(name: str) -> None:
    with pytest.raises(InputError, match=f"do not fit resnet50: they look like those of {name}$"):
        load_weights(on_meta("resnet50"), on_meta(name).state_dict())


@pytest.mark.parametrize(("classes", "channels"), [(10, 3), (1000, 1), (21_841, 4)])
def test_weights_for_other_classes_and_channels_are_named_too(shapes_of: Any, classes: int, channels: int) -> None:
    state = shapes_of("torchvision/resnet50") | {
        "conv1.weight": torch.empty(64, channels, 7, 7, device="meta"),
        "fc.weight": torch.empty(classes, 2048, device="meta"),
        "fc.bias": torch.empty(classes, device="meta"),
    }
    if classes < 10_000:  # the classifier may not have more parameters than the network
        with pytest.raises(InputError, match="do not fit resnet50: they look like those of resnet50_v1_5,"):
            load_weights(on_meta("resnet50"), state)
    with pytest.raises(InputError, match="do not fit resnet50_v1_5: of another shape: ") as error:
        load_weights(on_meta("resnet50_v1_5"), state)
    error.match(f"conv1.conv.weight is 64×{channels}×7×7" if channels != 3 else "fc.weight is 10×2048")


def test_what_looks_like_nothing_is_told_in_a_sentence_of_three_keys(shapes_of: Any) -> None:
    state = shapes_of("torchvision/resnet50") | {"layer1.0.conv1.weight": torch.empty(64, 1, 7, 7, device="meta")}
    with pytest.raises(InputError) as error:
        load_weights(on_meta("resnet50"), state)
    assert str(error.value) == (
        "the weights of the given mapping do not fit resnet50: "
        "missing: conv1.conv.weight and 264 more; unexpected: conv1.weight and 317 more"
    )
    del state["layer1.0.conv1.weight"], state["layer1.0.conv2.weight"], state["bn1.bias"], state["bn1.weight"]
    with pytest.raises(
        InputError, match=r": missing: conv1.bn.weight, conv1.bn.bias, conv2_x.0.conv1.weight and 1 more$"
    ):
        load_weights(on_meta("resnet50_v1_5"), state)


def test_auxiliary_classifiers_are_left_out_and_that_is_said(shapes_of: Any, caplog: pytest.LogCaptureFixture) -> None:
    load_weights(on_meta("googlenet_tv"), shapes_of("torchvision/googlenet"))
    assert "left out, with the auxiliary classifiers: auxiliary.inception_4a.conv" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        load_weights(on_meta("googlenet_tv", auxiliary=True), shapes_of("torchvision/googlenet"))
    assert not caplog.text
