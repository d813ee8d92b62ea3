"""What the order of batches, and what is in them, may depend on."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from convatlas.data.augmentation import Augmentation
from convatlas.data.batches import Batches, Shard, Step, in_order
from convatlas.data.held import Components
from convatlas.data.images import Preparation
from convatlas.data.pixels import Pixels

EVERYTHING = {
    "flip": True, "crop": 2, "resized_crop": 0.3, "policy": "trivial", "colour": 0.1, "lighting": 0.1,
    "components": Components((0.1, 0.02, 0.01), ((1, 0, 0), (0, 1, 0), (0, 0, 1))), "erase": 2, "erasing": 0.5,
}  # fmt: skip
MIXES = ({}, {"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0})


def random_images(count: int = 6, channels: int = 3, size: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1, 256, (count, channels, size, size), generator=generator, dtype=torch.uint8)


def batches(count: int = 50, **changes: object) -> Batches:
    pixels = Pixels(
        random_images(count), torch.arange(count), [str(i) for i in range(count)], np.zeros((count, 2), np.uint64)
    )
    options = {
        "preparation": Preparation(size=(3, 8, 8), mean=(0.5,) * 3, std=(0.25,) * 3),
        "augmentation": Augmentation(**EVERYTHING),
        "batch_size": 16, "seed": 0, "channels_last": True,
    } | changes  # fmt: skip
    return Batches(pixels=pixels, **options)  # type: ignore[arg-type]


def epoch_of(source: Batches, epoch: int, *, start: int = 0) -> Iterator[Step]:
    return source.steps(epoch * len(source) + start, (epoch + 1) * len(source))


def epoch_by_index(source: Batches, epoch: int) -> dict[int, torch.Tensor]:
    return {
        int(i): image
        for step in epoch_of(source, epoch)
        for batch in step.parts
        for i, image in zip(batch.labels, batch.images, strict=True)
    }


def test_an_epoch_has_every_image_once_in_batches_of_nearly_one_size() -> None:
    sizes = [step.images for step in epoch_of(batches(), 0)]
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
    orders = {tuple(int(i) for step in epoch_of(batches(), e) for i in step.parts[0].labels) for e in range(3)}
    assert len(orders) == 3


@pytest.mark.parametrize("mixes", MIXES, ids=str)
@pytest.mark.parametrize(("world", "parts", "start"), [(2, 1, 0), (1, 3, 2), (3, 2, 1)])
def test_processes_and_parts_share_a_step_without_losing_or_doubling_an_image(
    world: int, parts: int, start: int, mixes: dict[str, float]
) -> None:
    augmentation = Augmentation(**EVERYTHING, **mixes)
    whole = list(epoch_of(batches(augmentation=augmentation), 2))[start:]
    shared = [
        epoch_of(batches(augmentation=augmentation, shard=Shard(rank, world), parts=parts), 2, start=start)
        for rank in range(world)
    ]
    for step, *shares in zip(whole, *shared, strict=True):
        assert all(share.images == step.images and len(share.parts) == parts for share in shares)
        for name in ("images", "labels", "others", "share"):
            pieces = [getattr(part, name) for share in shares for part in share.parts]
            if name in ("others", "share") and not mixes:
                assert pieces == [None] * world * parts
            else:
                assert torch.equal(torch.cat(pieces), getattr(step.parts[0], name))


@pytest.mark.parametrize("mixes", MIXES[1:], ids=str)
@pytest.mark.parametrize("count", [1, 2, 50])
def test_each_image_of_a_step_is_mixed_with_the_next_and_the_last_with_the_first(
    count: int, mixes: dict[str, float]
) -> None:
    source = batches(count, augmentation=Augmentation(**mixes))
    alone = epoch_by_index(batches(count, augmentation=Augmentation()), 1)
    for step in epoch_of(source, 1):
        (batch,) = step.parts
        assert batch.others is not None
        assert batch.share is not None
        assert batch.others.tolist() == np.roll(batch.labels, -1).tolist()
        assert sorted(batch.others.tolist()) == sorted(batch.labels.tolist())
        for image, label, other, share in zip(batch.images, batch.labels, batch.others, batch.share, strict=True):
            own, others = alone[int(label)], alone[int(other)]
            blended = torch.allclose(image, share * own + (1 - share) * others, atol=1e-5)
            laid_over = bool(((image == own) | (image == others)).all())
            assert laid_over if "mixup" not in mixes else blended if "cutmix" not in mixes else laid_over or blended


def test_mixed_images_of_0_and_1_have_their_share_as_mean() -> None:
    """And so the batch says the truth of what is in it: 1s have the label 1."""
    for mixes in MIXES[1:]:
        source = batches(64, augmentation=Augmentation(**mixes), batch_size=64)
        ones = (torch.arange(64) % 2).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 8, 8) * 255
        pixels = replace(source.pixels, images=ones, labels=torch.arange(64) % 2)
        preparation = Preparation(size=(3, 8, 8), mean=(0.0,) * 3, std=(1.0,) * 3)
        (step,) = epoch_of(replace(source, pixels=pixels, preparation=preparation), 0)
        (batch,) = step.parts
        assert batch.others is not None
        assert batch.share is not None
        expected = batch.share * batch.labels + (1 - batch.share) * batch.others
        torch.testing.assert_close(batch.images.mean((1, 2, 3)), expected)
        assert batch.share.min() < 0.9


@pytest.mark.parametrize(("mixes", "more"), [(MIXES[0], 0), (MIXES[3], 3)], ids=str)
def test_without_mixing_nothing_is_fetched_twice_and_with_it_one_image_a_part(
    mixes: dict[str, float], more: int
) -> None:
    source = batches(augmentation=Augmentation(**mixes), parts=3)
    for index in np.array_split(np.arange(50), 4):
        parts = source.share(index)
        assert sum(len(part) for part in parts) == len(index) + more
        assert set(np.concatenate(parts)) == set(index)


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
