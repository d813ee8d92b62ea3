"""Local response normalisation against the formula of Krizhevsky, Sutskever and Hinton 2012, written out."""

import torch

from convatlas.layers.lrn import LocalResponseNorm


def test_each_channel_is_divided_by_the_sum_of_its_neighbours_as_the_formula_says() -> None:
    a = torch.randn(2, 7, 3, 3, generator=torch.Generator().manual_seed(0)) * 50
    b = LocalResponseNorm(5, k=2.0, alpha=1e-4, beta=0.75)(a)
    for i in range(7):
        total = a[:, max(0, i - 2) : min(7, i + 3)].square().sum(1)
        torch.testing.assert_close(b[:, i], a[:, i] / (2.0 + 1e-4 * total) ** 0.75)


def test_large_values_in_half_precision_are_normalised_and_not_lost() -> None:
    a = torch.full((1, 5, 2, 2), 1000.0)
    expected = LocalResponseNorm()(a)
    for kind in (torch.float16, torch.bfloat16):
        torch.testing.assert_close(LocalResponseNorm()(a.to(kind)), expected.to(kind))
