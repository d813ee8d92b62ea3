"""GoogLeNet against the columns of its Table 1, and its module against the arithmetic of lectures."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from convatlas.errors import InputError
from convatlas.layers.lrn import LocalResponseNorm
from convatlas.models import build
from convatlas.models.googlenet import PRINTED, TABLE_1, Inception, NaiveInception, Widths
from convatlas.network import Answers, Network
from convatlas.weights import load_weights

# What models.csv says of the row: the printed parameters of these are not what their widths come to.
DISPUTED_PARAMS = {"conv1", *(f"inception_{name}" for name in ("4a", "4c", "4d", "4e", "5a", "5b"))}
DISPUTED_OPS = {"conv1", "inception_5a"}


def on_meta(name: str, **changes: object) -> Network:
    with torch.device("meta"):
        return build(name, **changes).eval()


def weights(module: nn.Module) -> int:
    """Weights without biases, which Table 1 leaves out."""
    return sum(p.numel() for p in module.parameters() if p.ndim > 1)


def operations(module: nn.Module, x: torch.Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        module(x)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("name", ["googlenet", "googlenet_tv", "googlenet_d2l"])
def test_maps_have_the_sizes_and_channels_of_table_1(name: str) -> None:
    network = on_meta(name)
    x = torch.empty(1, network.in_channels, 224, 224, device="meta")
    seen = {stage: (y.shape[1], y.shape[2] if y.ndim == 4 else 1) for stage, y in network.walk(x)}
    printed = {stage: (row.channels, row.size) for stage, row in PRINTED.items()}
    printed["linear"] = (network.num_classes, 1)
    assert {stage: seen[stage] for stage in printed} == printed
    assert set(seen) - set(printed) <= {"norm1", "norm2", "dropout"}


def test_the_widths_of_table_1_come_to_its_printed_parameters_but_for_seven_rows() -> None:
    stages = dict(on_meta("googlenet").chain())
    apart = {name: weights(stages[name]) / 1024 - row.params for name, row in PRINTED.items() if row.params}
    assert {name for name, by in apart.items() if abs(by) > 1} == DISPUTED_PARAMS
    assert round(apart["conv1"] + 2.7, 1) == 9.2


def test_the_widths_of_table_1_come_to_its_printed_operations_but_for_two_rows() -> None:
    x, apart = torch.empty(1, 3, 224, 224, device="meta"), {}
    for name, stage in on_meta("googlenet").chain():
        row = PRINTED.get(name)
        if row is not None and row.ops is not None:
            apart[name] = operations(stage, x) / 1e6 - row.ops
        x = stage(x)
    assert {name for name, by in apart.items() if abs(by) > 1} == DISPUTED_OPS


def test_a_separable_stem_has_the_printed_figures_of_conv1() -> None:
    conv1 = on_meta("googlenet", stem="separable").get_submodule("conv1")
    assert weights(conv1) == 2_712  # "2.7K"
    assert operations(conv1, torch.empty(1, 3, 224, 224, device="meta")) == 34_019_328  # "34M"


def test_each_auxiliary_classifier_has_the_parameters_that_section_5_comes_to() -> None:
    network = on_meta("googlenet", auxiliary=True)
    assert network.auxiliary is not None
    counts = {name: sum(p.numel() for p in head.parameters()) for name, head in network.auxiliary.items()}
    assert counts == {"inception_4a": 3_188_840, "inception_4d": 3_190_888}
    pooled = network.auxiliary.get_submodule("inception_4a.pool")(torch.empty(1, 512, 14, 14, device="meta"))
    assert pooled.shape == (1, 512, 4, 4)  # "resulting in a 4×4×512 output for the (4a)"
    maps = torch.randn(1, 3, 14, 14)
    average = build("googlenet", auxiliary=True).auxiliary["inception_4a"].pool  # type: ignore[index]
    torch.testing.assert_close(average(maps), nn.functional.avg_pool2d(maps, kernel_size=5, stride=3))


def test_auxiliary_classifiers_answer_beside_the_network_and_are_no_stages() -> None:
    network = build("googlenet", num_classes=5, auxiliary=True).eval()
    images = torch.zeros(2, 3, 80, 80)
    with torch.no_grad():
        assert shapes(network.heads(images)) == [(2, 5)] * 3
        assert "auxiliary" not in network.stages
        network.reset_head(4)
        assert shapes(network.heads(images)) == [(2, 4)] * 3
    with pytest.raises(ValueError, match="at least 80×80"):
        network.heads(images[:, :, :79, :79])


def shapes(answers: Answers) -> list[tuple[int, ...]]:
    return [tuple(y.shape) for y in (answers.logits, *answers.auxiliary)]


def test_weights_with_auxiliary_classifiers_fit_a_network_without_them_and_not_the_other_way() -> None:
    trained, alone = build("googlenet", num_classes=2, auxiliary=True), build("googlenet", num_classes=2)
    load_weights(alone, trained.state_dict())
    assert all(torch.equal(v, trained.state_dict()[k]) for k, v in alone.state_dict().items())
    with pytest.raises(InputError, match=r"missing: auxiliary\.inception_4a"):
        load_weights(trained, alone.state_dict())


def test_every_key_of_torchvisions_googlenet_has_its_place(shared_peers: Path) -> None:
    fixture = json.loads((shared_peers / "torchvision" / "googlenet.json").read_text(encoding="utf-8"))
    network = build("googlenet_tv", auxiliary=True)
    assert sum(p.numel() for p in network.parameters()) == fixture["num_params"]
    load_weights(network, {key: torch.zeros(shape) for key, shape in fixture["state"]})
    assert not any(p.any() for p in network.parameters())


def test_a_module_with_reductions_costs_a_third_of_the_naive_one() -> None:
    # 28×28×256 with 128, 192 and 96 filters; the reduced one has 64 filters in each 1×1 that is put in.
    x, widths = torch.empty(1, 256, 28, 28, device="meta"), Widths(128, 64, 192, 64, 96, 64)
    with torch.device("meta"):
        naive, reduced = NaiveInception(256, widths), Inception(256, widths)
    assert naive(x).shape == (1, 672, 28, 28)
    assert reduced(x).shape == (1, 480, 28, 28)
    assert operations(naive, x) == 28 * 28 * 256 * (128 + 9 * 192 + 25 * 96) == 854_196_224
    reductions = 256 * (128 + 64 + 64 + 64)
    assert operations(reduced, x) == 28 * 28 * (reductions + 9 * 64 * 192 + 25 * 64 * 96) == 271_351_808


def test_a_network_of_naive_modules_grows_from_stage_to_stage_and_costs_eight_times_as_much() -> None:
    network, x = on_meta("googlenet", module="naive"), torch.empty(1, 3, 224, 224, device="meta")
    seen = {name: y.shape[1] for name, y in network.walk(x)}
    channels, macs = 192, 112**2 * 49 * 3 * 64 + 56**2 * (64 * 64 + 9 * 64 * 192)
    for name, widths in TABLE_1.items():
        one, three, five = widths.conv_1x1, widths.conv_3x3, widths.conv_5x5
        macs += PRINTED[name].size ** 2 * channels * (one + 9 * three + 25 * five)
        channels += one + three + five
        assert seen[name] == channels
    assert channels == 4_944
    assert operations(network, x) == macs + channels * 1000 == 12_568_061_056
    assert round(12_568_061_056 / operations(on_meta("googlenet"), x), 1) == 7.9


def test_local_response_normalisation_stands_where_figure_3_has_it() -> None:
    stages = on_meta("googlenet").stages
    assert stages[:6] == ("conv1", "pool1", "norm1", "conv2", "norm2", "pool2")
    norms = [m for m in on_meta("googlenet").modules() if isinstance(m, LocalResponseNorm)]
    assert [(m.size, m.k, m.beta) for m in norms] == [(5, 1.0, 0.75)] * 2
    assert [m.alpha for m in norms] == pytest.approx([1e-4, 1e-4])  # torch's, on the mean, is Caffe's


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"module": "flat"}, "module is one of inception, naive, and not 'flat'"),
        ({"largest": 7}, "largest is one of 5, 3, and not 7"),
        ({"dropout": 1.0}, "dropout is a probability"),
        ({"dropout": "much"}, "dropout is a number, and not 'much'"),
        ({"auxiliary": "two"}, "auxiliary is true or false"),
    ],
)
def test_a_spec_says_what_is_wrong_with_it(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build("googlenet", **changes)


@pytest.mark.parametrize("name", ["googlenet", "googlenet_tv"])
def test_it_can_be_exported_and_runs_in_bf16_and_channels_last(name: str) -> None:
    network, x = build(name, num_classes=3).eval(), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = network(x)
        torch.testing.assert_close(torch.export.export(network, (x,)).module()(x), expected)
        last = network.to(memory_format=torch.channels_last)
        torch.testing.assert_close(last(x.to(memory_format=torch.channels_last)), expected, rtol=1e-3, atol=1e-4)
        assert network.bfloat16()(x.bfloat16()).isfinite().all()
