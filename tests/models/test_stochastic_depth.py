"""Stochastic depth: how many blocks survive, and what a network expects of them."""

from itertools import product
from typing import Any

import pytest
import torch

from convatlas.layers.depth import StochasticDepth
from convatlas.models import build
from convatlas.network import Network


def depth_layers(network: Network) -> list[StochasticDepth]:
    return [m for m in network.modules() if isinstance(m, StochasticDepth)]


def test_the_54_blocks_of_resnet110_survive_by_the_linear_rule_and_40_of_them_on_average() -> None:
    survival = [layer.survival for layer in depth_layers(build("resnet110_sd"))]
    assert len(survival) == 54
    assert survival[0] == pytest.approx(1 - 0.5 / 54)  # 0.991
    assert survival[-1] == 0.5
    assert sum(survival) == pytest.approx(40.25)  # Sec. 3, "approximately 40"


def test_as_many_blocks_run_as_the_rule_says() -> None:
    torch.manual_seed(0)
    network = build("resnet110_sd").train()
    runs, draws = 0, 30
    for block in (block for stage in (network.conv2_x, network.conv3_x, network.conv4_x) for block in stage):
        calls = []
        block.conv1.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        x = torch.zeros(1, block.conv1.in_channels, 4, 4)
        for _ in range(draws):
            block(x)
        runs += len(calls)
    deviation = sum(layer.survival * (1 - layer.survival) for layer in depth_layers(network)) ** 0.5 / draws**0.5
    assert abs(runs / draws - 40.25) < 4 * deviation


@pytest.mark.parametrize("base", ["resnet20", "preresnet110"])
def test_a_block_evaluates_to_what_it_expects_in_training(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    changes: dict[str, Any] = {"n": 1} if base == "resnet20" else {"layers": (1, 1, 1)}
    network = build(base, survival=0.5, **changes).eval()
    block = network.conv2_x[0]  # survives with 5/6
    x = torch.rand(2, 16, 8, 8)
    # The ReLU behind the addition of the first form is not linear: look at what goes into it.
    seen: list[torch.Tensor] = []
    after = block.relu2 if base == "resnet20" else block.after
    after.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        block(x)
        block.depth.train()
        for draw in (0.0, 1.0):
            monkeypatch.setattr(torch, "rand", lambda *_, draw=draw, **__: torch.tensor(draw))
            block(x)
    evaluated, kept, dropped = seen
    torch.testing.assert_close(evaluated, 5 / 6 * kept + 1 / 6 * dropped)


def test_the_expected_logits_of_a_linear_chain_are_those_of_evaluation() -> None:
    # In this order a block without its ReLUs is linear, and so the expectation passes through the chain of blocks:
    # the sum over all 2³ ways to drop them, each with its probability, is what evaluation gives.
    network = build("preresnet110", survival=0.5, layers=(1, 1, 1), order="relu_before_addition").double().eval()
    for name, layer in list(network.named_modules()):
        if isinstance(layer, torch.nn.ReLU):
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, torch.nn.Identity())
    layers = depth_layers(network)
    rule = [layer.survival for layer in layers]
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        evaluated, expected = network(x), torch.zeros(2, 10, dtype=torch.float64)
        for kept in product((True, False), repeat=3):
            share = 1.0
            for layer, p, keep in zip(layers, rule, kept, strict=True):
                layer.survival = float(keep)  # in evaluation: a factor of 1 or of 0
                share *= p if keep else 1 - p
            expected += share * network(x)
    torch.testing.assert_close(evaluated, expected)


@pytest.mark.parametrize(
    ("name", "changes"),
    [("resnet110_sd", {"n": 1}), ("preresnet110", {"survival": 0.5, "layers": (1, 1, 1)})],
)
def test_it_is_trained_as_one_graph_too(name: str, changes: dict[str, Any]) -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    network = build(name, **changes).train()
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    x = torch.randn(4, 3, 16, 16)
    logits = torch.stack([compiled(x) for _ in range(12)])
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    # What it answers is each time that of some of its 3 blocks: as the plain network, where it draws the same.
    answers = []
    for kept in product((True, False), repeat=3):
        for layer, keep in zip(depth_layers(network), kept, strict=True):
            layer.survival = float(keep)
        answers.append(network(x))
    distances = (logits[:, None] - torch.stack(answers)[None]).abs().amax(dim=(2, 3))
    assert distances.amin(dim=1).max() < 1e-4
    assert len(distances.argmin(dim=1).unique()) > 1


def test_senet154_has_it_as_well() -> None:
    with torch.device("meta"):
        survival = [layer.survival for layer in depth_layers(build("senet154", survival=0.5))]
    assert len(survival) == 50  # the blocks of ResNet-152, of three layers each
    assert (survival[0], survival[-1]) == (0.99, 0.5)


def test_without_survival_there_is_no_stochastic_depth_and_the_weights_are_the_same() -> None:
    assert not depth_layers(build("resnet110"))
    assert list(build("resnet110").state_dict()) == list(build("resnet110_sd").state_dict())
