"""Network in network: Lin, Chen, Yan 2013 (ICLR 2014); its ImageNet net, and the form of it that lectures teach."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Literal, NamedTuple

from torch import nn

from convatlas.layers.checks import check_share, check_whole
from convatlas.layers.init import gaussian_, xavier_
from convatlas.layers.parts import drawn, part
from convatlas.layers.pooling import GlobalAveragePool
from convatlas.network import Network
from convatlas.registry import register


class MLPConv(NamedTuple):
    """A row of the definition: a convolution, and the perceptron of 1×1 convolutions that slides with it (Sec. 3.1)."""

    kernel_size: int
    stride: int
    padding: int
    maps: tuple[int | None, ...]
    """Of the convolution and of each 1×1 convolution; None, in the last row alone, is a map for each class."""
    std: tuple[float, ...] | None
    """Of their first weights, N(0, std²); None where they are Xavier's."""
    pool: Literal["max", "average", "none"]
    """What is behind it: 3×3, every second pixel."""


@dataclass(frozen=True)
class Spec:
    """The mlpconv layers, and what makes logits of the last one's maps."""

    mlpconvs: tuple[MLPConv, ...]
    head: Literal["average", "dense", "dense_dropout"] = "average"  # Sec. 3.2; Sec. 4.6 has the others for comparison
    dropout: float = 0.5
    dropout_at: Literal["each", "last"] = "each"  # behind each pooling, or behind the last alone
    ceil_mode: bool = True  # Caffe's and cuda-convnet's pooling, whose last window may reach out of the maps
    size: int = 32  # of the images, which a dense head fixes

    def __post_init__(self) -> None:
        check_share("dropout", self.dropout)
        check_whole("size", self.size)
        for row in self.mlpconvs:
            check_row(row)
        *rows, last = self.mlpconvs
        if any(row.pool == "none" or None in row.maps for row in rows):
            raise ValueError("mlpconvs, all but the last, have a pooling and no maps for the classes")
        if last.pool != "none" or last.maps[-1] is not None:
            raise ValueError("the last of the mlpconvs has no pooling, and ends with maps for the classes: None")
        if self.head != "average" and self.side(self.size) < 1:
            raise ValueError(f"size, of the images, leaves no pixel for the dense head: {self.size}")

    def side(self, size: int) -> int:
        """The height and width of the last maps for images of `size`; 0 where some layer has no pixel to see."""
        for row in self.mlpconvs:
            size = (size + 2 * row.padding - row.kernel_size) // row.stride + 1
            if row.pool != "none" and size > 0:
                size = (size - 2) // 2 + 1 if self.ceil_mode else (size - 3) // 2 + 1
            if size < 1:
                return 0
        return size

    @property
    def least_size(self) -> int:
        """The least images, for which the last maps have a pixel."""
        return next(size for size in count(1) if self.side(size) > 0)


def check_row(row: MLPConv) -> None:
    """Raise ValueError for a row that there cannot be."""
    check_whole("kernel_size, of an mlpconv,", row.kernel_size)
    check_whole("stride, of an mlpconv,", row.stride)
    check_whole("padding, of an mlpconv,", row.padding, least=0)
    if not row.maps or any(maps is not None and maps < 1 for maps in row.maps):
        raise ValueError(f"maps, of an mlpconv, are numbers of at least 1, or None, and not {row.maps!r}")
    if row.std is not None and len(row.std) != len(row.maps):
        raise ValueError(f"std, of an mlpconv, is one for each of its maps, or None, and not {row.std!r}")


class NiN(Network):
    """Fig. 2: mlpconv layers, and the average of the last one's maps, one for each class."""

    spec: Spec

    def __init__(self, spec: Spec, *, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes=num_classes, in_channels=in_channels)
        self.spec = spec
        self.fixed_size = spec.head != "average"
        self.least_size = spec.size if self.fixed_size else spec.least_size
        channels = in_channels
        *rows, last = spec.mlpconvs
        for number, row in enumerate(rows, start=1):
            self.add_module(f"mlpconv{number}", part(**perceptron(row, channels, num_classes=num_classes)))
            channels = widths(row, num_classes)[-1]
            kind = nn.MaxPool2d if row.pool == "max" else nn.AvgPool2d
            pool: dict[str, nn.Module] = {"pool": kind(kernel_size=3, stride=2, ceil_mode=spec.ceil_mode)}
            if spec.dropout and (spec.dropout_at == "each" or number == len(rows)):
                pool["drop"] = nn.Dropout(spec.dropout)
            self.add_module(f"pool{number}", part(**pool))
        ready = last.maps.index(None)  # so many of the last row's layers have nothing of the classes yet
        if ready:
            layers = perceptron(last, channels, num_classes=num_classes, end=ready)
            self.add_module(f"mlpconv{len(spec.mlpconvs)}", part(**layers))
            channels = widths(last, num_classes)[ready - 1]
        self.before = channels
        self.categories = self.classifier()
        self.initialize()

    def initialize(self) -> None:
        """N(0, std²) of the definitions that the authors released."""
        draw(self, [std for row in self.spec.mlpconvs for std in row.std or ()])

    def classifier(self) -> nn.Module:
        """What the classes shape: "one feature map for each corresponding category" (Sec. 3.2), and their averages."""
        last = self.spec.mlpconvs[-1]
        ready = last.maps.index(None)
        layers = perceptron(last, self.before, num_classes=self.num_classes, begin=ready)
        if self.spec.head == "average":
            layers["average"] = GlobalAveragePool()
        else:  # Sec. 4.6: a fully connected layer in the place of the average, for comparison
            layers["flatten"] = nn.Flatten()
            if self.spec.head == "dense_dropout":
                layers["drop"] = nn.Dropout(self.spec.dropout)
            layers["dense"] = nn.Linear(self.num_classes * self.spec.side(self.spec.size) ** 2, self.num_classes)
        return drawn(part(**layers), partial(draw, stds=(last.std or ())[ready:]))


