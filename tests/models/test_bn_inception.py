"""BN-Inception against its Fig. 5, and the networks that its Sec. 4.2 compares."""

import pytest
import torch
from torch import nn

from convatlas.errors import InputError
from convatlas.models import build
from convatlas.models.bn_inception import PRINTED, HalvingPool
from convatlas.network import Network

# The modules 3c and 4e halve, and are printed with the size that comes in; three modules' widths add to more.
OTHERWISE = {"inception_3c": (14, 576), "inception_4c": (14, 608), "inception_4d": (14, 608), "inception_4e": (7, 1056)}


def on_meta(**changes: object) -> Network:
    with torch.device("meta"):
        return build("bn_inception", **changes).eval()


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_maps_have_the_sizes_and_channels_of_figure_5() -> None:
    walk = on_meta().walk(torch.empty(1, 3, 224, 224, device="meta"))
    seen = {stage: (y.shape[2] if y.ndim == 4 else 1, y.shape[1]) for stage, y in walk}
    assert seen == PRINTED | OTHERWISE | {"linear": (1, 1000)}


def depth(network: Network) -> int:
    """The layers with weights on the longest path: each passes on one more than the greatest that it gets."""

    def one_more(_: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
        return torch.full_like(output, inputs[0].max().item() + 1)

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(one_more)
    with torch.no_grad():
        return round(network.eval()(torch.zeros(1, 3, 64, 64)).max().item())


def test_it_has_the_nine_layers_more_than_googlenets_22_that_the_paper_counts() -> None:
    assert depth(build("googlenet", norm="none")) == 22
    # "increases the maximum depth of the network by 9 weight layers", in nine modules; the tenth, 3c, has three more
    assert depth(build("bn_inception", norm="none")) == 22 + 9 + 3


def test_without_normalisation_each_convolution_has_a_bias_in_the_place_of_scale_and_shift() -> None:
    normed, plain = on_meta(), on_meta(norm="none")
    channels = sum(m.num_features for m in normed.modules() if isinstance(m, nn.BatchNorm2d))
    assert not any(isinstance(m, nn.BatchNorm2d) for m in plain.modules())
    assert parameters(normed) - parameters(plain) == channels
    assert all(m.bias is None for m in normed.modules() if isinstance(m, nn.Conv2d))


def test_normalisation_comes_immediately_before_the_nonlinearity() -> None:
    conv = on_meta(activation="sigmoid").get_submodule("inception_3a.conv_3x3")
    assert [type(m) for m in conv.children()] == [nn.Conv2d, nn.BatchNorm2d, nn.Sigmoid]


def test_a_separable_stem_is_the_papers() -> None:
    dense, separable = on_meta().get_submodule("conv1"), on_meta(stem="separable").get_submodule("conv1")
    assert parameters(dense) - parameters(separable) == 7 * 7 * 3 * 64 - (7 * 7 * 3 * 8 + 24 * 64)


def test_normalisation_adds_600_parameters_to_the_small_network_and_takes_300_biases() -> None:
    assert parameters(build("bn_mlp")) - parameters(build("bn_mlp", norm="none")) == 600 - 300


@pytest.mark.parametrize("side", [4, 5, 6, 7])
def test_a_halving_pool_gives_maps_of_the_size_of_a_strided_convolution(side: int) -> None:
    x = torch.randn(1, 2, side, side + 1, generator=torch.Generator().manual_seed(side))
    y = HalvingPool()(x)
    assert y.shape == nn.Conv2d(2, 2, kernel_size=3, stride=2, padding=1)(x).shape
    if side % 2 == 0:
        assert torch.equal(y[0, :, 0, 0], x[0, :, :3, :2].amax((1, 2)))  # rows from the first; columns with a border


@pytest.mark.parametrize("side", [32, 33, 95, 120])
def test_its_paths_fit_each_other_for_images_of_any_size(side: int) -> None:
    assert on_meta()(torch.empty(1, 3, side, side + 1, device="meta")).shape == (1, 1000)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm": "layer"}, "norm is one of batch, none, and not 'layer'"),
        ({"activation": "tanh"}, "activation is one of relu, sigmoid, and not 'tanh'"),
        ({"reduction": 0}, "a whole number from 1 to 256, the fewest channels that are gated, or None, and not 0"),
        ({"reduction": 257}, "a whole number from 1 to 256, the fewest channels that are gated, or None, and not 257"),
        ({"dropout": -0.1}, "dropout is a share of at least 0 and below 1"),
    ],
)
def test_a_spec_says_what_is_wrong_with_it(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build("bn_inception", **changes)


def test_it_can_be_exported() -> None:
    network, x = build("se_bn_inception", num_classes=3).eval(), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(torch.export.export(network, (x,)).module()(x), network(x))
