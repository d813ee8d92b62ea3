"""Each operation against Pillow's, and which of them an image gets."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from convatlas.data.policies import LEVELS, OPERATIONS, rand_augment, trivial_augment

Pillow = Callable[[Image.Image, float], Image.Image]


def pictures(channels: int) -> torch.Tensor:
    """Eight pictures of 26×33 pixels: waves of many contrasts, one of two values, and one of a single one."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:26, :33]
    waves = [
        128 + low * np.sin((x[None] * a + y[None] * b) / 5 + np.arange(channels)[:, None, None])
        for low, (a, b) in zip((5, 20, 60, 90, 120, 200), rng.uniform(-2, 2, (6, 2)), strict=True)
    ]
    noisy = [(wave + rng.normal(0, 4, wave.shape)).clip(0, 255) for wave in waves]
    two = np.broadcast_to(np.where(x > 2 * y, 200, 40), (channels, 26, 33))
    return torch.from_numpy(np.stack([*noisy, two, np.full_like(two, 77)]).round().astype(np.uint8))


def to_pillow(image: torch.Tensor) -> Image.Image:
    return Image.fromarray(image[0].numpy() if len(image) == 1 else image.permute(1, 2, 0).contiguous().numpy())


def from_pillow(image: Image.Image) -> torch.Tensor:
    pixels = np.array(image)
    return torch.from_numpy(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))


def affine(matrix: Callable[[float], tuple[float, ...]]) -> Pillow:
    return lambda image, s: image.transform(image.size, Image.Transform.AFFINE, matrix(s))


PILLOW: dict[str, Pillow] = {
    "identity": lambda image, _: image,
    "shear_x": affine(lambda s: (1, s, 0, 0, 1, 0)),
    "shear_y": affine(lambda s: (1, 0, 0, s, 1, 0)),
    "translate_x": affine(lambda s: (1, 0, s, 0, 1, 0)),
    "translate_y": affine(lambda s: (1, 0, 0, 0, 1, s)),
    "rotate": lambda image, s: image.rotate(s),
    "brightness": lambda image, s: ImageEnhance.Brightness(image).enhance(1 + s),
    "colour": lambda image, s: ImageEnhance.Color(image).enhance(1 + s),
    "contrast": lambda image, s: ImageEnhance.Contrast(image).enhance(1 + s),
    "sharpness": lambda image, s: ImageEnhance.Sharpness(image).enhance(1 + s),
    "posterize": lambda image, s: ImageOps.posterize(image, 8 - round(abs(s))),
    "solarize": lambda image, s: ImageOps.solarize(image, 256 - abs(s)),
    "autocontrast": lambda image, _: ImageOps.autocontrast(image),
    "equalize": lambda image, _: ImageOps.equalize(image),
}
NEAREST = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_does_to_each_image_what_pillow_does(name: str, channels: int) -> None:
    images, top = pictures(channels), OPERATIONS[name].wide
    for strengths in (torch.linspace(-top, top, 8), torch.linspace(top, -top, 8) * 0.61):
        ours = OPERATIONS[name].apply(images, strengths.view(-1, 1, 1, 1))
        pillows = torch.stack(
            [
                from_pillow(PILLOW[name](to_pillow(image), strength))
                for image, strength in zip(images, strengths.tolist(), strict=True)
            ]
        )
        assert ours.dtype == torch.uint8
        different = (ours.int() - pillows.int()).abs()
        if name in NEAREST:  # a pixel halfway between two may be taken from either
            assert (different > 0).float().mean() < 0.005
        else:  # float32 here, float64 there, before what follows the point is cut off
            assert different.max() <= 1
            assert (different > 0).float().mean() < 0.02


def test_trivial_augment_does_one_operation_of_the_wide_space_at_one_of_31_strengths() -> None:
    image = pictures(3)[3:4, :, :12, :12]
    made: dict[bytes, set[str]] = {}
    for name, operation in OPERATIONS.items():
        strengths = torch.from_numpy(operation.wide * np.arange(-LEVELS, LEVELS + 1) / LEVELS).float()
        for result in operation.apply(image.expand(61, -1, -1, -1), strengths.view(-1, 1, 1, 1)):
            made.setdefault(result.numpy().tobytes(), set()).add(name)
    augmented = trivial_augment(image.expand(4000, -1, -1, -1), np.arange(4000), seed=0, epoch=0)
    drawn = [made[result.numpy().tobytes()] for result in augmented]  # or KeyError
    counts = {name: sum(names == {name} for names in drawn) for name in OPERATIONS}
    for name in ("rotate", "colour", "contrast", "sharpness"):  # which at each strength look like no other
        assert 4000 / 14 * 0.75 < counts[name] < 4000 / 14 * 1.25
    assert len({result.numpy().tobytes() for result in augmented}) > 350


def test_rand_augment_at_0_only_stretches_and_equalizes() -> None:
    image = pictures(3)[2:3]
    augmented = rand_augment(image.expand(300, -1, -1, -1), np.arange(300), operations=1, magnitude=0, seed=0, epoch=0)
    none = torch.zeros(1, 1, 1, 1)
    expected = [OPERATIONS[name].apply(image, none) for name in ("identity", "autocontrast", "equalize")]
    shares = [(augmented == one).flatten(1).all(1).float().mean().item() for one in expected]
    assert sum(shares) == pytest.approx(1)
    assert shares[0] == pytest.approx(12 / 14, abs=0.06)


def test_rand_augment_at_30_moves_by_150_of_331_of_the_side_and_does_as_many_as_are_asked_for() -> None:
    ramp = torch.arange(1, 101, dtype=torch.uint8).expand(600, 1, 10, 100)
    moved = rand_augment(ramp, np.arange(600), operations=1, magnitude=30, seed=0, epoch=0)
    firsts = {tuple(row[0].tolist()) for row in moved[:, 0]}
    assert (*range(46, 101), *[0] * 45) in firsts
    assert (*[0] * 45, *range(1, 56)) in firsts
    images = pictures(3)[3:4].expand(600, -1, -1, -1)
    changed = [
        (rand_augment(images, np.arange(600), operations=count, magnitude=15, seed=0, epoch=0) != images)
        .flatten(1).any(1).float().mean().item()
        for count in (1, 3)
    ]  # fmt: skip
    assert changed[0] == pytest.approx(13 / 14, abs=0.04)
    assert changed[1] > 0.99
