"""ResNet and its plain counterpart, on ImageNet and on CIFAR-10: He, Zhang, Ren, Sun 2015."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from convatlas.layers.depth import StochasticDepth
from convatlas.layers.gating import GATES, SQUEEZES, Gate, Squeeze, SqueezeExcitation, check_reduction
from convatlas.layers.init import he_
from convatlas.layers.residual import PadShortcut, check_survival, conv1x1, conv3x3, depths, junction, projection
from convatlas.network import Network
from convatlas.registry import check_choice, register

EXPANSION = {"basic": 1, "bottleneck": 4}  # Table 1: a bottleneck's last convolution has four times the filters


@dataclass(frozen=True)
class Spec:
    """A column of Table 1, and below it what later papers change in these networks."""

    block: Literal["basic", "bottleneck"]
    layers: tuple[int, int, int, int]  # the blocks of conv2_x, conv3_x, conv4_x and conv5_x
    shortcut: Literal["A", "B", "C", "none"] = "B"  # Sec. 3.3 and 4.1
    stride_in: Literal["first", "3x3"] = "first"  # the convolution of a bottleneck that halves the map
    stem: Literal["7x7", "7x7_ceil", "small"] = "7x7"  # _ceil: unpadded pooling; small: 3×3 and no pooling
    cardinality: int = 1  # Xie et al. 2017: groups of a bottleneck's 3×3 convolution
    base_width: int = 64  # channels of a group in conv2_x: Xie et al. 2017, d; with one group, Zagoruyko 2016
    reduction: int | None = None  # Hu et al. 2018: squeeze-and-excitation with C / reduction units
    squeeze: Squeeze = "average"
    gate: Gate = "sigmoid"
    survival: float | None = None  # Huang et al. 2016: of the last block, by the linear rule
    conv_bias: bool = False  # the lectures': convolutions keep their bias, a projection has it for normalisation

    def __post_init__(self) -> None:
        check_choice("shortcut", self.shortcut, ("A", "B", "C", "none"))
        check_choice("stem", self.stem, ("7x7", "7x7_ceil", "small"))
        check_blocks(self, width=64)
        if len(self.layers) != 4 or min(self.layers) < 1:
            raise ValueError(f"layers are the blocks of four stages, at least 1 each, and not {self.layers!r}")


@dataclass(frozen=True)
class CifarSpec:
    """A column of Sec. 4.2's description: 6n + 2 layers, and what goes around each pair of them."""

    n: int
    shortcut: Literal["A", "B", "none"] = "A"  # "identity shortcuts in all cases (i.e., option A)"
    block: Literal["basic", "bottleneck"] = "basic"  # with bottlenecks 9n + 2 layers: Xie et al. 2017, Sec. 5.3
    stride_in: Literal["first", "3x3"] = "first"
    width: int = 16  # filters of the first convolution
    cardinality: int = 1
    base_width: int = 64
    reduction: int | None = None
    squeeze: Squeeze = "average"
    gate: Gate = "sigmoid"
    survival: float | None = None
    conv_bias: bool = False

    def __post_init__(self) -> None:
        check_choice("shortcut", self.shortcut, ("A", "B", "none"))
        if not isinstance(self.n, int) or self.n < 1:
            raise ValueError(f"n, the blocks a stage, is a whole number of at least 1, not {self.n!r}")
        if not isinstance(self.width, int) or self.width < 1:
            raise ValueError(f"width, of the first convolution, is a whole number of at least 1, not {self.width!r}")
        check_blocks(self, width=self.width)


def check_blocks(spec: Spec | CifarSpec, *, width: int) -> None:
    """Raise ValueError for blocks that cannot be; conv2_x has `width` filters."""
    check_choice("block", spec.block, ("basic", "bottleneck"))
    check_choice("stride_in", spec.stride_in, ("first", "3x3"))
    check_choice("squeeze", spec.squeeze, tuple(SQUEEZES))
    check_choice("gate", spec.gate, tuple(GATES))
    check_survival(spec.survival, shortcut=spec.shortcut)
    check_reduction(spec.reduction, channels=width * EXPANSION[spec.block])
    if min(spec.cardinality, spec.base_width) < 1:
        raise ValueError("cardinality and base_width are whole numbers of at least 1")
    if width * spec.base_width < 64:
        raise ValueError(f"base_width {spec.base_width} is for a width of 64: of {width} it leaves a group no channel")
    if spec.block == "basic" and (spec.cardinality, spec.base_width) != (1, 64):
        raise ValueError("a basic block has neither cardinality nor base_width: these are a bottleneck's")


