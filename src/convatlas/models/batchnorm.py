"""Batch normalisation: Ioffe, Szegedy 2015, Sec. 4.1: the network for MNIST on which it is first shown."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

from torch import nn

from convatlas.layers.init import gaussian_
from convatlas.network import Network
from convatlas.registry import check_choice, register

ACTIVATIONS = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}


@dataclass(frozen=True)
class Spec:
    """Sec. 4.1's network, with and without batch normalisation."""

    norm: Literal["batch", "none"]
    hidden: tuple[int, ...] = (100, 100, 100)
    activation: Literal["sigmoid", "tanh", "relu"] = "sigmoid"

    def __post_init__(self) -> None:
        check_choice("norm", self.norm, ("batch", "none"))
        check_choice("activation", self.activation, tuple(ACTIVATIONS))
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"hidden has the units of each hidden layer, at least 1, not {self.hidden!r}")


class MLP(Network):
    """Sec. 4.1: "3 fully-connected hidden layers with 100 activations each", y = g(Wu + b) with the sigmoid g.

    With batch normalisation y = g(BN(Wu)): the bias "can be ignored" before it (Sec. 3.2).
    """

    fixed_size = True
    least_size = 28
    spec: Spec

    def __init__(self, spec: Spec, *, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes=num_classes, in_channels=in_channels)
        self.spec = spec
        units = in_channels * 28 * 28
        for number, width in enumerate(spec.hidden, start=1):
            layers: dict[str, nn.Module] = {} if number > 1 else {"flatten": nn.Flatten()}
            layers["dense"] = nn.Linear(units, width, bias=spec.norm == "none")
            if spec.norm == "batch":
                layers["bn"] = nn.BatchNorm1d(width)
            layers["act"] = ACTIVATIONS[spec.activation]()
            self.add_module(f"fc{number}", nn.Sequential(OrderedDict(layers)))
            units = width
        self.output = self.classifier()
        self.initialize()

    def initialize(self) -> None:
        """N(0, 0.1²): "small random Gaussian values", of which the paper does not say how small.

        With 0.1 a layer of 100 inputs keeps the scale of what it sees.
        """
        gaussian_(self, std=0.1)

    def classifier(self) -> nn.Module:
        """The last dense layer, "with 10 activations (one per class)"."""
        dense = nn.Linear(self.spec.hidden[-1], self.num_classes)
        gaussian_(dense, std=0.1)
        return dense


VARIANTS = {
    # Fig. 1
    "mnist_mlp":     Spec(norm="none"),
    "mnist_mlp_bn":  Spec(norm="batch"),
}  # fmt: skip

register(
    MLP,
    VARIANTS,
    family="BatchNorm",
    paper="ioffe2015",
    table="Sec. 4.1, Fig. 1",
    input_size=(1, 28, 28),
    num_classes=10,
)
