"""The orders of activation of He et al. 2016, Fig. 4, and what each of them leaves of the identity."""

import pytest
import torch
from torch import nn

from convatlas.errors import InputError
from convatlas.models import build
from convatlas.models.preresnet import CIFAR, ORDERS, PreActSpec, Unit


def silent(order: str, block: str = "basic") -> Unit:
    """A unit of 16 channels whose residual is zero."""
    channels = 64 if block == "bottleneck" else 16
    spec = PreActSpec(block, (1,), order=order, shortcut="A")  # type: ignore[arg-type]
    unit = Unit(channels, 16, stride=1, spec=spec).eval()
    for layer in unit.residual:
        if isinstance(layer, nn.Conv2d):
            nn.init.zeros_(layer.weight)
    return unit


@pytest.mark.parametrize("block", ["single", "basic", "bottleneck"])
@pytest.mark.parametrize("order", ORDERS)
def test_a_unit_of_zero_weights_is_the_identity_where_nothing_follows_the_addition(order: str, block: str) -> None:
    x = torch.randn(2, 64 if block == "bottleneck" else 16, 8, 8)
    expected = x if order in ("relu_before_addition", "relu_only_preact", "full_preact") else x.relu()
    torch.testing.assert_close(silent(order, block)(x), expected, rtol=1e-4, atol=1e-4)


def test_with_relu_before_the_addition_the_signal_can_only_grow() -> None:
    unit = Unit(16, 16, stride=1, spec=PreActSpec("basic", (1,), order="relu_before_addition"))
    x = torch.randn(2, 16, 8, 8)
    assert (unit(x) - x).min() >= 0


def test_a_unit_of_full_pre_activation_is_laid_out_as_in_figure_4e() -> None:
    unit = Unit(16, 16, stride=1, spec=PreActSpec("basic", (1,)))
    kinds = [type(m).__name__ for m in unit.modules() if not list(m.children())]
    layers = [kind for kind in kinds if kind in ("BatchNorm2d", "ReLU", "Conv2d")]
    assert layers == ["BatchNorm2d", "ReLU", "Conv2d", "BatchNorm2d", "ReLU", "Conv2d"]


def test_the_first_unit_takes_its_activation_from_conv1_and_the_last_has_one_behind_it() -> None:
    network = build("preresnet110")
    assert [name for name, _ in network.conv1.named_children()] == ["conv", "bn", "relu"]
    assert len(network.conv2_x[0].before) == 0
    assert [name for name, _ in network.conv2_x[1].before.named_children()] == ["bn", "relu"]
    assert network.stages[-3:] == ("activation", "pool", "fc")
    assert "activation" not in build("preresnet110", order="original").stages


@pytest.mark.parametrize("name", CIFAR)
def test_the_number_in_the_name_counts_the_layers_with_weights(name: str) -> None:
    with torch.device("meta"):
        network = build(name, shortcut="none")
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in network.modules()) == int(name.removeprefix("preresnet"))


def test_units_of_one_layer_make_110_layers_with_36_units_a_stage() -> None:
    network = build("preresnet110", block="single", layers=(36, 36, 36))  # Table 3, "ResNet-110 (1layer)"
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in network.modules()) == 110


def test_the_original_order_is_the_network_of_2015() -> None:
    ours, theirs = build("preresnet110", order="original").eval(), build("resnet110").eval()
    ours.load_state_dict(
        dict(zip(ours.state_dict(), renamed_in_order(theirs.state_dict(), ours.state_dict()), strict=True))
    )
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-3, atol=1e-3)


