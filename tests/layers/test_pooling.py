"""Global average pooling against arithmetic and our own pooling from scratch."""

import pytest
import torch

from convatlas.layers.pooling import GlobalAveragePool
from convatlas.layers.reference.pooling import average_pool
from convatlas.models import build


def test_two_maps_of_six_pixels_become_their_two_means() -> None:
    x = torch.tensor([[[[1.0, 2, 3], [4, 5, 6]], [[0, 0, 0], [0, 0, -3]]]])
    assert GlobalAveragePool()(x).tolist() == [[3.5, -0.5]]


@pytest.mark.parametrize("size", [(1, 1), (7, 7), (3, 8)])
def test_it_is_average_pooling_with_a_window_of_the_whole_map(size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.stack([average_pool(image, size)[:, 0, 0] for image in x])
    torch.testing.assert_close(GlobalAveragePool()(x), expected)


def test_each_pixel_gets_an_equal_part_of_the_gradient() -> None:
    x = torch.zeros(1, 2, 4, 5, requires_grad=True)
    GlobalAveragePool()(x).backward(torch.tensor([[20.0, 40.0]]))
    assert x.grad is not None
    assert x.grad.unique(dim=-1).flatten().tolist() == [1.0] * 4 + [2.0] * 4


def test_in_half_precision_the_sum_of_a_large_map_is_no_overflow() -> None:
    x = torch.full((1, 1, 224, 224), 100.0, dtype=torch.float16)
    assert GlobalAveragePool()(x).item() == 100


@pytest.mark.parametrize(
    "name",
    ["nin_cifar", "googlenet", "bn_inception", "resnet50", "resnet20", "preresnet164", "densenet121", "senet154",
     "shufflenet_v1_x1_0_g3", "shufflenet_v2_x1_0"],
)  # fmt: skip
def test_from_nin_on_the_networks_have_it_once(name: str) -> None:
    with torch.device("meta"):
        assert sum(isinstance(m, GlobalAveragePool) for m in build(name).modules()) == 1
