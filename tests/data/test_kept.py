"""What is kept decoded on disk is what is decoded, is decoded once, and is decoded anew when a file changes."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_mapped import rows

from convatlas.data import Indexed, Splits, load_splits, open_source
from convatlas.data.augmentation import Augmentation
from convatlas.data.mapped import Mapped
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
    fetches = images.fetches(
        every, (lambda index: augmentation.windows(index, seed=1, epoch=2)) if windows else None
    )  # fmt: skip
    return torch.cat([fetched.images for fetched in fetches])


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


def test_a_second_run_decodes_nothing_and_a_changed_file_is_decoded_anew(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    (photographs / "ants" / "cut.png").write_bytes((photographs / "ants" / "0.png").read_bytes()[:100])
    first = held(photographs, cache)
    with monkeypatch.context() as patched:
        patched.setattr("convatlas.data.images.Image.open", lambda *_: pytest.fail("an image was decoded"))
        again = held(photographs, cache)
    assert [Path(image.name).name for image in again.skipped] == ["cut.png"]
    assert again.skipped == first.skipped
    assert again.fingerprint() == first.fingerprint()
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
