"""Squeeze-and-excitation networks: Hu, Shen, Albanie, Sun, Wu 2018: on residual networks, and SENet-154."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from convatlas.layers.depth import StochasticDepth
from convatlas.layers.gating import SqueezeExcitation, check_reduction
from convatlas.layers.init import he_
from convatlas.layers.residual import check_survival, conv1x1, conv3x3, depths, junction, projection
from convatlas.network import Network
from convatlas.registry import derive, register

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    # Table 2                base                r
    "seresnet50":          ("resnet50",         {"reduction": 16}),
    "seresnet101":         ("resnet101",        {"reduction": 16}),
    "seresnet152":         ("resnet152",        {"reduction": 16}),
    "seresnext50_32x4d":   ("resnext50_32x4d",  {"reduction": 16}),
    "seresnext101_32x4d":  ("resnext101_32x4d", {"reduction": 16}),
}  # fmt: skip

TIMM: dict[str, tuple[str, dict[str, Any]]] = {
    "seresnext101_32x8d":  ("resnext101_32x8d", {"reduction": 16}),
    "seresnet50_v1_5":     ("resnet50_v1_5",    {"reduction": 16}),
    "seresnet101_v1_5":    ("resnet101_v1_5",   {"reduction": 16}),
    "seresnet152_v1_5":    ("resnet152_v1_5",   {"reduction": 16}),
    # its "seresnet18" and "seresnet34" are other networks, with 8 units where C / 16 is 4
    "legacy_seresnet18":   ("resnet18",         {"reduction": 16, "stem": "7x7_ceil"}),
    "legacy_seresnet34":   ("resnet34",         {"reduction": 16, "stem": "7x7_ceil"}),
}  # fmt: skip

RELEASED: dict[str, tuple[str, dict[str, Any]]] = {
    # by the authors, under timm's names
    "legacy_seresnet50":         ("resnet50",         {"reduction": 16, "stem": "7x7_ceil"}),
    "legacy_seresnet101":        ("resnet101",        {"reduction": 16, "stem": "7x7_ceil"}),
    "legacy_seresnet152":        ("resnet152",        {"reduction": 16, "stem": "7x7_ceil"}),
    "legacy_seresnext50_32x4d":  ("resnext50_32x4d",  {"reduction": 16, "stem": "7x7_ceil"}),
    "legacy_seresnext101_32x4d": ("resnext101_32x4d", {"reduction": 16, "stem": "7x7_ceil"}),
}  # fmt: skip

TABLE_2: dict[str, dict[str, str | float]] = {
    # "SENet"                multiply-adds    error (%), 1 crop                   Table 10
    "seresnet50":         {"macs": "3.87G",  "top1_error": 23.29, "top5_error": 6.62, "params": "28.1M"},
    "seresnet101":        {"macs": "7.60G",  "top1_error": 22.38, "top5_error": 6.07},
    "seresnet152":        {"macs": "11.32G", "top1_error": 21.57, "top5_error": 5.73},
    "seresnext50_32x4d":  {"macs": "4.25G",  "top1_error": 21.10, "top5_error": 5.49},
    "seresnext101_32x4d": {"macs": "8.00G",  "top1_error": 20.70, "top5_error": 5.01},
    # Table 8; multiply-adds and params: the released network
    "senet154":           {"macs": "20.7G",  "top1_error": 18.68, "top5_error": 4.47, "params": "115.1M"},
}  # fmt: skip
PUBLISHED = {name: row | {"data": "ImageNet, 1-crop"} for name, row in TABLE_2.items()}

POOLING = "the first pooling has its border on the far sides alone, as Caffe lays it, and not on every side"
OTHER_BASE = "the paper's tables do not have this base"

derive(VARIANTS, family="SENet", paper="hu2018", table="Table 2", published=PUBLISHED)
derive(
    TIMM,
    family="SENet",
    paper="hu2018",
    table="Table 2",
    deviations=dict.fromkeys(TIMM, (OTHER_BASE,))
    | dict.fromkeys(("legacy_seresnet18", "legacy_seresnet34"), (OTHER_BASE, POOLING)),
)
derive(RELEASED, family="SENet", paper="hu2018", table="Table 2", deviations=(POOLING,))


@dataclass(frozen=True)
class SENetSpec:
    """SENet-154, Sec. 5.4 and Appendix: "a modified version of the 64×4d ResNeXt-152"."""

    layers: tuple[int, int, int, int] = (3, 8, 36, 3)
    cardinality: int = 64
    base_width: int = 4  # channels of a group in conv2_x
    reduction: int = 16
    dropout: float = 0.2  # before the classifier
    survival: float | None = None  # Huang et al. 2016: of the last block, by the linear rule

    def __post_init__(self) -> None:
        check_survival(self.survival, shortcut="B")
        check_reduction(self.reduction, channels=256)
        if len(self.layers) != 4 or min(self.layers) < 1:
            raise ValueError(f"layers are the blocks of four stages, at least 1 each, and not {self.layers!r}")
        if self.cardinality < 1 or self.base_width < 2 or self.base_width % 2:
            raise ValueError(
                "cardinality is a whole number of at least 1, and base_width an even one, as the first 1×1 has half of "
                f"it a group; and not {self.cardinality} and {self.base_width}"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is a share of at least 0 and below 1, and not {self.dropout!r}")


class SEBottleneck(nn.Module):
    """`(N, C, H, W) -> (N, K, H/stride, W/stride)`: ResNeXt's, with half the filters in the first 1×1."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        width: int,
        *,
        stride: int,
        spec: SENetSpec,
        depth: StochasticDepth | None = None,
    ) -> None:
        super().__init__()
        self.conv1 = conv1x1(in_channels, width // 2)  # "halved to reduce the computational cost"
        self.bn1 = nn.BatchNorm2d(width // 2)
        self.relu1 = nn.ReLU()
        self.conv2 = conv3x3(width // 2, width, stride=stride, groups=spec.cardinality)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv3 = conv1x1(width, out_channels)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.se = SqueezeExcitation(out_channels, spec.reduction)
        self.depth = depth
        self.shortcut: nn.Module
        if in_channels == out_channels:
            self.shortcut = nn.Identity()
        else:
            # "The 1×1 down-sampling projection with stride-2 convolution was replaced with a 3×3 stride-2 convolution
            # to preserve information"
            conv = conv1x1(in_channels, out_channels) if stride == 1 else conv3x3(in_channels, out_channels, stride=2)
            self.shortcut = projection(conv)
        self.relu3 = nn.ReLU()

    def branch(self, x: Tensor) -> Tensor:
        """F(x)."""
        y: Tensor = self.relu1(self.bn1(self.conv1(x)))
        y = self.relu2(self.bn2(self.conv2(y)))
        return self.se(self.bn3(self.conv3(y)))  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        """`relu(F(x) + x)`."""
        return self.relu3(junction(self.shortcut(x), self.branch, x, self.depth))  # type: ignore[no-any-return]


class SENet(Network):
    """SENet-154: three 3×3 convolutions and a pooling, four stages, average, dropout, classifier.

    The pooling is that of the released network, with its border on the far sides alone; the paper leaves it open.
    """

    least_size = 32  # a pixel for the last stage: the image is halved five times

    def __init__(self, spec: SENetSpec, *, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes=num_classes, in_channels=in_channels)
        self.spec = spec
        self.conv1 = nn.Sequential(
            OrderedDict(
                conv1=conv3x3(in_channels, 64, stride=2),
                bn1=nn.BatchNorm2d(64),
                relu1=nn.ReLU(),
                conv2=conv3x3(64, 64),
                bn2=nn.BatchNorm2d(64),
                relu2=nn.ReLU(),
                conv3=conv3x3(64, 128),
                bn3=nn.BatchNorm2d(128),
                relu3=nn.ReLU(),
            )
        )
        self.pool1 = nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True)
        in_channels, depth = 128, depths(sum(spec.layers), spec.survival)
        for i, blocks in enumerate(spec.layers):
            out_channels, width = 256 * 2**i, spec.cardinality * spec.base_width * 2**i
            stage = nn.Sequential()
            for block in range(blocks):
                stride = 2 if block == 0 and i > 0 else 1
                stage.append(
                    SEBottleneck(in_channels, out_channels, width, stride=stride, spec=spec, depth=next(depth))
                )
                in_channels = out_channels
            self.add_module(f"conv{i + 2}_x", stage)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(spec.dropout))
        self.fc = self.classifier()
        self.initialize()

    def initialize(self) -> None:
        """He's (Sec. 5.1); normalisation begins as the identity."""
        he_(self)

    def classifier(self) -> nn.Module:
        """One dense layer behind the average of the 2048 maps."""
        dense = nn.Linear(2048, self.num_classes)
        he_(dense)
        return dense


register(
    SENet,
    {"senet154": SENetSpec()},
    family="SENet",
    paper="hu2018",
    table="Table 8",
    input_size=(3, 224, 224),
    num_classes=1000,
    published=PUBLISHED,
)
