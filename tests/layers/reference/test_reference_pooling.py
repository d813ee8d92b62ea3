"""Pooling from scratch: the lecture's example, torch's functions, and autograd's gradients."""

from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from convatlas.layers.reference.pooling import (
    average_pool,
    average_pool_backward,
    max_pool,
    max_pool_backward,
)

POOLS = {
    "max": (max_pool, max_pool_backward, F.max_pool2d),
    "average": (average_pool, average_pool_backward, F.avg_pool2d),
}


class Case(NamedTuple):
    x: Tensor
    kernel_size: tuple[int, int]
    stride: tuple[int, int] | None
    padding: tuple[int, int]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """An image and windows that fit on it; small whole numbers, so that windows have several greatest."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    height, width = (max(1, k - 2 * p) + draw(st.integers(0, 4)) for k, p in zip(kernel, padding, strict=True))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    x = torch.randint(-3, 4, (draw(st.integers(1, 3)), height, width), generator=generator).double()
    return Case(x, kernel, draw(st.none() | st.tuples(st.integers(1, 3), st.integers(1, 3))), padding)


@pytest.mark.parametrize("kind", POOLS)
@given(case=cases())
@settings(deadline=None, max_examples=40)
def test_pooling_and_its_gradient_are_torchs(kind: str, case: Case) -> None:
    pool, backward, torchs = POOLS[kind]
    x = case.x.clone().requires_grad_()
    expected = torchs(x, case.kernel_size, case.stride, case.padding)
    given = {"kernel_size": case.kernel_size, "stride": case.stride, "padding": case.padding}
    torch.testing.assert_close(pool(case.x, **given), expected.detach())
    gradient = torch.randn_like(expected)
    torch.testing.assert_close(backward(case.x, gradient, **given), torch.autograd.grad(expected, x, gradient)[0])


def test_the_maps_of_the_lecture_shrink_to_2_by_2() -> None:
    maps = torch.tensor(
        [
            [[3, -1, -3, -1], [-3, 1, 0, -3], [-3, -3, 0, 1], [3, -2, -2, -1]],
            [[-1, -1, -1, -1], [-1, -1, -2, 1], [-1, -1, -2, 1], [-1, 0, -4, 3]],
        ],
        dtype=torch.float64,
    )
    assert max_pool(maps, 2).tolist() == [[[3, 0], [3, 1]], [[-1, 1], [0, 3]]]
    assert average_pool(maps, 2).tolist() == [[[0, -1.75], [-1.25, -0.5]], [[-1, -0.75], [-0.75, -0.5]]]


def test_the_lectures_windows_overlap_by_a_stride_of_1() -> None:
    x = torch.arange(9.0).reshape(1, 3, 3)
    assert max_pool(x, 2, stride=1).tolist() == [[[4, 5], [7, 8]]]
    assert average_pool(x, 2, stride=1).tolist() == [[[2, 3], [5, 6]]]


def test_the_gradient_of_a_maximum_goes_to_the_first_of_equals_and_adds_up_where_windows_share_it() -> None:
    assert max_pool_backward(torch.ones(1, 2, 2), torch.ones(1, 1, 1), 2).tolist() == [[[1, 0], [0, 0]]]
    x = torch.tensor([[[0.0, 5.0, 0.0]]])
    assert max_pool_backward(x, torch.tensor([[[2.0, 3.0]]]), (1, 2), stride=1).tolist() == [[[0, 5, 0]]]


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: max_pool(torch.ones(3, 3), 2), r"an image \(C, H, W\) is needed, and got the shape \(3, 3\)"),
        (lambda: average_pool(torch.ones(3), 2), r"got the shape \(3,\)"),
        (lambda: max_pool(torch.ones(1, 4, 4).long(), 2), "and got torch.int64"),
        (lambda: max_pool(torch.ones(1, 3, 3), 2, padding=2), "more than half a window of 2"),
        (lambda: average_pool(torch.ones(1, 3, 3), 4), "a window of 4 does not fit into 3"),
        (lambda: max_pool_backward(torch.ones(1, 4, 4), torch.ones(1, 4, 4), 2), r"its gradient \(1, 4, 4\)"),
        (lambda: average_pool_backward(torch.ones(1, 4, 4), torch.ones(2, 2), 2), r"its gradient \(2, 2\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(call, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        call()
