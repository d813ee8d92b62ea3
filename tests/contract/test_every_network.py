"""What every name of the registry keeps."""

import pytest
import torch

from convatlas.data.chance import seed_torch
from convatlas.errors import InputError
from convatlas.models import build, list_models, model_card
from convatlas.network import Network

NAMES = [name for name in list_models() if name != "resnet1202"]  # a minute a forward pass; see its own test

PARAMETERS = {
    # shared/papers/models.csv, params_exact
    "lenet5": 60_000,
    "lenet": 61_706,
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
    "googlenet": 6_998_552,
    "googlenet_tv": 6_624_904,
    "googlenet_d2l": 5_977_530,
    "bn_inception": 11_285_224,
    "bn_mlp": 100_010,  # 99,710 without normalisation; with it 600 more, and 300 biases fewer
    "se_bn_inception": 11_931_622,
}


@pytest.fixture(params=NAMES)
def network(request: pytest.FixtureRequest) -> Network:
    return build(request.param).eval()


def images(network: Network, count: int = 2) -> torch.Tensor:
    shape = network.in_channels, *small(network.name)
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(0))


def small(name: str) -> tuple[int, int]:
    """A size of images that the network takes in little time: its own, or where it takes others no more than 64."""
    card = model_card(name)
    height, width = card.input_size[1:]
    most = height if card.fixed_size else max(card.least_size, 64)
    return min(height, most), min(width, most)


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


def test_it_answers_with_a_logit_a_class(network: Network) -> None:
    with torch.no_grad():
        assert network(images(network)).shape == (2, model_card(network.name).num_classes)


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
    network.train()(images(network, 4)).logsumexp(1).sum().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


def test_a_new_head_leaves_the_rest_as_it_is(network: Network) -> None:
    before = {k: v.clone() for k, v in network.state_dict().items() if not k.startswith(network.stages[-1])}
    network.reset_head(3)
    with torch.no_grad():
        assert network(images(network)).shape == (2, 3)
    assert network.num_classes == 3
    assert all(torch.equal(v, network.state_dict()[k]) for k, v in before.items())


@pytest.mark.parametrize("name", NAMES)
def test_it_can_be_built_for_other_channels_and_classes(name: str) -> None:
    channels = 4 - model_card(name).input_size[0]
    other = build(name, num_classes=7, in_channels=channels)
    with torch.no_grad():
        assert other(torch.zeros(2, channels, *small(name))).shape == (2, 7)


def test_it_refuses_images_of_other_channels(network: Network) -> None:
    with pytest.raises(ValueError, match=rf"{network.name} takes images of {network.in_channels} channel"):
        network(torch.zeros(1, network.in_channels + 1, 32, 32))


def test_it_takes_the_least_size_and_refuses_a_smaller_one(network: Network) -> None:
    least = network.least_size
    with torch.no_grad():
        network(torch.zeros(2, network.in_channels, least, least))
    with pytest.raises(ValueError, match=f"{least}×{least}"):
        network(torch.zeros(2, network.in_channels, least - 1, least - 1))


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
    assert list_models("plain*") == ["plain20", "plain32", "plain44", "plain56", "plain110"]
    assert list_models()[0] == "lenet5"
