"""What is kept decoded on disk is what is decoded, is decoded once, and is decoded anew when a file changes."""

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_mapped import rows

from convatlas.data import Indexed, Splits, load_splits, open_source
from convatlas.data.augmentation import Augmentation
from convatlas.data.held import Wanted
from convatlas.data.images import picture, roomy
from convatlas.data.mapped import Mapped
from convatlas.data.windows import Windows
from convatlas.errors import InputError


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Two classes of pictures larger than what a network takes, of several shapes."""
    draw = np.random.default_rng(0)
    for label in ("ants", "bees"):
        (tmp_path / "photographs" / label).mkdir(parents=True)
        for i in range(50):
            small = draw.integers(0, 256, (2, 3, 3), dtype=np.uint8)
            size = (90 + i, 60) if i % 2 else (50, 80)
            Image.fromarray(small).resize(size).save(tmp_path / "photographs" / label / f"{i}.png")
    return tmp_path / "photographs"


def held(data: Path, cache: Path | None, **options: Any) -> Splits:
    return load_splits(
        open_source(data), size=(3, 28, 21), validation=0.2, cache=cache, **({"fit": "crop", "workers": 0} | options)
    )


def cut(images: object, *, windows: bool = True) -> torch.Tensor:
    assert isinstance(images, Indexed)
    augmentation = Augmentation(resized_crop=0.3, flip=True)
    every = np.array_split(np.random.default_rng(1).permutation(len(images)), 3)
    cut = partial(augmentation.windows, seed=1, epoch=2) if windows else None
    return torch.cat([fetched.images for fetched in images.fetches([Wanted(index, cut) for index in every])])


@pytest.mark.parametrize("kind", ["folder", "parquet"])
@pytest.mark.parametrize("options", [{}, {"loading": "mapped", "workers": 2}, {"fit": "pad"}], ids=str)
def test_images_from_the_cache_are_those_decoded_from_their_files(
    photographs: Path, tmp_path: Path, kind: str, options: dict[str, Any]
) -> None:
    data = photographs if kind == "folder" else rows(photographs)
    direct = held(data, None, **options)
    for _ in ("written", "read"):
        kept = held(data, tmp_path / "cache", **options)
        assert kept.fingerprint() == direct.fingerprint()
        assert kept.train.moments() == direct.train.moments()
        for one, other in ((kept.train, direct.train), (kept.val, direct.val), (kept.test, direct.test)):
            assert torch.equal(cut(one, windows=False), cut(other, windows=False))


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_windows_from_the_cache_show_what_those_of_the_files_do(
    photographs: Path, tmp_path: Path, fit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convatlas.data.images.ROOM", 0)
    direct = held(photographs, None, windows=True, fit=fit)
    kept = held(photographs, tmp_path / "cache", windows=True, fit=fit, workers=2)
    assert isinstance(kept.train, Mapped)
    difference = (cut(kept.train).float() - cut(direct.train).float()).abs()
    assert difference.mean() < 9  # of images that were made smaller twice, and in whole pixels, of which there are 24
    for one, other in ((kept.val, direct.val), (kept.test, direct.test)):
        assert torch.equal(cut(one, windows=False), cut(other, windows=False))


def test_arrays_are_not_kept_and_that_is_said(tmp_path: Path) -> None:
    source = open_source("digits")
    splits = load_splits(source, size=(1, 8, 8), fit="crop", validation=0.2, cache=tmp_path / "cache")
    assert splits.held == f"decoded, in memory; in arrays is nothing to decode, and nothing is kept in {tmp_path}/cache"
    assert not (tmp_path / "cache").exists()


def test_a_second_run_decodes_nothing_and_a_changed_file_is_decoded_anew(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    (photographs / "ants" / "cut.png").write_bytes((photographs / "ants" / "0.png").read_bytes()[:100])
    first = held(photographs, cache)
    decode, decoded = Image.open, []
    with monkeypatch.context() as patched:
        patched.setattr("convatlas.data.images.Image.open", lambda file: decoded.append(file) or decode(file))
        again = held(photographs, cache)
    assert len(decoded) == 1  # what could not be read, which is tried again
    assert [Path(image.name).name for image in again.skipped] == ["cut.png"]
    assert again.skipped == first.skipped
    assert again.fingerprint() == first.fingerprint()
    monkeypatch.chdir(photographs.parent)
    assert held(Path(photographs.name), cache).fingerprint() == first.fingerprint()
    assert len(list(cache.iterdir())) == 1  # as it is found by any path
    changed = photographs / "bees" / "3.png"
    Image.new("RGB", (50, 50)).save(changed)
    os.utime(changed, (1, 1))
    assert held(photographs, cache).fingerprint() != first.fingerprint()
    assert len(list(cache.iterdir())) == 2


def test_a_cache_that_cannot_be_written_is_told_and_one_that_fails_leaves_nothing(
    photographs: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be kept in .*file.*; name another --cache"):
        held(photographs, tmp_path / "file" / "cache")
    (photographs / "bees" / "cut.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="leave out --strict"):
        held(photographs, tmp_path / "cache", strict=True)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_is_as_strict_as_what_is_read_and_an_image_that_can_be_read_again_is(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = photographs / "bees" / "cut.png"
    bad.write_bytes(b"no image")
    lost = held(photographs, tmp_path / "cache")
    with pytest.raises(InputError, match=r"cut\.png cannot be read as an image: .*; leave out --strict"):
        held(photographs, tmp_path / "cache", strict=True)
    whole = Path(shutil.copy(photographs / "bees" / "0.png", tmp_path / "whole.png"))
    monkeypatch.setattr("convatlas.data.kept.stated", lambda image: Path(image).name.encode())  # none seems to change
    bad.write_bytes(whole.read_bytes())
    mended = held(photographs, tmp_path / "cache2")
    bad.write_bytes(b"no image")
    again = held(photographs, tmp_path / "cache3")
    bad.write_bytes(whole.read_bytes())
    assert (len(lost.skipped), len(mended.skipped), len(again.skipped)) == (1, 0, 1)
    assert held(photographs, tmp_path / "cache3").fingerprint() == mended.fingerprint()


@pytest.mark.parametrize("damage", [lambda content: content[:-100], lambda _: b"", lambda _: b"ARROW1" * 50])
def test_a_damaged_cache_is_written_anew(photographs: Path, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    first = held(photographs, tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    again = held(photographs, tmp_path / "cache")
    assert again.fingerprint() == first.fingerprint()
    assert torch.equal(cut(again.val, windows=False), cut(first.val, windows=False))
    assert len(file.read_bytes()) == len(whole)


def test_a_file_that_is_listed_twice_has_its_own_pixels_each_time(photographs: Path, tmp_path: Path) -> None:
    (photographs / "ants" / "cut.png").write_bytes(b"no image")
    listed = ["ants/cut.png", *(f"{label}/{i}.png" for label in ("ants", "bees") for i in range(20)), "ants/cut.png"]
    lines = [f"{name},{name[:4]}" for name in (*listed, "bees/3.png")]
    (photographs / "list.csv").write_text("\n".join(["file_name,label", *lines]))
    direct, kept = (held(photographs / "list.csv", cache) for cache in (None, tmp_path / "cache"))
    assert kept.skipped == direct.skipped
    assert torch.equal(cut(kept.train, windows=False), cut(direct.train, windows=False))


def test_a_saved_data_set_of_paths_is_decoded_anew_when_a_file_changes(photographs: Path, tmp_path: Path) -> None:
    import datasets

    files = sorted(photographs.rglob("*.png"))
    columns = {"image": [str(file) for file in files], "label": [file.parent.name for file in files]}
    datasets.Dataset.from_dict(columns).save_to_disk(tmp_path / "saved")
    first = held(tmp_path / "saved", tmp_path / "cache")
    Image.new("RGB", (50, 50)).save(files[3])
    assert held(tmp_path / "saved", tmp_path / "cache").fingerprint() != first.fingerprint()


def test_a_small_image_is_padded_by_whole_numbers_from_the_cache_too() -> None:
    small, size = np.full((28, 28, 3), 255, np.uint8), (3, 32, 32)
    everything = Windows(1.0, np.array([1, 0.5, 0, 0.0]), np.array(False))
    kept = roomy(Image.fromarray(small), size, "pad")
    assert kept.shape == small.shape
    direct = picture(Image.fromarray(small), size, "pad", everything)
    assert np.array_equal(picture(kept, size, "pad", everything), direct)
    assert (direct == 0).any()


def test_windows_are_cut_out_of_images_whose_shorter_side_is_256() -> None:
    large = Image.effect_noise((1200, 800), 50).convert("RGB")
    assert roomy(large, (3, 32, 32), "crop").shape == (256, 384, 3)
    assert roomy(large, (3, 448, 448), "crop").shape == (512, 768, 3)
    assert roomy(large, (3, 224, 224), "stretch").shape == (256, 256, 3)
    assert roomy(large, (3, 224, 224), "pad").shape == (171, 256, 3)
