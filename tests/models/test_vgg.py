"""VGG against Tables 1 and 2 and the arithmetic of Sec. 2.3."""

import pytest
import torch
from torch import nn

from convatlas.errors import InputError
from convatlas.models import build
from convatlas.models.vgg import column


def meta(name: str, **changes: object) -> nn.Module:
    with torch.device("meta"):
        return build(name, **changes).eval()


@pytest.mark.parametrize(
    ("name", "layers"),
    [("vgg11", 11), ("vgg13", 13), ("vgg16_c", 16), ("vgg16", 16), ("vgg19", 19), ("vgg13_5x5", 8)],
)
def test_the_configurations_have_as_many_weight_layers_as_the_table_says(name: str, layers: int) -> None:
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in meta(name).modules()) == layers


def test_columns_are_read_from_the_table() -> None:
    assert column("A") == [[(3, 64)], [(3, 128)], [(3, 256)] * 2, [(3, 512)] * 2, [(3, 512)] * 2]
    assert column("C")[2:] == [[(3, c), (3, c), (1, c)] for c in (256, 512, 512)]
    assert [len(block) for block in column("E")] == [2, 2, 4, 4, 4]


def test_maps_are_halved_five_times_from_224_to_7() -> None:
    network = meta("vgg16")
    x = torch.empty(1, 3, 224, 224, device="meta")
    shapes = {stage: tuple(y.shape[1:]) for stage, y in network.walk(x)}
    assert shapes == {
        "conv1": (64, 224, 224), "pool1": (64, 112, 112), "conv2": (128, 112, 112), "pool2": (128, 56, 56),
        "conv3": (256, 56, 56), "pool3": (256, 28, 28), "conv4": (512, 28, 28), "pool4": (512, 14, 14),
        "conv5": (512, 14, 14), "pool5": (512, 7, 7), "fc6": (4096,), "fc7": (4096,), "fc8": (1000,),
    }  # fmt: skip


def test_three_layers_of_3x3_have_81_per_cent_fewer_parameters_than_one_of_7x7() -> None:
    c = 64
    stack = sum(p.numel() for _ in range(3) for p in nn.Conv2d(c, c, 3, bias=False).parameters())
    one = nn.Conv2d(c, c, 7, bias=False).weight.numel()
    assert (stack, one) == (27 * c**2, 49 * c**2)
    assert round(100 * (one / stack - 1)) == 81  # Sec. 2.3: 49C² "is 81 % more"


def test_a_lrn_normalises_behind_its_first_convolution_alone() -> None:
    kinds = [type(m).__name__ for m in meta("vgg11_lrn").modules() if not list(m.children())]
    assert kinds.count("LocalResponseNorm") == 1
    assert kinds[:4] == ["Conv2d", "ReLU", "LocalResponseNorm", "MaxPool2d"]


def test_gates_stand_behind_each_relu_of_the_convolutions() -> None:
    plain, gated = meta("vgg16_bn"), meta("vgg16_bn", se=16)
    extra = sum(p.numel() for p in gated.parameters()) - sum(p.numel() for p in plain.parameters())
    widths = [m.out_channels for m in plain.modules() if isinstance(m, nn.Conv2d)]
    assert len(widths) == 13
    assert extra == sum(2 * c * (c // 16) + c + c // 16 for c in widths)
    assert list(dict(gated.conv1.conv1_1.named_children())) == ["conv", "bn", "relu", "se"]


def test_a_quarter_of_the_width_leaves_the_dense_layers_as_they_are() -> None:
    network = meta("vgg11_d2l", width=0.25)
    assert [m.out_channels for m in network.modules() if isinstance(m, nn.Conv2d)] == [
        16,
        32,
        64,
        64,
        128,
        128,
        128,
        128,
    ]
    assert network.fc6.dense.out_features == 4096


def test_a_small_one_answers_and_learns_on_small_images() -> None:
    torch.manual_seed(0)
    network = build("vgg16_bn", num_classes=3, width=1 / 16, size=32, se=4)
    network(torch.randn(4, 3, 32, 32)).logsumexp(1).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    with pytest.raises(ValueError, match="takes 32×32 images"):
        network(torch.zeros(1, 3, 64, 64))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"column": "F"}, "column is one of A, B, C, D, E, B-5x5, and not 'F'"),
        ({"norm": "layer"}, "norm is one of none, lrn, batch"),
        ({"size": 100}, "a multiple of 32"),
        ({"width": 0.001}, "width leaves no channel of 64"),
        ({"se": 100}, "se, the reduction, is from 0, for none, to the 64 channels; not 100"),
        ({"dropout": -0.1}, "dropout is a share of at least 0 and below 1"),
    ],
)
def test_a_spec_that_cannot_be_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build("vgg16", **changes)
