"""airbench94: Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU".

Not of the canon: the yardstick for how fast a network can be trained to 94 %. What the paper leaves open is as in the
program that its author released.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from convatlas.layers.init import zero_bias_
from convatlas.layers.parts import part
from convatlas.network import Network
from convatlas.registry import register


@dataclass(frozen=True, slots=True)
class Spec:
    """What there is to change."""

    widths: tuple[int, int, int] = (64, 256, 256)  # of the three blocks
    scale: float = 1 / 9  # of the logits

    def __post_init__(self) -> None:
        if min(self.widths) < 1:
            raise ValueError(f"each of the widths is at least 1, and not {min(self.widths)}")


def conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    """A 3×3 convolution that keeps the size of the map."""
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False)


def norm(channels: int) -> nn.BatchNorm2d:
    """Batch normalisation whose scales stay 1, and whose averages follow the batches faster than usual."""
    layer = nn.BatchNorm2d(channels, eps=1e-12, momentum=0.4)
    layer.weight.requires_grad = False
    return layer


def block(in_channels: int, out_channels: int) -> nn.Sequential:
    """`(N, C, H, W) -> (N, K, H/2, W/2)`: two convolutions, the pooling right behind the first."""
    return part(
        conv1=conv(in_channels, out_channels),
        pool=nn.MaxPool2d(2),
        norm1=norm(out_channels),
        gelu1=nn.GELU(),
        conv2=conv(out_channels, out_channels),
        norm2=norm(out_channels),
        gelu2=nn.GELU(),
    )


class Scale(nn.Module):
    """`x -> scale · x`."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Multiply."""
        return x * self.scale


class Airbench(Network):
    """A 2×2 convolution, three blocks, a maximum over what is left, a dense layer without biases."""

    least_size = 9  # 8 behind the first convolution, which is halved three times

    def __init__(self, spec: Spec, *, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes=num_classes, in_channels=in_channels)
        self.spec = spec
        # A 2×2 patch has 4 · in_channels numbers, and so many directions, of which each is there with both signs.
        whitened = 2 * 4 * in_channels
        self.whiten = part(conv=nn.Conv2d(in_channels, whitened, kernel_size=2), gelu=nn.GELU())  # 32 -> 31
        self.block1 = block(whitened, spec.widths[0])  # 31 -> 15
        self.block2 = block(spec.widths[0], spec.widths[1])  # 15 -> 7
        self.block3 = block(spec.widths[1], spec.widths[2])  # 7 -> 3
        self.head = self.classifier()
        self.initialize()

    def initialize(self) -> None:
        """The first filters of each 3×3 convolution pass their channel on; the others are as torch draws them."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):
                nn.init.dirac_(layer.weight[: layer.in_channels])
            elif isinstance(layer, nn.Conv2d):
                zero_bias_(layer)

    def classifier(self) -> nn.Module:
        """The greatest of each map's 3×3, and a dense layer whose logits are scaled down."""
        return part(
            pool=nn.AdaptiveMaxPool2d(1),
            flatten=nn.Flatten(),
            dense=nn.Linear(self.spec.widths[2], self.num_classes, bias=False),
            scale=Scale(self.spec.scale),
        )


register(
    Airbench,
    {"airbench94": Spec()},
    family="airbench",
    paper="jordan2024",
    table="Section 3, and the author's program",
    input_size=(3, 32, 32),
    num_classes=10,
    published={"airbench94": {"top1_error": 5.99, "data": "CIFAR-10, mean of 1000 runs, tests mirrored and shifted"}},
    deviations=(
        "the first layer is drawn, and learns; the paper's is computed from the training images' patches, and frozen",
    ),
)
