"""DenseNet: Huang, Liu, van der Maaten, Weinberger 2017; and the form of it that lectures teach."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from convatlas.layers.checks import check_share
from convatlas.layers.init import he_, xavier_
from convatlas.layers.parts import drawn, part
from convatlas.layers.pooling import GlobalAveragePool
from convatlas.layers.saving import Scratch, composite
from convatlas.network import Network
from convatlas.registry import register


@dataclass(frozen=True)
class DenseNetSpec:
    """A column of Table 1, and what is common to its columns."""

    layers: tuple[int, ...]  # of each dense block
    growth_rate: int = 32  # k, "the growth rate for all the networks is k = 32"
    bottleneck: bool = True  # B: a 1×1 convolution to 4k channels before each 3×3
    compression: float = 0.5  # C: θ, the part of the channels that a transition keeps
    dropout: float = 0.0  # "after each convolutional layer (except the first one)", Sec. 4.2
    saving: bool = False  # memory: normalised concatenations are computed again in the backward pass
    form: Literal["paper", "lecture"] = "paper"  # the lectures' convolutions have biases, drawn as Xavier says

    def __post_init__(self) -> None:
        if not self.layers or min(self.layers) < 1:
            raise ValueError(f"layers has a whole number of at least 1 for each dense block, not {self.layers}")
        check_rates(self)

    @property
    def channels(self) -> int:
        """Those of the first convolution: 2k (Sec. 3); the lectures keep 64."""
        return 64 if self.form == "lecture" else 2 * self.growth_rate


@dataclass(frozen=True)
class CifarSpec:
    """A row of Table 2: three dense blocks of equal depth."""

    depth: int  # L
    growth_rate: int  # k
    bottleneck: bool = False
    compression: float = 1.0
    start: Literal["16", "2k"] = "16"  # "16 (or twice the growth rate for DenseNet-BC) output channels", Sec. 3
    dropout: float = 0.0  # 0.2 for "the three datasets without data augmentation", Sec. 4.2
    saving: bool = False

    def __post_init__(self) -> None:
        each = 6 if self.bottleneck else 3
        if self.depth <= 4 or (self.depth - 4) % each:
            raise ValueError(f"depth is 4 and a multiple of {each} for three equal blocks, and not {self.depth}")
        check_rates(self)

    @property
    def layers(self) -> tuple[int, ...]:
        """Of each block. Depth counts convolutions and the classifier: 4 are outside of the dense blocks."""
        return ((self.depth - 4) // (6 if self.bottleneck else 3),) * 3

    @property
    def channels(self) -> int:
        """Those of the first convolution."""
        return 16 if self.start == "16" else 2 * self.growth_rate


def check_rates(spec: "DenseNetSpec | CifarSpec") -> None:
    """Raise ValueError for a growth rate, compression or dropout that there cannot be."""
    if spec.growth_rate < 1:
        raise ValueError(f"growth_rate is a whole number of at least 1, and not {spec.growth_rate}")
    if not 0 < spec.compression <= 1:
        raise ValueError(f"compression is above 0 and at most 1, and not {spec.compression}")
    check_share("dropout", spec.dropout)
    channels = spec.channels
    for layers in spec.layers[:-1]:
        channels = int(spec.compression * (channels + layers * spec.growth_rate))
        if channels < 1:
            raise ValueError(f"compression {spec.compression} leaves a transition no channel")


class DenseLayer(nn.Module):
    """`(N, C, H, W) -> (N, k, H, W)`, H_l of Eq. 2: BN, ReLU, 3×3 convolution, with a bottleneck before it or not.

    It takes its input in pieces, as the layers before it made them, and concatenates them itself.
    """

    def __init__(self, in_channels: int, *, spec: DenseNetSpec | CifarSpec, scratch: Scratch | None) -> None:
        super().__init__()
        k = spec.growth_rate
        size, out_channels = (1, 4 * k) if spec.bottleneck else (3, k)  # "each 1×1 convolution produce 4k feature-maps"
        self.bottleneck, self.scratch = spec.bottleneck, scratch
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(in_channels, out_channels, kernel_size=size, padding=size // 2, bias=has_bias(spec))
        self.drop1 = nn.Dropout(spec.dropout)
        if spec.bottleneck:
            self.norm2 = nn.BatchNorm2d(out_channels)
            self.relu2 = nn.ReLU()
            self.conv2 = nn.Conv2d(out_channels, k, kernel_size=3, padding=1, bias=has_bias(spec))
            self.drop2 = nn.Dropout(spec.dropout)

    def forward(self, *pieces: Tensor) -> Tensor:
        """The k new maps. Dropout stays outside of what a saving layer computes twice."""
        y = self.drop1(composite(self.norm1, self.relu1, self.conv1, *pieces, scratch=self.scratch))
        if self.bottleneck:
            y = self.drop2(composite(self.norm2, self.relu2, self.conv2, y, scratch=self.scratch))
        return y  # type: ignore[no-any-return]


class DenseBlock(nn.Module):
    """`(N, C, H, W) -> (N, C + layers·k, H, W)`: each layer sees the input and the maps of all layers before it."""

    def __init__(
        self, layers: int, in_channels: int, *, spec: DenseNetSpec | CifarSpec, scratch: Scratch | None
    ) -> None:
        super().__init__()
        self.channels, self.scratch = in_channels + spec.growth_rate * layers, scratch
        for layer in range(1, layers + 1):  # numbered as the paper does: layer l has k0 + k(l − 1) inputs
            channels = in_channels + spec.growth_rate * (layer - 1)
            self.add_module(f"layer{layer}", DenseLayer(channels, spec=spec, scratch=scratch))

    def forward(self, x: Tensor) -> Tensor:
        """The input and every layer's maps, concatenated (Fig. 1)."""
        if self.scratch is not None:
            self.scratch.most = len(x) * self.channels * x.shape[2] * x.shape[3]
        pieces = [x]
        for layer in self.children():
            pieces.append(layer(*pieces))
        return torch.cat(pieces, dim=1)


