"""Local response normalisation against Sec. 3.3's formula, written out."""

import torch

from convatlas.layers.lrn import LocalResponseNorm


def test_it_is_the_formula_of_the_paper_written_out() -> None:
    a = torch.randn(2, 7, 3, 3, generator=torch.Generator().manual_seed(0)) * 50
    n, k, alpha, beta = 5, 2.0, 1e-4, 0.75
    for i, b in enumerate(LocalResponseNorm(n, k=k, alpha=alpha, beta=beta)(a).unbind(1)):
        # Sec. 3.3: the sum is over j from max(0, i − n/2) to min(N − 1, i + n/2)
        total = sum(a[:, j] ** 2 for j in range(max(0, i - n // 2), min(7 - 1, i + n // 2) + 1))
        torch.testing.assert_close(b, a[:, i] / (k + alpha * total) ** beta)


def test_alpha_is_of_the_sum_where_torchs_is_of_the_mean() -> None:
    x = torch.full((1, 5, 1, 1), 100.0)
    middle = LocalResponseNorm(5, k=1, alpha=1e-4, beta=1)(x)[0, 2].item()
    assert abs(middle - 100 / (1 + 1e-4 * 5 * 100**2)) < 1e-4
    assert abs(torch.nn.LocalResponseNorm(5, k=1, alpha=1e-4, beta=1)(x)[0, 2].item() - 100 / 2) < 1e-4


def test_it_makes_a_loud_channel_quieten_its_neighbours_alone() -> None:
    x = torch.ones(1, 9, 1, 1)
    x[0, 4] = 1000
    y = LocalResponseNorm()(x).flatten()
    assert y[2] < 0.1 * y[1]
    assert y[6] < 0.1 * y[7]