def widths(row: MLPConv, num_classes: int) -> tuple[int, ...]:
    """The maps of the row's convolutions, in numbers."""
    return tuple(num_classes if maps is None else maps for maps in row.maps)


def perceptron(
    row: MLPConv, in_channels: int, *, num_classes: int, begin: int = 0, end: int | None = None
) -> dict[str, nn.Module]:
    """The layers `begin` to `end` of a row, under names: its convolution is the first, the 1×1 ones follow."""
    layers: dict[str, nn.Module] = {}
    for number, channels in list(enumerate(widths(row, num_classes)))[begin:end]:
        layers[f"conv{number}" if number else "conv"] = (
            nn.Conv2d(in_channels, channels, kernel_size=1)
            if number
            else nn.Conv2d(in_channels, channels, row.kernel_size, stride=row.stride, padding=row.padding)
        )
        layers[f"relu{number}" if number else "relu"] = nn.ReLU()  # behind the last one too: Eq. 2
        in_channels = channels
    return layers


def draw(module: nn.Module, stds: Sequence[float]) -> None:
    """Xavier's for all layers, and N(0, std²) for the convolutions, in order, where there are such."""
    xavier_(module)
    convolutions = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]
    for layer, std in zip(convolutions, stds, strict=False):
        gaussian_(layer, std)


# The paper prints no widths; these are of the definitions that its authors released.
CIFAR = (
    # kernel_size, stride, padding, maps, std, pool
    MLPConv(5, 1, 2, (192, 160, 96),      (0.05, 0.05, 0.05), "max"),      # 32×32
    MLPConv(5, 1, 2, (192, 192, 192),     (0.05, 0.05, 0.05), "average"),  # 16×16
    MLPConv(3, 1, 1, (192, 192, None),    (0.05, 0.05, 0.05), "none"),     # 8×8
)  # fmt: skip
IMAGENET = (
    MLPConv(11, 4, 0, (96, 96, 96),       (0.01, 0.05, 0.05), "max"),      # 54×54
    MLPConv(5, 1, 2,  (256, 256, 256),    (0.05, 0.05, 0.05), "max"),      # 27×27
    MLPConv(3, 1, 1,  (384, 384, 384),    (0.01, 0.05, 0.05), "max"),      # 13×13
    MLPConv(3, 1, 1,  (1024, 1024, None), (0.05, 0.05, 0.01), "none"),     # 6×6
)  # fmt: skip
LECTURE = (
    MLPConv(11, 4, 0, (96, 96, 96),       None, "max"),                    # 54×54
    MLPConv(5, 1, 2,  (256, 256, 256),    None, "max"),                    # 26×26
    MLPConv(3, 1, 1,  (384, 384, 384),    None, "max"),                    # 12×12
    MLPConv(3, 1, 1,  (None, None, None), None, "none"),                   # 5×5
)  # fmt: skip

NIN_CIFAR = Spec(CIFAR)
NIN_IMAGENET = Spec(IMAGENET, dropout_at="last", size=224)
NIN_LECTURE = Spec(LECTURE, dropout_at="last", ceil_mode=False, size=224)

register(
    NiN,
    {"nin_cifar": NIN_CIFAR},
    family="NiN",
    paper="lin2013",
    table="Fig. 2, Table 1",
    input_size=(3, 32, 32),
    num_classes=10,
    least_size=NIN_CIFAR.least_size,
    published={"nin_cifar": {"top1_error": 10.41, "data": "CIFAR-10, without augmentation"}},
    deviations=("the widths, which the paper does not print, are those of the definition that its authors released",),
)
register(
    NiN,
    {"nin_imagenet": NIN_IMAGENET},
    family="NiN",
    paper="lin2013",
    table="the authors' model definition",
    input_size=(3, 224, 224),
    num_classes=1000,
    least_size=NIN_IMAGENET.least_size,
    published={"nin_imagenet": {"params": "7.6M", "top1_error": 40.64, "data": "ImageNet-2012 val"}},
    deviations=("the paper has no network for ImageNet; this is the definition that its authors released",),
)
register(
    NiN,
    {"nin_d2l": NIN_LECTURE},
    family="NiN",
    paper="zhang2021",
    table="chapter NiN",
    input_size=(1, 224, 224),
    num_classes=10,
    least_size=NIN_LECTURE.least_size,
)