class Transition(nn.Module):
    """`(N, C, H, W) -> (N, θC, H/2, W/2)`: "a batch normalization layer and an 1×1 convolutional layer followed by
    a 2×2 average pooling layer" (Sec. 3). The ReLU between them is in the released code alone.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, spec: DenseNetSpec | CifarSpec, scratch: Scratch | None
    ) -> None:
        super().__init__()
        self.scratch = scratch
        self.norm = nn.BatchNorm2d(in_channels)
        self.relu = nn.ReLU()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=has_bias(spec))
        self.drop = nn.Dropout(spec.dropout)
        self.pool = nn.AvgPool2d(kernel_size=2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Half as wide, and fewer channels."""
        y = composite(self.norm, self.relu, self.conv, x, scratch=self.scratch)
        return self.pool(self.drop(y))  # type: ignore[no-any-return]


def has_bias(spec: DenseNetSpec | CifarSpec) -> bool:
    """Whether the convolutions have biases before their batch norms, as the lectures' do."""
    return isinstance(spec, DenseNetSpec) and spec.form == "lecture"


def add_dense_stages(network: Network, channels: int, *, spec: DenseNetSpec | CifarSpec) -> int:
    """Give the network its dense blocks, the transitions between them, and the BN, ReLU and average behind them.

    Returns the channels that the classifier sees.
    """
    scratch = Scratch() if spec.saving else None
    for number, layers in enumerate(spec.layers, start=1):
        network.add_module(f"dense_block{number}", DenseBlock(layers, channels, spec=spec, scratch=scratch))
        channels += layers * spec.growth_rate
        if number < len(spec.layers):
            kept = int(spec.compression * channels)  # "⌊θm⌋ output feature-maps", Sec. 3
            network.add_module(f"transition{number}", Transition(channels, kept, spec=spec, scratch=scratch))
            channels = kept
    network.add_module("norm", part(norm=nn.BatchNorm2d(channels), relu=nn.ReLU()))
    network.add_module("pool", GlobalAveragePool())
    return channels


class DenseNet(Network):
    """Table 1: a 7×7 convolution and a pooling, four dense blocks with transitions, average, classifier."""

    least_size = 29  # of four blocks

    def __init__(self, spec: DenseNetSpec, *, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes=num_classes, in_channels=in_channels)
        self.spec = spec
        # a pixel for the last block: a transition halves and rounds down, the first two layers halve and round up
        self.least_size = 4 * 2 ** (len(spec.layers) - 1) - 3
        # for a 224×224 image: 112 after conv1, 56 in block 1, 28 in block 2, 14 in block 3, 7 in block 4
        self.conv1 = part(
            conv=nn.Conv2d(in_channels, spec.channels, kernel_size=7, stride=2, padding=3, bias=has_bias(spec)),
            norm=nn.BatchNorm2d(spec.channels),
            relu=nn.ReLU(),
        )
        self.pool1 = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.features = add_dense_stages(self, spec.channels, spec=spec)
        self.fc = self.classifier()
        self.initialize()

    def initialize(self) -> None:
        """He's (Sec. 4.2); the lecture form as the lectures have it."""
        (xavier_ if self.spec.form == "lecture" else he_)(self)

    def classifier(self) -> nn.Module:
        """One dense layer behind the average."""
        return drawn(nn.Linear(self.features, self.num_classes), xavier_ if self.spec.form == "lecture" else he_)


