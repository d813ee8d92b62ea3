"""What every name of the registry keeps."""

from collections.abc import Callable
from fnmatch import fnmatchcase

import pytest
import torch

from convatlas.data.chance import seed_torch
from convatlas.errors import InputError
from convatlas.layers.depth import StochasticDepth
from convatlas.models import build, list_models, model_card
from convatlas.network import Network

PARAMETERS = {
    # the exact counts of tests/papers/models.csv; what is not there, as torchvision and timm count it
    "lenet5": 60_000,
    "lenet": 61_706,
    # ResNet
    "plain18": 11_515_688,
    "plain34": 21_623_848,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnet50_v1_5": 25_557_032,
    "resnet101_v1_5": 44_549_160,
    "resnet152_v1_5": 60_192_808,
    "resnet18_d2l": 11_178_378,
    # ResNet-CIFAR
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet44": 658_586,
    "resnet56": 853_018,
    "resnet110": 1_727_962,
    "resnet1202": 19_421_274,
    "plain20": 269_722,
    "plain32": 464_154,
    "plain44": 658_586,
    "plain56": 853_018,
    "plain110": 1_727_962,
    # PreActResNet
    "preresnet110": 1_727_962,
    "preresnet164": 1_703_258,
    "preresnet1001": 10_327_706,
    "resnet200": 64_673_832,
    "preresnet152": 60_185_256,
    "preresnet200": 64_666_280,
    "resnetv2_50": 25_549_352,
    # StochasticDepth
    "resnet110_sd": 1_727_962,
    "resnet1202_sd": 19_421_274,
    "resnet152_sd": 60_192_808,
    # WideResNet
    "wrn_40_1": 563_930,
    "wrn_40_2": 2_243_546,
    "wrn_40_4": 8_949_210,
    "wrn_40_8": 35_748_314,
    "wrn_28_10": 36_479_194,
    "wrn_28_12": 52_517_850,
    "wrn_22_8": 17_158_106,
    "wrn_22_10": 26_797_914,
    "wrn_16_8": 10_961_370,
    "wrn_16_10": 17_116_634,
    "wide_resnet50_2": 68_883_240,
    "wide_resnet101_2": 126_886_696,
    # ResNeXt
    "resnext50_2x40d": 25_425_000,
    "resnext50_4x24d": 25_292_968,
    "resnext50_8x14d": 25_603_016,
    "resnext50_32x4d": 25_028_904,
    "resnext101_2x40d": 44_456_296,
    "resnext101_4x24d": 44_363_432,
    "resnext101_8x14d": 45_104_328,
    "resnext101_32x4d": 44_177_704,
    "resnet101_1x100d": 85_611_336,
    "resnext101_2x64d": 84_198_184,
    "resnext101_64x4d": 83_455_272,
    "resnext101_32x8d": 88_791_336,
    "resnext29_8x64d": 34_426_698,
    "resnext29_16x64d": 68_155_210,
    # SENet; what is not in models.csv, as torchvision and timm count it
    "seresnet50": 28_088_024,
    "seresnet101": 49_326_872,
    "seresnet152": 66_821_848,
    "seresnext50_32x4d": 27_559_896,
    "seresnext101_32x4d": 48_955_416,
    "seresnext101_32x8d": 93_569_048,
    "seresnet50_v1_5": 28_088_024,
    "seresnet101_v1_5": 49_326_872,
    "seresnet152_v1_5": 66_821_848,
    "legacy_seresnet18": 11_778_592,
    "legacy_seresnet34": 21_958_868,
    "legacy_seresnet50": 28_088_024,
    "legacy_seresnet101": 49_326_872,
    "legacy_seresnet152": 66_821_848,
    "legacy_seresnext50_32x4d": 27_559_896,
    "legacy_seresnext101_32x4d": 48_955_416,
    "senet154": 115_088_984,
    "densenet_40_12": 1_019_722,
    "densenet_100_12": 6_979_642,
    "densenet_100_24": 27_249_082,
    "densenet_bc_100_12": 769_162,
    "densenet_bc_250_24": 15_324_406,
    "densenet_bc_190_40": 25_624_430,
    "densenet121": 7_978_856,
    "densenet169": 14_149_480,
    "densenet201": 20_013_928,
    "densenet264": 33_337_704,
    "densenet161": 28_681_000,
    "densenet_d2l": 758_226,
    "shufflenet_v1_x1_0_g1": 1_531_936,
    "shufflenet_v1_x1_0_g2": 1_733_848,
    "shufflenet_v1_x1_0_g3": 1_865_728,
    "shufflenet_v1_x1_0_g4": 1_968_344,
    "shufflenet_v1_x1_0_g8": 2_434_768,
    "shufflenet_v1_x0_5_g1": 534_484,
    "shufflenet_v1_x0_5_g3": 718_324,
    "shufflenet_v1_x0_5_g8": 1_011_448,
    "shufflenet_v1_x0_25_g1": 209_908,
    "shufflenet_v1_x0_25_g3": 306_124,
    "shufflenet_v1_x0_25_g8": 454_504,
    "shufflenet_v1_x1_5_g3": 3_442_168,
    "shufflenet_v1_x2_0_g3": 5_450_776,
    "shufflenet_v1_x2_0_g3_se": 7_910_083,
    "shufflenet_v2_x0_5": 1_366_792,
    "shufflenet_v2_x1_0": 2_278_604,
    "shufflenet_v2_x1_5": 3_503_624,  # not in the table
    "shufflenet_v2_x2_0": 7_393_996,
    "vit_small_patch16_224": 22_050_664,  # not in the table
    "vit_b_16": 86_567_656,
    "vit_cifar": 2_693_578,  # not in the table
    # A second or more to draw the weights of each, and ten draws a name: one AlexNet and one VGG stand for the others,
    # whose counts are in the table below, and whose logits are compared with the peers'.
    "lenet_bn": 44_878,
    "alexnet": 60_965_224,
    "alexnet_caffe": 60_965_224,
    "caffenet": 60_965_224,
    "alexnet_owt_footnote": 61_838_248,
    "alexnet_owt": 61_100_840,
    "alexnet_d2l": 46_764_746,
    "nin_cifar": 966_986,
    "nin_imagenet": 7_595_176,
    "nin_d2l": 1_992_166,
    "vgg11": 132_863_336,
    "vgg11_lrn": 132_863_336,
    "vgg13": 133_047_848,
    "vgg16_c": 133_638_952,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "vgg13_5x5": 134_503_528,
    "vgg11_bn": 132_868_840,
    "vgg13_bn": 133_053_736,
    "vgg16_bn": 138_365_992,
    "vgg19_bn": 143_678_248,
    "vgg11_d2l": 128_806_154,
    "googlenet": 6_998_552,
    "googlenet_tv": 6_624_904,
    "googlenet_d2l": 5_977_530,
    "bn_inception": 11_285_224,
    "bn_mlp": 100_010,  # 99,710 without normalisation; with it 600 more, and 300 biases fewer
    "se_bn_inception": 11_931_622,
    "airbench94": 1_972_792,
}

