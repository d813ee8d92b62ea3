"""Whose names are mapped to ours: the one place where another layout of keys is known.

A layout is a list of substitutions on a key. It is recognised by a key that only it has.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import Tensor

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

    def rename(self, key: str) -> str:
        """Our name for `key`."""
        for pattern, replacement in self.rules:
            renamed, count = re.subn(pattern, replacement, key)
            if count:
                return renamed
        return key


LAYOUTS = (
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


def to_ours(state: Mapping[str, Tensor], network: Network) -> dict[str, Tensor]:
    """The state under our names: renamed by the layout that it is in, or as it is."""
    marked = [layout for layout in LAYOUTS if layout.mark in state]
    for layout in marked:
        if any(fnmatchcase(network.name, pattern) for pattern in layout.models):
            return layout.renamed(state)
    return dict(state)
