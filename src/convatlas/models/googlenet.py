"""GoogLeNet: Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke, Rabinovich 2014, Table 1.

And the forms of it that torchvision and the lectures of "Dive into deep learning" have.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from convatlas.layers.init import xavier_
from convatlas.layers.lrn import LocalResponseNorm
from convatlas.layers.parts import part
from convatlas.network import Network
from convatlas.registry import check_choice, register


class Widths(NamedTuple):
    """A row of Table 1: how many filters each path of an inception module has."""

    conv_1x1: int
    reduce_3x3: int
    conv_3x3: int
    reduce_5x5: int
    conv_5x5: int
    pool_proj: int


TABLE_1 = {
    # type                  #1×1  #3×3    #3×3  #5×5    #5×5  pool
    #                             reduce        reduce        proj
    "inception_3a": Widths( 64,    96,    128,  16,      32,   32),
    "inception_3b": Widths(128,   128,    192,  32,      96,   64),
    "inception_4a": Widths(192,    96,    208,  16,      48,   64),
    "inception_4b": Widths(160,   112,    224,  24,      64,   64),
    "inception_4c": Widths(128,   128,    256,  24,      64,   64),
    "inception_4d": Widths(112,   144,    288,  32,      64,   64),
    "inception_4e": Widths(256,   160,    320,  32,     128,  128),
    "inception_5a": Widths(256,   160,    320,  32,     128,  128),
    "inception_5b": Widths(384,   192,    384,  48,     128,  128),
}  # fmt: skip


class Printed(NamedTuple):
    """The other columns of Table 1: channels and size of the output, parameters in K, operations in M."""

    channels: int
    size: int
    params: float | None = None
    ops: int | None = None


# The weights that the widths come to, in units of 1024, are within one of what is printed for conv2, 3a, 3b, 4b and
# linear, and not for the rest; so neither is the sum, 6.8M. The operations, in units of 10⁶, agree but for conv1
# and 5a. Both figures of conv1 are those of a separable convolution: `stem="separable"`.
PRINTED = {
    # type                   output     params  ops
    "conv1":        Printed(  64, 112,     2.7,   34),
    "pool1":        Printed(  64,  56),
    "conv2":        Printed( 192,  56,   112,    360),
    "pool2":        Printed( 192,  28),
    "inception_3a": Printed( 256,  28,   159,    128),
    "inception_3b": Printed( 480,  28,   380,    304),
    "pool3":        Printed( 480,  14),
    "inception_4a": Printed( 512,  14,   364,     73),
    "inception_4b": Printed( 512,  14,   437,     88),
    "inception_4c": Printed( 512,  14,   463,    100),
    "inception_4d": Printed( 528,  14,   580,    119),
    "inception_4e": Printed( 832,  14,   840,    170),
    "pool4":        Printed( 832,   7),
    "inception_5a": Printed( 832,   7,  1072,     54),
    "inception_5b": Printed(1024,   7,  1388,     71),
    "avg_pool":     Printed(1024,   1),
    "linear":       Printed(1000,   1,  1000,      1),
}  # fmt: skip


@dataclass(frozen=True)
class Spec:
    """What the paper leaves to choose, and where libraries go another way."""

    module: Literal["inception", "naive"] = "inception"  # Fig. 2(b), and Fig. 2(a) without the reductions
    stem: Literal["dense", "separable"] = "dense"
    norm: Literal["lrn", "batch", "none"] = "lrn"
    largest: Literal[5, 3] = 5  # the kernel of the column "#5×5"
    pool: Literal["ceil", "ceil_2x2", "padded"] = "ceil"  # how the maps are halved: see `pools`
    dropout: float = 0.4  # "dropout (40%)"
    auxiliary: bool = False  # Sec. 5: the two classifiers that help in training and are "discarded" after it

    def __post_init__(self) -> None:
        check_choice("module", self.module, ("inception", "naive"))
        check_choice("stem", self.stem, ("dense", "separable"))
        check_choice("norm", self.norm, ("lrn", "batch", "none"))
        check_choice("pool", self.pool, ("ceil", "ceil_2x2", "padded"))
        if not isinstance(self.auxiliary, bool):
            raise ValueError(f"auxiliary is true or false, and not {self.auxiliary!r}")
        if self.largest not in (5, 3):
            raise ValueError(f"largest, the kernel of the widest path, is 5 or 3, and not {self.largest!r}")
        if not isinstance(self.dropout, int | float) or not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is a probability from 0 to below 1, and not {self.dropout!r}")


class Conv(nn.Sequential):
    """`(N, C, H, W) -> (N, K, H/stride, W/stride)`: a convolution and a rectified linear unit, as all here have.

    With batch normalisation between the two there is no bias, which the normalisation would take away.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, batch: bool) -> None:
        padding = kernel_size // 2
        conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride=stride, padding=padding, bias=not batch)
        parts: dict[str, nn.Module] = {"conv": conv}
        if batch:
            parts["bn"] = nn.BatchNorm2d(out_channels, eps=1e-3)
        super().__init__(OrderedDict(parts, relu=nn.ReLU()))


