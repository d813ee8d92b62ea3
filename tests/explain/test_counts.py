"""Counts against torch's own counter, and against the networks as they are built."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from convatlas.errors import InputError
from convatlas.explain.counts import counts_of, together
from convatlas.models import build, list_models, model_card

FIRSTS = list({model_card(name).family: name for name in reversed(list_models())}.values())
"""The first network of each family."""
IDLE = {"lenet5": 36 * 25 * 100}
"""Multiplications by the zeros between the 60 kernels of LeNet-5's Table I: torch's counter sees them."""


@pytest.mark.parametrize("name", ["lenet", *FIRSTS])
def test_the_counts_are_those_of_torchs_counter(name: str) -> None:
    with torch.device("meta"):
        network = build(name).eval()
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(1, *model_card(name).input_size))
    macs = counter.get_total_flops() // 2 - IDLE.get(name, 0)
    assert counts_of(name) == (sum(p.numel() for p in network.parameters()), macs)


def test_the_macs_of_a_lenet_are_those_of_its_layers() -> None:
    """A map's units times the weights that each of them sees."""
    convolutions = 28 * 28 * 6 * 25 + 10 * 10 * 16 * 6 * 25
    assert counts_of("lenet") == (61_706, convolutions + 400 * 120 + 120 * 84 + 84 * 10)


@pytest.mark.parametrize("shapes", [[(3, 1, 5), (4, 1)], [(2, 3)], [(), (2, 3)], [(1, 1, 84), (10, 84)]])
def test_shapes_are_brought_together_as_torch_does(shapes: list[tuple[int, ...]]) -> None:
    assert together([torch.Size(shape) for shape in shapes]) == tuple(torch.broadcast_shapes(*shapes))


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(InputError, match="no model is called 'lenet6'"):
        counts_of("lenet6")
