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


def to_ours(state: Mapping[str, Tensor], network: Network) -> dict[str, Tensor]:
    """The state under our names: renamed by the layout that it is in, or as it is."""
    marked = [layout for layout in LAYOUTS if layout.mark in state]
    for layout in marked:
        if any(fnmatchcase(network.name, pattern) for pattern in layout.models):
            return layout.renamed(state)
    return dict(state)