class Inception(nn.Module):
    """Fig. 2(b): `(N, C, H, W) -> (N, K, H, W)`, four paths side by side; the costly ones begin with a reduction."""

    def __init__(self, in_channels: int, widths: Widths, *, largest: int = 5, batch: bool = False) -> None:
        super().__init__()
        self.conv_1x1 = Conv(in_channels, widths.conv_1x1, 1, batch=batch)
        self.reduce_3x3 = Conv(in_channels, widths.reduce_3x3, 1, batch=batch)
        self.conv_3x3 = Conv(widths.reduce_3x3, widths.conv_3x3, 3, batch=batch)
        self.reduce_5x5 = Conv(in_channels, widths.reduce_5x5, 1, batch=batch)
        self.conv_5x5 = Conv(widths.reduce_5x5, widths.conv_5x5, largest, batch=batch)
        self.pool = nn.MaxPool2d(kernel_size=3, stride=1, padding=1)
        self.pool_proj = Conv(in_channels, widths.pool_proj, 1, batch=batch)
        self.out_channels = widths.conv_1x1 + widths.conv_3x3 + widths.conv_5x5 + widths.pool_proj

    def forward(self, x: Tensor) -> Tensor:
        """The four paths' maps, one behind the other ("DepthConcat" in Fig. 3)."""
        paths = (
            self.conv_1x1(x),
            self.conv_3x3(self.reduce_3x3(x)),
            self.conv_5x5(self.reduce_5x5(x)),
            self.pool_proj(self.pool(x)),
        )
        return torch.cat(paths, dim=1)


class NaiveInception(nn.Module):
    """Fig. 2(a): `(N, C, H, W) -> (N, K + C, H, W)`: no reductions, and the pooled maps are passed on as they are.

    So the maps become more "from stage to stage" (Sec. 4), and each costs the next module more.
    """

    def __init__(self, in_channels: int, widths: Widths, *, largest: int = 5, batch: bool = False) -> None:
        super().__init__()
        self.conv_1x1 = Conv(in_channels, widths.conv_1x1, 1, batch=batch)
        self.conv_3x3 = Conv(in_channels, widths.conv_3x3, 3, batch=batch)
        self.conv_5x5 = Conv(in_channels, widths.conv_5x5, largest, batch=batch)
        self.pool = nn.MaxPool2d(kernel_size=3, stride=1, padding=1)
        self.out_channels = widths.conv_1x1 + widths.conv_3x3 + widths.conv_5x5 + in_channels

    def forward(self, x: Tensor) -> Tensor:
        """The three convolutions' maps and the pooled ones."""
        return torch.cat((self.conv_1x1(x), self.conv_3x3(x), self.conv_5x5(x), self.pool(x)), dim=1)


