"""Signal and gradient, against numbers that were worked out otherwise."""

import io
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional as F

import convatlas as ca
from convatlas.explanation.probe import probe
from convatlas.explanation.table import probed_table


def perceptron(activation: type[nn.Module], layers: int = 12, width: int = 128) -> nn.Sequential:
    """A deep one; with ReLU as He et al. (2015) draw it, and with sigmoid as Glorot and Bengio (2010)."""
    torch.manual_seed(0)
    net = nn.Sequential()
    for index in range(layers):
        dense = nn.Linear(width, width)
        nn.init.zeros_(dense.bias)
        if activation is nn.ReLU:
            nn.init.kaiming_normal_(dense.weight, nonlinearity="relu")
        else:
            nn.init.xavier_normal_(dense.weight)
        net.add_module(f"dense{index}", dense)
        net.add_module(f"act{index}", activation())
    net.add_module("out", nn.Linear(width, 10))
    return net


def batch(width: int = 128) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(64, width), torch.arange(64) % 10


def test_gradients_vanish_in_a_deep_sigmoid_perceptron_and_not_in_a_relu_one_that_he_initialises() -> None:
    sigmoid = probe(perceptron(nn.Sigmoid), *batch())
    ratio = sigmoid["act0"].gradient_std / sigmoid["act11"].gradient_std  # type: ignore[operator]
    # σ' is 1/4 at most, and Glorot's weights keep a gradient's deviation: each of 11 layers takes 3/4 of it or more.
    assert 0.5 * 0.25**11 < ratio < 2 * 0.25**11
    relu = probe(perceptron(nn.ReLU), *batch())
    ratio = relu["act0"].gradient_std / relu["act11"].gradient_std  # type: ignore[operator]
    assert 0.3 < ratio < 3
    assert 0.3 < relu["act11"].activation_std / relu["act0"].activation_std < 3
    assert sigmoid["dense0"].update < 1e-4 * relu["dense0"].update  # type: ignore[operator]


def test_a_hundred_layers_leave_0_8_to_the_hundredth() -> None:
    class Scaled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 0.8 * x

    found = probe(nn.Sequential(nn.Linear(10, 10), *(Scaled() for _ in range(101))), *batch(width=10))
    ratio = found["1"].gradient_std / found["101"].gradient_std  # type: ignore[operator]
    assert ratio == pytest.approx(0.8**100, rel=1e-3)
    assert pytest.approx(2.04e-10, rel=1e-2) == 0.8**100  # as lectures quote it: 2 · 10⁻¹⁰


def test_the_numbers_are_those_worked_out_by_hand() -> None:
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False))
    first, second = torch.tensor([[1.0, 1.0], [-1.0, -1.0]]), torch.eye(2)
    with torch.no_grad():
        net[0].weight.copy_(first)  # type: ignore[union-attr, operator]
        net[2].weight.copy_(second)  # type: ignore[union-attr, operator]
    found = probe(net, torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([0, 1]), lr=0.5)
    # The sums are 3 and −3, 7 and −7; the second unit is dead, and the logits are (3, 0) and (7, 0).
    assert found["0"].activation_mean == 0
    assert found["0"].activation_std == pytest.approx(math.sqrt((9 + 9 + 49 + 49) / 4))
    assert found["1"].activation_mean == pytest.approx(2.5)
    assert (found["0"].dead, found["1"].dead) == (0, 0.5)
    assert found.loss == pytest.approx((math.log(1 + math.exp(-3)) + math.log(1 + math.exp(7))) / 2, rel=1e-6)
    # By the logits: softmax less one-hot, over two images.
    a, b = 1 / (1 + math.exp(3)), 1 / (1 + math.exp(-7))
    assert found["2"].gradient_mean == pytest.approx(0, abs=1e-7)
    assert found["2"].gradient_std == pytest.approx(math.sqrt((2 * (a / 2) ** 2 + 2 * (b / 2) ** 2) / 4), rel=1e-6)
    # By the second weights: those times the activations (3, 0) and (7, 0); their length is √2.
    step = math.sqrt(2) * abs(-a / 2 * 3 + b / 2 * 7)
    assert found["2"].update == pytest.approx(0.5 * step / math.sqrt(2), rel=1e-6)
    assert found["1"].update is None


