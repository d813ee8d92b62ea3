"""Whose names are mapped to ours: the one place where another layout of keys is known.

A layout is a list of substitutions on a key. It is recognised by a key that only it has.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import Tensor, nn

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
)


def to_ours(state: Mapping[str, Tensor], network: Network) -> dict[str, Tensor]:
    """The state under our names: renamed by the layout that it is in, or as it is."""
    marked = [layout for layout in LAYOUTS if layout.mark in state]
    for layout in marked:
        if any(fnmatchcase(network.name, pattern) for pattern in layout.models):
            return with_dense_layers(layout.renamed(state), network)
    return dict(state)


def with_dense_layers(state: Mapping[str, Tensor], network: Network) -> dict[str, Tensor]:
    """The state with the convolutions that another library has for our dense layers, as timm's VGG, laid flat."""
    dense = {name + ".weight" for name, layer in network.named_modules() if isinstance(layer, nn.Linear)}
    return {key: value.flatten(1) if key in dense else value for key, value in state.items()}