LARGE = 8_000_000
DEEP = ("*1[0-9][0-9]*", "preresnet*", "*56", "densenet_*")
"""Networks of more parameters, and deep ones, take seconds a test: the tests of their families look at them."""
NAMES = [
    name
    for name in list_models()
    if PARAMETERS[name] < LARGE and not any(fnmatchcase(name, pattern) for pattern in DEEP)
]


@pytest.fixture(params=NAMES)
def network(request: pytest.FixtureRequest) -> Network:
    return build(request.param).eval()


def images(network: Network, count: int = 2) -> torch.Tensor:
    shape = small_input(network.name)
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(0))


def small_input(name: str) -> tuple[int, int, int]:
    """The network's C, H, W, or less where it takes less: 64 pixels a side, or its least."""
    card = model_card(name)
    if card.fixed_size or max(card.input_size) <= 32:
        return card.input_size
    side = max(card.least_size, 64)
    return (card.input_size[0], side, side)


def test_the_table_below_names_every_network() -> None:
    assert set(PARAMETERS) == set(list_models())


@pytest.mark.parametrize("name", PARAMETERS)
def test_it_has_the_parameters_of_its_paper(name: str) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in build(name).parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_figure_that_its_paper_prints_agrees(name: str) -> None:
    printed = str(model_card(name).published.get("params", ""))
    exact = PARAMETERS[name]
    if printed.endswith("M"):
        digits = len(printed.removesuffix("M").partition(".")[2])
        assert abs(exact / 1e6 - float(printed[:-1])) <= 10**-digits  # rounded or cut off
    elif printed.endswith("K"):
        assert round(exact / 1e3) == int(printed[:-1])
    elif printed:
        assert exact == int(printed.replace(",", ""))