def test_the_numbers_are_those_of_autograd() -> None:
    torch.manual_seed(0)
    network = ca.create_model("resnet20").train()
    images, labels = torch.randn(6, 3, 32, 32), torch.arange(6)
    found = probe(network, images, labels, lr=0.1)
    x = images
    stages = {}
    for name, x in network.walk(images):
        x.retain_grad()
        stages[name] = x
    loss = F.cross_entropy(x, labels)
    loss.backward()
    assert found.loss == pytest.approx(loss.item(), rel=1e-5)
    gradient = stages["conv2_x"].grad
    assert gradient is not None
    assert found["conv2_x.2.relu2"].gradient_std == pytest.approx(gradient.std(correction=0).item(), rel=1e-4)
    weight = network.fc.weight  # type: ignore[union-attr]
    assert found["fc"].update == pytest.approx((0.1 * weight.grad.norm() / weight.norm()).item(), rel=1e-4)  # type: ignore[union-attr, operator, arg-type]


def test_the_names_are_those_of_the_explanation_and_what_passes_through_is_none() -> None:
    network = ca.create_model("resnet20")
    found = probe(network, torch.randn(2, 3, 32, 32), torch.tensor([0, 1]))
    names = [signal.name for signal in found.signals]
    assert set(names) <= {layer.name for layer in ca.explain(network).layers}
    assert len(set(names)) == len(names)


def test_what_a_block_computes_outside_of_its_parts_has_the_name_that_explain_gives_it() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dense, self.skip = nn.Linear(4, 4), nn.Sequential()

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.dense(x) + self.skip(x), inplace=True)

    torch.manual_seed(0)
    net = nn.Sequential(nn.Sequential(nn.Linear(4, 4)), Block())
    x = torch.randn(8, 4)
    found = probe(net, x, torch.arange(8) % 4)
    assert [signal.name for signal in found.signals] == ["0.0", "1.dense", "1.addition", "1.ReLU"]
    assert found["1.ReLU"].activation_mean == pytest.approx(net(x).mean().item())
    before = net[1].dense(net[0](x)) + net[0](x)  # type: ignore[union-attr, operator]
    assert found["1.addition"].activation_mean == pytest.approx(before.mean().item())
    (first, _), (second, within) = found.blocks(1)
    assert (first.name, second.name, len(within)) == ("0", "1", 3)
    assert (second.update, second.activation_mean) == (found["1.dense"].update, found["1.ReLU"].activation_mean)


