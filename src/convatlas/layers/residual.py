"""What residual networks share: the shortcut of He et al. 2015, Sec. 3.3, and what is added to it."""

from collections import OrderedDict
from collections.abc import Callable, Iterator

from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.layers.depth import StochasticDepth, linear_rule


class PadShortcut(nn.Module):
    """Option A: `(N, C, H, W) -> (N, K, H/stride, W/stride)`: every second pixel; the new channels are zero.

    The paper leaves open where the zeros go. Half stand before and half behind, as in the weights that are
    published for these networks.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        before = (out_channels - in_channels) // 2
        self.pad = (0, 0, 0, 0, before, out_channels - in_channels - before)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Subsample and pad: "introduces no extra parameter" (Sec. 3.3)."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], self.pad)


def conv3x3(in_channels: int, out_channels: int, *, stride: int = 1, groups: int = 1, bias: bool = False) -> nn.Conv2d:
    """A 3×3 convolution that keeps the size of the map, or divides it by `stride`."""
    return nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, groups=groups, bias=bias)


def conv1x1(in_channels: int, out_channels: int, *, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    """A 1×1 convolution."""
    return nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=bias)


def projection(conv: nn.Conv2d, *, norm: bool = True) -> nn.Sequential:
    """Option B: a convolution to the new shape, with batch normalisation behind it."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(conv=conv)
    if norm:
        layers["bn"] = nn.BatchNorm2d(conv.out_channels)
    return nn.Sequential(layers)


def junction(
    shortcut: Tensor | None, branch: Callable[[Tensor], Tensor], x: Tensor, depth: StochasticDepth | None = None
) -> Tensor:
    """`shortcut + branch(x)`: He et al. 2015, Eq. 1. A plain network has no shortcut.

    With `depth` the branch may be dropped, and the shortcut is all there is (Huang et al. 2016, Eq. 2).
    """
    y = branch(x) if depth is None else depth(branch, x)
    if shortcut is None:
        assert y is not None
        return y
    return shortcut if y is None else shortcut + y


def depths(blocks: int, survival: float | None) -> Iterator[StochasticDepth | None]:
    """The stochastic depth of each block, by the linear rule that ends in `survival`; None is off."""
    if survival is None:
        return iter([None] * blocks)
    return iter([StochasticDepth(p) for p in linear_rule(blocks, survival)])


def check_survival(survival: float | None, *, shortcut: str) -> None:
    """Raise ValueError for a survival that a network with such shortcuts cannot have: for the checks of a spec."""
    if survival is not None:
        if not 0 < survival <= 1:
            raise ValueError(f"survival is a probability above 0 and up to 1, or None, and not {survival!r}")
        if shortcut == "none":
            raise ValueError("a plain network has no stochastic depth: without a branch nothing would be left")
