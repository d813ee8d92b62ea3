"""What every network is put together with: layers under names, drawn layers, activations."""

from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from torch import nn

Layer = TypeVar("Layer", bound=nn.Module)

ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}


def part(**modules: nn.Module) -> nn.Sequential:
    """A chain of layers under names."""
    return nn.Sequential(OrderedDict(modules))


def drawn(layer: Layer, draw: Callable[[Layer], None]) -> Layer:
    """The layer, after `draw` has drawn its weights: what a network's `classifier` returns."""
    draw(layer)
    return layer
