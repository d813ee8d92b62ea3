"""LeNet: LeCun, Bottou, Bengio, Haffner 1998, Sec. II-B; and the form of it that lectures teach.

The lecture form (Zhang et al., "Dive into deep learning") is what today's readers meet first: sigmoid units,
plain average pooling, a dense classifier. `lenet5` is the network of 1998, with its trainable
subsampling, its partial connections, its scaled tanh and its Euclidean output units.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from convatlas.layers.init import lecun_, xavier_
from convatlas.layers.parts import ACTIVATIONS, drawn, part
from convatlas.network import Network
from convatlas.registry import register

# --------------------------------------------------------------------------- LeNet-5, 1998

# Table I: the maps of S2 (down) that each map of C3 (across) sees.
TABLE_I = (
    "X...XXX..XXXX.XX",
    "XX...XXX..XXXX.X",
    "XXX...XXX..X.XXX",
    ".XXX..XXXX..X.XX",
    "..XXX..XXXX.XX.X",
    "...XXX..XXXX.XXX",
)

# Fig. 3: the output units' codes are 7×12 pictures of the characters, for an eye a check and for the network
# 84 numbers of ±1. The paper prints them as a picture only; these, the digits 0 to 9, are drawn after it.
FIGURE_3 = """
..###..  ...##..  .#####.  #######  ....##.  #######  ..####.  #######  .#####.  .####..
.##.##.  ..###..  ##...##  .....##  ...###.  ##.....  .##....  ##...##  ##...##  ##..##.
##...##  .####..  ##...##  ....##.  ..####.  ##.....  ##.....  .....##  ##...##  ##...##
##...##  ...##..  .....##  ...##..  .##.##.  ##.....  ##.....  .....##  ##...##  ##...##
##...##  ...##..  .....##  ..####.  .##.##.  ######.  ##.###.  ....##.  .##.##.  ##...##
##...##  ...##..  ....##.  ....###  ##..##.  ##...##  ###..##  ....##.  ..###..  ##..###
##...##  ...##..  ...##..  .....##  ##..##.  .....##  ##...##  ...##..  .##.##.  .###.##
##...##  ...##..  ..##...  .....##  #######  .....##  ##...##  ...##..  ##...##  .....##
##...##  ...##..  .##....  .....##  ....##.  .....##  ##...##  ..##...  ##...##  .....##
##...##  ...##..  ##.....  .....##  ....##.  .....##  ##...##  ..##...  ##...##  .....##
.##.##.  ...##..  ##.....  ##...##  ....##.  ##...##  .##..##  .##....  ##...##  ....##.
..###..  .######  #######  .#####.  ....##.  .#####.  ..####.  .##....  .#####.  .####..
"""


@dataclass(frozen=True)
class LeNet5Spec:
    """What Sec. II-B fixes, as fields that an ablation can change."""

    connections: Literal["table_i", "full"] = "table_i"  # of C3 to S2
    output: Literal["rbf", "dense"] = "rbf"


class ScaledTanh(nn.Module):
    """`A tanh(S a)` with A = 1.7159 and S = 2/3, so that f(±1) = ±1 (Eq. 6 and Appendix A)."""

    def forward(self, x: Tensor) -> Tensor:
        """`(…) -> (…)`."""
        return 1.7159 * torch.tanh(2 / 3 * x)


class Subsampling(nn.Module):
    """`(N, C, H, W) -> (N, C, H/2, W/2)`: four inputs added, times a trainable coefficient, plus a bias."""

    layer_family = "pool"  # as what an explanation takes it

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.coefficient = nn.Parameter(torch.empty(channels))
        self.bias = nn.Parameter(torch.empty(channels))

    def forward(self, x: Tensor) -> Tensor:
        """The mean of each 2×2 neighbourhood, times four times the coefficient, plus the bias."""
        total = 4 * nn.functional.avg_pool2d(x, kernel_size=2)
        return self.coefficient.view(-1, 1, 1) * total + self.bias.view(-1, 1, 1)


class C3(nn.Module):
    """`(N, 6, 14, 14) -> (N, 16, 10, 10)`: each map sees the maps of S2 that Table I marks.

    A 5×5 kernel for each of the 60 marked pairs. They are laid into one kernel of all 96 pairs, with zeros for
    the others: one convolution takes a seventh of the time of the sixteen small ones that it stands for.
    """

    seen: Tensor
    idle_macs = (6 * 16 - 60) * 25 * 100  # multiplications by those zeros: a counter sees them, and the paper does not

    def __init__(self) -> None:
        super().__init__()
        marks = [[TABLE_I[s2][c3] == "X" for s2 in range(6)] for c3 in range(16)]
        self.register_buffer("seen", torch.tensor(marks), persistent=False)
        self.kernels = nn.Parameter(torch.empty(60, 5, 5))
        self.bias = nn.Parameter(torch.empty(16))

    def forward(self, x: Tensor) -> Tensor:
        """A convolution whose kernel is zero where Table I has no mark."""
        marked = self.seen[:, :, None, None].expand(16, 6, 5, 5)
        weight = torch.zeros_like(marked, dtype=self.kernels.dtype).masked_scatter(marked, self.kernels)
        return nn.functional.conv2d(x, weight, self.bias)

    def initialize(self) -> None:
        """U(±2.4 / fan_in), where the fan-in is of the map: 25 for each map of S2 that it sees."""
        seen = [sum(row[c3] == "X" for row in TABLE_I) for c3 in range(16)]
        of_map = torch.tensor([2.4 / (25 * count) for count in seen])
        of_kernel = torch.tensor([2.4 / (25 * count) for count in seen for _ in range(count)])
        with torch.no_grad():
            self.kernels.uniform_(-1, 1).mul_(of_kernel.view(60, 1, 1))
            self.bias.uniform_(-1, 1).mul_(of_map)


class RBF(nn.Module):
    """`(N, 84) -> (N, num_classes)`: minus the squared distance to each class's code (Eq. 7).

    The paper's unit answers with the distance, a penalty; its negative is a logit, so that the greatest
    wins here as everywhere. The codes are fixed. For ten classes they are Fig. 3's digits; for any other
    number, which the paper does not have, codes of ±1 drawn once and for all.
    """

    codes: Tensor
    layer_family = "dense"  # it adds up squares, which are no products with weights, and is a layer with weights

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("codes", digit_codes() if num_classes == 10 else random_codes(num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """Minus Σ (x − code)², as Eq. 7 is written: multiplied out, a product in bf16 would lose the difference."""
        return -(x[:, None].float() - self.codes).square().sum(2)


def digit_codes() -> Tensor:
    """`(10, 84)`: Fig. 3's digits, ink +1 and paper −1, row by row."""
    rows = [row.split() for row in FIGURE_3.split("\n") if row]
    digits = ("".join(row[digit] for row in rows) for digit in range(10))
    return torch.tensor([[1.0 if dot == "#" else -1.0 for dot in digit] for digit in digits])