class Functional(nn.Module):
    """Whose second convolution and activations are no modules; the first activation is dead."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.dense = nn.Conv2d(1, 8, 3), nn.Linear(8, 10)
        self.weight = nn.Parameter(torch.randn(8, 8, 3, 3) / 8)
        self.kept: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(F.relu(self.conv(x) - 100) + 1, self.weight)
        self.kept = [x]
        return self.dense(x.mean((2, 3)))  # type: ignore[no-any-return]


def test_operations_that_are_no_modules_are_probed_too() -> None:
    net, images, labels = Functional(), torch.randn(8, 1, 12, 12), torch.arange(8)
    found = probe(net, images, labels, lr=0.1)
    names = ["conv", "subtraction", "ReLU", "addition", "convolution", "global_average_pooling", "dense"]
    assert [signal.name for signal in found.signals] == names
    assert (found["subtraction"].dead, found["ReLU"].dead) == (0, 1)
    loss = F.cross_entropy(net(images), labels)
    (gradient,) = torch.autograd.grad(loss, net.kept, retain_graph=True)
    loss.backward()
    assert found["convolution"].gradient_std == pytest.approx(gradient.std(correction=0).item(), rel=1e-4)
    assert net.weight.grad is not None
    assert found["convolution"].update == pytest.approx((0.1 * net.weight.grad.norm() / net.weight.norm()).item())
    assert found["conv"].update == 0  # nothing comes back through what is dead


def test_layers_that_answer_with_several_tensors_are_probed_by_the_first() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.lstm, self.attend = nn.LSTM(12, 8, batch_first=True), nn.MultiheadAttention(8, 2, batch_first=True)
            self.dense = nn.Linear(8, 10)

        def forward(self, x: Tensor) -> Tensor:
            x, _ = self.lstm(x.flatten(2).transpose(1, 2))
            x, _ = self.attend(x, x, x)
            return self.dense(x[:, -1])  # type: ignore[no-any-return]

    net, images = Tokens(), torch.randn(8, 12, 2, 3)
    found = probe(net, images, torch.arange(8))
    names = [signal.name for signal in found.signals]
    assert set(names) == {layer.name for layer in ca.explain(net, (12, 2, 3)).layers}
    answer, _ = net.lstm(images.flatten(2).transpose(1, 2))
    assert found["lstm"].activation_std == pytest.approx(answer.std(correction=0).item(), rel=1e-5)
    assert found["lstm"].update
    projected = F.linear(answer, net.attend.in_proj_weight, net.attend.in_proj_bias)
    assert found["attend.dense"].activation_mean == pytest.approx(projected.mean().item(), rel=1e-4)
    attended, _ = net.attend(answer, answer, answer)
    assert found["attend.dense (2)"].activation_mean == pytest.approx(attended.mean().item(), rel=1e-4)


def test_what_has_no_mean_is_said_to_be_left_out() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dense = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.dense(x.flatten(1))
            return x * (x > 0)

    found = probe(Masked(), torch.randn(4, 1, 2, 2), torch.arange(4))
    assert [signal.name for signal in found.signals] == ["dense", "multiplication"]
    assert found.to_dict()["left_out"] == ("gt",)
    written = io.StringIO()
    Console(file=written, width=80).print(probed_table(found))
    assert "left out: gt: what they answer has no mean" in written.getvalue()
    assert "Left out: gt: what they answer has no mean." in ca.explain(Masked(), (1, 2, 2)).to_html(probe=found)


def test_a_module_that_is_called_twice_and_one_that_writes_in_place_are_seen_as_they_answer() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dense, self.act = nn.Linear(4, 4), nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.dense(self.act(self.dense(x))))  # type: ignore[no-any-return]

    torch.manual_seed(0)
    net = Twice()
    x = torch.randn(8, 4)
    found = probe(net, x, torch.arange(8) % 4)
    assert [signal.name for signal in found.signals] == ["dense", "act", "dense (2)", "act (2)"]
    assert found["dense"].activation_mean == pytest.approx(net.dense(x).mean().item())
    assert found["act"].activation_mean == pytest.approx(net.dense(x).relu().mean().item())


def test_a_probe_leaves_the_network_and_the_random_numbers_as_they_were() -> None:
    network = ca.create_model("alexnet_d2l").eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    size = ca.model_card("alexnet_d2l").input_size
    one, two = (probe(network, torch.ones(2, *size), torch.tensor([0, 1])) for _ in range(2))
    assert one == two  # dropout and all
    assert torch.equal(torch.rand(1), expected)
    assert not network.training
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_labels_that_are_no_classes_of_the_network_are_refused_in_a_sentence() -> None:
    with pytest.raises(ca.InputError, match=r"answers of the shape \(2, 10\) are none to 2 images of 12 classes"):
        probe(ca.create_model("resnet20"), torch.randn(2, 3, 32, 32), torch.tensor([0, 11]))
    with pytest.raises(ca.InputError, match="does not take the images: resnet20 takes images of 3 channels"):
        probe(ca.create_model("resnet20"), torch.randn(2, 1, 32, 32), torch.tensor([0, 1]))


@pytest.mark.parametrize("answer", [lambda x: (x, x), lambda x: {"out": x}, lambda x: [x]])
def test_a_network_that_answers_with_several_tensors_is_refused_in_a_sentence(answer: Callable[[Tensor], Any]) -> None:
    class Several(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dense = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Any:
            return answer(self.dense(x))

    kind = type(answer(torch.zeros(1))).__name__
    with pytest.raises(ca.InputError, match=rf"answers with a {kind}, and a probe needs one tensor of logits"):
        probe(Several(), torch.randn(2, 4), torch.tensor([0, 1]))
