"""AlexNet and its forms against Sec. 3 to 5 and what became of it."""

import math

import pytest
import torch
from torch import nn

from convatlas.errors import InputError
from convatlas.layers.reference.convolution import cross_correlate_groups
from convatlas.models import build, model_card
from convatlas.network import Network


def sizes(name: str, **changes: object) -> dict[str, tuple[int, ...]]:
    """Each stage's output for one image, without arithmetic."""
    with torch.device("meta"):
        network = build(name, **changes).eval()
        image = torch.empty(1, network.in_channels, network.least_size, network.least_size)
        return {stage: tuple(y.shape[1:]) for stage, y in network.walk(image)}


def test_the_maps_are_55_27_13_and_6_wide() -> None:
    assert sizes("alexnet") == {
        "conv1": (96, 55, 55), "norm1": (96, 55, 55), "pool1": (96, 27, 27),
        "conv2": (256, 27, 27), "norm2": (256, 27, 27), "pool2": (256, 13, 13),
        "conv3": (384, 13, 13), "conv4": (384, 13, 13), "conv5": (256, 13, 13), "pool5": (256, 6, 6),
        "fc6": (4096,), "fc7": (4096,), "fc8": (1000,),
    }  # fmt: skip


def test_plain_pooling_makes_maps_of_the_same_size_as_overlapping_does() -> None:
    assert sizes("alexnet", pool="plain") == sizes("alexnet")  # Sec. 3.4: "equivalent dimensions"


def test_the_forms_for_224_have_the_maps_of_227_and_the_lectures_form_5x5_ones() -> None:
    for name in ("alexnet_owt", "alexnet_owt_footnote"):
        assert [sizes(name)[stage][1] for stage in ("conv1", "pool1", "pool2", "pool5")] == [55, 27, 13, 6]
    lecture = sizes("alexnet_d2l")
    assert [lecture[stage][1] for stage in ("conv1", "pool1", "pool2", "pool5")] == [54, 26, 12, 5]
    assert "norm1" not in lecture


def test_kernels_of_a_gpu_see_the_maps_of_that_gpu_except_in_conv3() -> None:
    with torch.device("meta"):
        network = build("alexnet")
    shapes = [tuple(m.weight.shape) for m in network.modules() if isinstance(m, nn.Conv2d)]
    # Sec. 3.5: 11×11×3, 5×5×48, 3×3×256, 3×3×192, 3×3×192
    assert shapes == [(96, 3, 11, 11), (256, 48, 5, 5), (384, 256, 3, 3), (384, 192, 3, 3), (256, 192, 3, 3)]


def test_caffes_forms_differ_in_what_is_first_normalisation_or_pooling() -> None:
    assert list(sizes("alexnet_caffe"))[:3] == ["conv1", "norm1", "pool1"]
    assert list(sizes("caffenet"))[:3] == ["conv1", "pool1", "norm1"]


def test_the_single_column_has_a_fifth_of_a_per_cent_more_parameters_than_the_two_towers() -> None:
    """Footnote 1 of "One weird trick" prints 0.2 %, which conv4 of 256 gives and its own 384 does not."""
    with torch.device("meta"):
        count = {
            name: sum(p.numel() for p in build(name).parameters())
            for name in ("alexnet", "alexnet_owt", "alexnet_owt_footnote")
        }
    assert round(100 * count["alexnet_owt"] / count["alexnet"] - 100, 1) == 0.2
    assert round(100 * count["alexnet_owt_footnote"] / count["alexnet"] - 100, 1) == 1.4


@pytest.mark.parametrize(("name", "bias", "dense"), [("alexnet", 1.0, 0.01), ("alexnet_caffe", 0.1, 0.005)])
def test_weights_begin_as_the_paper_and_caffe_have_them(name: str, bias: float, dense: float) -> None:
    torch.manual_seed(0)
    state = build(name, num_classes=10).state_dict()
    layers = {key.split(".")[0]: value for key, value in state.items() if key.endswith("weight")}
    biases = {key.split(".")[0]: set(value.tolist()) for key, value in state.items() if key.endswith("bias")}
    for layer, weight in layers.items():
        expected = dense if layer in ("fc6", "fc7") else 0.01
        assert abs(weight.flatten()[:30_000].std().item() / expected - 1) < 0.03, layer
    ones = {"conv2", "conv4", "conv5", "fc6", "fc7"}
    expected_bias = torch.tensor(bias).item()
    assert biases == {layer: {expected_bias if layer in ones else 0.0} for layer in layers}


