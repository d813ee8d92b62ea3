"""ShuffleNet and its second version against their tables."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from convatlas.errors import InputError
from convatlas.models import build, list_models, model_card
from convatlas.models.shufflenet_v2 import Unit


def macs(name: str, **changes: object) -> int:
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        build(name, **changes).eval()(torch.empty(1, 3, 224, 224))
    return counter.get_total_flops() // 2


@pytest.mark.parametrize(
    ("name", "channels"),
    [  # Table 1 of the first paper, Table 5 of the second
        ("shufflenet_v1_x1_0_g1", (24, 144, 288, 576)),
        ("shufflenet_v1_x1_0_g3", (24, 240, 480, 960)),
        ("shufflenet_v1_x1_0_g8", (24, 384, 768, 1536)),
        ("shufflenet_v2_x1_0", (24, 116, 232, 464)),
        ("shufflenet_v2_x2_0", (24, 244, 488, 976)),
    ],
)
def test_the_stages_have_the_sizes_of_the_table(name: str, channels: tuple[int, int, int, int]) -> None:
    with torch.device("meta"):
        walk = {stage: tuple(y.shape[1:]) for stage, y in build(name).walk(torch.empty(2, 3, 224, 224))}
    sides = {"conv1": 112, "maxpool": 56, "stage2": 28, "stage3": 14, "stage4": 7}
    conv1, stage2, stage3, stage4 = channels
    expected = dict(zip(sides, (conv1, conv1, stage2, stage3, stage4), strict=True))
    assert {stage: walk[stage] for stage in sides} == {s: (expected[s], sides[s], sides[s]) for s in sides}


@pytest.mark.parametrize("name", list_models("shufflenet_v2_*"))
def test_the_second_version_costs_what_its_paper_prints_which_counts_a_hundredth_more(name: str) -> None:
    printed = float(str(model_card(name).published["macs"]).removesuffix("M"))
    assert 0.985 < macs(name) / 1e6 / printed <= 1  # more than convolutions and classifier is in the printed figure


@pytest.mark.parametrize("name", [n for n in list_models("shufflenet_v1_x1_0_*") if not n.endswith("g8")])
def test_table_1_of_the_first_version_prints_the_cost_without_the_classifier(name: str) -> None:
    printed = int(str(model_card(name).published["macs"]).removesuffix("M"))
    convolutions = macs(name) - 1000 * build(name).spec.channels[2]
    assert round(convolutions / 1e6) == printed or int(convolutions / 1e6) == printed


def test_the_shallow_form_can_be_built_though_its_widths_are_not_printed() -> None:
    assert 40e6 < macs("shufflenet_v1_x0_5_g3", width=0.75, repeats=(2, 4, 2)) < 42e6


@pytest.mark.parametrize(("width", "groups"), [(0.5, 2), (0.5, 4), (0.25, 2), (0.25, 4)])
def test_widths_that_do_not_divide_into_their_groups_are_refused(width: float, groups: int) -> None:
    with pytest.raises(InputError, match=f"width {width:g} with {groups} groups would give Stage 2"):
        build("shufflenet_v1_x1_0_g1", width=width, groups=groups, conv1=12)


def test_other_choices_that_cannot_be_built_are_refused() -> None:
    with pytest.raises(InputError, match="Stage 2 adds 180 channels to the 12 of conv1"):
        build("shufflenet_v1_x0_5_g8", conv1=12)
    with pytest.raises(InputError, match="groups is one of 1, 2, 3, 4, 8, and not 5"):
        build("shufflenet_v1_x1_0_g1", groups=5)
    with pytest.raises(InputError, match="repeats has a whole number"):
        build("shufflenet_v1_x1_0_g1", repeats=(0, 8, 4))
    with pytest.raises(InputError, match="channels has an even number"):
        build("shufflenet_v2_x1_0", channels=(115, 232, 464))
    with pytest.raises(InputError, match="conv5, the channels of it, is a whole number of at least 1, and not 0"):
        build("shufflenet_v2_x1_0", conv5=0)
    with pytest.raises(InputError, match=r"a whole number from 1 to 48, the fewest channels .* and not 1000"):
        build("shufflenet_v1_x0_25_g3", reduction=1000)  # 60 channels of Stage 2 less the 12 that come in


def test_the_first_pointwise_layer_of_stage_2_has_no_groups_and_all_others_have() -> None:
    with torch.device("meta"):
        network = build("shufflenet_v1_x1_0_g3")
    pointwise = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)]
    assert [m.groups for m in pointwise] == [1] + [3] * (2 * 16 - 1)


def test_the_left_half_of_a_unit_of_the_second_version_goes_on_unchanged() -> None:
    unit = Unit(8, 8, stride=1, shuffle=True).eval()
    x = torch.randn(2, 8, 5, 5)
    assert torch.equal(unit(x)[:, ::2], x[:, :4])  # the shuffle lays the halves between each other
