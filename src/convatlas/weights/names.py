"""Whose names are mapped to ours: the one place where another layout of keys is known.

A layout is a list of substitutions on a key. It is recognised by a key that only it has.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from fnmatch import fnmatchcase
from functools import cache

import torch
from torch import Tensor, nn

from convatlas.errors import InputError
from convatlas.models import build, list_models
from convatlas.network import Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Another library's names for networks of ours."""

    source: str
    """Whose names they are, in words."""
    models: tuple[str, ...]
    """Patterns of our names, of the forms that these weights belong to."""
    mark: str
    """A key that only this layout has."""
    rules: tuple[tuple[str, str], ...]
    """(pattern, replacement), in order: the first that matches renames a key; where nothing is left, drops it."""

    def renamed(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state under our names; keys that no rule knows keep theirs."""
        return {ours: value for key, value in state.items() if (ours := self.rename(key))}

    def names(self, model: str) -> bool:
        """Whether these are names for the network that we call `model`."""
        return any(fnmatchcase(model, pattern) for pattern in self.models)

    def rename(self, key: str) -> str:
        """Our name for `key`."""
        for pattern, replacement in self.rules:
            renamed, count = re.subn(pattern, replacement, key)
            if count:
                return renamed
        return key


# torchvision's and timm's stages, "layer1" to "layer4", and their blocks; timm's gates, `se` and the older `se_module`
RESIDUAL_STAGES = tuple(
    rule
    for theirs, ours in (("layer1", "conv2_x"), ("layer2", "conv3_x"), ("layer3", "conv4_x"), ("layer4", "conv5_x"))
    for rule in (
        (rf"^{theirs}\.(\d+)\.downsample\.0\.", rf"{ours}.\1.shortcut.conv."),
        (rf"^{theirs}\.(\d+)\.downsample\.1\.", rf"{ours}.\1.shortcut.bn."),
        (rf"^{theirs}\.(\d+)\.se(?:_module)?\.fc1\.", rf"{ours}.\1.se.reduce."),
        (rf"^{theirs}\.(\d+)\.se(?:_module)?\.fc2\.", rf"{ours}.\1.se.expand."),
        (rf"^{theirs}\.", f"{ours}."),
    )
)


def vgg(name: str, convolutions: tuple[int, ...], *, norm: bool = False) -> Layout:
    """torchvision's names for a VGG with so many convolutions a block, which it numbers through; and timm's."""
    rules, index = [], 0
    for block, count in enumerate(convolutions, start=1):
        for layer in range(1, count + 1):
            ours = f"conv{block}.conv{block}_{layer}"
            rules.append((rf"^features\.{index}\.", f"{ours}.conv."))
            if norm:
                rules.append((rf"^features\.{index + 1}\.", f"{ours}.bn."))
            index += 3 if norm else 2
        index += 1  # the pooling
    rules += [
        (r"^(classifier\.0|pre_logits\.fc1)\.", "fc6.dense."),
        (r"^(classifier\.3|pre_logits\.fc2)\.", "fc7.dense."),
        (r"^(classifier\.6|head\.fc)\.", "fc8."),
    ]
    return Layout(source="torchvision's and timm's VGG", models=(name,), mark="features.0.weight", rules=tuple(rules))


LAYOUTS = (
    # AlexNet and VGG
    Layout(
        source="torchvision's AlexNet",
        models=("alexnet_owt",),
        mark="features.0.weight",
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
    vgg("vgg11", (1, 1, 2, 2, 2)),
    vgg("vgg13", (2, 2, 2, 2, 2)),
    vgg("vgg16", (2, 2, 3, 3, 3)),
    vgg("vgg19", (2, 2, 4, 4, 4)),
    vgg("vgg11_bn", (1, 1, 2, 2, 2), norm=True),
    vgg("vgg13_bn", (2, 2, 2, 2, 2), norm=True),
    vgg("vgg16_bn", (2, 2, 3, 3, 3), norm=True),
    vgg("vgg19_bn", (2, 2, 4, 4, 4), norm=True),
    # GoogLeNet
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
    # github.com/akamaster/pytorch_resnet_cifar10, and the many that follow its names
    Layout(
        source="the well-known CIFAR ResNets",
        models=("resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "resnet1202"),
        mark="linear.weight",
        rules=(
            (r"^conv1\.", "conv1.conv."),
            (r"^bn1\.", "conv1.bn."),
            (r"^layer1\.", "conv2_x."),
            (r"^layer2\.(\d+)\.shortcut\.0\.", r"conv3_x.\1.shortcut.conv."),  # option B
            (r"^layer2\.(\d+)\.shortcut\.1\.", r"conv3_x.\1.shortcut.bn."),
            (r"^layer2\.", "conv3_x."),
            (r"^layer3\.(\d+)\.shortcut\.0\.", r"conv4_x.\1.shortcut.conv."),
            (r"^layer3\.(\d+)\.shortcut\.1\.", r"conv4_x.\1.shortcut.bn."),
            (r"^layer3\.", "conv4_x."),
            (r"^linear\.", "fc."),
        ),
    ),
    # ResNet, ResNeXt, WideResNet, SENet, PreActResNet
    Layout(
        source="torchvision's and timm's ResNets",
        models=(
            "resnet18",
            "resnet34",
            "resnet*_v1_5",
            "wide_resnet*",
            "resnext50_*",
            "resnext101_*",
            "seresnet*_v1_5",
            "seresnext*",
        ),
        mark="layer1.0.conv1.weight",
        rules=((r"^conv1\.", "conv1.conv."), (r"^bn1\.", "conv1.bn."), *RESIDUAL_STAGES),
    ),
    Layout(
        source="timm's older SENets, which are the authors'",
        models=("legacy_se*",),
        mark="layer1.0.se_module.fc1.weight",
        rules=(
            (r"^layer0\.conv1\.", "conv1.conv."),
            (r"^layer0\.bn1\.", "conv1.bn."),
            (r"^last_linear\.", "fc."),
            *RESIDUAL_STAGES,
        ),
    ),
    Layout(
        source="timm's older SENets, which are the authors'",
        models=("senet154",),
        mark="layer1.0.se_module.fc1.weight",
        rules=((r"^layer0\.", "conv1."), (r"^last_linear\.", "fc."), *RESIDUAL_STAGES),
    ),
    Layout(
        source="timm's pre-activated ResNets",
        models=("resnetv2_50",),
        mark="stages.0.blocks.0.norm1.weight",
        rules=(
            (r"^stem\.conv\.", "conv1.conv."),
            *(
                rule
                for theirs, ours in enumerate(("conv2_x", "conv3_x", "conv4_x", "conv5_x"))
                for rule in (
                    (rf"^stages\.{theirs}\.blocks\.(\d+)\.downsample\.", rf"{ours}.\1.shortcut."),
                    (rf"^stages\.{theirs}\.blocks\.(\d+)\.norm1\.", rf"{ours}.\1.before.bn."),
                    (rf"^stages\.{theirs}\.blocks\.(\d+)\.norm2\.", rf"{ours}.\1.residual.bn1."),
                    (rf"^stages\.{theirs}\.blocks\.(\d+)\.norm3\.", rf"{ours}.\1.residual.bn2."),
                    (rf"^stages\.{theirs}\.blocks\.(\d+)\.", rf"{ours}.\1.residual."),
                )
            ),
            (r"^norm\.", "activation.bn."),
            (r"^head\.fc\.", "fc."),
        ),
    ),
    # DenseNet: torchvision's, which are timm's too; older files have a dot in `norm.1`
    Layout(
        source="torchvision and timm",
        models=("densenet[12]*",),
        mark="features.conv0.weight",
        rules=(
            (r"^features\.(conv|norm)0\.", r"conv1.\1."),
            (r"^features\.denseblock(\d+)\.denselayer(\d+)\.(norm|conv)\.?(\d)\.", r"dense_block\1.layer\2.\3\4."),
            (r"^features\.(transition\d+)\.", r"\1."),
            (r"^features\.norm5\.", "norm.norm."),
            (r"^classifier\.", "fc."),
        ),
    ),
    # ShuffleNet V2
    Layout(
        source="torchvision",
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
    # ViT
    Layout(
        source="torchvision",
        models=("vit_*",),
        mark="encoder.pos_embedding",
        rules=(
            (r"^class_token$", "tokens.class_token"),
            (r"^encoder\.pos_embedding$", "tokens.position"),
            (r"^conv_proj\.", "patch_embedding.proj."),
            (r"^encoder\.layers\.encoder_layer_(\d+)\.ln_(\d)\.", r"encoder.\1.norm\2."),
            (r"^encoder\.layers\.encoder_layer_(\d+)\.self_attention\.in_proj_", r"encoder.\1.attention.qkv."),
            (r"^encoder\.layers\.encoder_layer_(\d+)\.self_attention\.out_proj\.", r"encoder.\1.attention.proj."),
            (r"^encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:0|linear_1)\.", r"encoder.\1.mlp.fc1."),
            (r"^encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:3|linear_2)\.", r"encoder.\1.mlp.fc2."),
            (r"^encoder\.ln\.", "norm.norm."),
            (r"^heads\.head\.", "head."),
        ),
    ),
    Layout(
        source="timm",
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
    "wide_resnet50_2":    "wide_resnet50_2-95faca4d",
    "wide_resnet101_2":   "wide_resnet101_2-32ee1156",
    "densenet121":        "densenet121-a639ec97",
    "densenet161":        "densenet161-8d451a50",
    "densenet169":        "densenet169-b2777c0a",
    "densenet201":        "densenet201-c1103571",
    "shufflenet_v2_x0_5": "shufflenetv2_x0.5-f707e7126e",
    "shufflenet_v2_x1_0": "shufflenetv2_x1-5666bf0f80",
    "vit_b_16":           "vit_b_16-c867db91",
}  # fmt: skip


def to_ours(state: Mapping[str, Tensor], network: Network) -> dict[str, Tensor]:
    """The state under our names: renamed by the layout that it is in, or as it is.

    Raises InputError where the layout is one of other forms than `network`, with the form that the weights fit.
    """
    marked = [layout for layout in LAYOUTS if layout.mark in state]
    for layout in marked:
        if layout.names(network.name):
            return with_dense_layers(layout.renamed(state), network)
    for layout in marked:
        if found := looks_like(layout.renamed(state), filter(layout.names, list_models()), near=network.name):
            raise InputError(
                f"these are the weights of {found}, under the names of {layout.source}; {network.name} is another form"
            )
    return dict(state)


def with_dense_layers(state: Mapping[str, Tensor], network: Network) -> dict[str, Tensor]:
    """The state with the 1×1 convolutions that another library has for our dense layers laid flat."""
    dense = {name + ".weight" for name, layer in network.named_modules() if isinstance(layer, nn.Linear)}
    return {key: value.flatten(1) if key in dense else value for key, value in state.items()}


LOOKED_AT = 20


def looks_like(state: Mapping[str, Tensor], names: Iterable[str], *, near: str) -> str | None:
    """Which of the networks called `names` has tensors of these names and shapes, but for the classifier's.

    Only those are looked at whose names are most like `near`: each has to be built, on the meta device.
    """
    for name in sorted(names, key=lambda name: -SequenceMatcher(None, name, near).ratio())[:LOOKED_AT]:
        head, shapes = head_and_shapes(name)
        if shapes.keys() == state.keys() and all(
            state[key].shape == shape for key, shape in shapes.items() if not key.startswith(head)
        ):
            return name
    return None


@cache
def head_and_shapes(name: str) -> tuple[str, dict[str, torch.Size]]:
    """How the keys of a network's classifier begin, and the shapes of all of its tensors."""
    with torch.device("meta"):
        network = build(name)
    return network.stages[-1] + ".", {key: value.shape for key, value in network.state_dict().items()}
