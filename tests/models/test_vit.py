"""The vision transformer against its Table 1 and Eqs. 1 to 4."""

import pytest
import torch
from torch import nn

from convatlas.errors import InputError
from convatlas.models import build
from convatlas.models.vit import ViT


def test_the_stages_are_patches_tokens_encoder_norm_and_head() -> None:
    with torch.device("meta"):
        network = build("vit_b_16")
        walk = {name: tuple(y.shape[1:]) for name, y in network.walk(torch.empty(2, 3, 224, 224))}
    assert walk == {
        "patch_embedding": (196, 768), "tokens": (197, 768), "encoder": (197, 768), "norm": (768,), "head": (1000,),
    }  # fmt: skip


def test_large_and_huge_of_table_1_are_changes() -> None:
    with torch.device("meta"):
        large = build("vit_b_16", layers=24, dim=1024, mlp=4096, heads=16)
        huge = build("vit_b_16", layers=32, dim=1280, mlp=5120, heads=16, patch=14)
    assert sum(p.numel() for p in large.parameters()) == 304_326_632  # as torchvision's; the table says 307M
    assert sum(p.numel() for p in huge.parameters()) == 632_045_800  # as timm's; "632M"


def test_without_positions_the_order_of_the_patches_does_not_matter_and_with_them_it_does() -> None:
    torch.manual_seed(0)
    network = build("vit_cifar", layers=2).eval()
    assert isinstance(network, ViT)
    nn.init.normal_(network.head.weight)
    x = torch.randn(1, 3, 32, 32)
    rolled = x.roll(4, dims=2)  # by a patch
    with torch.no_grad():
        assert not torch.allclose(network(x), network(rolled), atol=1e-3)
        network.tokens.position.zero_()
        torch.testing.assert_close(network(x), network(rolled), atol=1e-4, rtol=1e-4)


def test_it_begins_with_no_opinion() -> None:
    network = build("vit_cifar", layers=1).eval()
    assert not network(torch.randn(2, 3, 32, 32)).any()  # a zero-initialized head
    network.reset_head(3)
    assert not network(torch.randn(2, 3, 32, 32)).any()


def test_another_size_of_images_is_a_change_and_else_refused() -> None:
    network = build("vit_cifar", layers=1, size=64)
    assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 10)
    with pytest.raises(ValueError, match="vit_cifar takes 64×64 images"):
        network(torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 5}, "dim 192 does not divide into 5 heads"),
        ({"patch": 5}, "an image of 32×32 does not divide into patches of 5"),
        ({"layers": 0}, "layers is a whole number of at least 1, and not 0"),
        ({"dropout": -0.1}, "dropout is a share of at least 0 and below 1"),
    ],
)
def test_what_cannot_be_built_is_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build("vit_cifar", **changes)
