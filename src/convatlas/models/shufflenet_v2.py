"""ShuffleNet V2: Ma, Zhang, Zheng, Sun 2018."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convatlas.layers.init import he_
from convatlas.layers.parts import part
from convatlas.layers.shuffle import ChannelShuffle
from convatlas.network import Network
from convatlas.registry import register


@dataclass(frozen=True)
class ShuffleNetV2Spec:
    """A column of Table 5: the output channels of Stages 2 to 4 and of Conv5."""

    channels: tuple[int, int, int]
    conv5: int = 1024
    repeats: tuple[int, int, int] = (4, 8, 4)
    shuffle: bool = True

    def __post_init__(self) -> None:
        if len(self.channels) != 3 or any(c < 2 or c % 2 for c in self.channels):
            raise ValueError(f"channels has an even number, to split in two, for each of 3 stages, not {self.channels}")
        if len(self.repeats) != 3 or min(self.repeats) < 1:
            raise ValueError(f"repeats has a whole number of at least 1 for each of 3 stages, not {self.repeats}")
        if self.conv5 < 1:
            raise ValueError(f"conv5, the channels of it, is a whole number of at least 1, and not {self.conv5}")


class Unit(nn.Module):
    """Fig. 3: `(N, C, H, W) -> (N, C, H, W)` as (c), or with stride 2 `-> (N, K, H/2, W/2)` as (d).

    The channels split in two (c): the left half goes on as it is, and the right through three convolutions of equal
    width. In (d) both branches see all channels. The halves are concatenated and shuffled.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, shuffle: bool) -> None:
        super().__init__()
        half = out_channels // 2
        inputs = in_channels if stride == 2 else half
        self.left: nn.Sequential | None = None
        if stride == 2:
            self.left = part(
                conv1=nn.Conv2d(
                    inputs, inputs, kernel_size=3, stride=2, padding=1, groups=inputs, bias=False
                ),  # depthwise, and no ReLU behind it
                norm1=nn.BatchNorm2d(inputs),
                conv2=nn.Conv2d(inputs, half, kernel_size=1, bias=False),
                norm2=nn.BatchNorm2d(half),
                relu2=nn.ReLU(),
            )
        self.right = part(
            conv1=nn.Conv2d(inputs, half, kernel_size=1, bias=False),
            norm1=nn.BatchNorm2d(half),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(half, half, kernel_size=3, stride=stride, padding=1, groups=half, bias=False),
            norm2=nn.BatchNorm2d(half),
            conv3=nn.Conv2d(half, half, kernel_size=1, bias=False),
            norm3=nn.BatchNorm2d(half),
            relu3=nn.ReLU(),
        )
        self.shuffle = ChannelShuffle(2) if shuffle else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """The two halves, shuffled "to enable information communication between the two branches" (Sec. 3)."""
        left, right = x.chunk(2, dim=1) if self.left is None else (self.left(x), x)
        return self.shuffle(torch.cat((left, self.right(right)), dim=1))  # type: ignore[no-any-return]


class ShuffleNetV2(Network):
    """Table 5."""

    def __init__(self, spec: ShuffleNetV2Spec, *, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes=num_classes, in_channels=in_channels)
        self.spec = spec
        c2, c3, c4 = spec.channels
        self.conv1 = conv_bn_relu(in_channels, 24, kernel_size=3, stride=2)  # 112×112
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)  # 56×56
        self.stage2 = stage(24, c2, units=spec.repeats[0], shuffle=spec.shuffle)  # 28×28
        self.stage3 = stage(c2, c3, units=spec.repeats[1], shuffle=spec.shuffle)  # 14×14
        self.stage4 = stage(c3, c4, units=spec.repeats[2], shuffle=spec.shuffle)  # 7×7
        self.conv5 = conv_bn_relu(c4, spec.conv5, kernel_size=1, stride=1)  # 7×7
        self.globalpool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())  # 1×1
        self.fc = self.classifier()
        self.initialize()

    def initialize(self) -> None:
        """He's: the paper says nothing of it."""
        he_(self)

    def classifier(self) -> nn.Module:
        """One dense layer behind the average."""
        dense = nn.Linear(self.spec.conv5, self.num_classes)
        he_(dense)
        return dense


def conv_bn_relu(in_channels: int, out_channels: int, *, kernel_size: int, stride: int) -> nn.Sequential:
    """A convolution with its normalisation and ReLU."""
    padding = kernel_size // 2
    return part(
        conv=nn.Conv2d(in_channels, out_channels, kernel_size, stride=stride, padding=padding, bias=False),
        norm=nn.BatchNorm2d(out_channels),
        relu=nn.ReLU(),
    )


def stage(in_channels: int, out_channels: int, *, units: int, shuffle: bool) -> nn.Sequential:
    """A unit that halves the map, and the others."""
    halving = Unit(in_channels, out_channels, stride=2, shuffle=shuffle)
    others = [Unit(out_channels, out_channels, stride=1, shuffle=shuffle) for _ in range(units - 1)]
    return nn.Sequential(halving, *others)


VARIANTS = {
    # Table 5                              Stages 2, 3, 4
    "shufflenet_v2_x0_5": ShuffleNetV2Spec(( 48,  96, 192)),
    "shufflenet_v2_x1_0": ShuffleNetV2Spec((116, 232, 464)),
    "shufflenet_v2_x1_5": ShuffleNetV2Spec((176, 352, 704)),
    "shufflenet_v2_x2_0": ShuffleNetV2Spec((244, 488, 976), conv5=2048),
}  # fmt: skip

PUBLISHED: dict[str, dict[str, str | float]] = {
    # the authors' release # params          complexity       top-1               top-5
    "shufflenet_v2_x0_5": {"params": "1.4M", "macs": "41M",  "top1_error": 38.9, "top5_error": 17.4},
    "shufflenet_v2_x1_0": {"params": "2.3M", "macs": "146M", "top1_error": 30.6, "top5_error": 11.1},
    "shufflenet_v2_x1_5": {"params": "3.5M", "macs": "299M", "top1_error": 27.4, "top5_error": 9.4},
    "shufflenet_v2_x2_0": {"params": "7.4M", "macs": "591M", "top1_error": 25.0, "top5_error": 7.6},
}  # fmt: skip

register(
    ShuffleNetV2,
    VARIANTS,
    family="ShuffleNetV2",
    paper="ma2018",
    table="Table 5",
    input_size=(3, 224, 224),
    num_classes=1000,
    published={name: row | {"data": "ImageNet, 1-crop, of the authors' release"} for name, row in PUBLISHED.items()},
)
