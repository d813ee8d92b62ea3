"""Residual networks by what stands on the shortcut, and in which order: He, Zhang, Ren, Sun 2016."""

import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from convatlas.layers.depth import StochasticDepth
from convatlas.layers.gating import SqueezeExcitation, check_reduction
from convatlas.layers.init import he_
from convatlas.layers.residual import PadShortcut, check_survival, conv1x1, conv3x3, depths, junction
from convatlas.network import Network
from convatlas.registry import check_choice, derive, register

Order = Literal["original", "bn_after_addition", "relu_before_addition", "relu_only_preact", "full_preact"]
ORDERS = {
    # Fig. 4                  before the first  behind the last  behind the
    #                         convolution       convolution      addition
    "original":             ("",               "bn",            "relu"),
    "bn_after_addition":    ("",               "",              "bn relu"),
    "relu_before_addition": ("",               "bn relu",       ""),
    "relu_only_preact":     ("relu",           "bn",            ""),
    "full_preact":          ("bn relu",        "",              ""),
}  # fmt: skip


@dataclass(frozen=True)
class PreActSpec:
    """A row of Tables 2 to 5, and below it what later papers change in these networks."""

    block: Literal["single", "basic", "bottleneck"]  # how many convolutions a unit has: 1, 2 or 3
    layers: tuple[int, ...]  # the units of each stage
    order: Order = "full_preact"
    shortcut: Literal["A", "B", "C", "none"] = "B"  # where the shape changes; C, 1×1 convolutions everywhere
    on_shortcut: float | Literal["gate", "dropout"] = 1  # Table 1: a factor, 1 − g(x), or dropout of a half
    on_branch: float | Literal["gate"] = 1  # Table 1, "on F": a factor, or g(x)
    gate_bias: float = 0  # Table 1: where g begins
    stem: Literal["3x3", "7x7", "7x7_bare"] = "3x3"  # _bare: neither normalisation nor ReLU before the pooling
    width: int = 16  # filters of a 3×3 convolution in conv2_x: 16k in Zagoruyko and Komodakis 2016
    stride_in: Literal["first", "3x3"] = "first"  # the convolution of a bottleneck that halves the map
    dropout: float = 0.0  # Zagoruyko and Komodakis 2016, Sec. 2.4: between the convolutions
    reduction: int | None = None  # Hu et al. 2018: squeeze-and-excitation with C / reduction units
    survival: float | None = None  # Huang et al. 2016: of the last unit, by the linear rule

    def __post_init__(self) -> None:
        check_choice("block", self.block, ("single", "basic", "bottleneck"))
        check_choice("order", self.order, tuple(ORDERS))
        check_choice("shortcut", self.shortcut, ("A", "B", "C", "none"))
        check_choice("stem", self.stem, ("3x3", "7x7", "7x7_bare"))
        check_choice("stride_in", self.stride_in, ("first", "3x3"))
        check_survival(self.survival, shortcut=self.shortcut)
        if len(self.layers) < 1 or min(self.layers) < 1:
            raise ValueError(f"layers are the units of each stage, at least 1 each, and not {self.layers!r}")
        if isinstance(self.on_shortcut, str):
            check_choice("on_shortcut", self.on_shortcut, ("gate", "dropout"))
        if isinstance(self.on_branch, str):
            check_choice("on_branch", self.on_branch, ("gate",))
        for field in ("on_shortcut", "on_branch", "gate_bias"):
            value = getattr(self, field)
            if not isinstance(value, str) and not math.isfinite(value):
                raise ValueError(f"{field} is a finite number, and not {value!r}")
        if not isinstance(self.width, int) or self.width < 1:
            raise ValueError(f"width, of conv2_x, is a whole number of at least 1, and not {self.width!r}")
        check_reduction(self.reduction, channels=self.width * self.expansion)
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is a share of at least 0 and below 1, and not {self.dropout!r}")

    @property
    def expansion(self) -> int:
        """How many times the filters of a 3×3 convolution a unit's output has."""
        return 4 if self.block == "bottleneck" else 1


def activation(kinds: str, channels: int) -> nn.Sequential:
    """A cell of Fig. 4: "bn relu", "bn", "relu" or nothing."""
    return nn.Sequential(
        OrderedDict((kind, nn.BatchNorm2d(channels) if kind == "bn" else nn.ReLU()) for kind in kinds.split())
    )


def convolutions(in_channels: int, width: int, *, stride: int, spec: PreActSpec) -> list[nn.Conv2d]:
    """The convolutions of a unit, without what stands between them."""
    if spec.block == "single":
        return [conv3x3(in_channels, width, stride=stride)]
    if spec.block == "basic":
        return [conv3x3(in_channels, width, stride=stride), conv3x3(width, width)]
    first, second = (stride, 1) if spec.stride_in == "first" else (1, stride)
    return [conv1x1(in_channels, width, stride=first), conv3x3(width, width, stride=second), conv1x1(width, 4 * width)]


