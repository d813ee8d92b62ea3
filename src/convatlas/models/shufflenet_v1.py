"""ShuffleNet: Zhang, Zhou, Lin, Sun 2018."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convatlas.layers.gating import SqueezeExcitation, check_reduction
from convatlas.layers.init import he_
from convatlas.layers.parts import part
from convatlas.layers.shuffle import ChannelShuffle
from convatlas.network import Network
from convatlas.registry import register

# Table 1: output channels of Stage 2 by the number of groups; Stages 3 and 4 have twice and four times as many.
TABLE_1 = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}


@dataclass(frozen=True)
class ShuffleNetSpec:
    """A cell of Table 2: "ShuffleNet s×", whose channels are scaled by `width`, with `groups` groups."""

    width: float  # s
    groups: int  # g
    conv1: int = 24  # channels of Conv1; scaled by what the printed complexity shows
    repeats: tuple[int, int, int] = (4, 8, 4)  # units of Stages 2 to 4; (2, 4, 2) is Table 5's "shallow"
    shuffle: bool = True  # Table 3 goes without
    reduction: int | None = None  # Table 5, "with SE": on the branch of each unit; where, the paper leaves open

    def __post_init__(self) -> None:
        if self.groups not in TABLE_1:
            raise ValueError(f"groups is one of {', '.join(map(str, TABLE_1))}, and not {self.groups}")
        if len(self.repeats) != 3 or min(self.repeats) < 1:
            raise ValueError(f"repeats has a whole number of at least 1 for each of 3 stages, not {self.repeats}")
        channels = self.width * TABLE_1[self.groups]
        if channels < 4 or channels % (4 * self.groups):
            raise ValueError(
                f"width {self.width:g} with {self.groups} groups would give Stage 2 {channels:g} channels, a "
                f"quarter of which does not divide into the groups; how the paper adjusted them is not printed"
            )
        if (channels - self.conv1) % self.groups or self.conv1 < 1 or channels <= self.conv1:
            raise ValueError(
                f"Stage 2 adds {channels - self.conv1:g} channels to the {self.conv1} of conv1, "
                f"which do not divide into {self.groups} groups"
            )
        check_reduction(self.reduction, channels=int(channels) - self.conv1)

    @property
    def channels(self) -> tuple[int, int, int]:
        """The output channels of Stages 2, 3 and 4."""
        first = int(self.width * TABLE_1[self.groups])
        return first, 2 * first, 4 * first


class Unit(nn.Module):
    """Fig. 2: `(N, C, H, W) -> (N, C, H, W)` as (b), or with stride 2 `-> (N, K, H/2, W/2)` as (c).

    A 1×1 group convolution to a quarter of the output's channels, the shuffle, a 3×3 depthwise convolution and
    a 1×1 group convolution. With stride 2 the shortcut is an average, and is not added but concatenated.
    """

    def __init__(self, in_channels: int, out_channels: int, *, first: bool, stride: int, spec: ShuffleNetSpec) -> None:
        super().__init__()
        between = out_channels // 4  # "bottleneck channels to 1/4 of the output channels", Sec. 3.3
        branch = out_channels - in_channels if stride == 2 else out_channels
        # Table 1's caption: no groups in the first pointwise layer of Stage 2, "because the number of input channels
        # is relatively small".
        groups = 1 if first else spec.groups
        self.conv1 = nn.Conv2d(in_channels, between, kernel_size=1, groups=groups, bias=False)
        self.norm1 = nn.BatchNorm2d(between)
        self.relu1 = nn.ReLU()
        self.shuffle = ChannelShuffle(spec.groups) if spec.shuffle and spec.groups > 1 else nn.Identity()
        self.conv2 = nn.Conv2d(
            between, between, kernel_size=3, stride=stride, padding=1, groups=between, bias=False
        )  # depthwise, and no ReLU behind it
        self.norm2 = nn.BatchNorm2d(between)
        self.conv3 = nn.Conv2d(between, branch, kernel_size=1, groups=spec.groups, bias=False)
        self.norm3 = nn.BatchNorm2d(branch)
        self.se = nn.Identity() if spec.reduction is None else SqueezeExcitation(branch, spec.reduction)
        self.pool = nn.AvgPool2d(kernel_size=3, stride=2, padding=1) if stride == 2 else None
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """`relu(x + F(x))`, or `relu([average(x), F(x)])`."""
        y = self.shuffle(self.relu1(self.norm1(self.conv1(x))))
        y = self.norm2(self.conv2(y))
        y = self.se(self.norm3(self.conv3(y)))
        return self.relu2(x + y if self.pool is None else torch.cat((self.pool(x), y), dim=1))  # type: ignore[no-any-return]


class ShuffleNet(Network):
    """Table 1."""

    def __init__(self, spec: ShuffleNetSpec, *, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes=num_classes, in_channels=in_channels)
        self.spec = spec
        # fmt: off
        c2, c3, c4 = spec.channels
        self.conv1 = part(conv=nn.Conv2d(in_channels, spec.conv1, kernel_size=3, stride=2, padding=1, bias=False),
                          norm=nn.BatchNorm2d(spec.conv1), relu=nn.ReLU())                      # 112×112
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)                         # 56×56
        self.stage2 = stage(spec.conv1, c2, units=spec.repeats[0], first=True, spec=spec)       # 28×28
        self.stage3 = stage(c2, c3, units=spec.repeats[1], first=False, spec=spec)              # 14×14
        self.stage4 = stage(c3, c4, units=spec.repeats[2], first=False, spec=spec)              # 7×7
        self.globalpool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())                  # 1×1
        self.fc = self.classifier()
        # fmt: on
        self.initialize()

    def initialize(self) -> None:
        """He's: the paper says nothing of it, and follows ResNeXt in training (Sec. 4)."""
        he_(self)

    def classifier(self) -> nn.Module:
        """One dense layer behind the average."""
        dense = nn.Linear(self.spec.channels[2], self.num_classes)
        he_(dense)
        return dense


