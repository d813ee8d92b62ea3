"""Counts against arithmetic, and the kept ones against the networks as they are built."""

import pytest

from convatlas.counts import counted, counts_of, kept
from convatlas.errors import InputError
from convatlas.models import list_models, model_card

FIRSTS = list({model_card(name).family: name for name in reversed(list_models())}.values())
"""The first network of each family."""


def test_the_macs_of_a_lenet_are_those_of_its_layers() -> None:
    """A map's units times the weights that each of them sees."""
    convolutions = 28 * 28 * 6 * 25 + 10 * 10 * 16 * 6 * 25
    assert counted("lenet") == (61_706, convolutions + 400 * 120 + 120 * 84 + 84 * 10)


def test_the_zeros_between_lenet5s_kernels_are_no_operations() -> None:
    assert counted("lenet5").macs == 325_680


def test_every_network_is_kept_in_the_order_of_the_registry() -> None:
    assert list(kept()) == list_models()


@pytest.mark.parametrize(
    "name", [name if name in FIRSTS else pytest.param(name, marks=pytest.mark.slow) for name in list_models()]
)
def test_what_is_kept_is_what_is_counted(name: str) -> None:
    assert counts_of(name) == counted(name)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(InputError, match="no model is called 'lenet6'"):
        counts_of("lenet6")