MODULES: dict[str, type[Inception] | type[NaiveInception]] = {"inception": Inception, "naive": NaiveInception}


class AuxiliaryClassifier(nn.Module):
    """Sec. 5: `(N, C, 14, 14) -> (N, num_classes)`, from the maps of a stage in the middle."""

    def __init__(self, in_channels: int, num_classes: int, *, spec: Spec) -> None:
        super().__init__()
        # "An average pooling layer with 5×5 filter size and stride 3, resulting in an 4×4×512 output for the (4a)"; for
        # images of another size than 224, which the paper does not have, the 4×4 is brought about from what there is.
        average = [nn.AvgPool2d(kernel_size=5, stride=3)] if spec.pool != "ceil_2x2" else []
        self.pool = nn.Sequential(*average, nn.AdaptiveAvgPool2d(4))
        self.conv = Conv(in_channels, 128, 1, batch=spec.norm == "batch")
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(0.7)
        self.fc2 = nn.Linear(1024, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """The logits."""
        x = self.relu(self.fc1(self.conv(self.pool(x)).flatten(1)))
        return self.fc2(self.dropout(x))  # type: ignore[no-any-return]


class GoogLeNet(Network):
    """Table 1: a stem, nine inception modules, the average of their maps, one dense layer."""

    least_size = 32  # the maps are halved five times

    def __init__(self, spec: Spec, *, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes=num_classes, in_channels=in_channels)
        self.spec = spec
        batch = spec.norm == "batch"
        halve = pools(spec.pool)
        # Fig. 3: the first normalisation is behind the pool, the second before it.
        # fmt: off
        self.conv1 = stem(in_channels, spec)                                     #   64@112×112
        self.pool1 = halve[0]                                                    #   64@56×56
        if spec.norm == "lrn":
            self.norm1 = lrn()
        self.conv2 = part(reduce_3x3=Conv(64, 64, 1, batch=batch), conv_3x3=Conv(64, 192, 3, batch=batch))
        if spec.norm == "lrn":
            self.norm2 = lrn()                                                   #  192@56×56
        self.pool2 = halve[1]                                                    #  192@28×28
        channels = self.add_modules("3", 192)                                    #  480@28×28
        self.pool3 = halve[2]                                                    #  480@14×14
        channels = self.add_modules("4", channels)                               #  832@14×14
        self.pool4 = halve[3]                                                    #  832@7×7
        self.features = self.add_modules("5", channels)                          # 1024@7×7
        self.avg_pool = part(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten()) # 1024
        if spec.dropout:
            self.dropout = nn.Dropout(spec.dropout)
        self.linear = self.classifier()                                          # 1000
        # fmt: on
        if spec.auxiliary:
            if spec.pool != "ceil_2x2":
                self.least_size = 80  # a 5×5 map for the heads' average
            self.auxiliary = self.auxiliary_classifiers()
        self.initialize()

    def add_modules(self, group: str, channels: int) -> int:
        """Add the modules of Table 1 whose names begin with the group's number; the channels behind the last."""
        for name, widths in TABLE_1.items():
            if name.startswith(f"inception_{group}"):
                kind = MODULES[self.spec.module]
                module = kind(channels, widths, largest=self.spec.largest, batch=self.spec.norm == "batch")
                self.add_module(name, module)
                channels = module.out_channels
        return channels

    def initialize(self) -> None:
        """Glorot's, as Caffe's GoogLeNet and the lectures have it; the paper does not say."""
        xavier_(self)

    def classifier(self) -> nn.Module:
        """One dense layer behind the average."""
        dense = nn.Linear(self.features, self.num_classes)
        xavier_(dense)
        return dense

    def auxiliary_classifiers(self) -> nn.ModuleDict:
        """New auxiliary classifiers "on top of the output of the Inception (4a) and (4d) modules" (Sec. 5)."""
        heads = nn.ModuleDict()
        for name in ("inception_4a", "inception_4d"):
            module = self.get_submodule(name)
            assert isinstance(module, Inception | NaiveInception)
            heads[name] = AuxiliaryClassifier(module.out_channels, self.num_classes, spec=self.spec)
        xavier_(heads)
        return heads


def stem(in_channels: int, spec: Spec) -> nn.Module:
    """The 7×7/2 convolution: dense, or of depth multiplier 8 and then 1×1, as the printed 2.7K and 34M have it.

    The authors' next paper says of its network, the successor, that it has such a layer here (Ioffe and Szegedy 2015,
    appendix).
    """
    batch = spec.norm == "batch"
    if spec.stem == "dense":
        return Conv(in_channels, 64, 7, stride=2, batch=batch)
    wide = 8 * in_channels
    depthwise = nn.Conv2d(in_channels, wide, kernel_size=7, stride=2, padding=3, groups=in_channels, bias=False)
    return part(depthwise=depthwise, pointwise=Conv(wide, 64, 1, batch=batch))


def pools(kind: str) -> list[nn.Module]:
    """The four max pools between the stages.

    Table 1's sizes 56, 28, 14 and 7 need windows that begin at the first pixel and reach over the last ("ceil", as in
    Caffe), or a border ("padded", as in the lectures). "ceil_2x2" is torchvision's, whose last windows are smaller.
    """
    if kind == "padded":
        return [nn.MaxPool2d(kernel_size=3, stride=2, padding=1) for _ in range(4)]
    last = 2 if kind == "ceil_2x2" else 3
    return [nn.MaxPool2d(kernel_size=size, stride=2, ceil_mode=True) for size in (3, 3, 3, last)]


def lrn() -> LocalResponseNorm:
    """Fig. 3's "LocalRespNorm", whose constants are not given: Caffe's, k = 1 and α = 10⁻⁴ on the mean of five."""
    return LocalResponseNorm(5, k=1.0, alpha=1e-4 / 5, beta=0.75)


register(
    GoogLeNet,
    {
        "googlenet": Spec(),
        "googlenet_tv": Spec(norm="batch", largest=3, pool="ceil_2x2", dropout=0.2),
    },
    family="GoogLeNet",
    paper="szegedy2014",
    table="Table 1",
    input_size=(3, 224, 224),
    num_classes=1000,
    published={
        # No params: the printed column adds up to 6.8M, which its own widths do not come to.
        "googlenet": {"macs": "1.5G", "top5_error": 10.07, "data": "ImageNet, 1 model, 1 crop"},
        "googlenet_tv": {
            "params": "6.6M", "macs": "1.498G", "top1_error": 30.222, "top5_error": 10.47,
            "data": "ImageNet, 1-crop, by torchvision",
        },
    },
    deviations={
        "googlenet": (
            "the weights begin as Glorot and Bengio draw them; the paper does not say how",
            "local response normalisation has Caffe's constants (k = 1, α = 10⁻⁴/5, β = 0.75); the paper gives none",
        ),
        "googlenet_tv": (
            "torchvision's form: the paths of the column #5×5 have 3×3 kernels",
            "torchvision's form: batch normalisation behind each convolution, and no local response normalisation",
            "torchvision's form: the pool before 5a has 2×2 windows, and 20 % of the units are dropped, not 40 %",
            "torchvision's form: the auxiliary classifiers take an adaptive average, not that of 5×5 windows",
            "the weights begin as Glorot and Bengio draw them, where torchvision's begin as a cut normal distribution",
            "torchvision's trained weights are for images from −1 to 1, which torchvision brings about in its network",
        ),
    },
)  # fmt: skip
register(
    GoogLeNet,
    {"googlenet_d2l": Spec(norm="none", pool="padded", dropout=0.0)},
    family="GoogLeNet",
    paper="zhang2021",
    table="chapter GoogLeNet",
    input_size=(1, 96, 96),
    num_classes=10,
)
