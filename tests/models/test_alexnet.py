"""AlexNet and its forms against Sec. 3 to 5 and what became of it."""

import pytest
import torch
from torch import nn

from convatlas.errors import InputError
from convatlas.models import build, model_card


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


def test_halving_at_test_time_and_doubling_in_training_have_the_same_expectation() -> None:
    """Sec. 4.2 multiplies by 0.5 in testing; torch's dropout, which we use, multiplies by 2 in training."""
    torch.manual_seed(0)
    x, weight = torch.rand(64), torch.randn(64)
    kept = (torch.rand(20_000, 64) < 0.5).float()
    paper_training, paper_test = (x * kept) @ weight, (0.5 * x) @ weight
    drop = nn.Dropout(0.5)
    ours_training, ours_test = drop(x.expand(20_000, 64)) @ weight, drop.eval()(x) @ weight
    noise = 4 * ours_training.std() / 20_000**0.5
    assert (paper_training.mean() - paper_test).abs() < noise
    assert (ours_training.mean() - ours_test).abs() < noise
    torch.testing.assert_close(ours_test, 2 * paper_test)  # the weights behind make up for the factor


def test_images_of_224_are_refused_with_the_size_that_fits() -> None:
    with torch.device("meta"):
        network = build("alexnet")
        with pytest.raises(ValueError, match="alexnet takes 227×227 images, for which its dense layers are made"):
            network(torch.empty(1, 3, 224, 224))
    assert model_card("alexnet").least_size == 227
    assert model_card("alexnet_owt").least_size == 224


def test_it_can_be_made_for_images_of_another_size() -> None:
    assert sizes("alexnet", size=99)["pool5"] == (256, 2, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm": "batch"}, "norm is one of lrn, caffe, none, and not 'batch'"),
        ({"groups": 5}, "maps are five numbers that 5 groups divide"),
        ({"dropout": 1.0}, "dropout is a share of at least 0 and below 1"),
        ({"size": 40}, "leaves no pixel for fc6: 40"),
    ],
)
def test_a_spec_that_cannot_be_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build("alexnet", **changes)