def shortcut(in_channels: int, out_channels: int, *, stride: int, spec: Spec | CifarSpec) -> nn.Module | None:
    """Sec. 3.3 and 4.1: A pads with zeros, B projects where the shape changes, C everywhere; a plain net has none."""
    if spec.shortcut == "none":
        return None
    if in_channels == out_channels and stride == 1 and spec.shortcut != "C":
        return nn.Identity()
    if spec.shortcut == "A":
        return PadShortcut(in_channels, out_channels, stride)
    conv = conv1x1(in_channels, out_channels, stride=stride, bias=spec.conv_bias)
    return projection(conv, norm=not spec.conv_bias)


class Block(nn.Module):
    """`(N, C, H, W) -> (N, K, H/stride, W/stride)`: two 3×3 convolutions, and the shortcut around them."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int,
        spec: Spec | CifarSpec,
        depth: StochasticDepth | None = None,
    ) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, out_channels, stride=stride, bias=spec.conv_bias)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu1 = nn.ReLU()
        self.conv2 = conv3x3(out_channels, out_channels, bias=spec.conv_bias)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.se = gating(out_channels, spec)
        self.depth = depth
        self.shortcut = shortcut(in_channels, out_channels, stride=stride, spec=spec)
        self.relu2 = nn.ReLU()

    def branch(self, x: Tensor) -> Tensor:
        """F(x)."""
        y: Tensor = self.relu1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return y if self.se is None else self.se(y)

    def forward(self, x: Tensor) -> Tensor:
        """`relu(F(x) + x)`, Eq. 1 and Fig. 2; without a shortcut `relu(F(x))`."""
        shortcut = None if self.shortcut is None else self.shortcut(x)
        return self.relu2(junction(shortcut, self.branch, x, self.depth))  # type: ignore[no-any-return]


class Bottleneck(nn.Module):
    """`(N, C, H, W) -> (N, 4w, H/stride, W/stride)`: 1×1, 3×3, 1×1, and the shortcut (Fig. 5, right).

    The first two have w filters, or as many as `cardinality` groups of `base_width` · w / 64 come to.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int,
        spec: Spec | CifarSpec,
        depth: StochasticDepth | None = None,
    ) -> None:
        super().__init__()
        width = out_channels // 4 * spec.base_width // 64 * spec.cardinality
        first, second = (stride, 1) if spec.stride_in == "first" else (1, stride)
        self.conv1 = conv1x1(in_channels, width, stride=first, bias=spec.conv_bias)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = conv3x3(width, width, stride=second, groups=spec.cardinality, bias=spec.conv_bias)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv3 = conv1x1(width, out_channels, bias=spec.conv_bias)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.se = gating(out_channels, spec)
        self.depth = depth
        self.shortcut = shortcut(in_channels, out_channels, stride=stride, spec=spec)
        self.relu3 = nn.ReLU()

    def branch(self, x: Tensor) -> Tensor:
        """F(x)."""
        y: Tensor = self.relu1(self.bn1(self.conv1(x)))
        y = self.relu2(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return y if self.se is None else self.se(y)

    def forward(self, x: Tensor) -> Tensor:
        """`relu(F(x) + x)`, Eq. 1."""
        shortcut = None if self.shortcut is None else self.shortcut(x)
        return self.relu3(junction(shortcut, self.branch, x, self.depth))  # type: ignore[no-any-return]


def gating(channels: int, spec: Spec | CifarSpec) -> SqueezeExcitation | None:
    """What stands before the addition where the spec has squeeze-and-excitation."""
    if spec.reduction is None:
        return None
    return SqueezeExcitation(channels, spec.reduction, squeeze=spec.squeeze, gate=spec.gate)


def stage(
    blocks: int,
    in_channels: int,
    width: int,
    *,
    stride: int,
    spec: Spec | CifarSpec,
    depth: Iterator[StochasticDepth | None],
) -> nn.Sequential:
    """The blocks of a stage; the first one changes the shape."""
    block = Block if spec.block == "basic" else Bottleneck
    out_channels = width * EXPANSION[spec.block]
    first = block(in_channels, out_channels, stride=stride, spec=spec, depth=next(depth))
    rest = (block(out_channels, out_channels, stride=1, spec=spec, depth=next(depth)) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)


class ResNet(Network):
    """Table 1: a 7×7 convolution and a pooling, four stages on maps of 56, 28, 14 and 7, average, classifier."""

    least_size = 32  # a pixel for the last stage: the image is halved five times

    def __init__(self, spec: Spec, *, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes=num_classes, in_channels=in_channels)
        self.spec = spec
        # layer name               conv1    conv2_x  conv3_x  conv4_x  conv5_x
        # output size              112×112  56×56    28×28    14×14    7×7
        # filters of a 3×3         64       64       128      256      512
        small = spec.stem == "small"
        kernel, step = (3, 1) if small else (7, 2)
        self.conv1 = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(in_channels, 64, kernel, stride=step, padding=kernel // 2, bias=spec.conv_bias),
                bn=nn.BatchNorm2d(64),
                relu=nn.ReLU(),
            )
        )
        if small:
            self.least_size = 8
        else:
            # Table 1 has it in conv2_x: "3×3 max pool, stride 2". To get 56 of 112 it needs a border: a pixel on
            # every side or, as Caffe does, on the far sides alone.
            ceil = spec.stem == "7x7_ceil"
            self.pool1 = nn.MaxPool2d(kernel_size=3, stride=2, padding=0 if ceil else 1, ceil_mode=ceil)
        e, depth = EXPANSION[spec.block], depths(sum(spec.layers), spec.survival)
        self.conv2_x = stage(spec.layers[0], 64, 64, stride=1, spec=spec, depth=depth)
        self.conv3_x = stage(spec.layers[1], 64 * e, 128, stride=2, spec=spec, depth=depth)
        self.conv4_x = stage(spec.layers[2], 128 * e, 256, stride=2, spec=spec, depth=depth)
        self.conv5_x = stage(spec.layers[3], 256 * e, 512, stride=2, spec=spec, depth=depth)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = self.classifier()
        self.initialize()

    def initialize(self) -> None:
        """He's: "We initialize the weights as in [13]" (Sec. 3.4); normalisation begins as the identity."""
        he_(self)

    def classifier(self) -> nn.Module:
        """One dense layer behind the average of the maps."""
        dense = nn.Linear(512 * EXPANSION[self.spec.block], self.num_classes)
        he_(dense)
        return dense


