"""DenseNet against its Table 1 and Sec. 3, and its saving form against the plain one."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from convatlas.errors import InputError
from convatlas.models import build, list_models
from convatlas.models.densenet import DenseBlock, DenseLayer
from convatlas.network import Network
from convatlas.weights import load_weights


def sizes(name: str, size: int, channels: int = 3) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {stage: tuple(y.shape[1:]) for stage, y in build(name).walk(torch.empty(2, channels, size, size))}


def test_the_maps_of_densenet121_have_the_sizes_of_table_1() -> None:
    assert sizes("densenet121", 224) == {
        "conv1": (64, 112, 112), "pool1": (64, 56, 56),
        "dense_block1": (256, 56, 56), "transition1": (128, 28, 28),
        "dense_block2": (512, 28, 28), "transition2": (256, 14, 14),
        "dense_block3": (1024, 14, 14), "transition3": (512, 7, 7),
        "dense_block4": (1024, 7, 7), "norm": (1024, 7, 7), "pool": (1024,), "fc": (1000,),
    }  # fmt: skip


def test_the_maps_of_the_cifar_networks_are_32_16_and_8_wide() -> None:
    assert sizes("densenet_40_12", 32) == {
        "conv1": (16, 32, 32),
        "dense_block1": (160, 32, 32), "transition1": (160, 16, 16),
        "dense_block2": (304, 16, 16), "transition2": (304, 8, 8),
        "dense_block3": (448, 8, 8), "norm": (448, 8, 8), "pool": (448,), "fc": (10,),
    }  # fmt: skip


@pytest.mark.parametrize("name", [name for name in list_models("densenet*") if not name.endswith("d2l")])
def test_the_depth_in_the_name_counts_the_layers_with_weights(name: str) -> None:
    with torch.device("meta"):
        layers = [m for m in build(name).modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    depth = name.removeprefix("densenet").removeprefix("_bc").removeprefix("_").partition("_")[0]
    assert len(layers) == int(depth) + (name == "densenet264")  # Table 1's 6, 12, 64, 48 make 265


def test_layer_l_sees_k0_and_k_channels_of_each_layer_before_it() -> None:
    with torch.device("meta"):
        block = build("densenet_40_12").dense_block1
    assert isinstance(block, DenseBlock)
    seen = [layer.conv1.in_channels for layer in block.children() if isinstance(layer, DenseLayer)]
    assert seen == [16 + 12 * (layer - 1) for layer in range(1, 13)]
    assert seen[-1] == 148


@pytest.mark.parametrize(
    ("name", "changes", "params"),
    [  # models.csv, notes: what the released code and its ports make of the names
        ("densenet_40_12", {"start": "2k"}, 1_059_298),
        ("densenet_40_12", {"start": "2k", "compression": 0.5}, 599_050),
        ("densenet_100_12", {"start": "2k"}, 7_083_538),
        ("densenet_100_24", {"start": "2k", "compression": 0.5}, 16_114_138),
        ("densenet_bc_100_12", {"depth": 40}, 176_122),
        ("densenet264", {"growth_rate": 48}, 72_686_632),
    ],
)
def test_other_depths_and_rates_have_the_parameters_that_are_known(
    name: str, changes: dict[str, float], params: int
) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in build(name, **changes).parameters()) == params


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": 101}, "depth is 4 and a multiple of 6 for three equal blocks, and not 101"),
        ({"compression": 0.0}, "compression is above 0 and at most 1"),
        ({"compression": 0.001}, "compression 0.001 leaves a transition no channel"),
        ({"growth_rate": 0}, "growth_rate is a whole number of at least 1"),
        ({"dropout": 1.0}, "dropout is a share of at least 0 and below 1"),
        ({"start": "24"}, "start is one of 16, 2k, and not '24'"),
    ],
)
def test_what_cannot_be_built_is_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build("densenet_bc_100_12", **changes)


@torch.no_grad()
@pytest.mark.parametrize(("blocks", "size"), [(4, 29), (5, 61), (7, 253)])
def test_the_least_image_leaves_a_pixel_for_the_last_of_its_blocks(blocks: int, size: int) -> None:
    network = build("densenet121", layers=(1,) * blocks, num_classes=2).eval()
    walk = dict(network.walk(torch.zeros(1, 3, size, size)))
    assert walk[f"dense_block{blocks}"].shape[2:] == (1, 1)
    with pytest.raises(ValueError, match=f"at least {size}×{size} pixels"):
        network(torch.zeros(1, 3, size - 1, size - 1))
    unchecked = torch.nn.Sequential(*(stage for _, stage in network.chain()))
    with pytest.raises(RuntimeError, match="too small"):
        unchecked(torch.zeros(1, 3, size - 1, size - 1))


def trained(network: Network, images: torch.Tensor, *, fast: bool) -> dict[str, torch.Tensor]:
    """Logits, gradients and statistics after a training step, in bf16 and channels last if `fast`."""
    torch.manual_seed(1)  # the same dropout on both sides
    x = images.clone().requires_grad_()
    if fast:
        network = network.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=fast):
        logits = network.train()(x).float()
    torch.nn.functional.cross_entropy(logits, torch.arange(len(x)) % network.num_classes).backward()
    assert x.grad is not None
    gradients = {f"{key}.grad": p.grad for key, p in network.named_parameters() if p.grad is not None}
    return {"logits": logits.detach(), "x.grad": x.grad, **gradients, **dict(network.named_buffers())}


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize(
    ("name", "changes", "shape"),
    [
        ("densenet_bc_100_12", {"depth": 22}, (4, 3, 16, 16)),
        ("densenet_bc_100_12", {"depth": 22, "dropout": 0.2}, (4, 3, 16, 16)),
        ("densenet_40_12", {"depth": 13, "dropout": 0.2}, (4, 3, 16, 16)),
        ("densenet121", {"layers": (2, 2, 2, 2)}, (2, 3, 64, 64)),
        ("densenet_d2l", {"layers": (2, 2, 2, 2)}, (2, 1, 64, 64)),
    ],
)
def test_saving_memory_changes_no_logit_no_gradient_and_no_statistic(
    name: str, changes: dict[str, float], shape: tuple[int, ...], fast: bool
) -> None:
    plain, saving = build(name, **changes), build(name, **changes, saving=True)
    saving.load_state_dict(plain.state_dict())
    images = torch.randn(shape)
    expected, found = trained(plain, images, fast=fast), trained(saving, images, fast=fast)
    assert expected.keys() == found.keys()
    assert sum(key.endswith(".grad") for key in expected) == len(list(plain.parameters())) + 1
    for key, value in expected.items():
        assert torch.equal(value, found[key]), key


@pytest.mark.parametrize("own", [{"momentum": None}, {"track_running_stats": False}], ids=str)
def test_saving_leaves_an_unusual_normalisation_as_it_is(own: dict[str, Any]) -> None:
    found = []
    for saving in (False, True):
        torch.manual_seed(0)
        network = build("densenet_40_12", depth=13, saving=saving)
        for parent in list(network.modules()):
            for name, layer in parent.named_children():
                if isinstance(layer, nn.BatchNorm2d):
                    setattr(parent, name, nn.BatchNorm2d(layer.num_features, **own))
        found.append(trained(network, torch.ones(4, 3, 16, 16).cumsum(3), fast=False))
    for key, value in found[0].items():
        assert torch.equal(value, found[1][key]), key


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_saving_changes_nothing_in_other_numbers(dtype: torch.dtype) -> None:
    found = []
    for saving in (False, True):
        torch.manual_seed(0)
        network = build("densenet_40_12", depth=13, saving=saving).to(dtype).train()
        network(torch.ones(4, 3, 16, 16, dtype=dtype).cumsum(3)).sum().backward()
        found.append([parameter.grad for parameter in network.parameters()])
    for one, other in zip(*found, strict=True):
        assert one is not None
        assert torch.equal(one, other)


def test_the_gradients_of_a_saving_network_cannot_be_differentiated_and_that_is_said() -> None:
    network = build("densenet_40_12", depth=13, saving=True).train()
    loss = network(torch.randn(2, 3, 16, 16)).sum()
    with pytest.raises(RuntimeError, match="make it without saving"):
        torch.autograd.grad(loss, list(network.parameters()), create_graph=True)


def test_copies_of_a_saving_network_learn_each_by_itself() -> None:
    network = build("densenet_40_12", depth=13, saving=True)
    images = torch.randn(4, 3, 16, 16)
    expected = trained(copy.deepcopy(network), images, fast=False)
    twin = copy.deepcopy(network)
    first, second = network.train()(images), twin.train()(images)  # and forwards, while the other's backwards waits
    for logits in (first, second):
        torch.nn.functional.cross_entropy(logits, torch.arange(4) % 10).backward()
    for learned in (network, twin):
        for key, parameter in learned.named_parameters():
            assert parameter.grad is not None
            assert torch.equal(parameter.grad, expected[f"{key}.grad"])


def test_a_saving_network_keeps_less_for_the_backward_pass() -> None:
    kept = {}
    for saving in (False, True):
        network = build("densenet_bc_100_12", saving=saving).train()
        sizes: dict[int, int] = {}

        def keep(x: torch.Tensor, sizes: dict[int, int] = sizes) -> torch.Tensor:
            storage = x.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            return x

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            logits = network(torch.randn(2, 3, 8, 8))
        kept[saving] = sum(sizes.values())
        logits.sum().backward()
    assert kept[True] < kept[False] / 2


def test_a_saving_network_evaluates_and_explains_as_a_plain_one() -> None:
    plain, saving = build("densenet_40_12", depth=13), build("densenet_40_12", depth=13, saving=True)
    saving.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 16, 16, requires_grad=True)
    (expected,) = torch.autograd.grad(plain.eval()(x).sum(), x)
    (found,) = torch.autograd.grad(saving.eval()(x).sum(), x)
    assert torch.equal(expected, found)
    assert all(torch.equal(a, b) for a, b in zip(plain.buffers(), saving.buffers(), strict=True))


def test_files_from_before_torchvision_renamed_its_layers_can_be_loaded() -> None:
    network, other = build("densenet121", layers=(1, 1, 1, 1)), build("densenet121", layers=(1, 1, 1, 1))
    old = {}
    for key, value in network.state_dict().items():
        key = key.replace("conv1.conv.", "features.conv0.").replace("conv1.norm.", "features.norm0.")
        key = key.replace("norm.norm.", "features.norm5.").replace("fc.", "classifier.")
        key = key.replace("dense_block", "features.denseblock").replace(".layer", ".denselayer")
        if key.startswith("transition"):
            key = f"features.{key}"
        for part in ("norm1", "conv1", "norm2", "conv2"):
            key = key.replace(f".{part}.", f".{part[:-1]}.{part[-1]}.")
        old[key] = value
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    load_weights(other, old)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))
