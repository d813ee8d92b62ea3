"""Convolution from scratch: the lecture's examples, torch's functions, and autograd's gradients."""

from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from convatlas.layers.reference.convolution import (
    convolve,
    cross_correlate,
    cross_correlate_backward,
    cross_correlate_channels,
    output_size,
)
from convatlas.layers.reference.perceptron import dense

# The lecture's 6×6 image, its two filters, and what each of them answers.
IMAGE = """
1 0 0 0 0 1
0 1 0 0 1 0
0 0 1 1 0 0
1 0 0 0 1 0
0 1 0 0 1 0
0 0 1 0 1 0
"""
FILTERS = [" 1 -1 -1\n-1  1 -1\n-1 -1  1", "-1  1 -1\n-1  1 -1\n-1  1 -1"]
MAPS = [
    " 3 -1 -3 -1\n-3  1  0 -3\n-3 -3  0  1\n 3 -2 -2 -1",
    "-1 -1 -1 -1\n-1 -1 -2  1\n-1 -1 -2  1\n-1  0 -4  3",
]


def matrix(text: str) -> Tensor:
    return torch.tensor([[float(number) for number in row.split()] for row in text.strip().splitlines()])


class Case(NamedTuple):
    x: Tensor
    weight: Tensor
    bias: Tensor
    stride: tuple[int, int]
    padding: tuple[int, int]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A layer and an image that it fits on."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    channels, filters = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    height, width = (max(1, k - 2 * p) + draw(st.integers(0, 4)) for k, p in zip(kernel, padding, strict=True))
    shapes = ((channels, height, width), (filters, channels, *kernel), (filters,))
    tensors = (torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes)
    return Case(*tensors, draw(st.tuples(st.integers(1, 3), st.integers(1, 3))), padding)


@given(cases())
@settings(deadline=None, max_examples=40)
def test_a_layer_and_its_gradients_are_torchs(case: Case) -> None:
    x, weight, bias, stride, padding = case
    inputs = [tensor.clone().requires_grad_() for tensor in (x, weight, bias)]
    expected = F.conv2d(*inputs, stride=stride, padding=padding)
    torch.testing.assert_close(
        cross_correlate_channels(x, weight, bias, stride=stride, padding=padding), expected.detach()
    )
    gradient = torch.randn_like(expected)
    by_hand = cross_correlate_backward(x, weight, gradient, stride=stride, padding=padding)
    for ours, theirs in zip(by_hand, torch.autograd.grad(expected, inputs, gradient), strict=True):
        torch.testing.assert_close(ours, theirs)


@given(cases())
@settings(deadline=None, max_examples=20)
def test_convolution_is_cross_correlation_with_the_kernel_turned_by_180_degrees(case: Case) -> None:
    kernel, x = case.weight[0, 0], F.pad(case.x[0], (4, 4, 4, 4))
    assert torch.equal(convolve(x, torch.rot90(kernel, 2)), cross_correlate(x, kernel))


def test_convolution_multiplies_polynomials() -> None:
    """(1 + 2t + 3t²)(4 + 5t) = 4 + 13t + 22t² + 15t³: what a sum over f(a) g(i − a) is."""
    product = convolve(torch.tensor([[0.0, 1, 2, 3, 0]]), torch.tensor([[4.0, 5]]))
    assert product.tolist() == [[4, 13, 22, 15]]


def test_the_example_of_the_lecture_gives_19_25_37_43() -> None:
    x, kernel = torch.arange(9.0).reshape(3, 3), torch.arange(4.0).reshape(2, 2)
    assert cross_correlate(x, kernel).tolist() == [[19, 25], [37, 43]]
    # with a frame of zeros and strides of 3 and 2; and on two channels, of which the second is one more
    assert cross_correlate(x, kernel, stride=(3, 2), padding=1).tolist() == [[0, 8], [6, 8]]
    both = cross_correlate_channels(torch.stack([x, x + 1]), torch.stack([kernel, kernel + 1])[None])
    assert both.tolist() == [[[56, 72], [104, 120]]]


@pytest.mark.parametrize(("kernel", "answer"), list(zip(FILTERS, MAPS, strict=True)))
def test_the_two_filters_of_the_lecture_answer_on_its_image_of_6_by_6(kernel: str, answer: str) -> None:
    assert torch.equal(cross_correlate(matrix(IMAGE), matrix(kernel)), matrix(answer))
    assert torch.equal(cross_correlate(matrix(IMAGE), matrix(kernel), stride=2), matrix(answer)[::2, ::2])


