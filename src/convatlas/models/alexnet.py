"""AlexNet: Krizhevsky, Sutskever, Hinton 2012; and what became of it.

`alexnet` is the network of the paper, on two GPUs. Caffe's two forms (2014) have another normalisation; the
single column of "One weird trick" (Krizhevsky 2014, footnote 1) has no groups; and the lectures' form has neither.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import nn

from convatlas.layers.checks import check_share, check_whole
from convatlas.layers.init import gaussian_, xavier_
from convatlas.layers.lrn import LocalResponseNorm
from convatlas.layers.parts import ACTIVATIONS, drawn, part
from convatlas.network import Network
from convatlas.registry import register

NORMS = {
    "lrn": partial(LocalResponseNorm, 5, k=2, alpha=1e-4, beta=0.75),  # Sec. 3.3
    # its k is 1, and its α is of the mean of the five and not of their sum
    "caffe": partial(LocalResponseNorm, 5, k=1, alpha=1e-4 / 5, beta=0.75),
}


@dataclass(frozen=True)
class Spec:
    """What Sec. 3 fixes, as fields; the layers' kernels are 11, 5, 3, 3 and 3 wide in all forms."""

    maps: tuple[int, int, int, int, int] = (96, 256, 384, 384, 256)  # kernels of conv1 … conv5, Sec. 3.5
    groups: int = 2  # the GPUs that conv2, conv4 and conv5 are split over; Sec. 3.2
    norm: Literal["lrn", "caffe", "none"] = "lrn"  # Sec. 3.3
    order: Literal["norm_pool", "pool_norm"] = "norm_pool"
    pool: Literal["overlapping", "plain"] = "overlapping"  # Sec. 3.4: z = 3 or z = 2, every s = 2 pixels
    activation: Literal["relu", "tanh"] = "relu"  # Sec. 3.1
    dropout: float = 0.5  # Sec. 4.2
    init: Literal["2012", "caffe", "xavier"] = "2012"
    bias: float = 1.0  # where a layer's biases do not begin at 0; Sec. 5
    padding: int = 0  # of conv1
    size: int = 227  # of the images

    def __post_init__(self) -> None:
        check_whole("groups", self.groups)
        check_whole("padding", self.padding, least=0)
        check_share("dropout", self.dropout)
        if len(self.maps) != 5 or min(self.maps) < 1 or any(count % self.groups for count in self.maps):
            raise ValueError(
                f"maps are five numbers of at least 1 that {self.groups} groups divide, and not {self.maps!r}"
            )
        if self.side < 1:
            raise ValueError(f"size, of the images, leaves no pixel for fc6: {self.size}")

    @property
    def window(self) -> int:
        """How wide the pooling sees."""
        return 3 if self.pool == "overlapping" else 2

    @property
    def side(self) -> int:
        """The height and width of pool5's maps: 6 in the paper."""
        side = (self.size + 2 * self.padding - 11) // 4 + 1
        for _ in range(3):
            side = (side - self.window) // 2 + 1
        return side


