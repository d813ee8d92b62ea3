"""The CIFAR repositories that our layouts know: their networks, written from the names they use, answer as ours do."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from convatlas import create_model, load_weights
from convatlas.errors import InputError
from convatlas.weights.names import to_ours


class Net(dict[str, Tensor]):
    """A state dict whose tensors are drawn when a layer asks for them."""

    def conv(self, x: Tensor, key: str, out: int, size: int, *, stride: int = 1, groups: int = 1) -> Tensor:
        fan_in = x.shape[1] // groups * size**2
        self[key] = torch.randn(out, x.shape[1] // groups, size, size) * (2 / fan_in) ** 0.5
        return F.conv2d(x, self[key], stride=stride, padding=size // 2, groups=groups)

    def bn(self, x: Tensor, key: str) -> Tensor:
        for name, low in (("weight", 0.5), ("bias", -0.5), ("running_mean", -0.5), ("running_var", 0.5)):
            self[f"{key}.{name}"] = low + torch.rand(x.shape[1])
        mean, var = self[f"{key}.running_mean"], self[f"{key}.running_var"]
        return F.batch_norm(x, mean, var, self[f"{key}.weight"], self[f"{key}.bias"])

    def dense(self, x: Tensor, key: str) -> Tensor:
        self[f"{key}.weight"], self[f"{key}.bias"] = torch.randn(10, x.shape[1]), torch.randn(10)
        return F.linear(x.mean((2, 3)), self[f"{key}.weight"], self[f"{key}.bias"])


class Names(NamedTuple):
    """What a repository calls the layers of a residual network."""

    stem: tuple[str, str]
    block: str
    layers: tuple[str, ...]
    """Of a block: a convolution and its normalisation by turns."""
    shortcut: tuple[str, str] | None
    head: str


BLOCK = ("conv1", "bn1", "conv2", "bn2", "conv3", "bn3")
NUMBERS = tuple(f"residual_function.{i}" for i in (0, 1, 3, 4, 6, 7))
CONV_BN = ("conv_reduce", "bn_reduce", "conv_conv", "bn", "conv_expand", "bn_expand")
KUANGLIU = Names(("conv1", "bn1"), "layer{s}.{b}", BLOCK, ("shortcut.0", "shortcut.1"), "linear")
AKAMASTER_A = KUANGLIU._replace(shortcut=None)
CHENYAOFO = Names(("conv1", "bn1"), "layer{s}.{b}", BLOCK, ("downsample.0", "downsample.1"), "fc")
WEIAICUNZAI = Names(("conv1.0", "conv1.1"), "conv{t}_x.{b}", NUMBERS, ("shortcut.0", "shortcut.1"), "fc")
PRLZ77 = Names(
    ("conv_1_3x3", "bn_1"),
    "stage_{s}.stage_{s}_bottleneck_{b}",
    CONV_BN,
    ("shortcut.shortcut_conv", "shortcut.shortcut_bn"),
    "classifier",
)


def resnet(
    names: Names, layers: tuple[int, ...], width: int, *, bottleneck: bool = False, groups: int = 1, inner: int = 0
) -> Callable[[Net, Tensor], Tensor]:
    """He et al. 2015: blocks that are activated behind the addition; a stage halves its maps in a 3×3 convolution."""

    def forward(net: Net, x: Tensor) -> Tensor:
        stem, stem_bn = names.stem
        x = F.relu(net.bn(net.conv(x, f"{stem}.weight", width, 3), stem_bn))
        for s, blocks in enumerate(layers, start=1):
            for b in range(blocks):
                name = names.block.format(s=s, t=s + 1, b=b)
                conv = [f"{name}.{layer}.weight" for layer in names.layers[::2]]
                bn = [f"{name}.{layer}" for layer in names.layers[1::2]]
                w, stride = width * 2 ** (s - 1), 2 if s > 1 and b == 0 else 1
                if bottleneck:
                    d, out = inner * 2 ** (s - 1) or w, 4 * w
                    y = F.relu(net.bn(net.conv(x, conv[0], d, 1), bn[0]))
                    y = F.relu(net.bn(net.conv(y, conv[1], d, 3, stride=stride, groups=groups), bn[1]))
                    y = net.bn(net.conv(y, conv[2], out, 1), bn[2])
                else:
                    out = w
                    y = F.relu(net.bn(net.conv(x, conv[0], w, 3, stride=stride), bn[0]))
                    y = net.bn(net.conv(y, conv[1], w, 3), bn[1])
                if x.shape[1] != out and names.shortcut:
                    x = net.conv(x, f"{name}.{names.shortcut[0]}.weight", out, 1, stride=stride)
                    x = net.bn(x, f"{name}.{names.shortcut[1]}")
                elif x.shape[1] != out:
                    x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, out // 4, out // 4))
                x = F.relu(x + y)
        return net.dense(x, names.head)

    return forward


def xternalz(net: Net, x: Tensor) -> Tensor:
    """WRN-16-2."""
    x = net.conv(x, "conv1.weight", 16, 3)
    for s in (1, 2, 3):
        for b in (0, 1):
            name, w, stride = f"block{s}.layer.{b}", 16 * 2**s, 2 if s > 1 and b == 0 else 1
            o = F.relu(net.bn(x, f"{name}.bn1"))
            y = net.conv(o, f"{name}.conv1.weight", w, 3, stride=stride)
            y = net.conv(F.relu(net.bn(y, f"{name}.bn2")), f"{name}.conv2.weight", w, 3)
            x = y + (net.conv(o, f"{name}.convShortcut.weight", w, 1, stride=stride) if b == 0 else x)
    return net.dense(F.relu(net.bn(x, "bn1")), "fc")


def szagoruyko(net: Net, x: Tensor) -> Tensor:
    """WRN-16-2, in a flat dictionary of parameters."""
    x = net.conv(x, "conv0", 16, 3)
    for g in (0, 1, 2):
        for b in (0, 1):
            name, w, stride = f"group{g}.block{b}", 32 * 2**g, 2 if g > 0 and b == 0 else 1
            o = F.relu(net.bn(x, f"{name}.bn0"))
            y = net.conv(o, f"{name}.conv0", w, 3, stride=stride)
            y = net.conv(F.relu(net.bn(y, f"{name}.bn1")), f"{name}.conv1", w, 3)
            x = y + (net.conv(o, f"{name}.convdim", w, 1, stride=stride) if b == 0 else x)
    return net.dense(F.relu(net.bn(x, "bn")), "fc")


def densenet(block: str, norm: str) -> Callable[[Net, Tensor], Tensor]:
    """DenseNet-BC of 22 layers with k = 12."""

    def forward(net: Net, x: Tensor) -> Tensor:
        x = net.conv(x, "conv1.weight", 24, 3)
        for s in (1, 2, 3):
            for b in range(3):
                name = block.format(s=s, b=b)
                y = net.conv(F.relu(net.bn(x, f"{name}.bn1")), f"{name}.conv1.weight", 48, 1)
                y = net.conv(F.relu(net.bn(y, f"{name}.bn2")), f"{name}.conv2.weight", 12, 3)
                x = torch.cat((x, y), dim=1)
            if s < 3:
                y = F.relu(net.bn(x, f"trans{s}.bn1"))
                x = F.avg_pool2d(net.conv(y, f"trans{s}.conv1.weight", x.shape[1] // 2, 1), 2)
        return net.dense(F.relu(net.bn(x, norm)), "fc")

    return forward


class Case(NamedTuple):
    """A repository's network, and which of ours it is."""

    theirs: Callable[[Net, Tensor], Tensor]
    name: str
    changes: Mapping[str, Any] = MappingProxyType({})


