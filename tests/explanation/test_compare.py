"""Networks side by side, and the chart of error against cost."""

from itertools import combinations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from torch import nn

import convatlas as ca
from convatlas.explanation.compare import Compared, as_json, chart, charted, field
from convatlas.explanation.table import changed


@pytest.fixture(scope="module")
def rows() -> dict[str, Compared]:
    return {one.name: one for one in ca.compare(["alexnet", "vgg16", "googlenet", "resnet50"])}


def test_weights_cost_and_reach_are_those_of_the_papers(rows: dict[str, Compared]) -> None:
    assert {name: (one.params, one.macs) for name, one in rows.items()} == {
        "alexnet": (60_965_224, 724_406_816),
        "vgg16": (138_357_544, 15_470_264_320),
        "googlenet": (6_998_552, 1_582_671_872),
        "resnet50": (25_557_032, 3_857_973_248),
    }
    assert [one.depth for one in rows.values()] == [8, 16, 22, 50]
    assert [one.receptive_field for one in rows.values()] == [(195, 195), (212, 212), (715, 715), (483, 483)]
    assert [one.year for one in rows.values()] == [2012, 2014, 2014, 2015]


def test_weights_are_shared_out_between_convolutions_and_dense_layers(rows: dict[str, Compared]) -> None:
    for name in ("alexnet", "vgg16", "googlenet"):
        assert rows[name].conv_params + rows[name].dense_params == rows[name].params
    # fc6, fc7 and fc8: 4096 · 9217, 4096 · 4097, 1000 · 4097
    assert rows["alexnet"].dense_params == 37_752_832 + 16_781_312 + 4_097_000
    norms = sum(p.numel() for m in ca.create_model("resnet50").modules() if isinstance(m, nn.BatchNorm2d)
                for p in m.parameters())  # fmt: skip
    assert rows["resnet50"].params - rows["resnet50"].conv_params - rows["resnet50"].dense_params == norms


def test_errors_are_those_that_are_printed_of_the_unchanged_network(rows: dict[str, Compared]) -> None:
    assert [one.top1_error for one in rows.values()] == [40.7, 25.6, None, 22.85]
    assert rows["googlenet"].top5_error == 10.07
    (changed,) = ca.compare([ca.explain("resnet50", shortcut="A")])
    assert (changed.top1_error, changed.measured_on) == (None, None)


def test_no_error_stands_beside_images_of_another_size() -> None:
    small, large = ca.compare("resnet50", input_size=(3, 64, 64)) + ca.compare("resnet50")
    assert (small.top1_error, small.measured_on) == (None, None)
    assert (large.top1_error, large.measured_on) == (22.85, "ImageNet, 10-crop")
    assert not any(changed(ca.explain(name)) for name in ("lenet5", "alexnet", "vgg11", "vit_cifar", "airbench94"))


def test_networks_are_given_one_after_the_other_or_as_a_list(rows: dict[str, Compared]) -> None:
    assert ca.compare("alexnet", "vgg16") == ca.compare(["alexnet", "vgg16"]) == [rows["alexnet"], rows["vgg16"]]
    assert ca.compare(ca.explain("alexnet"), ("vgg16",), nn.Conv2d(3, 4, 3), input_size=(3, 224, 224))[1:2] == [
        rows["vgg16"]
    ]
    with pytest.raises(ca.InputError, match=r"a network is a name, the folder of a run or a .*, and not 3"):
        ca.compare(["alexnet"], (3, 224, 224))  # type: ignore[arg-type]


def test_modules_of_ones_own_are_compared_too() -> None:
    (one,) = ca.compare([nn.Sequential(nn.Flatten(), nn.Linear(12, 5))], input_size=(3, 2, 2))
    assert (one.dense_params, one.conv_params, one.receptive_field, one.year) == (65, 0, None, None)
    assert as_json([one])[0]["input_size"] == [3, 2, 2]


def test_maps_whose_field_is_as_large_as_the_image_do_not_see_all_of_it_where_they_move() -> None:
    (one,) = ca.compare([nn.Conv2d(3, 4, 9, padding=1)], input_size=(3, 9, 9))
    assert (one.receptive_field, one.sees_all, field(one)) == ((9, 9), False, "9")
    rows = ca.compare("seresnet50", "vit_cifar", "lenet5")
    assert [field(each) for each in rows] == ["all", "all", "16"]


def test_the_chart_shows_the_error_that_more_of_them_have(rows: dict[str, Compared]) -> None:
    which, drawn = charted(list(rows.values()))
    assert which == "top5_error"
    assert len(drawn) == 4
    assert charted([rows["alexnet"], rows["vgg16"]])[0] == "top1_error"


@pytest.mark.parametrize(
    "names",
    [
        ("alexnet", "vgg16", "googlenet", "resnet50"),
        ("alexnet", "vgg11", "vgg16", "vgg19", "resnet34", "resnet50", "resnet101", "resnet152", "densenet121",
         "densenet161", "densenet169", "densenet201", "densenet264", "seresnet50", "resnext50_32x4d"),
    ],
)  # fmt: skip
def test_no_name_in_the_chart_covers_another_or_leaves_the_frame(names: tuple[str, ...]) -> None:
    figure = chart(ca.compare(names))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    axes = figure.axes[0]
    boxes = [Text.get_window_extent(text, canvas.get_renderer()) for text in axes.texts]
    assert sorted(text.get_text().split(",")[0] for text in axes.texts) == sorted(names)
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    frame = axes.get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 for box in boxes)


def test_errors_on_two_data_sets_share_no_axis() -> None:
    with pytest.raises(ca.InputError, match="MNIST and CIFAR-10 cannot share an axis"):
        chart(ca.compare(["lenet5", "resnet20"]))
    with pytest.raises(ca.InputError, match="of vit_b_16 no error is printed"):
        chart(ca.compare(["vit_b_16"]))
