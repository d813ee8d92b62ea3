"""What the Inception networks share: Szegedy et al. 2014; Ioffe and Szegedy 2015."""

from typing import NamedTuple

from torch import nn

from convatlas.layers.parts import part


class Behind(NamedTuple):
    """What stands behind each convolution of a network."""

    batch_norm: bool = False
    activation: type[nn.Module] = nn.ReLU
    eps: float = 1e-5
    """Of the normalisation."""


class Conv(nn.Sequential):
    """`(N, C, H, W) -> (N, K, H/stride, W/stride)`: a convolution and its nonlinearity.

    Batch normalisation stands "immediately before the nonlinearity", and then "the bias b can be ignored" (Ioffe and
    Szegedy 2015, Sec. 3.2).
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, behind: Behind, *, stride: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2, bias=not behind.batch_norm
        )
        if behind.batch_norm:
            self.bn = nn.BatchNorm2d(out_channels, eps=behind.eps)
        self.act = behind.activation()


def stem(in_channels: int, behind: Behind, *, separable: bool) -> nn.Module:
    """`(N, C, H, W) -> (N, 64, H/2, W/2)`: the 7×7 convolution, dense or "with depth multiplier 8" and then 1×1.

    The second paper has the separable one (appendix). The first does not mention it, and yet the parameters and the
    operations that it prints of this layer, 2.7K and 34M, are those of the separable one.
    """
    if not separable:
        return Conv(in_channels, 64, 7, behind, stride=2)
    wide = 8 * in_channels
    depthwise = nn.Conv2d(in_channels, wide, kernel_size=7, stride=2, padding=3, groups=in_channels, bias=False)
    return part(depthwise=depthwise, pointwise=Conv(wide, 64, 1, behind))
