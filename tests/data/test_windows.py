"""Windows have the areas and aspects that the paper says, and show of an image what Pillow does."""

import io
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image
from simplejpeg import decode_jpeg

from convatlas.data import Indexed, Splits, load_splits, open_source
from convatlas.data.augmentation import Augmentation
from convatlas.data.held import Wanted
from convatlas.data.images import UnreadableImageError, jpeg_pixels, picture, pixels_of, read
from convatlas.data.mapped import Mapped
from convatlas.data.pixels import Pixels
from convatlas.data.windows import STEEPEST, Windows, cut_out, sides

NOT = np.array(False)


def smooth(height: int, width: int) -> Image.Image:
    """A picture in which every place has a colour of its own, and which JPEG hardly changes."""
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(
        np.stack((255 * x / width, 255 * y / height, 127 + 100 * np.sin(x / width * 3)), 2).astype(np.uint8)
    )


@given(area=st.floats(0.01, 1), draw=st.floats(0, 1, exclude_max=True), steepest=st.sampled_from([1.0, 4 / 3, 1 / 0.3]))
def test_a_window_has_its_area_and_an_aspect_within_bounds_and_fits(area: float, draw: float, steepest: float) -> None:
    high, wide = (side[0] for side in sides(np.array([area]), np.array([draw]), steepest=steepest))
    assert high * wide == pytest.approx(area)
    assert 1 / steepest - 1e-9 <= wide / high <= steepest + 1e-9
    assert max(high, wide) <= 1 + 1e-9


@given(
    least=st.floats(0.01, 1), draws=st.lists(st.floats(0, 1, exclude_max=True), min_size=4, max_size=4),
    shape=st.floats(0.05, 20),
)  # fmt: skip
def test_a_window_keeps_its_aspect_and_fits_into_images_of_every_shape(
    least: float, draws: list[float], shape: float
) -> None:
    top, high, left, wide = Windows(least, np.array(draws), NOT).over(shape)
    assert 1 / STEEPEST - 1e-9 <= wide / high * shape <= STEEPEST + 1e-9
    assert high * wide >= min(least, STEEPEST * min(shape, 1 / shape)) - 1e-9
    assert min(top, left) >= 0
    assert max(top + high, left + wide) <= 1 + 1e-9


def test_windows_cover_all_shares_of_the_area_evenly_at_aspects_from_3_4_to_4_3() -> None:
    windows = Augmentation(resized_crop=0.2).windows(np.arange(3000), seed=0, epoch=0)
    top, high, left, wide = windows.over()
    area = high * wide
    assert area.min() > 0.2 - 1e-9
    assert np.quantile(area, [0.25, 0.5, 0.75]) == pytest.approx([0.4, 0.6, 0.8], abs=0.03)
    assert abs(np.log(wide / high).mean()) < 0.01
    assert (wide / high).max() > 1.3
    assert (wide / high).min() < 0.77
    assert np.corrcoef(top / (1 - high), left / (1 - wide))[0, 1] == pytest.approx(0, abs=0.05)


def test_a_window_in_memory_is_brought_to_the_size_as_pillow_does_and_mirrored() -> None:
    y, x = np.mgrid[:40, :50]
    waves = np.stack([127 + 120 * np.sin((x * a + y * b) / 3) for a, b in ((1, 0.3), (0.2, -1), (1, 1), (0.5, 0))])
    images = torch.from_numpy(waves.round().astype(np.uint8))[:, None]
    draws = np.array([[0.1, 0.5, 0.9, 1], [0.3, 0.9, 0.1, 0.5], [0.1, 0.5, 0, 0.9], [0.63, 0.21, 0.1, 0]])
    windows = Windows(0.1, draws, np.array([False, True, False, False]))
    ours = cut_out(images, windows)
    for number, image in enumerate(images):
        top, high, left, wide = (float(side) for side in windows[number].over())
        box = (left * 50, top * 40, (left + wide) * 50, (top + high) * 40)
        pillows = Image.fromarray(image[0].numpy()).resize((50, 40), Image.Resampling.BILINEAR, box)
        expected = torch.from_numpy(np.array(pillows)).int()
        expected = expected.flip(1) if number == 1 else expected
        assert (ours[number, 0].int() - expected).abs().max() <= 1
    assert torch.equal(ours[3], images[3])  # the whole image


