"""LeNet-5 against what Sec. II-B prints, and the lecture form against its arithmetic."""

import pytest
import torch

from convatlas.models import build
from convatlas.models.lenet import C3, RBF, TABLE_I, ScaledTanh, Subsampling, digit_codes, random_codes


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("stage", "parameters", "shape"),
    [
        ("c1", 156, (6, 28, 28)),
        ("s2", 12, (6, 14, 14)),
        ("c3", 1_516, (16, 10, 10)),
        ("s4", 32, (16, 5, 5)),
        ("c5", 48_120, (120, 1, 1)),
        ("f6", 10_164, (84,)),
        ("output", 0, (10,)),
    ],
)
def test_each_layer_of_lenet5_has_the_size_and_the_parameters_of_the_paper(
    stage: str, parameters: int, shape: tuple[int, ...]
) -> None:
    network = build("lenet5")
    assert count(network.get_submodule(stage)) == parameters
    assert dict(network.walk(torch.zeros(1, 1, 32, 32)))[stage].shape[1:] == shape


def test_c3_uses_60_of_the_96_pairs_of_maps() -> None:
    assert sum(row.count("X") for row in TABLE_I) == 60
    # "The first six C3 feature maps take inputs from every contiguous subset of three […] the last from all."
    assert [sum(row[c3] == "X" for row in TABLE_I) for c3 in range(16)] == [3] * 6 + [4] * 9 + [6]


def test_a_map_of_c3_sees_the_maps_that_table_i_marks_and_no_others() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 6, 14, 14, requires_grad=True)
    layer = C3()
    layer.initialize()
    y = layer(x)
    for c3 in range(16):
        (gradient,) = torch.autograd.grad(y[0, c3].sum(), x, retain_graph=True)
        seen = "".join("X" if gradient[0, s2].abs().sum() > 0 else "." for s2 in range(6))
        assert seen == "".join(row[c3] for row in TABLE_I)


def test_subsampling_adds_four_scales_and_shifts() -> None:
    layer = Subsampling(2)
    with torch.no_grad():
        layer.coefficient.copy_(torch.tensor([0.5, -1.0]))
        layer.bias.copy_(torch.tensor([1.0, 0.0]))
    x = torch.arange(8.0).view(1, 2, 2, 2)
    assert layer(x).flatten().tolist() == [0.5 * 6 + 1, -22.0]


def test_the_scaled_tanh_leaves_one_and_minus_one_where_they_are() -> None:
    torch.testing.assert_close(
        ScaledTanh()(torch.tensor([1.0, -1.0, 0.0])), torch.tensor([1.0, -1.0, 0.0]), atol=2e-5, rtol=0
    )


def test_an_output_unit_answers_with_minus_the_squared_distance_to_its_code() -> None:
    torch.manual_seed(0)
    x = torch.randn(5, 84)
    expected = -torch.cdist(x, digit_codes()).square()
    torch.testing.assert_close(RBF(10)(x), expected, atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize("codes", [digit_codes(), random_codes(10), random_codes(100)])
def test_codes_are_of_plus_and_minus_one_and_far_from_each_other(codes: torch.Tensor) -> None:
    assert set(codes.unique().tolist()) == {-1.0, 1.0}
    differing = (codes[:, None] != codes[None]).sum(-1).fill_diagonal_(84)
    assert differing.min() >= 12


def test_the_codes_look_like_their_digits() -> None:
    seven = digit_codes()[7].view(12, 7)
    assert (seven[0] == 1).all()  # the bar on top
    assert seven[:, 6].tolist()[-3:] == [-1, -1, -1]


def test_full_connections_and_a_dense_output_are_changes_of_the_spec() -> None:
    full = build("lenet5", connections="full", output="dense")
    assert count(full.c3) == 16 * (6 * 25 + 1)
    assert count(full.output) == 850


def test_the_lecture_form_has_400_inputs_to_its_dense_layers() -> None:
    network = build("lenet")
    shapes = {name: tuple(y.shape[1:]) for name, y in network.walk(torch.zeros(1, 1, 28, 28))}
    assert shapes == {
        "conv1": (6, 28, 28), "pool1": (6, 14, 14), "conv2": (16, 10, 10), "pool2": (16, 5, 5),
        "fc3": (120,), "fc4": (84,), "fc5": (10,),
    }  # fmt: skip
    assert network.fc3.dense.in_features == 16 * 5 * 5 == 400


def test_the_lecture_form_computes_what_its_layers_written_out_compute() -> None:
    torch.manual_seed(0)
    network, x = build("lenet"), torch.randn(3, 1, 28, 28)
    weights = network.state_dict()
    F = torch.nn.functional  # noqa: N806
    y = F.avg_pool2d(torch.sigmoid(F.conv2d(x, weights["conv1.conv.weight"], weights["conv1.conv.bias"], padding=2)), 2)
    y = F.avg_pool2d(torch.sigmoid(F.conv2d(y, weights["conv2.conv.weight"], weights["conv2.conv.bias"])), 2)
    for name in ("fc3.dense", "fc4.dense"):
        y = torch.sigmoid(F.linear(y.flatten(1), weights[f"{name}.weight"], weights[f"{name}.bias"]))
    y = F.linear(y, weights["fc5.weight"], weights["fc5.bias"])
    torch.testing.assert_close(network(x), y)


def test_the_lecture_form_can_have_relu_and_max_pooling() -> None:
    network = build("lenet", activation="relu", pool="max")
    kinds = {type(module) for module in network.modules()}
    assert torch.nn.ReLU in kinds
    assert torch.nn.MaxPool2d in kinds
    assert not kinds & {torch.nn.Sigmoid, torch.nn.AvgPool2d}


def test_the_lecture_form_with_batch_normalisation_has_256_inputs_to_its_dense_layers() -> None:
    network = build("lenet_bn").eval()
    shapes = {name: tuple(y.shape[1:]) for name, y in network.walk(torch.zeros(1, 1, 28, 28))}
    assert shapes["pool1"] == (6, 12, 12)
    assert shapes["pool2"] == (16, 4, 4)
    assert network.fc3.dense.in_features == 256
    assert list(dict(network.fc3.named_children())) == ["flatten", "dense", "bn", "act"]
