"""Squeeze-and-excitation: Hu, Shen, Albanie, Sun, Wu 2018, Sec. 3."""

from typing import Literal

from torch import Tensor, nn

Squeeze = Literal["average", "max"]
Gate = Literal["sigmoid", "relu", "tanh"]
SQUEEZES = {"average": nn.AdaptiveAvgPool2d, "max": nn.AdaptiveMaxPool2d}
GATES = {"sigmoid": nn.Sigmoid, "relu": nn.ReLU, "tanh": nn.Tanh}


class SqueezeExcitation(nn.Module):
    """`(N, C, H, W) -> (N, C, H, W)`: each channel times a gate that all channels decide on.

    Squeeze (Eq. 2): the mean of each channel. Excitation (Eq. 3): s = σ(W₂ ReLU(W₁ z)) with C/`reduction`
    units between, and biases, as in the authors' code. Scale (Eq. 4). `squeeze` and `gate` have the paper's
    other choices (Tables 11 and 12). Raises ValueError for a reduction that leaves no unit.
    """

    def __init__(
        self, channels: int, reduction: int = 16, *, squeeze: Squeeze = "average", gate: Gate = "sigmoid"
    ) -> None:
        super().__init__()
        check_reduction(reduction, channels=channels)
        between = channels // reduction
        self.squeeze = SQUEEZES[squeeze](1)
        self.reduce = nn.Conv2d(channels, between, kernel_size=1)
        self.act = nn.ReLU()
        self.expand = nn.Conv2d(between, channels, kernel_size=1)
        self.gate = GATES[gate]()

    def forward(self, x: Tensor) -> Tensor:
        """`x · s(x)`."""
        z = self.squeeze(x)
        return x * self.gate(self.expand(self.act(self.reduce(z))))  # type: ignore[no-any-return]


def check_reduction(reduction: int | None, *, channels: int) -> None:
    """Raise ValueError for a reduction by which `channels`, the fewest that are gated, leave no unit; None is off."""
    if reduction is not None and (not isinstance(reduction, int) or not 1 <= reduction <= channels):
        raise ValueError(
            f"reduction, of squeeze-and-excitation, is a whole number from 1 to {channels}, the fewest channels that "
            f"are gated, or None, and not {reduction!r}"
        )
