"""What every name of the registry keeps."""

from collections.abc import Callable
from fnmatch import fnmatchcase

import pytest
import torch

from convatlas.counts import counts_of
from convatlas.data.chance import seed_torch
from convatlas.errors import InputError
from convatlas.layers.depth import StochasticDepth
from convatlas.models import build, list_models, model_card
from convatlas.network import Network

LARGE = 8_000_000
DEEP = ("*1[0-9][0-9]*", "preresnet*", "*56", "densenet_*")
"""Networks of more parameters, and deep ones, take seconds a test: the tests of their families look at them."""
NAMES = [
    name
    for name in list_models()
    if counts_of(name).params < LARGE and not any(fnmatchcase(name, pattern) for pattern in DEEP)
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


@pytest.mark.parametrize("name", list_models())
def test_the_figure_that_its_paper_prints_agrees(name: str) -> None:
    printed = str(model_card(name).published.get("params", ""))
    exact = counts_of(name).params
    if printed.endswith("M"):
        digits = len(printed.removesuffix("M").partition(".")[2])
        assert abs(exact / 1e6 - float(printed[:-1])) <= 10**-digits  # rounded or cut off
    elif printed.endswith("K"):
        assert round(exact / 1e3) == int(printed[:-1])
    elif printed:
        assert exact == int(printed.replace(",", ""))


@pytest.mark.parametrize("name", list_models())
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
        with pytest.raises(ValueError, match=rf"{network.name} takes images of {network.in_channels} channel"):
            walk(torch.zeros(1, network.in_channels + 1, 32, 32))
        for shape in ((network.in_channels, 32, 32), (3,)):
            with pytest.raises(ValueError, match=r"takes a batch of images \(N, C, H, W\), and got the shape"):
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