class Unit(nn.Module):
    """`(N, C, H, W) -> (N, K, H/stride, W/stride)`: f(h(x) + F(x)), Eq. 1 and 2, in one of the orders of Fig. 4.

    `activated` says that the network has done what stands before the first convolution.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        stride: int,
        spec: PreActSpec,
        activated: bool = False,
        depth: StochasticDepth | None = None,
    ) -> None:
        super().__init__()
        before, behind, after = ORDERS[spec.order]
        convs = convolutions(in_channels, width, stride=stride, spec=spec)
        out_channels = convs[-1].out_channels

        self.before = activation("" if activated else before, in_channels)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for i, conv in enumerate(convs, start=1):
            layers[f"conv{i}"] = conv
            if conv is not convs[-1]:
                layers[f"bn{i}"] = nn.BatchNorm2d(conv.out_channels)
                layers[f"relu{i}"] = nn.ReLU()
                if spec.dropout and conv is convs[-2]:
                    layers["dropout"] = nn.Dropout(spec.dropout)
        layers["behind"] = activation(behind, out_channels)
        if spec.reduction is not None:
            layers["se"] = SqueezeExcitation(out_channels, spec.reduction)
        self.residual = nn.Sequential(layers)
        self.after = activation(after, out_channels)
        self.depth = depth

        self.shortcut: nn.Module | None
        self.projects = False
        if spec.shortcut == "none":
            self.shortcut = None
        elif in_channels == out_channels and stride == 1 and spec.shortcut != "C":
            self.shortcut = nn.Identity()
        elif spec.shortcut == "A":
            self.shortcut = PadShortcut(in_channels, out_channels, stride)
        else:
            # "[…] when pre-activation is used, these projection shortcuts are also with pre-activation" (Appendix).
            # They end as the residual does, so that what is added is normalised on both sides or on neither.
            self.projects = True
            self.shortcut = nn.Sequential(
                OrderedDict(
                    conv=conv1x1(in_channels, out_channels, stride=stride),
                    behind=activation(behind.removesuffix(" relu"), out_channels),
                )
            )

        # Sec. 3.1: g(x) = σ(W x + b), a gate for each value of the shortcut
        self.on_shortcut, self.on_branch = spec.on_shortcut, spec.on_branch
        self.gate: nn.Conv2d | None = None
        if "gate" in (spec.on_shortcut, spec.on_branch):
            self.gate = conv1x1(in_channels, out_channels, stride=stride, bias=True)
        self.dropout = nn.Dropout(0.5) if spec.on_shortcut == "dropout" else None

    def forward(self, x: Tensor) -> Tensor:
        """`f(h(x) + F(x))`."""
        y = self.before(x)
        g = None if self.gate is None else self.gate(x).sigmoid()
        shortcut = None if self.shortcut is None else self.shortcut(y if self.projects else x)
        if shortcut is not None:
            shortcut = self.weighed_shortcut(shortcut, g)
        return self.after(junction(shortcut, lambda y: self.weighed_branch(y, g), y, self.depth))  # type: ignore[no-any-return]

    def weighed_shortcut(self, shortcut: Tensor, g: Tensor | None) -> Tensor:
        """Table 1, "on shortcut"."""
        if self.dropout is not None:
            return self.dropout(shortcut)  # type: ignore[no-any-return]
        if isinstance(self.on_shortcut, str):
            assert g is not None
            return (1 - g) * shortcut
        return shortcut if self.on_shortcut == 1 else self.on_shortcut * shortcut

    def weighed_branch(self, x: Tensor, g: Tensor | None) -> Tensor:
        """Table 1, "on F"."""
        y: Tensor = self.residual(x)
        if isinstance(self.on_branch, str):
            assert g is not None
            return g * y
        return y if self.on_branch == 1 else self.on_branch * y


class PreActResNet(Network):
    """Appendix: a 3×3 convolution, stages on maps of 32, 16 and 8, average, classifier, for CIFAR.

    For ImageNet (Table 5) a 7×7 convolution and a pooling, and stages on maps of 56, 28, 14 and 7.
    "For the first Residual Unit (that follows a stand-alone convolutional layer, conv1), we adopt the first
    activation right after conv1 and before splitting into two paths; for the last Residual Unit […] we adopt an
    extra activation right after its element-wise addition": the stage `activation`.
    """

    least_size = 4  # a pixel for the last stage, which halves the image twice

    def __init__(self, spec: PreActSpec, *, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes=num_classes, in_channels=in_channels)
        self.spec = spec
        # a pixel for the last stage: all but the first halve the image, and a 7×7 with its pooling halve it twice
        self.least_size = 2 ** (len(spec.layers) - 1) * (1 if spec.stem == "3x3" else 4)
        depth = depths(sum(spec.layers), spec.survival)
        if spec.stem == "3x3":
            channels = 16  # of a wide network too
            stem = conv3x3(in_channels, channels)
        else:
            channels = 64
            stem = nn.Conv2d(in_channels, channels, kernel_size=7, stride=2, padding=3, bias=False)
        kinds = "" if spec.stem == "7x7_bare" else "bn relu"
        self.conv1 = nn.Sequential(OrderedDict(conv=stem, **dict(activation(kinds, channels).named_children())))
        if spec.stem != "3x3":
            self.pool1 = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        for i, units in enumerate(spec.layers):
            width = spec.width * 2**i
            # Behind a pooling the first unit is as the others: so count the networks of Table 5.
            activated = i == 0 and spec.stem == "3x3"
            self.add_module(
                f"conv{i + 2}_x",
                stage(units, channels, width, stride=1 if i == 0 else 2, spec=spec, activated=activated, depth=depth),
            )
            channels = width * spec.expansion
        self.features = channels
        if before := ORDERS[spec.order][0]:
            self.activation = activation(before, channels)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = self.classifier()
        self.initialize()

    def initialize(self) -> None:
        """He's (Appendix); normalisation begins as the identity, and gates with the bias of Table 1."""
        he_(self)
        for unit in self.modules():
            if isinstance(unit, Unit) and unit.gate is not None and unit.gate.bias is not None:
                nn.init.constant_(unit.gate.bias, self.spec.gate_bias)

    def classifier(self) -> nn.Module:
        """One dense layer behind the average of the maps."""
        dense = nn.Linear(self.features, self.num_classes)
        he_(dense)
        return dense


