"""Network in network against its figures and its authors' definitions."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convatlas.errors import InputError
from convatlas.models import build, model_card
from convatlas.models.nin import MLPConv


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nin_cifar", {"mlpconv1": (96, 32, 32), "pool1": (96, 16, 16), "mlpconv2": (192, 16, 16),
                       "pool2": (192, 8, 8), "mlpconv3": (192, 8, 8), "categories": (10,)}),
        ("nin_imagenet", {"mlpconv1": (96, 54, 54), "pool1": (96, 27, 27), "mlpconv2": (256, 27, 27),
                          "pool2": (256, 13, 13), "mlpconv3": (384, 13, 13), "pool3": (384, 6, 6),
                          "mlpconv4": (1024, 6, 6), "categories": (1000,)}),
        ("nin_d2l", {"mlpconv1": (96, 54, 54), "pool1": (96, 26, 26), "mlpconv2": (256, 26, 26),
                     "pool2": (256, 12, 12), "mlpconv3": (384, 12, 12), "pool3": (384, 5, 5), "categories": (10,)}),
    ],
)  # fmt: skip
def test_maps_have_the_sizes_of_the_definition(name: str, expected: dict[str, tuple[int, ...]]) -> None:
    with torch.device("meta"):
        network = build(name).eval()
        size = network.spec.size
        walk = network.walk(torch.empty(1, network.in_channels, size, size))
        assert {stage: tuple(y.shape[1:]) for stage, y in walk} == expected


def test_a_1x1_convolution_is_a_dense_layer_at_every_pixel() -> None:
    torch.manual_seed(0)
    layer, x = build("nin_cifar").mlpconv1.conv1, torch.randn(1, 192, 4, 4)
    at_a_pixel = F.linear(x[0, :, 1, 2], layer.weight.flatten(1), layer.bias)
    torch.testing.assert_close(layer(x)[0, :, 1, 2], at_a_pixel)


def test_a_logit_is_the_mean_of_the_map_of_its_class() -> None:
    torch.manual_seed(0)
    network, x = build("nin_cifar").eval(), torch.randn(2, 3, 32, 32)
    walk = dict(network.walk(x))
    maps = network.categories.relu2(network.categories.conv2(walk["mlpconv3"]))
    torch.testing.assert_close(walk["categories"], maps.mean((2, 3)))


def test_the_average_has_no_parameters_and_a_dense_head_fixes_the_size() -> None:
    average, dense = build("nin_cifar"), build("nin_cifar", head="dense_dropout")
    assert not list(average.categories.average.parameters())
    extra = sum(p.numel() for p in dense.parameters()) - sum(p.numel() for p in average.parameters())
    assert extra == (10 * 8 * 8) * 10 + 10
    assert isinstance(dense.categories.drop, nn.Dropout)
    with torch.no_grad():
        assert average.eval()(torch.zeros(1, 3, 48, 40)).shape == (1, 10)
        with pytest.raises(ValueError, match="takes 32×32 images"):
            dense(torch.zeros(1, 3, 48, 48))


def test_weights_begin_as_in_the_released_definitions() -> None:
    torch.manual_seed(0)
    network = build("nin_imagenet")
    for layer, std in (
        (network.mlpconv1.conv, 0.01), (network.mlpconv1.conv1, 0.05), (network.mlpconv3.conv, 0.01),
        (network.mlpconv4.conv, 0.05), (network.categories.conv2, 0.01),
    ):  # fmt: skip
        assert abs(layer.weight.std().item() / std - 1) < 0.03
        assert not layer.bias.any()
    network.reset_head(500)
    assert abs(network.categories.conv2.weight.std().item() / 0.01 - 1) < 0.03


def test_dropout_is_behind_each_pooling_for_cifar_and_behind_the_last_for_imagenet() -> None:
    with torch.device("meta"):
        for name, behind in (("nin_cifar", ["pool1", "pool2"]), ("nin_imagenet", ["pool3"]), ("nin_d2l", ["pool3"])):
            drops = [key for key, m in build(name).named_modules() if isinstance(m, nn.Dropout)]
            assert drops == [f"{stage}.drop" for stage in behind]
        assert not any(isinstance(m, nn.Dropout) for m in build("nin_cifar", dropout=0.0).modules())


@pytest.mark.parametrize("name", ["nin_cifar", "nin_imagenet", "nin_d2l"])
def test_the_least_image_leaves_a_pixel_of_each_class_and_a_smaller_one_is_refused(name: str) -> None:
    least = model_card(name).least_size
    with torch.device("meta"):
        network = build(name).eval()
        logits = network(torch.empty(1, network.in_channels, least, least))
        assert logits.shape == (1, network.num_classes)
        with pytest.raises(ValueError, match=f"at least {least}×{least}"):
            network(torch.empty(1, network.in_channels, least, least - 1))


ROW, LAST = MLPConv(3, 1, 1, (8, 8), None, "max"), MLPConv(3, 1, 1, (8, None), None, "none")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head": "max"}, "head is one of average, dense, dense_dropout, and not 'max'"),
        ({"dropout": 1.0}, "dropout is a share of at least 0 and below 1"),
        ({"size": -1}, "size is a whole number of at least 1, and not -1"),
        ({"size": 3, "head": "dense"}, "size, of the images, leaves no pixel for the dense head: 3"),
        ({"mlpconvs": ()}, "mlpconvs is a list, of which each is of the kind MLPConv"),
        ({"mlpconvs": (ROW,)}, "ends with maps for the classes"),
        ({"mlpconvs": (LAST, LAST)}, "all but the last, have a pooling and no maps for the classes"),
        ({"mlpconvs": (ROW._replace(kernel_size=0), LAST)}, "kernel_size, of an mlpconv, is a whole number"),
        ({"mlpconvs": (ROW._replace(stride=0), LAST)}, "stride, of an mlpconv, is a whole number"),
        ({"mlpconvs": (ROW._replace(padding=-1), LAST)}, "padding, of an mlpconv, is a whole number of at least 0"),
        ({"mlpconvs": (ROW._replace(pool="least"), LAST)}, "mlpconvs is a list, of which each is of the kind MLPConv"),
        ({"mlpconvs": (ROW._replace(maps=(0, 8)), LAST)}, "maps, of an mlpconv, are numbers of at least 1"),
        ({"mlpconvs": (ROW._replace(std=(0.1,)), LAST)}, "std, of an mlpconv, is one for each of its maps"),
    ],
)
def test_a_spec_that_cannot_be_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build("nin_cifar", **changes)
