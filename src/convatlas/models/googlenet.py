"""GoogLeNet: Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke, Rabinovich 2014, Table 1.

And the forms of it that torchvision and the lectures of "Dive into deep learning" have.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from convatlas.layers.checks import check_share
from convatlas.layers.inception import Behind, Conv, stem
from convatlas.layers.init import xavier_
from convatlas.layers.lrn import LocalResponseNorm
from convatlas.layers.parts import drawn, part
from convatlas.layers.pooling import GlobalAveragePool
from convatlas.network import Network
from convatlas.registry import register


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
        if self.largest not in (5, 3):
            raise ValueError(f"largest, the kernel of the widest path, is 5 or 3, and not {self.largest!r}")
        check_share("dropout", self.dropout)

    @property
    def behind(self) -> Behind:
        """What stands behind each convolution; the ε is torchvision's."""
        return Behind(batch_norm=self.norm == "batch", eps=1e-3)


class Inception(nn.Module):
    """Fig. 2(b): `(N, C, H, W) -> (N, K, H, W)`, four paths side by side; the costly ones begin with a reduction."""

    def __init__(self, in_channels: int, widths: Widths, behind: Behind, *, largest: int) -> None:
        super().__init__()
        self.conv_1x1 = Conv(in_channels, widths.conv_1x1, 1, behind)
        self.reduce_3x3 = Conv(in_channels, widths.reduce_3x3, 1, behind)
        self.conv_3x3 = Conv(widths.reduce_3x3, widths.conv_3x3, 3, behind)
        self.reduce_5x5 = Conv(in_channels, widths.reduce_5x5, 1, behind)
        self.conv_5x5 = Conv(widths.reduce_5x5, widths.conv_5x5, largest, behind)
        self.pool = nn.MaxPool2d(kernel_size=3, stride=1, padding=1)
        self.pool_proj = Conv(in_channels, widths.pool_proj, 1, behind)
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

    def __init__(self, in_channels: int, widths: Widths, behind: Behind, *, largest: int) -> None:
        super().__init__()
        self.conv_1x1 = Conv(in_channels, widths.conv_1x1, 1, behind)
        self.conv_3x3 = Conv(in_channels, widths.conv_3x3, 3, behind)
        self.conv_5x5 = Conv(in_channels, widths.conv_5x5, largest, behind)
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
        self.conv = Conv(in_channels, 128, 1, spec.behind)
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
        behind, halve, separable = spec.behind, pools(spec.pool), spec.stem == "separable"
        # Fig. 3: the first normalisation is behind the pool, the second before it.
        # fmt: off
        self.conv1 = stem(in_channels, behind, separable=separable)              #   64@112×112
        self.pool1 = halve[0]                                                    #   64@56×56
        if spec.norm == "lrn":
            self.norm1 = lrn()
        self.conv2 = part(reduce_3x3=Conv(64, 64, 1, behind), conv_3x3=Conv(64, 192, 3, behind))
        if spec.norm == "lrn":
            self.norm2 = lrn()                                                   #  192@56×56
        self.pool2 = halve[1]                                                    #  192@28×28
        channels = self.add_modules(192, "3a", "3b")                             #  480@28×28
        self.pool3 = halve[2]                                                    #  480@14×14
        channels = self.add_modules(channels, "4a", "4b", "4c", "4d", "4e")      #  832@14×14
        self.pool4 = halve[3]                                                    #  832@7×7
        self.features = self.add_modules(channels, "5a", "5b")                   # 1024@7×7
        self.avg_pool = GlobalAveragePool()                                      # 1024
        if spec.dropout:
            self.dropout = nn.Dropout(spec.dropout)
        self.linear = self.classifier()                                          # 1000
        # fmt: on
        if spec.auxiliary:
            if spec.pool != "ceil_2x2":
                self.least_size = 80  # a 5×5 map for the heads' average
            self.auxiliary = self.auxiliary_classifiers()
        self.initialize()

    def add_modules(self, channels: int, *rows: str) -> int:
        """Add the modules of these rows of Table 1; the channels behind the last."""
        for row in (f"inception_{row}" for row in rows):
            module = MODULES[self.spec.module](channels, TABLE_1[row], self.spec.behind, largest=self.spec.largest)
            self.add_module(row, module)
            channels = module.out_channels
        return channels

    def initialize(self) -> None:
        """Glorot's, as Caffe's GoogLeNet and the lectures have it; the paper does not say."""
        xavier_(self)

    def classifier(self) -> nn.Module:
        """One dense layer behind the average."""
        return drawn(nn.Linear(self.features, self.num_classes), xavier_)

    def auxiliary_classifiers(self) -> nn.ModuleDict:
        """New auxiliary classifiers "on top of the output of the Inception (4a) and (4d) modules" (Sec. 5)."""
        heads = nn.ModuleDict()
        for name in ("inception_4a", "inception_4d"):
            module = self.get_submodule(name)
            assert isinstance(module, Inception | NaiveInception)
            heads[name] = AuxiliaryClassifier(module.out_channels, self.num_classes, spec=self.spec)
        xavier_(heads)
        return heads


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
        # The paper has no such network; these figures are of the weights that torchvision has.
        "googlenet_tv": {
            "params": "6.6M", "macs": "1.498G", "top1_error": 30.222, "top5_error": 10.47,
            "data": "ImageNet, 1-crop, torchvision's weights",
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
