"""BN-Inception: Ioffe, Szegedy 2015, Fig. 5; what Sec. 4.2 compares with it; and the small network of Sec. 4.1."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.layers.checks import check_share
from convatlas.layers.gating import SqueezeExcitation, check_reduction
from convatlas.layers.inception import Behind, Conv, stem
from convatlas.layers.init import xavier_, zero_bias_
from convatlas.layers.parts import ACTIVATIONS, drawn, part
from convatlas.layers.pooling import GlobalAveragePool
from convatlas.network import Network
from convatlas.registry import derive, register


class Widths(NamedTuple):
    """A row of Fig. 5: the filters of each path of a module, how it pools, and its stride."""

    conv_1x1: int
    reduce_3x3: int
    conv_3x3: int
    reduce_double: int
    conv_double: int
    pool: Literal["avg", "max"]
    proj: int | None
    """None where the pooled maps are passed through."""
    stride: int = 1


FIGURE_5 = {
    # type                 #1×1  #3×3    #3×3  double  double  pool + proj, stride
    #                            reduce        #3×3    #3×3
    #                                          reduce
    "inception_3a": Widths( 64,   64,     64,   64,     96,    "avg",   32),
    "inception_3b": Widths( 64,   64,     96,   64,     96,    "avg",   64),
    "inception_3c": Widths(  0,  128,    160,   64,     96,    "max", None, 2),
    "inception_4a": Widths(224,   64,     96,   96,    128,    "avg",  128),
    "inception_4b": Widths(192,   96,    128,   96,    128,    "avg",  128),
    "inception_4c": Widths(160,  128,    160,  128,    160,    "avg",  128),
    "inception_4d": Widths( 96,  128,    192,  160,    192,    "avg",  128),
    "inception_4e": Widths(  0,  128,    192,  192,    256,    "max", None, 2),
    "inception_5a": Widths(352,  192,    320,  160,    224,    "avg",  128),
    "inception_5b": Widths(352,  192,    320,  192,    224,    "max",  128),
}  # fmt: skip

# The column "output size", size and channels. The modules 3c and 4e are printed with the size of their input. The
# paths of 4c, 4d and 4e add to 608, 608 and 1056 maps, and not to what is printed.
PRINTED = {
    "conv1": (112, 64), "pool1": (56, 64), "conv2": (56, 192), "pool2": (28, 192),
    "inception_3a": (28, 256), "inception_3b": (28, 320), "inception_3c": (28, 576),
    "inception_4a": (14, 576), "inception_4b": (14, 576), "inception_4c": (14, 576), "inception_4d": (14, 576),
    "inception_4e": (14, 1024), "inception_5a": (7, 1024), "inception_5b": (7, 1024), "avg_pool": (1, 1024),
}  # fmt: skip


@dataclass(frozen=True)
class Spec:
    """What Sec. 4.2 compares, and what a later paper adds."""

    norm: Literal["batch", "none"] = "batch"  # "none" is Fig. 3's "Inception"; no table places its LRN, so it has none
    activation: Literal["relu", "sigmoid"] = "relu"  # "BN-x5-Sigmoid"
    stem: Literal["dense", "separable"] = "dense"
    dropout: float = 0.0  # Sec. 4.2.1, "Remove Dropout"; the networks "Inception" and "BN-Baseline" have it
    reduction: int | None = None  # Hu et al. 2018: squeeze-and-excitation with C / reduction units, behind each module

    def __post_init__(self) -> None:
        check_share("dropout", self.dropout)
        check_reduction(self.reduction, channels=256)  # 3a's maps

    @property
    def behind(self) -> Behind:
        """What stands behind each convolution."""
        return Behind(batch_norm=self.norm == "batch", activation=ACTIVATIONS[self.activation])


class HalvingPool(nn.Module):
    """`(N, C, H, W) -> (N, C, H/2, W/2)`, rounded up: the greatest of 3×3 windows with stride 2.

    The windows of an even map, as all of Fig. 5 are, begin at the first pixel and reach over the last. An odd map has
    a border on both sides, so that its size is that which the convolutions beside it give.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The border does not count."""
        padding = (x.shape[2] % 2, x.shape[3] % 2)
        return F.max_pool2d(x, kernel_size=3, stride=2, padding=padding, ceil_mode=True)


class Inception(nn.Module):
    """`(N, C, H, W) -> (N, K, H/stride, W/stride)`: four paths side by side, or three with a stride of 2.

    Unlike GoogLeNet's: "the 5×5 convolutional layers are replaced by two consecutive layers of 3×3 convolutions"
    (Sec. 4.2).
    """

    def __init__(self, in_channels: int, widths: Widths, *, spec: Spec) -> None:
        super().__init__()
        stride, behind = widths.stride, spec.behind
        self.conv_1x1 = Conv(in_channels, widths.conv_1x1, 1, behind) if widths.conv_1x1 else None
        self.reduce_3x3 = Conv(in_channels, widths.reduce_3x3, 1, behind)
        self.conv_3x3 = Conv(widths.reduce_3x3, widths.conv_3x3, 3, behind, stride=stride)
        self.reduce_double = Conv(in_channels, widths.reduce_double, 1, behind)
        self.conv_double1 = Conv(widths.reduce_double, widths.conv_double, 3, behind)
        self.conv_double2 = Conv(widths.conv_double, widths.conv_double, 3, behind, stride=stride)
        self.pool: nn.Module
        if stride == 2:
            self.pool = HalvingPool()
        elif widths.pool == "max":
            self.pool = nn.MaxPool2d(kernel_size=3, stride=1, padding=1)
        else:
            self.pool = nn.AvgPool2d(kernel_size=3, stride=1, padding=1)
        self.proj = Conv(in_channels, widths.proj, 1, behind) if widths.proj else None
        passed = widths.proj or in_channels
        self.out_channels = widths.conv_1x1 + widths.conv_3x3 + widths.conv_double + passed
        self.se = None if spec.reduction is None else SqueezeExcitation(self.out_channels, spec.reduction)

    def forward(self, x: Tensor) -> Tensor:
        """The paths' maps, one behind the other."""
        pooled = self.pool(x)
        paths = [] if self.conv_1x1 is None else [self.conv_1x1(x)]
        paths += [
            self.conv_3x3(self.reduce_3x3(x)),
            self.conv_double2(self.conv_double1(self.reduce_double(x))),
            pooled if self.proj is None else self.proj(pooled),
        ]
        y = torch.cat(paths, dim=1)
        return y if self.se is None else self.se(y)


