"""Layers under names, in one stage."""

from collections import OrderedDict

from torch import nn


def part(**modules: nn.Module) -> nn.Sequential:
    """A chain of layers under names."""
    return nn.Sequential(OrderedDict(modules))
