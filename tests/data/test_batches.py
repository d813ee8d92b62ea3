"""What augmentation may do to an image, and what the order of batches may depend on."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convatlas.data.batches import Augmentation, Batches, Shard, in_order
from convatlas.data.images import Preparation
from convatlas.data.pixels import Pixels

INDEX = np.arange(6)


def random_images(count: int = 6, channels: int = 3, size: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1, 256, (count, channels, size, size), generator=generator, dtype=torch.uint8)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), epoch=st.integers(0, 1000), crop=st.integers(0, 4), flip=st.booleans())
def test_a_moved_image_is_a_window_of_the_padded_image_mirrored_or_not(
    seed: int, epoch: int, crop: int, flip: bool
) -> None:
    images = random_images()
    moved = Augmentation(flip=flip, crop=crop).move(images, INDEX, seed=seed, epoch=epoch)
    assert moved.shape == images.shape
    assert moved.dtype == torch.uint8
    padded = torch.nn.functional.pad(images, (crop,) * 4)
    for before, after in zip(padded, moved, strict=True):
        windows = [
            view[:, top : top + 8, left : left + 8]
            for view in ([before, before.flip(2)] if flip else [before])
            for top in range(2 * crop + 1)
            for left in range(2 * crop + 1)
        ]
        assert any(torch.equal(window, after) for window in windows)


def test_without_a_crop_a_moved_image_is_a_permutation_of_its_pixels() -> None:
    images = random_images()
    moved = Augmentation(flip=True).move(images, INDEX, seed=0, epoch=0)
    assert torch.equal(moved.flatten(1).sort(1).values, images.flatten(1).sort(1).values)


def test_half_of_the_images_are_mirrored_and_every_offset_comes_up() -> None:
    ramp = torch.arange(1, 10, dtype=torch.uint8).repeat(4000, 1, 9, 1)
    index = np.arange(4000)
    mirrored = Augmentation(flip=True).move(ramp, index, seed=0, epoch=0)[:, 0, 0, 0] == 9
    assert 0.47 < mirrored.float().mean() < 0.53
    cropped = Augmentation(crop=2).move(ramp, index, seed=0, epoch=0)[:, 0, 4, 0]
    assert cropped.unique(return_counts=True)[1].min() > 600  # of the five offsets 0, 0, 1, 2, 3


def test_recolouring_keeps_within_its_bounds_and_changes_every_image() -> None:
    images = random_images()
    recoloured = Augmentation(colour=0.2).recolour(images, INDEX, seed=0, epoch=0)
    assert recoloured.min() >= 0
    assert recoloured.max() <= 255
    assert ((recoloured - images.float()).abs().flatten(1).max(1).values > 1).all()
    flat = torch.full((6, 1, 8, 8), 100, dtype=torch.uint8)
    brightness = Augmentation(colour=0.2).recolour(flat, INDEX, seed=0, epoch=0).flatten(1)
    assert (brightness.std(1) < 1e-3).all()
    assert ((brightness >= 79.9) & (brightness <= 120.1)).all()
    assert torch.equal(Augmentation().recolour(images, INDEX, seed=0, epoch=0), images.float())


def test_a_blanked_square_has_its_side_and_everything_else_stays() -> None:
    images = torch.ones(500, 2, 16, 16)
    blanked = Augmentation(erase=4).blank(images, np.arange(500), seed=0, epoch=0)
    assert torch.equal(blanked[:, 0], blanked[:, 1])
    holes = (blanked[:, 0] == 0).flatten(1).sum(1)
    assert holes.max() == 16
    assert holes.min() >= 4  # where the square hangs over a corner
    assert set(blanked.unique().tolist()) == {0.0, 1.0}


def batches(count: int = 50, **changes: object) -> Batches:
    pixels = Pixels(
        random_images(count), torch.arange(count), [str(i) for i in range(count)], np.zeros((count, 2), np.uint64)
    )
    options = {
        "preparation": Preparation(size=(3, 8, 8), mean=(0.5,) * 3, std=(0.25,) * 3),
        "augmentation": Augmentation(flip=True, crop=2, colour=0.1, erase=2),
        "batch_size": 16, "seed": 0, "channels_last": True,
    } | changes  # fmt: skip
    return Batches(pixels=pixels, **options)  # type: ignore[arg-type]


def epoch_by_index(source: Batches, epoch: int) -> dict[int, torch.Tensor]:
    return {
        int(i): image
        for step in source.epoch(epoch)
        for batch in step.parts
        for i, image in zip(batch.labels, batch.images, strict=True)
    }


def test_an_epoch_has_every_image_once_in_batches_of_nearly_one_size() -> None:
    sizes = [step.images for step in batches().epoch(0)]
    assert sizes == [13, 13, 12, 12]
    assert len(batches()) == 4
    assert len(epoch_by_index(batches(), 0)) == 50


@pytest.mark.parametrize("change", [{"batch_size": 7}, {"channels_last": False}])
def test_an_image_is_augmented_alike_whatever_batch_it_is_in(change: dict[str, object]) -> None:
    one, other = epoch_by_index(batches(), 3), epoch_by_index(batches(**change), 3)
    assert all(torch.equal(one[i], other[i]) for i in range(50))


def test_epochs_and_seeds_differ() -> None:
    first = epoch_by_index(batches(), 0)
    for other in (epoch_by_index(batches(), 1), epoch_by_index(batches(seed=1), 0)):
        assert sum(not torch.equal(first[i], other[i]) for i in range(50)) > 45
    orders = {tuple(int(i) for step in batches().epoch(e) for i in step.parts[0].labels) for e in range(3)}
    assert len(orders) == 3


@pytest.mark.parametrize(("world", "parts", "start"), [(2, 1, 0), (1, 3, 2), (3, 2, 1)])
def test_processes_and_parts_share_a_step_without_losing_or_doubling_an_image(
    world: int, parts: int, start: int
) -> None:
    whole = list(batches().epoch(2))[start:]
    shared = [batches(shard=Shard(rank, world), parts=parts).epoch(2, start=start) for rank in range(world)]
    for step, *shares in zip(whole, *shared, strict=True):
        assert all(share.images == step.images and len(share.parts) == parts for share in shares)
        for name in ("images", "labels"):
            together = torch.cat([getattr(part, name) for share in shares for part in share.parts])
            assert torch.equal(together, getattr(step.parts[0], name))


def test_evaluation_takes_images_in_order_and_as_they_are() -> None:
    source = batches()
    seen = list(
        in_order(
            source.pixels, source.preparation, batch_size=20, device=source.pixels.images.device, channels_last=True
        )
    )
    assert torch.cat([b.labels for b in seen]).tolist() == list(range(50))
    expected = (source.pixels.images.float() / 255 - 0.5) / 0.25
    torch.testing.assert_close(torch.cat([b.images for b in seen]), expected, atol=1e-5, rtol=0)