class CifarResNet(Network):
    """Sec. 4.2: a 3×3 convolution, three stages of 2n layers on maps of 32, 16 and 8, average, classifier."""

    least_size = 4  # a pixel for the last stage, which halves the image twice

    def __init__(self, spec: CifarSpec, *, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes=num_classes, in_channels=in_channels)
        self.spec = spec
        # output map size          32×32    16×16   8×8
        # # layers                 1 + 2n   2n      2n
        # # filters                16       32      64
        w, e, depth = spec.width, EXPANSION[spec.block], depths(3 * spec.n, spec.survival)
        self.conv1 = nn.Sequential(
            OrderedDict(
                conv=conv3x3(in_channels, w, bias=spec.conv_bias),
                bn=nn.BatchNorm2d(w),
                relu=nn.ReLU(),
            )
        )
        self.conv2_x = stage(spec.n, w, w, stride=1, spec=spec, depth=depth)
        self.conv3_x = stage(spec.n, w * e, 2 * w, stride=2, spec=spec, depth=depth)
        self.conv4_x = stage(spec.n, 2 * w * e, 4 * w, stride=2, spec=spec, depth=depth)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = self.classifier()
        self.initialize()

    def initialize(self) -> None:
        """He's: "adopt the weight initialization in [13]" (Sec. 4.2); normalisation begins as the identity."""
        he_(self)

    def classifier(self) -> nn.Module:
        """One dense layer behind the average of the maps."""
        dense = nn.Linear(4 * self.spec.width * EXPANSION[self.spec.block], self.num_classes)
        he_(dense)
        return dense