@pytest.mark.parametrize("name", PARAMETERS)
def test_it_answers_with_a_logit_a_class_from_its_least_size_on_and_refuses_a_smaller_image(name: str) -> None:
    card = model_card(name)
    channels, least = card.input_size[0], card.least_size
    with torch.device("meta"):
        network = build(name).eval()
        assert network.least_size == least
        assert network(torch.empty(2, channels, least, least)).shape == (2, card.num_classes)
        with pytest.raises(ValueError, match=f"{least}×{least}"):
            network(torch.empty(2, channels, least - 1, least - 1))


def test_its_walk_ends_in_its_logits(network: Network) -> None:
    with torch.no_grad():
        walk = dict(network.walk(images(network)))
        assert tuple(walk) == network.stages
        torch.testing.assert_close(walk[network.stages[-1]], network(images(network)))


@pytest.mark.parametrize("name", NAMES)
def test_one_seed_gives_the_same_weights_twice_and_another_seed_others(name: str) -> None:
    first, second, third = (state(name, seed) for seed in (0, 0, 1))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(first[key], third[key]) for key in first)


def state(name: str, seed: int) -> dict[str, torch.Tensor]:
    seed_torch(seed, "weights")
    return build(name).state_dict()


def test_every_parameter_gets_a_gradient(network: Network) -> None:
    for layer in network.modules():
        if isinstance(layer, StochasticDepth):
            layer.survival = 1  # a dropped branch has no gradients
    network.train()(images(network, 4)).logsumexp(1).sum().backward()
    for key, parameter in network.named_parameters():
        if parameter.requires_grad:  # airbench94 keeps the scales of its normalisation
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key


def test_a_new_head_leaves_the_rest_as_it_is(network: Network) -> None:
    before = {k: v.clone() for k, v in network.state_dict().items() if not k.startswith(network.stages[-1])}
    network.reset_head(3)
    with torch.no_grad():
        assert network(images(network)).shape == (2, 3)
    assert network.num_classes == 3
    after = network.state_dict()
    assert all(torch.equal(v, after[k]) for k, v in before.items())


@pytest.mark.parametrize("name", NAMES)
def test_it_can_be_built_for_other_channels_and_classes(name: str) -> None:
    channels, height, width = small_input(name)
    other = build(name, num_classes=7, in_channels=4 - channels)
    with torch.no_grad():
        assert other(torch.zeros(2, 4 - channels, height, width)).shape == (2, 7)


def test_it_refuses_images_of_other_channels_and_what_is_no_image(network: Network) -> None:
    for walk in (network, lambda x: list(network.walk(x))):
        for shape in ((1, network.in_channels + 1, 32, 32), (network.in_channels, 32, 32), (3,)):
            with pytest.raises(ValueError, match=rf"{network.name} takes images of {network.in_channels} channel"):
                walk(torch.zeros(shape))


def test_a_card_says_where_a_network_comes_from() -> None:
    card = model_card("resnet110")
    assert (card.family, card.year, card.input_size, card.num_classes) == ("ResNet-CIFAR", 2015, (3, 32, 32), 10)
    assert card.published["top1_error"] == 6.43
    assert card.paper.identifier == "arXiv:1512.03385"


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"no model is called 'resnet21'; the nearest: resnet"):
        build("resnet21")