SMALL: dict[str, Any] = {"stem": "small"}
B: dict[str, Any] = {"shortcut": "B"}
CASES = {
    "kuangliu ResNet18":         Case(resnet(KUANGLIU, (2, 2, 2, 2), 64), "resnet18", SMALL),
    "kuangliu bottlenecks":      Case(
        resnet(KUANGLIU, (1, 1, 1, 1), 64, bottleneck=True), "resnet50_v1_5", SMALL | {"layers": (1, 1, 1, 1)}
    ),
    "weiaicunzai resnet18":      Case(resnet(WEIAICUNZAI, (2, 2, 2, 2), 64), "resnet18", SMALL),
    "weiaicunzai bottlenecks":   Case(
        resnet(WEIAICUNZAI, (1, 1, 1, 1), 64, bottleneck=True), "resnet50_v1_5", SMALL | {"layers": (1, 1, 1, 1)}
    ),
    "akamaster resnet20":        Case(resnet(AKAMASTER_A, (3, 3, 3), 16), "resnet20"),
    "akamaster, option B":       Case(resnet(KUANGLIU, (3, 3, 3), 16), "resnet20", B),
    "chenyaofo resnet32":        Case(resnet(CHENYAOFO, (5, 5, 5), 16), "resnet32", B),
    "bearpaw resnet110":         Case(resnet(CHENYAOFO, (2, 2, 2), 16), "resnet110", B | {"n": 2}),
    "bearpaw bottlenecks":       Case(
        resnet(CHENYAOFO, (3, 3, 3), 16, bottleneck=True), "resnet20", B | {"block": "bottleneck", "stride_in": "3x3"}
    ),
    "prlz77 ResNeXt":            Case(
        resnet(PRLZ77, (1, 1, 1), 64, bottleneck=True, groups=8, inner=32),
        "resnext29_8x64d",
        {"n": 1, "base_width": 4},
    ),
    "xternalz WRN-16-2":         Case(xternalz, "wrn_16_8", {"width": 32}),
    "szagoruyko WRN-16-2":       Case(szagoruyko, "wrn_16_8", {"width": 32}),
    "andreasveit DenseNet-BC":   Case(densenet("block{s}.layer.{b}", "bn1"), "densenet_bc_100_12", {"depth": 22}),
    "bearpaw DenseNet-BC":       Case(densenet("dense{s}.{b}", "bn"), "densenet_bc_100_12", {"depth": 22}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_ours_answers_as_the_repositorys_network_with_its_weights(case: Case) -> None:
    torch.manual_seed(0)
    net, x = Net(), torch.randn(2, 3, 16, 16)
    expected = case.theirs(net, x)
    ours = load_weights(create_model(case.name, num_classes=10, **case.changes), net).eval()
    with torch.no_grad():
        torch.testing.assert_close(ours(x), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


OTHERS = {
    # whose weights           what they are given to                  what they are
    "akamaster resnet20":   ("plain20",  {},                          "resnet20, under the names of akamaster"),
    "akamaster, option B":  ("resnet20", {},                          "resnet20 with shortcut='B', under .* akamaster"),
    "bearpaw bottlenecks":  ("resnet20", B | {"block": "bottleneck"}, "resnet20 with shortcut='B', block='bottleneck'"),
    "kuangliu ResNet18":    ("resnet18", {},                          "resnet18 with stem='small', under .* kuangliu"),
    "weiaicunzai resnet18": ("resnet34", {},                          "resnet18 with stem='small', under .* weiaicunz"),
}  # fmt: skip


@pytest.mark.parametrize("whose", OTHERS)
def test_a_repositorys_weights_are_refused_by_another_form_with_theirs(whose: str) -> None:
    name, changes, expected = OTHERS[whose]
    net = Net()
    CASES[whose].theirs(net, torch.randn(1, 3, 16, 16))
    with torch.device("meta"):
        network = create_model(name, num_classes=10, **changes)
    with pytest.raises(InputError, match=f"do not fit {name}: they look like those of {expected}"):
        load_weights(network, net)


def test_a_narrow_wide_resnet_is_not_mapped_since_its_first_shortcut_begins_elsewhere() -> None:
    net = Net()
    xternalz(net, torch.randn(1, 3, 8, 8))
    del net["block1.layer.0.convShortcut.weight"]
    assert to_ours(net, create_model("wrn_40_1")).keys() == net.keys()


def test_stochastic_depth_weighs_its_branches_so_that_weights_of_another_training_are_refused() -> None:
    net = Net()
    CASES["akamaster resnet20"].theirs(net, torch.randn(1, 3, 8, 8))
    with pytest.raises(InputError, match=r"do not fit resnet20: .* resnet20, .*, with survival=None and not 0\.5$"):
        load_weights(create_model("resnet20", survival=0.5), net)
