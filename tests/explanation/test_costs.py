"""What is said of each operation: the sum behind its number, what it is taken as, and what a network's depth counts."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.explanation.arithmetic import adaptive_places, adaptive_size, norm_params, shuffled_channels
from convatlas.explanation.explain import explain
from convatlas.layers.shuffle import ChannelShuffle


class Applied(nn.Module):
    """A forward pass that is a function of the module, with its parts and weights, and the images."""

    def __init__(self, function: Any, **parts: nn.Module | Tensor) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, nn.Parameter(part) if isinstance(part, Tensor) else part)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


@pytest.mark.parametrize(
    ("module", "formulas"),
    [
        (nn.LayerNorm((13, 12)), ("312 = 2 · 156",)),
        (nn.LayerNorm(12, bias=False), ("12 = 1 · 12",)),
        (nn.GroupNorm(2, 4), ("8 = 2 · 4",)),
        (Applied(lambda m, x: x + m.relu(x), relu=nn.ReLU()), ("624 = 4 · 13·12",)),
        (Applied(lambda _, x: torch.cat([x, x, x[:, :1]], 1)), ("9 = 4 + 4 + 1",)),
        (ChannelShuffle(2), ("4 = 2 · 2, of each group one in turn",)),
        (nn.ChannelShuffle(2), ("4 = 2 · 2, of each group one in turn",)),
        (Applied(lambda m, x: x.flatten(2) + m.positions, positions=torch.ones(1, 4, 156)), ("624 = 4 · 156",)),
        (nn.AdaptiveAvgPool2d((1, 6)), ("1 of all 13", "6 = ⌊(12 − 2 + 2·0) / 2⌋ + 1")),
        (nn.AdaptiveMaxPool2d((5, 12)),
         ("5 of 13: unit i of those from ⌊i·13/5⌋ to before ⌈(i + 1)·13/5⌉", "12 = ⌊(12 − 1 + 2·0) / 1⌋ + 1")),
        (nn.Upsample(scale_factor=2), ("26 = 2 · 13", "24 = 2 · 12")),
        (nn.Upsample(size=(20, 9)), ("20 of 13: unit i stands at ⌊i·13/20⌋", "9 of 12: unit i stands at ⌊i·4/3⌋")),
        (nn.Upsample(scale_factor=2, mode="bilinear"),
         ("26 = 2 · 13: unit i stands at i·1/2 − 1/4", "24 = 2 · 12: unit i stands at i·1/2 − 1/4")),
    ],
)  # fmt: skip
def test_a_layer_says_how_its_number_comes_about(module: nn.Module, formulas: tuple[str, ...]) -> None:
    assert explain(nn.Sequential(module), (4, 13, 12)).layers[-1].formulas == formulas


def test_the_windows_of_an_adaptive_pooling_have_the_places_that_torch_looks_at() -> None:
    for size, units in ((13, 5), (12, 4), (7, 7), (5, 8), (9, 1)):
        images = torch.zeros(1, 1, size, 1, requires_grad=True)
        pooled = nn.functional.adaptive_avg_pool2d(images, (units, 1))
        seen = [torch.autograd.grad(unit, images, retain_graph=True)[0].count_nonzero() for unit in pooled.flatten()]
        assert adaptive_places(size, units) == sum(seen)
        assert adaptive_size(size, units).value == units == len(seen)


def test_weights_and_channels_are_those_of_torchs_layers() -> None:
    for bias in (True, False):
        module = nn.LayerNorm(768, bias=bias)
        assert norm_params(768, bias=bias).value == sum(p.numel() for p in module.parameters())
    with pytest.raises(ValueError, match="do not divide into 3 groups"):
        shuffled_channels(10, 3)


def test_positions_that_are_fitted_to_other_images_are_not_said_to_be_so_few() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return x + m.positions[:, :, :4, :4]

    layer = explain(Applied(forward, positions=torch.ones(1, 3, 8, 8)), (3, 4, 4)).layers[-1]
    assert (layer.params, layer.formulas) == (192, ())


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        # the gates of squeeze-and-excitation are none of the layers that the names count
        ("seresnet50", 50), ("senet154", 154), ("legacy_seresnet18", 18), ("resnet50", 50), ("resnet110", 110),
        ("lenet5", 5),  # three convolutions, a dense layer and the RBF units of LeCun et al. 1998, Fig. 2
        ("vgg16", 16), ("densenet121", 121),
    ],
)  # fmt: skip
def test_the_depth_is_the_one_that_papers_count(name: str, depth: int) -> None:
    assert explain(name).depth == depth


def test_what_is_multiplied_is_a_gate_only_if_it_is_computed_from_the_other() -> None:
    two = Applied(lambda m, x: m.a(x) * m.c(m.b(x)), **{name: nn.Conv2d(1, 1, 1) for name in "abc"})
    assert explain(two, (1, 4, 4)).depth == 2
    mask = Applied(lambda m, x: m.b(m.a(x)) * x, **{name: nn.Conv2d(1, 1, 1) for name in "ab"})
    assert explain(mask, (1, 4, 4)).depth == 2  # images are no layer's output
    gate = Applied(lambda m, x: (y := m.a(x)) * m.c(m.b(y)), **{name: nn.Conv2d(1, 1, 1) for name in "abc"})
    assert explain(gate, (1, 4, 4)).depth == 1


def test_kinds_are_taken_together_by_what_they_compute() -> None:
    module = Applied(
        lambda m, x: m.e(m.f(m.d(m.c(m.b(m.a(x))))).flatten(1)),
        a=nn.Conv2d(4, 4, 3), b=nn.ConvTranspose2d(4, 4, 2, groups=2), c=nn.MaxPool2d(2), d=nn.ChannelShuffle(2),
        e=nn.LSTM(64, 2), f=nn.Softmax(1),
    )  # fmt: skip
    families = [layer.family for layer in explain(module, (4, 9, 9)).layers]
    assert families == ["conv", "grouped", "pool", "shuffle", "attention", "dense"]
    lenet = explain("lenet5")
    assert (lenet["s2.pool"].family, lenet["output"].family) == ("pool", "dense")


def tokens(x: Tensor) -> Tensor:
    """Which do not lie one behind the other, so that torch multiplies and adds the bias apart."""
    return x.flatten(2).transpose(1, 2)


@pytest.mark.parametrize(
    ("function", "formulas"),
    [
        (lambda m, x: m.part(tokens(x)), ("30 = 5 · (5 + 1)", "100 = 4 · 5 · 5")),
        (lambda m, x: m.part(x.permute(0, 2, 3, 1)), ("30 = 5 · (5 + 1)", "100 = 2 · 2 · 5 · 5")),
        (lambda m, x: F.linear(tokens(x), m.part.weight), ("25 = 5 · 5", "100 = 4 · 5 · 5")),
        (lambda m, x: tokens(x).contiguous() @ m.part.weight, ("25 = 5 · 5", "100 = 4 · 5 · 5")),
    ],
)
def test_a_dense_layer_on_tokens_has_the_formula_of_its_own_weights(function: Any, formulas: tuple[str, ...]) -> None:
    layer = explain(Applied(function, part=nn.Linear(5, 5)), (5, 2, 2)).layers[-1]
    assert (layer.kind, layer.formulas) == ("dense", formulas)


def test_attention_on_tokens_says_how_its_parameters_come_about() -> None:
    part = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    found = explain(Applied(lambda m, x: m.part(tokens(x)), part=part), (8, 4, 4))
    said = {layer.params: layer.formulas[0] for layer in found.layers if layer.params}
    assert sum(said) + 16 == found.params == sum(p.numel() for p in part.parameters())  # two normalisations of 16
    assert said[216] == "216 = 24 · (8 + 1)"
    assert all(formula.startswith(f"{params:,} = ") for params, formula in said.items())


def test_weights_that_are_no_parameters_are_said_to_be_none() -> None:
    class Blur(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("kernel", torch.ones(3, 1, 3, 3) / 9)
            self.bias = nn.Parameter(torch.zeros(3))

        def forward(self, x: Tensor) -> Tensor:
            x = F.conv2d(x, self.kernel, groups=3)  # type: ignore[arg-type]
            x = F.conv2d(x, self.kernel, self.bias, groups=3)  # type: ignore[arg-type]
            return F.conv2d(x, 2 * x[:, :, :1, :1])

    last = [layer.formulas[-1] for layer in explain(Blur(), (3, 8, 8)).layers if layer.macs]
    assert last == [
        "the 27 are a fixed tensor, and no parameters",
        "3 of the 30 are parameters here: the others are a fixed tensor",
        "the 3 are computed from the image, and no parameters",
    ]