def test_the_layers_have_as_many_neurons_as_section_3_5_prints_but_for_the_first() -> None:
    neurons = {stage: math.prod(shape) for stage, shape in sizes("alexnet").items() if stage[0] in "cf"}
    printed = (253_440, 186_624, 64_896, 64_896, 43_264, 4096, 4096, 1000)
    assert list(neurons.values())[1:] == list(printed[1:])
    assert neurons["conv1"] == 55 * 55 * 96 != printed[0]  # which no size of map gives: 253,440 = 51.38² · 96
    assert round(sum(neurons.values()), -4) == 660_000  # "650,000 neurons", in the abstract


def small() -> Network:
    """Narrow convolutions before the dense layers of the paper."""
    torch.manual_seed(0)
    return build("alexnet", maps=(4, 8, 8, 8, 8), size=99, num_classes=5)


def test_training_drops_half_of_the_units_of_the_first_two_dense_layers_and_none_elsewhere() -> None:
    """Sec. 4.2, which halves all outputs at test time instead of doubling those that stay in training, as we do."""
    network = small()
    x, dropped = torch.randn(4, 3, 99, 99), {}
    with torch.no_grad():
        for name, stage in network.named_children():
            x, trained = stage.eval()(x), stage.train()(x)
            stay = trained != 0
            dropped[name] = 1 - stay[x > 0].float().mean().item()
            torch.testing.assert_close(trained[stay], x[stay] * (2 if name in ("fc6", "fc7") else 1))
    assert [dropped.pop("fc6"), dropped.pop("fc7")] == pytest.approx([0.5, 0.5], abs=0.02)
    assert set(dropped.values()) == {0.0}


def test_the_mean_of_the_logits_in_training_is_the_logits_in_testing() -> None:
    network = small()
    x = torch.randn(1, 4096)
    with torch.no_grad():
        tested = network.fc8(network.fc7.eval()(x))
        trained = network.fc8(network.fc7.train()(x.expand(1000, -1)))
    noise = trained.std(0) / 1000**0.5
    assert noise.min() > 0
    assert ((trained.mean(0) - tested).abs() < 4 * noise).all()


def test_two_groups_are_two_layers_side_by_side() -> None:
    """Fig. 2: each half of conv2's kernels on the maps of its own GPU alone."""
    network = small()
    conv, x = network.conv2.conv, torch.randn(1, 4, 6, 6)
    expected = cross_correlate_groups(x[0], conv.weight, conv.bias, groups=2, padding=2)
    torch.testing.assert_close(conv(x)[0], expected)


def test_images_of_224_are_refused_with_the_size_that_fits() -> None:
    with torch.device("meta"):
        network = build("alexnet")
        with pytest.raises(ValueError, match="alexnet takes 227×227 images, for which it is made"):
            network(torch.empty(1, 3, 224, 224))
    assert model_card("alexnet").least_size == 227
    assert model_card("alexnet_owt").least_size == 224


def test_it_can_be_made_for_images_of_another_size() -> None:
    assert sizes("alexnet", size=99)["pool5"] == (256, 2, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm": "batch"}, "norm is one of lrn, caffe, none, and not 'batch'"),
        ({"groups": 5}, "maps are five numbers of at least 1 that 5 groups divide"),
        ({"dropout": 1.0}, "dropout is a share of at least 0 and below 1"),
        ({"groups": 0}, "groups is a whole number of at least 1, and not 0"),
        ({"groups": -2}, "groups is a whole number of at least 1, and not -2"),
        ({"maps": (0,) * 5}, "maps are five numbers of at least 1"),
        ({"maps": (96, 256)}, "maps is a list of 5"),
        ({"padding": -5}, "padding is a whole number of at least 0, and not -5"),
        ({"size": -1}, "leaves no pixel for fc6: -1"),
        ({"size": 40}, "leaves no pixel for fc6: 40"),
    ],
)
def test_a_spec_that_cannot_be_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build("alexnet", **changes)
