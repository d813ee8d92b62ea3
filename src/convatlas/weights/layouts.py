"""Whose names are mapped to ours: a table, a layout of keys a row; and torchvision's files.

The code of a repository is not here: only what it calls its tensors, and which network of ours they are.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor

from convatlas.models import list_models

Rule = tuple[str, str | Callable[[re.Match[str]], str]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layout:
    """Another's names for the tensors of networks of ours."""

    source: str
    """Whose names they are, in words."""
    models: tuple[str, ...]
    """Patterns of our names for the networks."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """The fields of these networks' specs that are others there."""
    mark: str
    """A key that such weights have."""
    rules: tuple[Rule, ...]
    """(pattern, replacement): each rewrites what the rules before it left."""

    def names(self) -> list[str]:
        """Our names for the networks."""
        return [name for name in list_models() if any(fnmatchcase(name, pattern) for pattern in self.models)]

    def rename(self, key: str) -> str:
        """Our name for `key`; a key that no rule knows keeps its own."""
        for pattern, replacement in self.rules:
            key = re.sub(pattern, replacement, key)
        return key

    def renamed(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state under our names."""
        return {self.rename(key): value for key, value in state.items()}


# AlexNet and VGG


def numbered(column: tuple[int, ...], *, norm: bool = False) -> tuple[Rule, ...]:
    """The rules for a VGG with so many convolutions a block, which torchvision and timm number through."""
    rules: list[Rule] = []
    index = 0
    for block, convolutions in enumerate(column, start=1):
        for layer in range(1, convolutions + 1):
            ours = f"conv{block}.conv{block}_{layer}"
            rules.append((rf"^features\.{index}\.", f"{ours}.conv."))
            if norm:
                rules.append((rf"^features\.{index + 1}\.", f"{ours}.bn."))
            index += 3 if norm else 2
        index += 1  # the pooling
    return (
        *rules,
        (r"^(?:classifier\.0|pre_logits\.fc1)\.", "fc6.dense."),
        (r"^(?:classifier\.3|pre_logits\.fc2)\.", "fc7.dense."),
        (r"^(?:classifier\.6|head\.fc)\.", "fc8."),
    )


VGG = {
    # Simonyan and Zisserman, Table 1: the convolutions of each block
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}

CHAINS = (
    Layout(
        source="torchvision's AlexNet",
        models=("alexnet_owt",),
        mark="features.10.weight",
        rules=(
            (r"^features\.0\.", "conv1.conv."),
            (r"^features\.3\.", "conv2.conv."),
            (r"^features\.6\.", "conv3.conv."),
            (r"^features\.8\.", "conv4.conv."),
            (r"^features\.10\.", "conv5.conv."),
            (r"^classifier\.1\.", "fc6.dense."),
            (r"^classifier\.4\.", "fc7.dense."),
            (r"^classifier\.6\.", "fc8."),
        ),
    ),
    *(
        Layout(
            source="torchvision's and timm's VGGs",
            models=(name + "_bn" * norm,),
            mark="features.0.weight",
            rules=numbered(column, norm=norm),
        )
        for norm in (False, True)
        for name, column in VGG.items()
    ),
)

# GoogLeNet

GOOGLENET = (
    Layout(
        source="torchvision's GoogLeNet",
        models=("googlenet_tv",),
        mark="inception3a.branch1.conv.weight",
        rules=(
            (r"^conv2\.", "conv2.reduce_3x3."),
            (r"^conv3\.", "conv2.conv_3x3."),
            (r"^inception(\w+)\.branch1\.", r"inception_\1.conv_1x1."),
            (r"^inception(\w+)\.branch2\.0\.", r"inception_\1.reduce_3x3."),
            (r"^inception(\w+)\.branch2\.1\.", r"inception_\1.conv_3x3."),
            (r"^inception(\w+)\.branch3\.0\.", r"inception_\1.reduce_5x5."),
            (r"^inception(\w+)\.branch3\.1\.", r"inception_\1.conv_5x5."),
            (r"^inception(\w+)\.branch4\.1\.", r"inception_\1.pool_proj."),
            (r"^aux1\.", "auxiliary.inception_4a."),
            (r"^aux2\.", "auxiliary.inception_4d."),
            (r"^fc\.", "linear."),
        ),
    ),
)

# ResNet, and what was made of it: nearly all begin at torchvision's names

RESIDUAL: tuple[Rule, ...] = (
    (r"^conv1\.", "conv1.conv."),
    (r"^bn1\.", "conv1.bn."),
    (r"^layer([1-4])\.", lambda m: f"conv{int(m[1]) + 1}_x."),
    (r"\.(?:downsample|shortcut)\.0\.", ".shortcut.conv."),
    (r"\.(?:downsample|shortcut)\.1\.", ".shortcut.bn."),
    (r"\.se(?:_module)?\.fc1\.", ".se.reduce."),
    (r"\.se(?:_module)?\.fc2\.", ".se.expand."),
    (r"^(?:linear|last_linear)\.", "fc."),
)
# weiaicunzai's, whose stages have our names and whose layers have numbers
CIFAR100: tuple[Rule, ...] = (
    (r"^conv1\.0\.", "conv1.conv."),
    (r"^conv1\.1\.", "conv1.bn."),
    (r"\.residual_function\.0\.", ".conv1."),
    (r"\.residual_function\.1\.", ".bn1."),
    (r"\.residual_function\.3\.", ".conv2."),
    (r"\.residual_function\.4\.", ".bn2."),
    (r"\.residual_function\.6\.", ".conv3."),
    (r"\.residual_function\.7\.", ".bn3."),
    (r"\.shortcut\.0\.", ".shortcut.conv."),
    (r"\.shortcut\.1\.", ".shortcut.bn."),
)

RESNETS = (
    # for ImageNet
    Layout(
        source="torchvision's and timm's ResNets",
        models=(
            "resnet18",
            "resnet34",
            "resnet*_v1_5",
            "resnet101_1x100d",
            "resnext50_*",
            "resnext101_*",
            "wide_resnet*",
            "seresnet*_v1_5",
            "seresnext*",
        ),
        mark="layer4.0.conv1.weight",
        rules=RESIDUAL,
    ),
    Layout(
        source="timm's older SENets, which are the authors'",
        models=("legacy_se*",),
        mark="layer4.0.se_module.fc1.weight",
        rules=(*RESIDUAL, (r"^layer0\.conv1\.", "conv1.conv."), (r"^layer0\.bn1\.", "conv1.bn.")),
    ),
    Layout(
        source="timm's older SENets, which are the authors'",
        models=("senet154",),
        mark="layer4.0.se_module.fc1.weight",
        rules=(*RESIDUAL, (r"^layer0\.", "conv1.")),
    ),
    Layout(
        source="timm's pre-activated ResNets",
        models=("resnetv2_50",),
        mark="stages.0.blocks.0.norm1.weight",
        rules=(
            (r"^stem\.conv\.", "conv1.conv."),
            (r"^stages\.(\d)\.blocks\.(\d+)\.", lambda m: f"conv{int(m[1]) + 2}_x.{m[2]}.residual."),
            (r"\.residual\.downsample\.", ".shortcut."),
            (r"\.residual\.norm1\.", ".before.bn."),
            (r"\.residual\.norm2\.", ".residual.bn1."),
            (r"\.residual\.norm3\.", ".residual.bn2."),
            (r"^norm\.", "activation.bn."),
            (r"^head\.fc\.", "fc."),
        ),
    ),
    # for images of 32×32: the networks of ImageNet with a small stem
    Layout(
        source="kuangliu/pytorch-cifar",
        models=("resnet18", "resnet34", "resnet*_v1_5"),
        changes={"stem": "small"},
        mark="layer4.0.conv1.weight",
        rules=RESIDUAL,
    ),
    Layout(
        source="weiaicunzai/pytorch-cifar100",
        models=("resnet18", "resnet34", "resnet*_v1_5"),
        changes={"stem": "small"},
        mark="conv5_x.0.residual_function.0.weight",
        rules=CIFAR100,
    ),
    # for CIFAR, Sec. 4.2
    Layout(
        source="akamaster/pytorch_resnet_cifar10",
        models=("resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "resnet1202"),
        mark="layer3.0.conv1.weight",
        rules=RESIDUAL,
    ),
    Layout(
        source="akamaster/pytorch_resnet_cifar10, chenyaofo/pytorch-cifar-models and bearpaw/pytorch-classification",
        models=("resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "resnet1202"),
        changes={"shortcut": "B"},
        mark="layer3.0.conv1.weight",
        rules=RESIDUAL,
    ),
    Layout(
        source="bearpaw/pytorch-classification",
        models=("resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "resnet1202"),
        changes={"shortcut": "B", "block": "bottleneck", "stride_in": "3x3"},
        mark="layer3.0.conv3.weight",
        rules=RESIDUAL,
    ),
    Layout(
        source="prlz77/ResNeXt.pytorch and bearpaw/pytorch-classification",
        models=("resnext29_*",),
        mark="stage_1.stage_1_bottleneck_0.conv_reduce.weight",
        rules=(
            (r"^conv_1_3x3\.", "conv1.conv."),
            (r"^bn_1\.", "conv1.bn."),
            (r"^stage_(\d)\.stage_\d_bottleneck_(\d+)\.", lambda m: f"conv{int(m[1]) + 1}_x.{m[2]}."),
            (r"\.conv_reduce\.", ".conv1."),
            (r"\.bn_reduce\.", ".bn1."),
            (r"\.conv_conv\.", ".conv2."),
            (r"_x\.(\d+)\.bn\.", r"_x.\1.bn2."),
            (r"\.conv_expand\.", ".conv3."),
            (r"\.bn_expand\.", ".bn3."),
            (r"\.shortcut\.shortcut_", ".shortcut."),
            (r"^classifier\.", "fc."),
        ),
    ),
    # WRN-40-1 is not among them: the first unit's shortcut does not need to project there, and begins in another place
    Layout(
        source="xternalz/WideResNet-pytorch and bearpaw/pytorch-classification",
        models=("wrn_40_[248]", "wrn_[12]*"),
        mark="block1.layer.0.convShortcut.weight",
        rules=(
            (r"^conv1\.", "conv1.conv."),
            (r"^block1\.layer\.0\.bn1\.", "conv1.bn."),  # "the first activation right after conv1"
            (r"^bn1\.", "activation.bn."),
            (r"^block(\d)\.layer\.", lambda m: f"conv{int(m[1]) + 1}_x."),
            (r"\.convShortcut\.", ".shortcut.conv."),
            (r"_x\.(\d+)\.bn1\.", r"_x.\1.before.bn."),
            (r"_x\.(\d+)\.bn2\.", r"_x.\1.residual.bn1."),
            (r"_x\.(\d+)\.conv", r"_x.\1.residual.conv"),
        ),
    ),
    Layout(
        source="szagoruyko/wide-residual-networks",
        models=("wrn_40_[248]", "wrn_[12]*"),
        mark="group0.block0.convdim",
        rules=(
            (r"^conv0$", "conv1.conv.weight"),
            (r"^group0\.block0\.bn0\.", "conv1.bn."),
            (r"^bn\.", "activation.bn."),
            (r"^group(\d)\.block(\d+)\.", lambda m: f"conv{int(m[1]) + 2}_x.{m[2]}."),
            (r"\.convdim$", ".shortcut.conv.weight"),
            (r"\.bn0\.", ".before.bn."),
            (r"\.bn1\.", ".residual.bn1."),
            (r"\.conv0$", ".residual.conv1.weight"),
            (r"\.conv1$", ".residual.conv2.weight"),
        ),
    ),
)

# DenseNet

CIFAR_DENSENET: tuple[Rule, ...] = (
    (r"^(?:block|dense)(\d)\.(?:layer\.)?(\d+)\.", lambda m: f"dense_block{m[1]}.layer{int(m[2]) + 1}."),
    (r"\.bn(\d)\.", r".norm\1."),
    (r"^trans(\d)\.norm1\.", r"transition\1.norm."),
    (r"^trans(\d)\.conv1\.", r"transition\1.conv."),
    (r"^bn1?\.", "norm.norm."),
)

DENSENETS = (
    Layout(
        source="torchvision's and timm's DenseNets",
        models=("densenet[12]*",),
        mark="features.conv0.weight",
        rules=(
            (r"^features\.(conv|norm)0\.", r"conv1.\1."),
            # older files have a dot in `norm.1`
            (r"^features\.denseblock(\d+)\.denselayer(\d+)\.(norm|conv)\.?(\d)\.", r"dense_block\1.layer\2.\3\4."),
            (r"^features\.(transition\d+)\.", r"\1."),
            (r"^features\.norm5\.", "norm.norm."),
            (r"^classifier\.", "fc."),
        ),
    ),
    Layout(
        source="andreasveit/densenet-pytorch",
        models=("densenet_bc_*",),
        mark="block1.layer.0.bn2.weight",
        rules=CIFAR_DENSENET,
    ),
    Layout(
        source="bearpaw/pytorch-classification",
        models=("densenet_bc_*",),
        mark="dense1.0.bn2.weight",
        rules=CIFAR_DENSENET,
    ),
)

# ShuffleNet and ViT

LATER = (
    Layout(
        source="torchvision's ShuffleNets",
        models=("shufflenet_v2_*",),
        mark="stage2.0.branch2.0.weight",
        rules=(
            (r"^(conv[15])\.0\.", r"\1.conv."),
            (r"^(conv[15])\.1\.", r"\1.norm."),
            (r"\.branch1\.0\.", ".left.conv1."),
            (r"\.branch1\.1\.", ".left.norm1."),
            (r"\.branch1\.2\.", ".left.conv2."),
            (r"\.branch1\.3\.", ".left.norm2."),
            (r"\.branch2\.0\.", ".right.conv1."),
            (r"\.branch2\.1\.", ".right.norm1."),
            (r"\.branch2\.3\.", ".right.conv2."),
            (r"\.branch2\.4\.", ".right.norm2."),
            (r"\.branch2\.5\.", ".right.conv3."),
            (r"\.branch2\.6\.", ".right.norm3."),
        ),
    ),
    Layout(
        source="torchvision's ViTs",
        models=("vit_*",),
        mark="encoder.pos_embedding",
        rules=(
            (r"^class_token$", "tokens.class_token"),
            (r"^encoder\.pos_embedding$", "tokens.position"),
            (r"^conv_proj\.", "patch_embedding.proj."),
            (r"^encoder\.layers\.encoder_layer_(\d+)\.", r"encoder.\1."),
            (r"\.ln_(\d)\.", r".norm\1."),
            (r"\.self_attention\.in_proj_", ".attention.qkv."),
            (r"\.self_attention\.out_proj\.", ".attention.proj."),
            (r"\.mlp\.(?:0|linear_1)\.", ".mlp.fc1."),
            (r"\.mlp\.(?:3|linear_2)\.", ".mlp.fc2."),
            (r"^encoder\.ln\.", "norm.norm."),
            (r"^heads\.head\.", "head."),
        ),
    ),
    Layout(
        source="timm's ViTs",
        models=("vit_*",),
        mark="patch_embed.proj.weight",
        rules=(
            (r"^cls_token$", "tokens.class_token"),
            (r"^pos_embed$", "tokens.position"),
            (r"^patch_embed\.", "patch_embedding."),
            (r"^blocks\.(\d+)\.attn\.", r"encoder.\1.attention."),
            (r"^blocks\.", "encoder."),
            (r"^norm\.", "norm.norm."),
        ),
    ),
)

LAYOUTS = (*CHAINS, *GOOGLENET, *RESNETS, *DENSENETS, *LATER)

# The files of torchvision's first weights (IMAGENET1K_V1), by its names; the end of each is the file's hash.
TORCHVISION = {
    "alexnet":            "alexnet-owt-7be5be79",
    "vgg11":              "vgg11-8a719046",
    "vgg13":              "vgg13-19584684",
    "vgg16":              "vgg16-397923af",
    "vgg19":              "vgg19-dcbb9e9d",
    "vgg11_bn":           "vgg11_bn-6002323d",
    "vgg13_bn":           "vgg13_bn-abd245e5",
    "vgg16_bn":           "vgg16_bn-6c64b313",
    "vgg19_bn":           "vgg19_bn-c79401a0",
    "googlenet":          "googlenet-1378be20",
    "resnet18":           "resnet18-f37072fd",
    "resnet34":           "resnet34-b627a593",
    "resnet50":           "resnet50-0676ba61",
    "resnet101":          "resnet101-63fe2227",
    "resnet152":          "resnet152-394f9c45",
    "resnext50_32x4d":    "resnext50_32x4d-7cdf4587",
    "resnext101_32x8d":   "resnext101_32x8d-8ba56ff5",
    "resnext101_64x4d":   "resnext101_64x4d-173b62eb",
    "wide_resnet50_2":    "wide_resnet50_2-95faca4d",
    "wide_resnet101_2":   "wide_resnet101_2-32ee1156",
    "densenet121":        "densenet121-a639ec97",
    "densenet161":        "densenet161-8d451a50",
    "densenet169":        "densenet169-b2777c0a",
    "densenet201":        "densenet201-c1103571",
    "shufflenet_v2_x0_5": "shufflenetv2_x0.5-f707e7126e",
    "shufflenet_v2_x1_0": "shufflenetv2_x1-5666bf0f80",
    "shufflenet_v2_x1_5": "shufflenetv2_x1_5-3c479a10",
    "shufflenet_v2_x2_0": "shufflenetv2_x2_0-8be3c8ee",
    "vit_b_16":           "vit_b_16-c867db91",
}  # fmt: skip