class CifarDenseNet(Network):
    """Sec. 3, "Implementation Details": a 3×3 convolution, dense blocks on maps of 32, 16, 8, average, classifier."""

    least_size = 4  # a pixel for the last block

    def __init__(self, spec: CifarSpec, *, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes=num_classes, in_channels=in_channels)
        self.spec = spec
        self.conv1 = nn.Conv2d(in_channels, spec.channels, kernel_size=3, padding=1, bias=False)
        self.features = add_dense_stages(self, spec.channels, spec=spec)
        self.fc = self.classifier()
        self.initialize()

    def initialize(self) -> None:
        """He's: "We adopt the weight initialization introduced by [10]" (Sec. 4.2)."""
        he_(self)

    def classifier(self) -> nn.Module:
        """One dense layer behind the average."""
        return drawn(nn.Linear(self.features, self.num_classes), he_)


IMAGENET = {
    # Table 1                     blocks 1 to 4
    "densenet121": DenseNetSpec((6, 12, 24, 16)),
    "densenet169": DenseNetSpec((6, 12, 32, 32)),
    "densenet201": DenseNetSpec((6, 12, 48, 32)),
    "densenet264": DenseNetSpec((6, 12, 64, 48)),  # 265 layers, by the count that gives the others their names
    "densenet161": DenseNetSpec((6, 12, 36, 24), growth_rate=48),
}  # fmt: skip

TABLE_3: dict[str, dict[str, str | float]] = {
    #                              # params           top-1                 top-5, single crop
    "densenet121": {                                 "top1_error": 25.02, "top5_error": 7.71},
    "densenet169": {                                 "top1_error": 23.80, "top5_error": 6.85},
    "densenet201": {"params": "20M",                 "top1_error": 22.58, "top5_error": 6.34},  # Sec. 4.4
    "densenet264": {                                 "top1_error": 22.15, "top5_error": 6.12},
    "densenet161": {                                 "top1_error": 22.33, "top5_error": 6.15},
}  # fmt: skip

CIFAR = {
    # Table 2                        L                  k
    "densenet_40_12":      CifarSpec(depth=40,  growth_rate=12),
    "densenet_100_12":     CifarSpec(depth=100, growth_rate=12),
    "densenet_100_24":     CifarSpec(depth=100, growth_rate=24),
    "densenet_bc_100_12":  CifarSpec(depth=100, growth_rate=12, bottleneck=True, compression=0.5, start="2k"),
    "densenet_bc_250_24":  CifarSpec(depth=250, growth_rate=24, bottleneck=True, compression=0.5, start="2k"),
    "densenet_bc_190_40":  CifarSpec(depth=190, growth_rate=40, bottleneck=True, compression=0.5, start="2k"),
}  # fmt: skip

TABLE_2: dict[str, dict[str, str | float]] = {
    #                       params             C10+
    "densenet_40_12":     {"params": "1.0M",  "top1_error": 5.24},
    "densenet_100_12":    {"params": "7.0M",  "top1_error": 4.10},
    "densenet_100_24":    {"params": "27.2M", "top1_error": 3.74},
    "densenet_bc_100_12": {"params": "0.8M",  "top1_error": 4.51},
    "densenet_bc_250_24": {"params": "15.3M", "top1_error": 3.62},
    "densenet_bc_190_40": {"params": "25.6M", "top1_error": 3.46},
}  # fmt: skip

register(
    CifarDenseNet,
    CIFAR,
    family="DenseNet-CIFAR",
    paper="huang2017",
    table="Sec. 3, Table 2",
    input_size=(3, 32, 32),
    num_classes=10,
    published={name: row | {"data": "CIFAR-10, flip and padded crop"} for name, row in TABLE_2.items()},
)
register(
    DenseNet,
    IMAGENET,
    family="DenseNet",
    paper="huang2017",
    table="Table 1, Table 3",
    input_size=(3, 224, 224),
    num_classes=1000,
    published={name: row | {"data": "ImageNet, 1-crop"} for name, row in TABLE_3.items()},
    deviations={"densenet161": ("k = 48: in Table 3 of the paper's earlier versions, and not of the last",)},
)
register(
    DenseNet,
    {"densenet_d2l": DenseNetSpec((4, 4, 4, 4), growth_rate=32, bottleneck=False, compression=0.5, form="lecture")},
    family="DenseNet",
    paper="zhang2021",
    table="chapter DenseNet",
    input_size=(1, 96, 96),
    num_classes=10,
    published={"densenet_d2l": {"params": "758,226"}},
)
