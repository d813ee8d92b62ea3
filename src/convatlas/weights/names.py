"""Whose names are mapped to ours: the one place where another layout of keys is known.

A layout is a list of substitutions on a key. It is recognised by a key that only it has.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Layout:
    """Another library's names for a family of ours."""

    family: str
    mark: str
    """A key that only this layout has."""
    rules: tuple[tuple[str, str], ...]
    """(pattern, replacement), tried in order; the first that matches a key renames it."""

    def rename(self, key: str) -> str:
        """Our name for `key`, or `key` where no rule knows it."""
        for pattern, replacement in self.rules:
            renamed, count = re.subn(pattern, replacement, key)
            if count:
                return renamed
        return key


LAYOUTS = (
    # github.com/akamaster/pytorch_resnet_cifar10, and the many that follow its names
    Layout(
        family="ResNet-CIFAR",
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
)


def to_ours(state: Mapping[str, Tensor], family: str) -> dict[str, Tensor]:
    """The state under our names: renamed by the layout of `family` that it is in, or as it is."""
    for layout in LAYOUTS:
        if layout.family == family and layout.mark in state:
            return {layout.rename(key): value for key, value in state.items()}
    return dict(state)