class BNInception(Network):
    """Fig. 5: a stem, ten inception modules, the average of their maps, one dense layer."""

    least_size = 32  # the maps are halved five times

    def __init__(self, spec: Spec, *, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes=num_classes, in_channels=in_channels)
        self.spec = spec
        behind, separable = spec.behind, spec.stem == "separable"
        # fmt: off
        self.conv1 = stem(in_channels, behind, separable=separable)               #   64@112×112
        self.pool1 = HalvingPool()                                                #   64@56×56
        self.conv2 = part(reduce_3x3=Conv(64, 64, 1, behind), conv_3x3=Conv(64, 192, 3, behind))
        self.pool2 = HalvingPool()                                                #  192@28×28
        channels = 192
        for name, widths in FIGURE_5.items():
            module = Inception(channels, widths, spec=spec)
            self.add_module(name, module)
            channels = module.out_channels                                        # 1024@7×7
        self.avg_pool = GlobalAveragePool()                                       # 1024
        if spec.dropout:
            self.dropout = nn.Dropout(spec.dropout)
        self.linear = self.classifier()                                           # 1000
        # fmt: on
        self.initialize()

    def initialize(self) -> None:
        """Glorot's; the paper does not say."""
        xavier_(self)

    def classifier(self) -> nn.Module:
        """One dense layer behind the average of the 1024 maps."""
        return drawn(nn.Linear(1024, self.num_classes), xavier_)


# --------------------------------------------------------------------------- Sec. 4.1, on MNIST


@dataclass(frozen=True)
class SmallSpec:
    """The two networks whose activations Fig. 1 compares."""

    norm: Literal["batch", "none"] = "batch"


class SmallNetwork(Network):
    """Sec. 4.1: "3 fully-connected hidden layers with 100 activations each", sigmoids, and a dense classifier."""

    fixed_size = True
    least_size = 28

    def __init__(self, spec: SmallSpec, *, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes=num_classes, in_channels=in_channels)
        self.spec = spec
        self.flatten = nn.Flatten()
        self.hidden1 = hidden(28 * 28 * in_channels, spec)
        self.hidden2 = hidden(100, spec)
        self.hidden3 = hidden(100, spec)
        self.output = self.classifier()
        self.initialize()

    def initialize(self) -> None:
        """The paper's "small random Gaussian values", whose deviation it leaves open: 0.1, which is 1/√100."""
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                small_(layer)

    def classifier(self) -> nn.Module:
        """One unit per class."""
        return drawn(nn.Linear(100, self.num_classes), small_)


def hidden(inputs: int, spec: SmallSpec) -> nn.Sequential:
    """`(N, inputs) -> (N, 100)`: y = g(BN(Wu)), or g(Wu + b)."""
    if spec.norm == "none":
        return part(dense=nn.Linear(inputs, 100), act=nn.Sigmoid())
    return part(dense=nn.Linear(inputs, 100, bias=False), bn=nn.BatchNorm1d(100), act=nn.Sigmoid())


def small_(dense: nn.Linear) -> None:
    """Draw the weights from N(0, 0.1²); the bias is 0."""
    nn.init.normal_(dense.weight, std=0.1)
    zero_bias_(dense)


register(
    BNInception,
    {"bn_inception": Spec()},
    family="BatchNorm",
    paper="ioffe2015",
    table="Fig. 5",
    input_size=(3, 224, 224),
    num_classes=1000,
    # No params: the paper's text has 13.6·10⁶, and the widths of its Fig. 5 come to 11.3·10⁶.
    published={"bn_inception": {"top1_error": 25.2, "top5_error": 7.82, "data": "ImageNet, single crop, BN-x30"}},
    deviations=(
        "the first convolution is dense, as in the networks with public weights; the paper's is separable (`stem`)",
        "the weights begin as Glorot and Bengio draw them; the papers do not say how",
    ),
)
register(
    SmallNetwork,
    {"bn_mlp": SmallSpec()},
    family="BatchNorm",
    paper="ioffe2015",
    table="Sec. 4.1, Fig. 1",
    input_size=(1, 28, 28),
    num_classes=10,
    deviations=('the weights begin with a standard deviation of 0.1; the paper has "small random Gaussian values"',),
)
derive(
    {"se_bn_inception": ("bn_inception", {"reduction": 16})},
    family="SENet",
    paper="hu2018",
    table="Table 2",
    published={
        "se_bn_inception": {"macs": "2.04G", "top1_error": 24.23, "top5_error": 7.14, "data": "ImageNet, 1-crop"},
    },
)