@settings(max_examples=40, deadline=None)
@given(
    draws=st.lists(st.floats(0, 1, exclude_max=True), min_size=4, max_size=4), mirrored=st.booleans(),
    orientation=st.sampled_from([1, 6, 8]), stored=st.sampled_from([(90, 120), (40, 300), (700, 500)]),
)  # fmt: skip
def test_a_window_of_a_photograph_is_cut_straight_out_of_all_of_it(
    draws: list[float], mirrored: bool, orientation: int, stored: tuple[int, int]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    smooth(*stored).save(file, "jpeg", quality=95, subsampling=0, exif=exif)
    windows = Windows(0.08, np.array(draws), np.array(mirrored))
    shown = picture(file.getvalue(), (3, 48, 32), "crop", windows)
    turned = {1: None, 6: Image.Transpose.ROTATE_270, 8: Image.Transpose.ROTATE_90}[orientation]
    whole = smooth(*stored) if turned is None else smooth(*stored).transpose(turned)
    top, high, left, wide = (float(side) for side in windows.over((whole.width / 32) / (whole.height / 48)))
    box = (left * whole.width, top * whole.height, (left + wide) * whole.width, (top + high) * whole.height)
    expected = np.asarray(whole.resize((32, 48), Image.Resampling.BILINEAR, box)).astype(int)
    expected = expected[:, ::-1] if mirrored else expected
    # Whole pixels are cut out, of an image that may have been decoded smaller: so two pixels of 255 over 40.
    assert np.abs(shown.astype(int) - expected).max() <= 14


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("share", [1.0, 0.05])
def test_an_image_of_which_a_window_is_cut_has_the_pixels_that_pillow_gives(
    shared_data: Path, mode: str, orientation: int, share: float
) -> None:
    with Image.open(next((shared_data / "ants_bees/train/ants").glob("*.jpg"))) as photograph:
        exif, file = Image.Exif(), io.BytesIO()
        exif[ExifTags.Base.Orientation] = orientation
        photograph.convert(mode).save(file, "JPEG", exif=exif)
    window = Windows(share, np.zeros(4), NOT)
    for channels, of in ((1, "L"), (3, "RGB")):
        pixels = pixels_of(file.getvalue(), (channels, 90, 70), "crop", window)
        expected = read(file.getvalue(), (90, 70), "crop", window).convert(of)
        np.testing.assert_array_equal(pixels, np.asarray(expected).reshape(pixels.shape))
        opened = Image.open(io.BytesIO(file.getvalue()))
        quick = orientation == 1 and (mode == "L" or (mode == "RGB" and channels == 3))
        assert (jpeg_pixels(opened, channels) is not None) is quick


def test_a_photograph_that_pillow_can_read_in_spite_of_its_damage_is_read(shared_data: Path) -> None:
    stored = min((shared_data / "ants_bees/train/ants").glob("*.jpg")).read_bytes()
    window, scan = Windows(1.0, np.zeros(4), NOT), stored.rindex(b"\xff\xda")
    dented = stored[: scan + 2000] + 4 * b"\xff\xd5" + stored[scan + 2008 :]
    with pytest.raises(ValueError, match="Corrupt JPEG data"):
        decode_jpeg(dented)
    expected = read(dented, (90, 70), "crop", window)
    np.testing.assert_array_equal(pixels_of(dented, (3, 90, 70), "crop", window), np.asarray(expected))
    with pytest.raises(UnreadableImageError, match="truncated"):
        pixels_of(stored[: len(stored) // 2], (3, 90, 70), "crop", window)


def test_a_window_of_a_padded_image_may_show_its_border_and_of_a_grey_one_has_one_channel() -> None:
    everything = Windows(1.0, np.array([1, 0.5, 0, 0.0]), NOT)
    padded = picture(smooth(20, 40), (3, 16, 16), "pad", everything)
    assert not padded[0].any()
    assert padded[8].any()
    assert picture(smooth(20, 40), (1, 16, 16), "stretch", everything).shape == (16, 16, 1)


def splits(data: Path | str, **options: object) -> Splits:
    size = (1, 28, 28) if data == "digits" else (3, 16, 16)
    return load_splits(open_source(data), size=size, fit="crop", validation=0.2, windows=True, **options)  # type: ignore[arg-type]


def shown(images: Indexed) -> torch.Tensor:
    augmentation = Augmentation(resized_crop=0.3, flip=True)
    return torch.cat([
        fetched.images
        for fetched in images.fetches(
            Wanted(index, partial(augmentation.windows, seed=1, epoch=2))
            for index in np.array_split(np.arange(len(images)), 3)
        )
    ])  # fmt: skip


def test_what_windows_show_does_not_depend_on_how_much_memory_there_is(
    shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    much = {data: splits(data, workers=2) for data in (shapes, "digits")}
    assert isinstance(much[shapes].train, Mapped)
    assert isinstance(much["digits"].train, Pixels)
    assert isinstance(splits(shapes, loading="memory").train, Pixels)
    monkeypatch.setattr("convatlas.data.holding.free_memory", lambda: 1000)
    for data, before in much.items():
        little = splits(data, workers=0)
        assert isinstance(little.train, Mapped)
        assert isinstance(before.train, Indexed)
        assert torch.equal(shown(before.train), shown(little.train))
