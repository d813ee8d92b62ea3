"""ResNet on CIFAR-10, and its plain counterpart: He, Zhang, Ren, Sun 2015, Sec. 4.2."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.layers.init import he_
from convatlas.network import Network
from convatlas.registry import check_choice, register


@dataclass(frozen=True)
class CifarSpec:
    """A column of Sec. 4.2's description: 6n + 2 layers, and what goes around each pair of them."""

    n: int
    shortcut: Literal["A", "B", "none"] = "A"  # "identity shortcuts in all cases (i.e., option A)"

    def __post_init__(self) -> None:
        check_choice("shortcut", self.shortcut, ("A", "B", "none"))
        if not isinstance(self.n, int) or self.n < 1:
            raise ValueError(f"n, the pairs of layers a stage, is a whole number of at least 1, not {self.n!r}")


class PadShortcut(nn.Module):
    """Option A: `(N, C, H, W) -> (N, K, H/2, W/2)`: every second pixel; the new channels are zero.

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


class Block(nn.Module):
    """`(N, C, H, W) -> (N, K, H/stride, W/stride)`: two 3×3 convolutions, and the shortcut around them."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, shortcut: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu2 = nn.ReLU()
        self.shortcut: nn.Module | None
        if shortcut == "none":
            self.shortcut = None
        elif in_channels == out_channels and stride == 1:
            self.shortcut = nn.Identity()
        elif shortcut == "A":
            self.shortcut = PadShortcut(in_channels, out_channels, stride)
        else:
            self.shortcut = nn.Sequential(
                OrderedDict(
                    conv=nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False),
                    bn=nn.BatchNorm2d(out_channels),
                )
            )

    def forward(self, x: Tensor) -> Tensor:
        """`relu(F(x) + x)`, Eq. 1 and Fig. 2; without a shortcut `relu(F(x))`."""
        y: Tensor = self.relu1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu2(y if self.shortcut is None else y + self.shortcut(x))  # type: ignore[no-any-return]


class CifarResNet(Network):
    """Sec. 4.2: a 3×3 convolution, three stages of 2n layers on maps of 32, 16 and 8, average, classifier."""

    least_size = 4  # a pixel for the last stage, which halves the image twice

    def __init__(self, spec: CifarSpec, *, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes=num_classes, in_channels=in_channels)
        self.spec = spec
        # output map size          32×32    16×16   8×8
        # # layers                 1 + 2n   2n      2n
        # # filters                16       32      64
        self.conv1 = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(in_channels, 16, kernel_size=3, padding=1, bias=False),
                bn=nn.BatchNorm2d(16),
                relu=nn.ReLU(),
            )
        )
        self.conv2_x = stage(16, 16, stride=1, spec=spec)
        self.conv3_x = stage(16, 32, stride=2, spec=spec)
        self.conv4_x = stage(32, 64, stride=2, spec=spec)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = self.classifier()
        self.initialize()

    def initialize(self) -> None:
        """He's: "we adopt the weight initialization in [13]" (Sec. 4.2); normalisation begins as the identity."""
        he_(self)

    def classifier(self) -> nn.Module:
        """One dense layer behind the average of the 64 maps."""
        dense = nn.Linear(64, self.num_classes)
        he_(dense)
        return dense


def stage(in_channels: int, out_channels: int, *, stride: int, spec: CifarSpec) -> nn.Sequential:
    """n blocks; the first one halves the map and doubles the filters."""
    blocks = [Block(in_channels, out_channels, stride=stride, shortcut=spec.shortcut)]
    blocks += [Block(out_channels, out_channels, stride=1, shortcut=spec.shortcut) for _ in range(spec.n - 1)]
    return nn.Sequential(*blocks)


VARIANTS = {
    # Sec. 4.2, "n = {3, 5, 7, 9}", then 18 and 200
    "resnet20":   CifarSpec(n=3),
    "resnet32":   CifarSpec(n=5),
    "resnet44":   CifarSpec(n=7),
    "resnet56":   CifarSpec(n=9),
    "resnet110":  CifarSpec(n=18),
    "resnet1202": CifarSpec(n=200),
    "plain20":    CifarSpec(n=3, shortcut="none"),
    "plain32":    CifarSpec(n=5, shortcut="none"),
    "plain44":    CifarSpec(n=7, shortcut="none"),
    "plain56":    CifarSpec(n=9, shortcut="none"),
    "plain110":   CifarSpec(n=18, shortcut="none"),
}  # fmt: skip

TABLE_6: dict[str, dict[str, str | float]] = {
    # layers                   # params            error (%)
    "resnet20":   {"params": "0.27M", "top1_error": 8.75},
    "resnet32":   {"params": "0.46M", "top1_error": 7.51},
    "resnet44":   {"params": "0.66M", "top1_error": 7.17},
    "resnet56":   {"params": "0.85M", "top1_error": 6.97},
    "resnet110":  {"params": "1.7M",  "top1_error": 6.43},  # best of five; 6.61 ± 0.16
    "resnet1202": {"params": "19.4M", "top1_error": 7.93},
}  # fmt: skip

register(
    CifarResNet,
    VARIANTS,
    family="ResNet-CIFAR",
    paper="he2015",
    table="Sec. 4.2, Table 6",
    input_size=(3, 32, 32),
    num_classes=10,
    published={name: row | {"data": "CIFAR-10, flip and padded crop"} for name, row in TABLE_6.items()},
)