def random_codes(num_classes: int) -> Tensor:
    """`(num_classes, 84)`: codes of ±1, the same on every machine."""
    generator = torch.Generator().manual_seed(1998)
    return torch.randint(0, 2, (num_classes, 84), generator=generator).float() * 2 - 1


class LeNet5(Network):
    """LeNet-5 as Fig. 2 draws it, up to its Euclidean output units; 60,000 trainable parameters.

    Sec. II-B: "units in layers up to F6 compute a dot product between their input vector and their weight vector,
    to which a bias is added. This weighted sum […] is then passed through a sigmoid squashing function". So every
    layer of C1 to F6, the subsampling ones too, ends in the scaled tanh.
    """

    fixed_size = True
    least_size = 32

    def __init__(self, spec: LeNet5Spec, *, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes=num_classes, in_channels=in_channels)
        self.spec = spec
        full = spec.connections == "full"
        # fmt: off
        self.c1 = part(conv=nn.Conv2d(in_channels, 6, kernel_size=5), squash=ScaledTanh())   # 6@28×28    156
        self.s2 = part(pool=Subsampling(6), squash=ScaledTanh())                             # 6@14×14     12
        c3 = nn.Conv2d(6, 16, kernel_size=5) if full else C3()
        self.c3 = part(conv=c3, squash=ScaledTanh())                                         # 16@10×10 1,516
        self.s4 = part(pool=Subsampling(16), squash=ScaledTanh())                            # 16@5×5      32
        self.c5 = part(conv=nn.Conv2d(16, 120, kernel_size=5), squash=ScaledTanh())          # 120@1×1 48,120
        self.f6 = part(flatten=nn.Flatten(), dense=nn.Linear(120, 84), squash=ScaledTanh())  # 84      10,164
        # fmt: on
        self.output = self.classifier()
        self.initialize()

    def initialize(self) -> None:
        """Appendix A: U(±2.4 / fan_in), where each subsampling unit has a fan-in of four."""
        lecun_(self)
        for layer in self.modules():
            if isinstance(layer, C3):
                layer.initialize()
            if isinstance(layer, Subsampling):
                # Around 1/4, a mean of the four: drawn around 0, where a coefficient's sign is a coin's,
                # half the maps begin as negatives and most as nearly nothing.
                nn.init.uniform_(layer.coefficient, 0.15, 0.35)
                nn.init.zeros_(layer.bias)

    def classifier(self) -> nn.Module:
        """The Euclidean units, or in their place a dense layer."""
        output = RBF(self.num_classes) if self.spec.output == "rbf" else nn.Linear(84, self.num_classes)
        return drawn(output, lecun_)