def stage(in_channels: int, out_channels: int, *, units: int, first: bool, spec: ShuffleNetSpec) -> nn.Sequential:
    """A unit that halves the map, and the others."""
    halving = Unit(in_channels, out_channels, first=first, stride=2, spec=spec)
    others = [Unit(out_channels, out_channels, first=False, stride=1, spec=spec) for _ in range(units - 1)]
    return nn.Sequential(halving, *others)


VARIANTS = {
    # Tables 2 and 5                      s            g
    "shufflenet_v1_x1_0_g1": ShuffleNetSpec(1.0, groups=1),
    "shufflenet_v1_x1_0_g2": ShuffleNetSpec(1.0, groups=2),
    "shufflenet_v1_x1_0_g3": ShuffleNetSpec(1.0, groups=3),
    "shufflenet_v1_x1_0_g4": ShuffleNetSpec(1.0, groups=4),
    "shufflenet_v1_x1_0_g8": ShuffleNetSpec(1.0, groups=8),
    "shufflenet_v1_x0_5_g1": ShuffleNetSpec(0.5, groups=1, conv1=12),
    "shufflenet_v1_x0_5_g3": ShuffleNetSpec(0.5, groups=3, conv1=12),
    "shufflenet_v1_x0_5_g8": ShuffleNetSpec(0.5, groups=8, conv1=16),  # 12 would leave 180 channels for 8 groups
    "shufflenet_v1_x0_25_g1": ShuffleNetSpec(0.25, groups=1, conv1=12),  # 6 would cost 11M
    "shufflenet_v1_x0_25_g3": ShuffleNetSpec(0.25, groups=3, conv1=12),
    "shufflenet_v1_x0_25_g8": ShuffleNetSpec(0.25, groups=8, conv1=8),
    "shufflenet_v1_x1_5_g3": ShuffleNetSpec(1.5, groups=3),  # 36 would cost 300M
    "shufflenet_v1_x2_0_g3": ShuffleNetSpec(2.0, groups=3, conv1=48),
    "shufflenet_v1_x2_0_g3_se": ShuffleNetSpec(2.0, groups=3, conv1=48, reduction=16),  # r is not printed
}  # fmt: skip

PUBLISHED: dict[str, dict[str, str | float]] = {
    # Tables 1, 2 and 5         complexity       top-1
    "shufflenet_v1_x1_0_g1":    {"macs": "143M", "top1_error": 33.6},
    "shufflenet_v1_x1_0_g2":    {"macs": "140M", "top1_error": 32.7},
    "shufflenet_v1_x1_0_g3":    {"macs": "137M", "top1_error": 32.6},
    "shufflenet_v1_x1_0_g4":    {"macs": "133M", "top1_error": 32.8},
    "shufflenet_v1_x1_0_g8":    {"macs": "137M", "top1_error": 32.4},
    "shufflenet_v1_x0_5_g1":    {"macs": "38M",  "top1_error": 45.1},
    "shufflenet_v1_x0_5_g3":    {"macs": "38M",  "top1_error": 43.2},
    "shufflenet_v1_x0_5_g8":    {"macs": "38M",  "top1_error": 42.3},
    "shufflenet_v1_x0_25_g1":   {"macs": "13M",  "top1_error": 57.1},
    "shufflenet_v1_x0_25_g3":   {"macs": "13M",  "top1_error": 55.0},
    "shufflenet_v1_x0_25_g8":   {"macs": "13M",  "top1_error": 52.7},
    "shufflenet_v1_x1_5_g3":    {"macs": "292M", "top1_error": 28.5},
    "shufflenet_v1_x2_0_g3":    {"macs": "524M", "top1_error": 26.3},
    "shufflenet_v1_x2_0_g3_se": {"macs": "527M", "top1_error": 24.7},
}  # fmt: skip

register(
    ShuffleNet,
    VARIANTS,
    family="ShuffleNet",
    paper="zhang2018",
    table="Tables 1, 2, 5",
    input_size=(3, 224, 224),
    num_classes=1000,
    published={name: row | {"data": "ImageNet, 1-crop"} for name, row in PUBLISHED.items()},
    deviations={
        name: (f"the width of Conv1, {VARIANTS[name].conv1}, is not printed; it follows from {why}",)
        for name, why in {
            "shufflenet_v1_x0_5_g8": "the groups",
            "shufflenet_v1_x0_25_g1": "the complexity",
            "shufflenet_v1_x0_25_g3": "the complexity",
            "shufflenet_v1_x0_25_g8": "the groups",
            "shufflenet_v1_x1_5_g3": "the complexity",
        }.items()
    },
)