def test_an_unknown_change_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"resnet20 has no 'depth' to change; its spec has n, shortcut"):
        build("resnet20", depth=3)
    with pytest.raises(InputError, match="shortcut is one of A, B, none, and not 'C'"):
        build("resnet20", shortcut="C")


def test_names_are_listed_by_pattern_in_the_order_of_history() -> None:
    assert list_models("plain*") == ["plain18", "plain34", "plain20", "plain32", "plain44", "plain56", "plain110"]
    assert list_models()[0] == "lenet5"


@pytest.mark.parametrize("size", [(64, 64), (32, 256)])
def test_a_residual_network_is_a_pyramid(size: tuple[int, int]) -> None:
    network = build("resnet18").eval()
    levels = (("conv1", 64, 2), ("conv2_x", 64, 4), ("conv3_x", 128, 8), ("conv4_x", 256, 16), ("conv5_x", 512, 32))
    assert network.levels == levels
    with torch.no_grad():
        outputs = network.pyramid(torch.zeros(1, 3, *size))
    assert [(name, *y.shape[1:]) for name, y in outputs.items()] == [
        (stage, channels, size[0] // stride, size[1] // stride) for stage, channels, stride in levels
    ]


@pytest.mark.parametrize(
    ("name", "strides"),
    [
        ("lenet5", [1, 2, 2, 4]),  # C1 and S2, C3 and S4, of which none is padded
        ("alexnet", [4, 8, 16, 32]),  # conv1 has a stride of 4, each of three poolings one of 2
        ("nin_imagenet", [4, 8, 16, 32]),
        ("googlenet", [2, 4, 8, 16, 32]),
    ],
)
def test_the_strides_of_a_pyramid_are_the_layers_multiplied(name: str, strides: list[int]) -> None:
    assert [level.stride for level in build(name).levels] == strides


@pytest.mark.parametrize("name", ["resnet20", "googlenet", "nin_cifar"])
def test_a_new_head_is_of_the_networks_type_and_mode(name: str) -> None:
    changes = {"googlenet": {"auxiliary": True}, "nin_cifar": {"head": "dense_dropout"}}.get(name, {})
    network = build(name, **changes).eval().to(torch.bfloat16)
    network.reset_head(3)
    assert {p.dtype for p in network.parameters()} == {torch.bfloat16}
    assert not any(layer.training for layer in network.modules())
    with pytest.raises(ValueError, match="num_classes is a whole number of at least 1, and not 0"):
        network.reset_head(0)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: build("resnet18", layers=3), "layers is a list of 4, of which each is a whole number, and not 3"),
        (lambda: build("resnet18", layers=[2, 2, 2]), "layers is a list of 4"),
        (lambda: build("resnet18", survival="half"), "survival is a number or left out, and not 'half'"),
        (lambda: build("resnext50_32x4d", cardinality=2.5), "cardinality is a whole number, and not 2.5"),
        (lambda: build("densenet121", saving="no"), "saving is true or false, and not 'no'"),
        (lambda: build("nin_cifar", mlpconvs=[[5, 1]]), "mlpconvs is a list, of which each is"),
        (lambda: build("googlenet", largest=7), "largest is one of 5, 3, and not 7"),
        (lambda: build("resnet20", num_classes=0), "num_classes is a whole number of at least 1, and not 0"),
        (lambda: build("resnet20", num_classes="10"), "num_classes is a whole number of at least 1, and not '10'"),
        (lambda: build("resnet20", in_channels=-3), "in_channels is a whole number of at least 1, and not -3"),
        (lambda: build(None), "no model is called None"),  # type: ignore[arg-type]
    ],
)
def test_a_value_of_which_no_network_can_be_made_is_refused_in_a_sentence(
    call: Callable[[], Network], reason: str
) -> None:
    with pytest.raises(InputError, match=reason) as error:
        call()
    assert "\n" not in str(error.value)


def test_a_spec_out_of_a_file_is_the_spec_that_went_into_it() -> None:
    network = build("resnet18", layers=[2, 1, 1, 1])
    assert network.spec == build("resnet18", layers=(2, 1, 1, 1)).spec
    assert {network.spec: 1}  # can be hashed