def test_the_weighted_filter_of_the_lecture_answers_14_turned_or_not_and_10_on_the_weighted_image() -> None:
    image, kernel = matrix(IMAGE), matrix(FILTERS[0])
    for i in range(3):
        image[i, i] = kernel[i, i] = i + 1
    assert cross_correlate(image, kernel)[0, 0] == 14
    assert convolve(image, kernel)[0, 0] == 10


def edges() -> tuple[Tensor, Tensor]:
    """The lecture's image of 6×8 pixels, white with a black bar, and where the kernel [1, −1] finds its edges."""
    x = torch.ones(6, 8, dtype=torch.float64)
    x[:, 2:6] = 0
    return x, cross_correlate(x, torch.tensor([[1.0, -1.0]], dtype=torch.float64))


def test_an_image_of_whole_numbers_is_not_rounded() -> None:
    image = torch.arange(9).reshape(3, 3)
    mean = cross_correlate(image, torch.full((2, 2), 0.25))  # (0 + 1 + 3 + 4) / 4, …
    torch.testing.assert_close(mean, torch.tensor([[2.0, 3.0], [5.0, 6.0]]))
    third = cross_correlate_channels(image[None], torch.full((1, 1, 2, 2), 0.3))
    torch.testing.assert_close(third, torch.tensor([[[2.4, 3.6], [6.0, 7.2]]]))


def test_the_kernel_1_minus_1_finds_vertical_edges_and_no_horizontal_ones() -> None:
    x, y = edges()
    assert y.tolist() == [[0, 1, 0, 0, 0, -1, 0]] * 6
    assert not cross_correlate(x.T, torch.tensor([[1.0, -1.0]], dtype=torch.float64)).any()


def test_the_kernel_1_minus_1_is_learned_from_data_with_the_losses_that_the_lecture_prints() -> None:
    """The loss is a square of the kernel's error, so the printed ones lead back to the start that was drawn."""
    x, y = edges()
    kernel = torch.tensor([[-0.046, 0.504]], dtype=torch.float64)
    losses = []
    for _ in range(10):
        error = cross_correlate(x, kernel) - y
        losses.append((error**2).sum().item())
        kernel -= 3e-2 * cross_correlate_backward(x[None], kernel[None, None], 2 * error[None]).weight[0, 0]
    assert losses[1::2] == pytest.approx([10.007, 2.165, 0.562, 0.176, 0.063], rel=0.01)
    assert kernel.tolist() == [pytest.approx([1.0099, -0.9607], abs=1e-3)]


def test_a_1x1_convolution_is_a_dense_layer_on_every_pixel() -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(3, 3, 3, generator=generator), torch.randn(2, 3, 1, 1, generator=generator)
    y = cross_correlate_channels(x, weight)
    for i in range(3):
        for j in range(3):
            torch.testing.assert_close(y[:, i, j], dense(x[:, i, j], weight[:, :, 0, 0], torch.zeros(2)))


@pytest.mark.parametrize(
    ("size", "kernel_size", "stride", "padding", "output"),
    [
        (227, 11, 4, 0, 55),  # AlexNet's first layer, and the pooling after it
        (55, 3, 2, 0, 27),
        (224, 7, 2, 3, 112),
        (32, 5, 1, 0, 28),
        (5, 5, 9, 0, 1),
    ],
)
def test_the_size_of_an_output_is_the_lectures(
    size: int, kernel_size: int, stride: int, padding: int, output: int
) -> None:
    assert output_size(size, kernel_size, stride=stride, padding=padding) == output


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: output_size(3, 6, padding=1), "a window of 6 does not fit into 3 with a padding of 1"),
        (lambda: output_size(3, 2, stride=0), "a stride of at least 1"),
        (lambda: cross_correlate(torch.ones(1, 3, 3), torch.ones(2, 2)), r"got the shapes \(1, 3, 3\), \(2, 2\)"),
        (lambda: convolve(torch.ones(3, 3), torch.ones(4, 4)), "a window of 4 does not fit into 3"),
        (lambda: cross_correlate_channels(torch.ones(2, 3, 3), torch.ones(1, 3, 2, 2)), r"a weight \(K, C, h, w\)"),
        (
            lambda: cross_correlate_channels(torch.ones(2, 3, 3), torch.ones(4, 2, 2, 2), torch.ones(3)),
            "a bias for each of 4 output channels",
        ),
        (
            lambda: cross_correlate_backward(torch.ones(2, 3, 3), torch.ones(4, 2, 2, 2), torch.ones(4, 3, 3)),
            r"the output has the shape \(4, 2, 2\), and its gradient \(4, 3, 3\)",
        ),
    ],
)
def test_shapes_that_do_not_fit_are_refused(call, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        call()
