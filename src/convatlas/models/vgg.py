"""VGG: Simonyan, Zisserman 2014."""

from dataclasses import dataclass
from math import inf
from typing import Literal, NamedTuple

from torch import nn

from convatlas.layers.checks import check_choice, check_share
from convatlas.layers.gating import SqueezeExcitation, check_reduction
from convatlas.layers.init import xavier_
from convatlas.layers.lrn import LocalResponseNorm
from convatlas.layers.parts import drawn, part
from convatlas.network import Network
from convatlas.registry import register

# Table 1: conv⟨kernel⟩-⟨channels⟩, with a ReLU behind each. The paper's A-LRN is A with `norm="lrn"`. The last column
# is Sec. 4.1's shallow net for comparison: B with each pair of 3×3 convolutions made one of 5×5.
TABLE_1 = """
   A           B           C           D           E          B-5x5
   conv3-64    conv3-64    conv3-64    conv3-64    conv3-64   conv5-64
   .           conv3-64    conv3-64    conv3-64    conv3-64   .
   maxpool
   conv3-128   conv3-128   conv3-128   conv3-128   conv3-128  conv5-128
   .           conv3-128   conv3-128   conv3-128   conv3-128  .
   maxpool
   conv3-256   conv3-256   conv3-256   conv3-256   conv3-256  conv5-256
   conv3-256   conv3-256   conv3-256   conv3-256   conv3-256  .
   .           .           conv1-256   conv3-256   conv3-256  .
   .           .           .           .           conv3-256  .
   maxpool
   conv3-512   conv3-512   conv3-512   conv3-512   conv3-512  conv5-512
   conv3-512   conv3-512   conv3-512   conv3-512   conv3-512  .
   .           .           conv1-512   conv3-512   conv3-512  .
   .           .           .           .           conv3-512  .
   maxpool
   conv3-512   conv3-512   conv3-512   conv3-512   conv3-512  conv5-512
   conv3-512   conv3-512   conv3-512   conv3-512   conv3-512  .
   .           .           conv1-512   conv3-512   conv3-512  .
   .           .           .           .           conv3-512  .
   maxpool
"""
COLUMNS = tuple(TABLE_1.split("\n")[1].split())


class Cell(NamedTuple):
    """A cell of Table 1: conv⟨kernel_size⟩-⟨channels⟩."""

    kernel_size: int
    channels: int


def column(name: str) -> list[list[Cell]]:
    """The blocks of a column of Table 1."""
    cells = TABLE_1.replace("maxpool", " ".join(["maxpool"] * len(COLUMNS))).split()
    down = [cell.removeprefix("conv") for cell in cells[COLUMNS.index(name) :: len(COLUMNS)][1:]]
    blocks = " ".join(down).split("maxpool")[:-1]
    return [[Cell(int(cell[0]), int(cell[2:])) for cell in block.split() if cell != "."] for block in blocks]


@dataclass(frozen=True)
class Spec:
    """A column of Table 1, and what goes around its convolutions."""

    column: str
    norm: Literal["none", "lrn", "batch"] = "none"  # "lrn" behind the first convolution (A-LRN), "batch" behind each
    width: float = 1.0  # times the channels of the convolutions
    dropout: float = 0.5  # Sec. 3.1
    size: int = 224  # of the images
    reduction: int | None = None  # Hu et al. 2018: squeeze-and-excitation with C / reduction units, behind each ReLU

    def __post_init__(self) -> None:
        check_choice("column", self.column, COLUMNS)
        if self.size < 32 or self.size % 32:
            raise ValueError(
                f"size, of the images, is a multiple of 32, which the five poolings halve; not {self.size}"
            )
        if not 1 <= self.width * 64 < inf:
            raise ValueError(f"width leaves at least one channel of 64, and is not {self.width}")
        check_reduction(self.reduction, channels=int(self.width * 64))
        check_share("dropout", self.dropout)


