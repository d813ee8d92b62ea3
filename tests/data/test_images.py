"""Every kind of image that a real folder holds is read as what it shows."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convatlas.data.images import Fit, Preparation, UnreadableImageError, picture, prepare, read
from convatlas.data.windows import Windows

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def halves(mode: str = "RGB", left: object = RED, right: object = BLUE) -> Image.Image:
    """16×16: the left half in one colour and the right half in another."""
    image = Image.new(mode, (16, 16), left)
    image.paste(right, (8, 0, 16, 16))
    return image


def corners(pixels: np.ndarray) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The colours in the middle of the left and of the right half."""
    _, height, width = pixels.shape
    return tuple(pixels[:, height // 2, width // 4].tolist()), tuple(pixels[:, height // 2, -width // 4].tolist())


def near(colour: tuple[int, ...], expected: tuple[int, ...], by: int = 6) -> bool:
    return all(abs(a - b) <= by for a, b in zip(colour, expected, strict=True))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif", ".bmp", ".tif", ".webp", ".ppm"])
def test_each_format_gives_the_same_colours(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"image{suffix}"
    halves().save(path, **({"quality": 95} if suffix in (".jpg", ".webp") else {}))
    left, right = corners(prepare(path, (3, 16, 16), "crop"))
    assert near(left, RED)
    assert near(right, BLUE)


def test_cmyk_is_read_as_its_colours(tmp_path: Path) -> None:
    halves().convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    left, right = corners(prepare(tmp_path / "print.jpg", (3, 16, 16), "crop"))
    assert near(left, RED, 10)
    assert near(right, BLUE, 10)


def test_what_is_transparent_is_white_whatever_colour_hides_there(tmp_path: Path) -> None:
    halves("RGBA", (*RED, 0), (*BLUE, 255)).save(tmp_path / "cut-out.png")
    assert corners(prepare(tmp_path / "cut-out.png", (3, 16, 16), "crop")) == (WHITE, BLUE)
    palette = halves().convert("P", palette=Image.Palette.ADAPTIVE)
    palette.info["transparency"] = palette.getpixel((0, 0))
    palette.save(tmp_path / "icon.gif", transparency=palette.getpixel((0, 0)))
    assert corners(prepare(tmp_path / "icon.gif", (3, 16, 16), "crop")) == (WHITE, BLUE)


@pytest.mark.parametrize(("mode", "left", "right", "key"), [("RGB", RED, BLUE, RED), ("L", 10, 99, 10)])
def test_a_colour_that_stands_for_transparent_is_white(
    tmp_path: Path, mode: str, left: object, right: object, key: object
) -> None:
    halves(mode, left, right).save(tmp_path / "keyed.png", transparency=key)
    assert corners(prepare(tmp_path / "keyed.png", (3, 16, 16), "crop"))[0] == WHITE


def test_an_array_of_one_channel_is_grey() -> None:
    assert prepare(np.full((8, 8, 1), 7, np.uint8), (1, 8, 8), "crop").tolist() == np.full((1, 8, 8), 7).tolist()


def test_sixteen_bits_are_scaled_and_not_cut_off(tmp_path: Path) -> None:
    deep = np.full((16, 16), 65535, np.uint16)
    deep[:, :8] = 32768
    Image.fromarray(deep).save(tmp_path / "scan.png")
    Image.fromarray(deep).save(tmp_path / "scan.tif")
    for name in ("scan.png", "scan.tif"):
        assert corners(prepare(tmp_path / name, (1, 16, 16), "crop")) == ((128,), (255,))
    assert corners(prepare(Image.fromarray(deep.astype(np.float32) / 65535), (1, 16, 16), "crop")) == ((128,), (255,))
    assert corners(prepare(Image.fromarray(deep.astype(np.int32)), (1, 16, 16), "crop")) == ((128,), (255,))


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    halves("1", 0, 1).save(tmp_path / "fax.png")
    assert corners(prepare(tmp_path / "fax.png", (1, 16, 16), "crop")) == ((0,), (255,))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_its_exif_says(tmp_path: Path, orientation: int) -> None:
    turned = {
        1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]  # fmt: skip
    upright = halves()
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = upright if turned is None else upright.transpose(turned)
    stored.save(tmp_path / "phone.png", exif=exif)
    assert corners(prepare(tmp_path / "phone.png", (3, 16, 16), "crop")) == (RED, BLUE)


@pytest.mark.parametrize(("kind", "value"), [(2, b"6\0\0\0"), (7, b"\6\0\0\0"), (3, b"\0\0\0\0"), (3, b"\x09\0\0\0")])
def test_an_orientation_that_exif_does_not_know_turns_nothing(kind: int, value: bytes) -> None:
    """Text, bytes of no kind, and numbers that are none of the eight."""
    file, count = io.BytesIO(), 2 if kind == 2 else 1
    exif = b"Exif\0\0II*\0" + struct.pack("<IHHHI4sI", 8, 1, 0x0112, kind, count, value, 0)
    Image.new("RGB", (60, 50), "red").save(file, "JPEG", exif=exif)
    window = Windows(1.0, np.array([1.0, 0.5, 0, 0]), np.array(False))
    for shown in (None, window):
        assert (picture(file.getvalue(), (3, 20, 24), "crop", shown)[:, :, 0] > 250).all()
    assert read(file.getvalue()).size == (60, 50)


def test_colour_becomes_grey_and_grey_becomes_colour() -> None:
    assert prepare(halves("L", 10, 200), (3, 16, 16), "crop").shape == (3, 16, 16)
    assert prepare(halves("RGB", WHITE, WHITE), (1, 8, 8), "crop").tolist() == np.full((1, 8, 8), 255).tolist()


def test_crop_cuts_the_middle_out_and_pad_keeps_everything_and_stretch_distorts() -> None:
    wide = Image.new("RGB", (30, 10), GREEN)
    wide.paste(RED, (0, 0, 10, 10))
    wide.paste(BLUE, (20, 0, 30, 10))
    crop, pad, stretch = (prepare(wide, (3, 10, 10), fit) for fit in ("crop", "pad", "stretch"))
    assert (crop == np.array(GREEN)[:, None, None]).all()
    assert near(tuple(stretch[:, 5, 0].tolist()), RED)
    assert near(tuple(stretch[:, 5, 9].tolist()), BLUE)
    assert not pad[:, :3].any()
    assert not pad[:, 7:].any()
    assert near(tuple(pad[:, 5, 0].tolist()), RED)


def test_pad_enlarges_by_whole_numbers_so_mnist_lies_unscaled_in_lenet5() -> None:
    digit = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    padded = prepare(digit, (1, 32, 32), "pad")[0]
    assert (padded[2:30, 2:30] == digit).all()
    assert not padded[:2].any()
    small = prepare(np.full((8, 8), 255, np.uint8), (1, 28, 28), "pad")[0]
    assert (small[2:26, 2:26] == 255).all()
    assert small.sum() == 255 * 24 * 24


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_photograph_is_decoded_small_and_looks_the_same(shared_data: Path, fit: Fit, orientation: int) -> None:
    photograph = Image.open(sorted((shared_data / "ants_bees" / "train").rglob("*.jpg"))[0]).resize((2000, 1400))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = io.BytesIO()
    photograph.save(stored, "JPEG", quality=90, exif=exif)
    assert read(stored.getvalue(), (64, 64), fit).height < 700
    small = prepare(stored.getvalue(), (3, 64, 64), fit)
    whole = prepare(read(stored.getvalue()), (3, 64, 64), fit)
    assert np.abs(small.astype(int) - whole).mean() < 1


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n broken"])
def test_what_is_no_image_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(UnreadableImageError, match=r"bad\.png cannot be read as an image"):
        prepare(tmp_path / "bad.png", (3, 8, 8), "crop")


def test_a_truncated_image_is_not_filled_up_with_grey() -> None:
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(buffer, "JPEG")
    with pytest.raises(UnreadableImageError, match="truncated"):
        prepare(buffer.getvalue()[:-500], (1, 8, 8), "crop")


def test_normalisation_is_the_formula() -> None:
    import torch

    preparation = Preparation(size=(3, 1, 1), mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0))
    pixels = torch.tensor([255, 0, 51], dtype=torch.uint8).view(1, 3, 1, 1)
    torch.testing.assert_close(preparation.normalize(pixels).flatten(), torch.tensor([1.0, -1.0, 0.2]))
    for layout in (torch.contiguous_format, torch.channels_last):
        images = torch.randint(0, 256, (2, 3, 5, 4), dtype=torch.uint8).contiguous(memory_format=layout)
        for given in (images, images.float()):
            expected = preparation.normalize(given)
            assert torch.equal(preparation.normalize_(given), expected)


def test_a_normalisation_for_other_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="mean has 1 value, and the network takes 3 channels"):
        Preparation(size=(3, 8, 8), mean=(0.5,), std=(0.5, 0.5, 0.5))