class AlexNet(Network):
    """Sec. 3.5 and Fig. 2: five convolutions, three dense layers; the stages have Caffe's names.

    The paper says 224×224, which gives 54¼ positions for conv1 and not its 55×55: 227 = 4 · 54 + 11 is the size
    that fits, and the authors' other sizes (27, 13, 6) follow from it.
    """

    fixed_size = True
    spec: Spec

    def __init__(self, spec: Spec, *, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes=num_classes, in_channels=in_channels)
        self.spec = spec
        self.least_size = spec.size
        one, two, three, four, five = spec.maps
        groups, act, flat = spec.groups, ACTIVATIONS[spec.activation], five * spec.side**2

        # fmt: off
        self.conv1 = part(conv=nn.Conv2d(in_channels, one, 11, stride=4, padding=spec.padding), act=act())  # 96@55×55
        self.shrink(1)                                                                             #  96@27×27
        self.conv2 = part(conv=nn.Conv2d(one, two, 5, padding=2, groups=groups), act=act())        # 256@27×27
        self.shrink(2)                                                                             # 256@13×13
        self.conv3 = part(conv=nn.Conv2d(two, three, 3, padding=1), act=act())                     # 384@13×13
        self.conv4 = part(conv=nn.Conv2d(three, four, 3, padding=1, groups=groups), act=act())     # 384@13×13
        self.conv5 = part(conv=nn.Conv2d(four, five, 3, padding=1, groups=groups), act=act())      # 256@13×13
        self.pool5 = nn.MaxPool2d(spec.window, stride=2)                                           # 256@6×6
        # Sec. 4.2 halves the outputs of all units at test time; torch's dropout doubles those that stay in training
        # instead. Either way a unit's mean is the same in training as at test, and the weights differ by that factor.
        drop = spec.dropout
        self.fc6 = part(flatten=nn.Flatten(), dense=nn.Linear(flat, 4096), act=act(), drop=nn.Dropout(drop))  # 4096
        self.fc7 = part(dense=nn.Linear(4096, 4096), act=act(), drop=nn.Dropout(drop))             # 4096
        # fmt: on
        self.fc8 = self.classifier()
        self.initialize()

    def shrink(self, number: int) -> None:
        """Add the normalisation and the pooling behind the first or the second convolution, in the spec's order."""
        if self.spec.order == "pool_norm":
            self.add_module(f"pool{number}", nn.MaxPool2d(self.spec.window, stride=2))
        if self.spec.norm != "none":
            self.add_module(f"norm{number}", NORMS[self.spec.norm]())
        if self.spec.order == "norm_pool":
            self.add_module(f"pool{number}", nn.MaxPool2d(self.spec.window, stride=2))

    def initialize(self) -> None:
        """N(0, 0.01²) "in each layer"; biases 1 in conv2, conv4, conv5, fc6 and fc7 (Sec. 5).

        So their ReLUs begin with positive inputs. Caffe draws fc6 and fc7 from N(0, 0.005²); the lectures have Xavier.
        """
        if self.spec.init == "xavier":
            xavier_(self)
            return
        gaussian_(self, std=0.01)
        for stage in (self.fc6, self.fc7):
            if self.spec.init == "caffe":
                gaussian_(stage, std=0.005)
        for stage in (self.conv2, self.conv4, self.conv5, self.fc6, self.fc7):
            for layer in stage:
                if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
                    nn.init.constant_(layer.bias, self.spec.bias)

    def classifier(self) -> nn.Module:
        """The last dense layer."""
        draw = xavier_ if self.spec.init == "xavier" else partial(gaussian_, std=0.01)
        return drawn(nn.Linear(4096, self.num_classes), draw)


ONE_COLUMN = {
    #                           conv1 … conv5                                         groups   norm
    "alexnet_owt_footnote": Spec((64, 192, 384, 384, 256), padding=2, size=224,       groups=1),
    "alexnet_owt":          Spec((64, 192, 384, 256, 256), padding=2, size=224,       groups=1, norm="none"),
}  # fmt: skip

CAFFE = {
    #                           order                norm          fillers
    "alexnet_caffe":        Spec(order="norm_pool",  norm="caffe", init="caffe", bias=0.1),
    "caffenet":             Spec(order="pool_norm",  norm="caffe", init="caffe", bias=1.0),
}  # fmt: skip

register(
    AlexNet,
    {"alexnet": Spec()},
    family="AlexNet",
    paper="krizhevsky2012",
    table="Sec. 3.5, Fig. 2",
    input_size=(3, 227, 227),
    num_classes=1000,
    published={
        "alexnet": {"params": "60M", "top1_error": 40.7, "top5_error": 18.2, "data": "ImageNet-2012, 10-crop val"},
    },
    deviations=("images of 227×227, which the maps that the paper gives need, and not the printed 224×224",),
)
register(
    AlexNet,
    CAFFE,
    family="AlexNet",
    paper="jia2014",
    table="models/bvlc_alexnet, models/bvlc_reference_caffenet",
    input_size=(3, 227, 227),
    num_classes=1000,
    published={
        "alexnet_caffe": {"top1_error": 42.9, "top5_error": 19.8, "data": "ImageNet-2012, 1-crop val"},
        "caffenet":      {"top1_error": 42.6, "top5_error": 19.6, "data": "ImageNet-2012, 1-crop val"},
    },
)  # fmt: skip
register(
    AlexNet,
    ONE_COLUMN,
    family="AlexNet",
    paper="krizhevsky2014",
    table="footnote 1",
    input_size=(3, 224, 224),
    num_classes=1000,
    published={
        "alexnet_owt_footnote": {"top1_error": 42.33, "data": "ImageNet-2012, val"},
        # The paper has no such network; these figures are of the weights that torchvision has.
        "alexnet_owt": {
            "params": "61.1M", "macs": "0.714G", "top1_error": 43.478, "top5_error": 20.934,
            "data": "ImageNet-2012, 1-crop val; torchvision's weights",
        },
    },
    deviations={
        # With conv4 of 256 the parameters are 0.2 % more than the two towers', as the footnote says; with its own 384
        # they are 1.4 % more.
        "alexnet_owt": (
            "conv4 has 256 kernels as in torchvision, where the footnote has 384",
            "no local response normalisation, as in torchvision",
        ),
    },
)  # fmt: skip
register(
    AlexNet,
    {"alexnet_d2l": Spec(groups=1, norm="none", init="xavier", padding=1, size=224)},
    family="AlexNet",
    paper="zhang2021",
    table="chapter AlexNet",
    input_size=(1, 224, 224),
    num_classes=10,
)