# --------------------------------------------------------------------------- the lecture form

POOLS = {"average": nn.AvgPool2d, "max": nn.MaxPool2d}


@dataclass(frozen=True)
class LeNetSpec:
    """The lecture form: what follows each of its layers."""

    activation: Literal["sigmoid", "tanh", "relu"] = "sigmoid"
    pool: Literal["average", "max"] = "average"
    norm: Literal["none", "batch"] = "none"  # before each activation
    padding: int = 2  # of conv1

    def __post_init__(self) -> None:
        if self.padding not in (0, 2):
            raise ValueError(f"padding is 0 or 2, not {self.padding!r}")


class LeNet(Network):
    """The lecture form of LeNet: two convolutions, three dense layers, 61,706 parameters.

    With batch normalisation, as its chapter has it, conv1 has no padding; layers keep the biases that it makes idle.
    """

    fixed_size = True
    least_size = 28

    def __init__(self, spec: LeNetSpec, *, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes=num_classes, in_channels=in_channels)
        self.spec = spec
        # fmt: off
        pool, padding = POOLS[spec.pool], spec.padding
        side = 4 + padding // 2                                                        # 5 in the chapter LeNet
        self.conv1 = part(conv=nn.Conv2d(in_channels, 6, kernel_size=5, padding=padding), **after(6, spec))  # 6@28×28
        self.pool1 = pool(kernel_size=2, stride=2)                                     # 6@14×14
        self.conv2 = part(conv=nn.Conv2d(6, 16, kernel_size=5), **after(16, spec))     # 16@10×10
        self.pool2 = pool(kernel_size=2, stride=2)                                     # 16@5×5
        self.fc3 = part(flatten=nn.Flatten(), dense=nn.Linear(16 * side * side, 120), **after(120, spec, dense=True))
        self.fc4 = part(dense=nn.Linear(120, 84), **after(84, spec, dense=True))       # 84
        self.fc5 = self.classifier()                                                   # 10
        # fmt: on
        self.initialize()

    def initialize(self) -> None:
        """Xavier, as the lectures have it."""
        xavier_(self)

    def classifier(self) -> nn.Module:
        """The last dense layer."""
        return drawn(nn.Linear(84, self.num_classes), xavier_)


def after(channels: int, spec: LeNetSpec, *, dense: bool = False) -> dict[str, nn.Module]:
    """What follows a layer: the activation, and before it batch normalisation where the spec has it."""
    norm = nn.BatchNorm1d if dense else nn.BatchNorm2d
    return ({"bn": norm(channels)} if spec.norm == "batch" else {}) | {"act": ACTIVATIONS[spec.activation]()}


register(
    LeNet5,
    {"lenet5": LeNet5Spec()},
    family="LeNet",
    paper="lecun1998",
    table="Sec. II-B, Fig. 2, Table I",
    input_size=(1, 32, 32),
    num_classes=10,
    published={"lenet5": {"params": "60K", "top1_error": 0.95, "data": "MNIST, without distortions"}},
    deviations=(
        "the output units answer with minus the squared distance, so that the greatest is the network's choice",
        "the codes of the output units are drawn after Fig. 3, which is printed only as a picture",
        "the subsampling coefficients begin near 1/4 (a mean) and not around 0",
    ),
)
register(
    LeNet,
    {"lenet": LeNetSpec()},
    family="LeNet",
    paper="zhang2021",
    table="chapter LeNet",
    input_size=(1, 28, 28),
    num_classes=10,
    published={"lenet": {"params": "61,706"}},
)
register(
    LeNet,
    {"lenet_bn": LeNetSpec(norm="batch", padding=0)},
    family="LeNet",
    paper="zhang2021",
    table="chapter Batch Normalization",
    input_size=(1, 28, 28),
    num_classes=10,
)