TABLE_1 = {
    # layer name              conv2_x conv3_x conv4_x conv5_x
    "plain18":   Spec("basic",      (2, 2, 2,  2), shortcut="none"),
    "plain34":   Spec("basic",      (3, 4, 6,  3), shortcut="none"),
    "resnet18":  Spec("basic",      (2, 2, 2,  2)),
    "resnet34":  Spec("basic",      (3, 4, 6,  3)),
    "resnet50":  Spec("bottleneck", (3, 4, 6,  3)),
    "resnet101": Spec("bottleneck", (3, 4, 23, 3)),
    "resnet152": Spec("bottleneck", (3, 8, 36, 3)),
}  # fmt: skip

TABLE_3: dict[str, dict[str, str | float]] = {
    # layers       # Table 1          error (%), 10 crops
    "plain18":   {"macs": "1.8G",  "top1_error": 27.94},  # Table 2
    "plain34":   {"macs": "3.6G",  "top1_error": 28.54, "top5_error": 10.02},
    "resnet18":  {"macs": "1.8G"},                         # Table 2 prints option A's alone: 27.88
    "resnet34":  {"macs": "3.6G",  "top1_error": 24.52, "top5_error": 7.46},  # A 25.03, 7.76; C 24.19, 7.40
    "resnet50":  {"macs": "3.8G",  "top1_error": 22.85, "top5_error": 6.71},
    "resnet101": {"macs": "7.6G",  "top1_error": 21.75, "top5_error": 6.05},
    "resnet152": {"macs": "11.3G", "top1_error": 21.43, "top5_error": 5.71},
}  # fmt: skip

LATER = {
    # what became usual: github.com/facebookarchive/fb.resnet.torch, then torchvision and timm
    "resnet50_v1_5":  Spec("bottleneck", (3, 4, 6,  3), stride_in="3x3"),
    "resnet101_v1_5": Spec("bottleneck", (3, 4, 23, 3), stride_in="3x3"),
    "resnet152_v1_5": Spec("bottleneck", (3, 8, 36, 3), stride_in="3x3"),
}  # fmt: skip
LECTURES = {"resnet18_d2l": Spec("basic", (2, 2, 2, 2), conv_bias=True)}

STRIDE = "a stage halves its maps in the 3×3 convolution of its first block; Table 1's networks, in the 1×1 before it"
BIASES = "Dive into Deep Learning, Sec. 8.6: the convolutions have biases, and the projections no normalisation"

SEC_4_2 = {
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
    ResNet,
    TABLE_1,
    family="ResNet",
    paper="he2015",
    table="Table 1",
    input_size=(3, 224, 224),
    num_classes=1000,
    published={name: row | {"data": "ImageNet, 10-crop"} for name, row in TABLE_3.items()},
)
register(
    ResNet,
    LATER,
    family="ResNet",
    paper="he2015",
    table="Table 1",
    input_size=(3, 224, 224),
    num_classes=1000,
    deviations=(STRIDE,),
)
register(
    ResNet,
    LECTURES,
    family="ResNet",
    paper="zhang2021",
    table="chapter ResNet",
    input_size=(1, 96, 96),
    num_classes=10,
    deviations=(BIASES,),
)
register(
    CifarResNet,
    SEC_4_2,
    family="ResNet-CIFAR",
    paper="he2015",
    table="Sec. 4.2, Table 6",
    input_size=(3, 32, 32),
    num_classes=10,
    published={name: row | {"data": "CIFAR-10, flip and padded crop"} for name, row in TABLE_6.items()},
)
