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


@pytest.mark.parametrize(
    ("name", "millions"),
    [("vgg11", 133), ("vgg11_lrn", 133), ("vgg13", 133), ("vgg16_c", 134), ("vgg16", 138), ("vgg19", 144)],
)
def test_the_configurations_have_the_millions_of_parameters_of_table_2(name: str, millions: int) -> None:
    assert round(sum(p.numel() for p in meta(name).parameters()) / 1e6) == millions


def seen(block: nn.Module) -> int:
    """How many rows of the maps that come in a unit in the middle of the block's output depends on."""
    maps = torch.randn(1, 8, 15, 15, requires_grad=True, generator=torch.Generator().manual_seed(0))
    block(maps)[0, :, 7, 7].sum().backward()
    assert maps.grad is not None
    return int(maps.grad.abs().sum((0, 1, 3)).count_nonzero())


def test_two_layers_of_3x3_see_5x5_and_three_see_7x7() -> None:
    """Sec. 2.3; so the shallow net of Sec. 4.1, with one of 5×5 in the place of two, has the same receptive field."""
    torch.manual_seed(0)
    blocks = {name: build(name, width=1 / 64, size=32, num_classes=2).conv5 for name in ("vgg13", "vgg13_5x5", "vgg16")}
    for block in blocks.values():
        for layer in block.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.uniform_(layer.weight)  # above 0, so that no ReLU stops a gradient that there is
                nn.init.constant_(layer.bias, 100.0)
    assert {name: seen(block) for name, block in blocks.items()} == {"vgg13": 5, "vgg13_5x5": 5, "vgg16": 7}


def test_a_block_of_three_layers_has_27_c_squared_weights_where_a_layer_of_7x7_would_have_81_per_cent_more() -> None:
    weights = sum(p.numel() for p in meta("vgg16").get_submodule("conv5").parameters() if p.ndim == 4)
    assert weights == 27 * 512**2  # Sec. 2.3
    assert round(100 * (49 * 512**2 / weights - 1)) == 81


def test_a_lrn_normalises_behind_its_first_convolution_alone() -> None:
    kinds = [type(m).__name__ for m in meta("vgg11_lrn").modules() if not list(m.children())]
    assert kinds.count("LocalResponseNorm") == 1
    assert kinds[:4] == ["Conv2d", "ReLU", "LocalResponseNorm", "MaxPool2d"]


def test_gates_stand_behind_each_relu_of_the_convolutions() -> None:
    plain, gated = meta("vgg16_bn"), meta("vgg16_bn", reduction=16)
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
    network = build("vgg16_bn", num_classes=3, width=1 / 16, size=32, reduction=4)
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
        ({"width": 0.001}, "width leaves at least one channel of 64, and is not 0.001"),
        ({"width": float("inf")}, "width leaves at least one channel of 64, and is not inf"),
        ({"reduction": 0}, "reduction, of squeeze-and-excitation, is a whole number from 1"),
        ({"reduction": 100}, "a whole number from 1 to 64, the fewest channels that are gated, or None, and not 100"),
        ({"dropout": -0.1}, "dropout is a share of at least 0 and below 1"),
    ],
)
def test_a_spec_that_cannot_be_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build("vgg16", **changes)
