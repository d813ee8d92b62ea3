"""What augmentation may do to an image: to each as its own seed, epoch and index say."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from convatlas.data.augmentation import Augmentation
from convatlas.data.held import Components
from convatlas.data.windows import cut_out
from convatlas.errors import InputError

INDEX = np.arange(6)
HALF = 0.5**0.5
COMPONENTS = Components((0.2, 0.02, 0.005), ((0.0, 1.0, 0.0), (HALF, 0.0, HALF), (HALF, 0.0, -HALF)))


def random_images(count: int = 6, channels: int = 3, size: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1, 256, (count, channels, size, size), generator=generator, dtype=torch.uint8)


def all_done(
    augmentation: Augmentation, images: torch.Tensor, index: np.ndarray, *, seed: int, epoch: int
) -> torch.Tensor:
    if augmentation.resized_crop:
        images = cut_out(images, augmentation.windows(index, seed=seed, epoch=epoch))
    images = augmentation.move(images, index, seed=seed, epoch=epoch)
    images = augmentation.operate(images, index, seed=seed, epoch=epoch)
    recoloured = augmentation.recolour(images, index, seed=seed, epoch=epoch) / 255 - 0.5
    return augmentation.blank(recoloured, index, seed=seed, epoch=epoch)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


augmentations = st.builds(
    Augmentation,
    flip=st.booleans(),
    crop=st.integers(0, 3),
    resized_crop=st.sampled_from([0.0, 0.08, 1.0]),
    policy=st.sampled_from(["none", "trivial", "rand"]),
    rand_operations=st.integers(1, 3),
    rand_magnitude=st.integers(0, 30),
    colour=st.sampled_from([0.0, 0.4]),
    lighting=st.sampled_from([0.0, 0.1]),
    components=st.just(COMPONENTS),
    erase=st.integers(0, 3),
    erasing=st.sampled_from([0.0, 0.5, 1.0]),
)


@settings(max_examples=60, deadline=None)
@given(
    augmentation=augmentations, seed=st.integers(0, 1000), epoch=st.integers(0, 1000),
    chosen=st.lists(st.integers(0, 29), min_size=1, max_size=12),
)  # fmt: skip
def test_an_image_is_augmented_alike_whatever_images_are_with_it(
    augmentation: Augmentation, seed: int, epoch: int, chosen: list[int]
) -> None:
    images, index = random_images(30), np.arange(100, 130)
    together = all_done(augmentation, images, index, seed=seed, epoch=epoch)
    apart = all_done(augmentation, images[chosen], index[chosen], seed=seed, epoch=epoch)
    assert torch.equal(together[chosen], apart)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("policy", ["trivial", "rand"])
def test_a_large_image_is_augmented_alike_alone_though_threads_share_the_work_otherwise(policy: str) -> None:
    images, index = random_images(4, size=120), np.arange(4)
    augmentation = Augmentation(
        flip=True, resized_crop=0.08, policy=policy, colour=0.4, lighting=0.1, components=COMPONENTS, erasing=1  # type: ignore[arg-type]
    )  # fmt: skip
    together = all_done(augmentation, images, index, seed=0, epoch=0)
    for i in range(4):
        alone = all_done(augmentation, images[i : i + 1], index[i : i + 1], seed=0, epoch=0)
        assert torch.equal(together[i : i + 1], alone)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), epoch=st.integers(0, 1000), crop=st.integers(0, 4), flip=st.booleans())
def test_a_moved_image_is_a_window_of_the_padded_image_mirrored_or_not(
    seed: int, epoch: int, crop: int, flip: bool
) -> None:
    images = random_images()
    moved = Augmentation(flip=flip, crop=crop).move(images, INDEX, seed=seed, epoch=epoch)
    assert moved.shape == images.shape
    assert moved.dtype == torch.uint8
    padded = F.pad(images, (crop,) * 4)
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


def test_lighting_shifts_a_whole_image_along_the_components_by_normal_draws_times_eigenvalues() -> None:
    images = random_images(4000, size=2)
    lit = Augmentation(lighting=0.1, components=COMPONENTS).recolour(images, np.arange(4000), seed=0, epoch=0)
    shift = (lit - images) / 255
    torch.testing.assert_close(shift, shift[:, :, :1, :1].expand_as(shift), atol=1e-6, rtol=0)
    alpha = shift[:, :, 0, 0] @ torch.tensor(COMPONENTS.vectors).T / torch.tensor(COMPONENTS.values)
    torch.testing.assert_close(alpha.T.cov(), 0.01 * torch.eye(3), atol=6e-4, rtol=0)
    assert alpha.mean(0).abs().max() < 0.006
    assert ((alpha.abs() < 0.1).float().mean(0) - 0.6827).abs().max() < 0.03


def test_lighting_of_grey_images_is_refused_in_a_sentence() -> None:
    for components in (None, Components((0.1,), ((1.0,),))):
        with pytest.raises(InputError, match=r"^lighting adds .* grey images have none; leave out --lighting"):
            Augmentation(lighting=0.1, components=components)


def test_a_blanked_square_has_its_side_and_everything_else_stays() -> None:
    images = torch.ones(500, 2, 16, 16)
    blanked = Augmentation(erase=4).blank(images, np.arange(500), seed=0, epoch=0)
    assert torch.equal(blanked[:, 0], blanked[:, 1])
    holes = (blanked[:, 0] == 0).flatten(1).sum(1)
    assert holes.max() == 16
    assert holes.min() >= 4  # where the square hangs over a corner
    assert set(blanked.unique().tolist()) == {0.0, 1.0}


def test_erasing_blanks_a_rectangle_of_2_to_33_per_cent_with_its_probability() -> None:
    blanked = Augmentation(erasing=0.25).blank(torch.ones(2000, 2, 50, 50), np.arange(2000), seed=0, epoch=0)
    assert torch.equal(blanked[:, 0], blanked[:, 1])
    holes = blanked[:, 0] == 0
    erased = holes.flatten(1).any(1)
    assert erased.float().mean().item() == pytest.approx(0.25, abs=0.03)
    high, wide = holes[erased].any(2).sum(1), holes[erased].any(1).sum(1)
    assert torch.equal(high * wide, holes[erased].flatten(1).sum(1))  # so they are rectangles
    share = high * wide / 2500
    assert 0.015 < share.min() < 0.03
    assert 0.3 < share.max() < 0.34
    assert (wide / high).min() > 0.25
    assert (wide / high).max() < 4
    assert 0.4 < (wide > high).float().mean() < 0.6
    assert holes.any(0).all()  # no place is spared


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_mixup_leaves_the_share_that_it_names_and_draws_it_from_beta(alpha: float) -> None:
    own, others = torch.ones(3000, 1, 3, 3), torch.zeros(3000, 1, 3, 3)
    mixed, share = Augmentation(mixup=alpha).mix(own, others, np.arange(3000), seed=0, epoch=0, step=0)
    torch.testing.assert_close(mixed.mean((1, 2, 3)), share)
    assert share.mean().item() == pytest.approx(0.5, abs=0.02)
    assert share.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.06)  # of Beta(α, α)


def test_cutmix_lays_a_rectangle_of_the_other_image_over_each_and_counts_what_is_left() -> None:
    own, others = torch.ones(3000, 2, 40, 60), torch.zeros(3000, 2, 40, 60)
    mixed, share = Augmentation(cutmix=1).mix(own, others, np.arange(3000), seed=0, epoch=0, step=0)
    torch.testing.assert_close(mixed.mean((1, 2, 3)), share)
    holes = mixed[:, 0] == 0
    high, wide = holes.any(2).sum(1), holes.any(1).sum(1)
    assert torch.equal(high * wide, holes.flatten(1).sum(1))
    touches = holes[:, [0, -1]].flatten(1).any(1) | holes[:, :, [0, -1]].flatten(1).any(1)
    inside = ~touches & (high > 0)
    assert ((wide[inside] / 60 - high[inside] / 40).abs() < 1 / 40).all()  # the image's own aspect
    # A side of √u leaves √u − u/4 of itself inside on average over its middle: of both, for even u, 1/2 − 1/5 + 1/48.
    assert share.mean().item() == pytest.approx(1 - (1 / 2 - 1 / 5 + 1 / 48), abs=0.03)


def test_with_mixup_and_cutmix_each_step_draws_one_of_them() -> None:
    both = Augmentation(mixup=1, cutmix=1)
    own, others, index = torch.ones(4, 1, 8, 8), torch.zeros(4, 1, 8, 8), np.arange(4)
    blended = [
        bool(((mixed := both.mix(own, others, index, seed=0, epoch=0, step=step).images) > 0).all() and mixed.min() < 1)
        for step in range(300)
    ]
    assert np.mean(blended) == pytest.approx(0.5, abs=0.1)