def renamed_in_order(theirs: dict[str, torch.Tensor], ours: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """Both registers conv1, bn1, conv2, bn2 in one order."""
    assert [v.shape for v in theirs.values()] == [v.shape for v in ours.values()]
    return list(theirs.values())


def test_the_maps_of_table_5_are_as_wide_as_those_of_2015() -> None:
    with torch.device("meta"):
        walk = dict(build("preresnet200").eval().walk(torch.empty(1, 3, 224, 224)))
    assert [walk[f"conv{i}{'' if i == 1 else '_x'}"].shape[-1] for i in range(1, 6)] == [112, 56, 28, 14, 7]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"order": "none"}, "order is one of original, bn_after_addition"),
        ({"layers": ()}, "layers is a list, of which each is a whole number"),
        ({"layers": (2, 0)}, "layers are the units of each stage, at least 1 each"),
        ({"dropout": 1.0}, "dropout is a share"),
        ({"on_shortcut": "scale"}, "on_shortcut is a number or one of gate, dropout"),
        ({"on_branch": "dropout"}, "on_branch is a number or one of gate"),
        ({"width": 0}, "width, of conv2_x"),
        ({"reduction": 17}, "a whole number from 1 to 16, the fewest channels"),
        ({"gate_bias": float("nan")}, "gate_bias is a finite number, and not nan"),
        ({"on_branch": float("inf")}, "on_branch is a finite number, and not inf"),
    ],
)
def test_what_cannot_be_is_refused_in_words(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build("preresnet110", **changes)


TABLE_1 = {
    # on shortcut, on F, the bias of the gates: what arrives of x = 1 and F = 1, where weights of gates are 0
    "original":                (1,         1,      0,  2.0),
    "constant scaling 0, 1":   (0,         1,      0,  1.0),
    "constant scaling 0.5, 1": (0.5,       1,      0,  1.5),
    "constant scaling 0.5, 0.5": (0.5,     0.5,    0,  1.0),
    "exclusive gating":        ("gate",    "gate", 0,  1.0),
    "exclusive gating, -6":    ("gate",    "gate", -6, 1.0),
    "shortcut-only gating":    ("gate",    1,      0,  1.5),
    "shortcut-only gating, -6": ("gate",   1,      -6, 1.9975),
    "dropout":                 ("dropout", 1,      0,  2.0),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLE_1)
def test_shortcut_and_branch_are_weighed_as_in_table_1(case: str) -> None:
    on_shortcut, on_branch, gate_bias, expected = TABLE_1[case]
    network = build(
        "preresnet110", layers=(1, 1, 1), order="original",
        on_shortcut=on_shortcut, on_branch=on_branch, gate_bias=gate_bias,
    ).eval()  # fmt: skip
    unit = network.conv2_x[0]
    nn.init.ones_(unit.residual.behind.bn.bias)
    nn.init.zeros_(unit.residual.conv2.weight)
    if unit.gate is not None:
        nn.init.zeros_(unit.gate.weight)
    with torch.no_grad():
        y = unit(torch.ones(1, 16, 8, 8))
        assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
    torch.testing.assert_close(y, torch.full_like(y, expected), rtol=1e-4, atol=1e-4)


def test_half_of_the_shortcut_is_dropped_in_training_alone() -> None:
    unit = Unit(16, 16, stride=1, spec=PreActSpec("basic", (1,), shortcut="A", on_shortcut="dropout"))
    nn.init.zeros_(unit.residual.conv2.weight)
    torch.manual_seed(0)
    x = torch.ones(4, 16, 32, 32)
    trained = unit.train()(x)  # of F = 0 nothing is added
    assert trained.unique().tolist() == [0, 2]
    assert (trained == 0).float().mean().item() == pytest.approx(0.5, abs=5 * 0.5 / x.numel() ** 0.5)
    torch.testing.assert_close(unit.eval()(x), x)


def test_a_convolution_on_every_shortcut_is_option_c() -> None:
    with torch.device("meta"):
        extra = sum(
            sum(p.numel() for p in build("preresnet110", order="original", shortcut=option).parameters()) * sign
            for option, sign in (("C", 1), ("B", -1))
        )
    assert extra == 18 * (16**2 + 2 * 16) + 17 * (32**2 + 2 * 32) + 17 * (64**2 + 2 * 64)