def stage(
    units: int,
    in_channels: int,
    width: int,
    *,
    stride: int,
    spec: PreActSpec,
    activated: bool,
    depth: Iterator[StochasticDepth | None],
) -> nn.Sequential:
    """The units of a stage; the first one changes the shape."""
    out_channels = width * spec.expansion
    first = Unit(in_channels, width, stride=stride, spec=spec, activated=activated, depth=next(depth))
    rest = (Unit(out_channels, width, stride=1, spec=spec, depth=next(depth)) for _ in range(units - 1))
    return nn.Sequential(first, *rest)


CIFAR = {
    # Tables 2 and 3: 6n + 2 layers, with bottlenecks 9n + 2
    "preresnet110":  PreActSpec("basic",      (18, 18, 18), shortcut="A"),
    "preresnet164":  PreActSpec("bottleneck", (18, 18, 18)),
    "preresnet1001": PreActSpec("bottleneck", (111, 111, 111)),
}  # fmt: skip

TABLE_2: dict[str, dict[str, str | float]] = {
    #                  params            error (%), median of 5 runs
    "preresnet110":  {"params": "1.7M", "top1_error": 6.37},
    "preresnet164":  {"params": "1.7M", "top1_error": 5.46},
    "preresnet1001": {"top1_error": 4.92},  # the printed 10.2M leaves normalisation out
}  # fmt: skip

IMAGENET = {
    # Table 5
    "preresnet152": PreActSpec("bottleneck", (3, 8, 36, 3),  stem="7x7", width=64),
    "preresnet200": PreActSpec("bottleneck", (3, 24, 36, 3), stem="7x7", width=64),
    # timm's
    "resnetv2_50":  PreActSpec("bottleneck", (3, 4, 6, 3),   stem="7x7_bare", width=64, stride_in="3x3"),
}  # fmt: skip

TABLE_5: dict[str, dict[str, str | float]] = {
    # at 320×320   error (%), 1 crop
    "resnet200":    {"top1_error": 21.8, "top5_error": 6.0},
    "preresnet152": {"top1_error": 21.1, "top5_error": 5.5},
    "preresnet200": {"top1_error": 20.7, "top5_error": 5.3},
}  # fmt: skip
PUBLISHED = {name: row | {"data": "ImageNet, one crop of 320×320"} for name, row in TABLE_5.items()}

register(
    PreActResNet,
    CIFAR,
    family="PreActResNet-CIFAR",
    paper="he2016",
    table="Tables 2 and 3",
    input_size=(3, 32, 32),
    num_classes=10,
    published={name: row | {"data": "CIFAR-10, flip and padded crop"} for name, row in TABLE_2.items()},
)
derive(
    {"resnet200": ("resnet152", {"layers": (3, 24, 36, 3)})},
    family="ResNet",
    paper="he2016",
    table="Table 5",
    published=PUBLISHED,
)
register(
    PreActResNet,
    IMAGENET,
    family="PreActResNet",
    paper="he2016",
    table="Table 5",
    input_size=(3, 224, 224),
    num_classes=1000,
    least_size=32,
    published=PUBLISHED,
    deviations={
        "resnetv2_50": (
            "timm's: no activation between the first convolution and the pooling",
            "a stage halves its maps in the 3×3 convolution of its first unit, not in the 1×1 before it",
            "a depth that Table 5 does not have",
        ),
    },
)