class VGG(Network):
    """Table 1: five blocks of small convolutions, each with max pooling behind it, and three dense layers.

    The dense layers fix the size of the images. Sec. 3.2 makes them convolutions to test on larger ones; that is
    another way to test, of the same network.
    """

    fixed_size = True
    spec: Spec

    def __init__(self, spec: Spec, *, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes=num_classes, in_channels=in_channels)
        self.spec = spec
        self.least_size = spec.size
        channels = in_channels
        for number, convolutions in enumerate(column(spec.column), start=1):
            block: dict[str, nn.Module] = {}
            for layer, cell in enumerate(convolutions, start=1):
                out_channels = int(spec.width * cell.channels)
                lrn = spec.norm == "lrn" and number == layer == 1
                block[f"conv{number}_{layer}"] = convolution(channels, out_channels, cell.kernel_size, spec, lrn=lrn)
                channels = out_channels
            self.add_module(f"conv{number}", part(**block))
            self.add_module(f"pool{number}", nn.MaxPool2d(kernel_size=2, stride=2))
        flat = channels * (spec.size // 32) ** 2
        self.fc6 = part(
            flatten=nn.Flatten(), dense=nn.Linear(flat, 4096), relu=nn.ReLU(), drop=nn.Dropout(spec.dropout)
        )
        self.fc7 = part(dense=nn.Linear(4096, 4096), relu=nn.ReLU(), drop=nn.Dropout(spec.dropout))
        self.fc8 = self.classifier()
        self.initialize()

    def initialize(self) -> None:
        """Glorot's.

        The paper's runs draw A from N(0, 0.01) and begin the deeper nets with A's layers, but "it is possible to
        initialise the weights without pre-training by using the random initialisation procedure of Glorot & Bengio"
        (Sec. 3.1). Biases are 0.
        """
        xavier_(self)

    def classifier(self) -> nn.Module:
        """The last dense layer, FC-1000 in the table."""
        return drawn(nn.Linear(4096, self.num_classes), xavier_)


def convolution(in_channels: int, out_channels: int, kernel_size: int, spec: Spec, *, lrn: bool) -> nn.Sequential:
    """`(N, C, H, W) -> (N, K, H, W)`: a convolution, and the normalisation, ReLU and gate that the spec has behind it.

    Convolutions before batch normalisation keep their biases, which it makes idle, as in the weights that are
    published. SE stands behind "the non-linearity following each convolution" (Hu et al. 2018, Sec. 3.3).
    """
    layers: dict[str, nn.Module] = {
        "conv": nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2),
    }
    if spec.norm == "batch":
        layers["bn"] = nn.BatchNorm2d(out_channels)
    layers["relu"] = nn.ReLU()
    if lrn:
        layers["lrn"] = LocalResponseNorm(5, k=2, alpha=1e-4, beta=0.75)  # Sec. 2.1: AlexNet's constants
    if spec.reduction is not None:
        layers["se"] = SqueezeExcitation(out_channels, spec.reduction)
    return part(**layers)


VARIANTS = {
    # Table 1          ConvNet configuration
    "vgg11":      Spec("A"),
    "vgg11_lrn":  Spec("A", norm="lrn"),
    "vgg13":      Spec("B"),
    "vgg16_c":    Spec("C"),
    "vgg16":      Spec("D"),
    "vgg19":      Spec("E"),
    "vgg13_5x5":  Spec("B-5x5"),  # Sec. 4.1
}  # fmt: skip

TABLES_2_AND_3: dict[str, dict[str, str | float]] = {
    # Table 2 prints millions of parameters, Table 3 errors
    "vgg11":      {"params": "133M", "top1_error": 29.6, "top5_error": 10.4},
    "vgg11_lrn":  {"params": "133M", "top1_error": 29.7, "top5_error": 10.5},
    "vgg13":      {"params": "133M", "top1_error": 28.7, "top5_error":  9.9},
    "vgg16_c":    {"params": "134M", "top1_error": 27.3, "top5_error":  8.8},
    "vgg16":      {"params": "138M", "top1_error": 25.6, "top5_error":  8.1},
    "vgg19":      {"params": "144M", "top1_error": 25.5, "top5_error":  8.0},
}  # fmt: skip

# Batch normalisation came after the paper; these figures are of the weights that torchvision has.
BATCH_NORMALISED = {
    "vgg11_bn":   Spec("A", norm="batch"),
    "vgg13_bn":   Spec("B", norm="batch"),
    "vgg16_bn":   Spec("D", norm="batch"),
    "vgg19_bn":   Spec("E", norm="batch"),
}  # fmt: skip

TORCHVISION: dict[str, dict[str, str | float]] = {
    "vgg11_bn":   {"params": "132.9M", "macs": "7.609G", "top1_error": 29.63, "top5_error": 10.19},
    "vgg16_bn":   {"params": "138.4M", "macs": "15.47G", "top1_error": 26.64, "top5_error": 8.484},
}  # fmt: skip

register(
    VGG,
    VARIANTS,
    family="VGG",
    paper="simonyan2014",
    table="Table 1",
    input_size=(3, 224, 224),
    num_classes=1000,
    published={
        name: row | {"data": "ImageNet-2012 val, dense testing at one scale"} for name, row in TABLES_2_AND_3.items()
    },
    deviations={
        "vgg13_5x5": ("each 5×5 convolution is read to be as wide as the second of B's pair: the paper does not say",)
    },
)  # fmt: skip
register(
    VGG,
    BATCH_NORMALISED,
    family="VGG",
    paper="simonyan2014",
    table="Table 1",
    input_size=(3, 224, 224),
    num_classes=1000,
    published={
        name: row | {"data": "ImageNet-2012, 1-crop val; torchvision's weights"} for name, row in TORCHVISION.items()
    },
    deviations=("batch normalisation behind every convolution, which is later than the paper",),
)
register(
    VGG,
    {"vgg11_d2l": Spec("A")},  # its chapter trains a quarter of the width, `width=0.25`
    family="VGG",
    paper="zhang2021",
    table="chapter VGG",
    input_size=(1, 224, 224),
    num_classes=10,
)
