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
        ({"layers": ()}, "layers are the units of each stage"),
        ({"dropout": 1.0}, "dropout is a share"),
        ({"width": 0}, "width, of conv2_x"),
    ],
)
def test_what_cannot_be_is_refused_in_words(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build("preresnet110", **changes)
