"""Decoding, and cutting a data set into parts by hash."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from convatlas.data import Splits, load_splits, open_source
from convatlas.data.mapped import Mapped
from convatlas.data.pixels import Pixels
from convatlas.data.splits import load_part
from convatlas.errors import InputError


def split(folder: Path | str, **options: object) -> Splits:
    return load_splits(open_source(folder), size=(3, 16, 16), fit="crop", validation=0.2, **options)  # type: ignore[arg-type]


def names(splits: Splits) -> dict[str, str]:
    parts = {"train": splits.train, "val": splits.val, "test": splits.test}
    return {Path(name).name: part for part, pixels in parts.items() if pixels is not None for name in pixels.names}


def test_every_image_is_in_one_part_and_every_class_is_trained_on(shapes: Path) -> None:
    splits = split(shapes)
    assert len(names(splits)) == 90
    assert splits.test is not None
    assert min(len(splits.val), len(splits.test)) >= 5
    assert set(splits.train.labels.tolist()) == {0, 1, 2}
    assert splits.classes == ("lying", "square", "standing")


def test_an_image_keeps_its_part_when_others_come_and_go(shapes: Path) -> None:
    before = names(split(shapes))
    for i in range(0, 30, 3):
        (shapes / "square" / f"square{i}.png").unlink()
    Image.new("RGB", (8, 8)).save(shapes / "lying" / "new.png")
    after = names(split(shapes))
    assert all(before[name] == part for name, part in after.items() if name in before)


def test_equal_files_are_in_the_same_part(shapes: Path) -> None:
    for i in range(30):
        shutil.copy(shapes / "lying" / f"lying{i}.png", shapes / "lying" / f"copy{i}.png")
    parts = names(split(shapes))
    assert all(parts[f"lying{i}.png"] == parts[f"copy{i}.png"] for i in range(30))


def test_a_class_of_one_image_is_trained_on(shapes: Path) -> None:
    for label in ("a", "b", "c", "d", "e", "f"):
        (shapes / label).mkdir()
        Image.new("RGB", (8, 8), (ord(label), 0, 0)).save(shapes / label / "only.png")
    splits = split(shapes)
    assert set(splits.train.labels.tolist()) == set(range(9))


def test_the_share_that_is_cut_off_is_the_share_that_was_asked_for() -> None:
    splits = load_splits(open_source("digits"), size=(1, 28, 28), fit="crop", validation=0.25)
    assert splits.test is not None
    assert abs(len(splits.test) / 1797 - 0.2) < 0.03
    assert abs(len(splits.val) / (1797 - len(splits.test)) - 0.25) < 0.03


def test_the_splits_of_mnist_are_its_own_and_its_pixels_are_untouched(shared_data: Path) -> None:
    source = open_source(shared_data / "mnist")
    splits = load_splits(source, size=(1, 28, 28), fit="crop", validation=0.1)
    assert splits.test is not None
    assert len(splits.train) + len(splits.val) == 60_000
    assert len(splits.test) == 10_000
    assert (splits.test.images[:, 0].numpy() == source.parts["test"].images).all()
    assert splits.test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


def test_unreadable_images_are_passed_over_with_their_reason_or_refused(shapes: Path) -> None:
    (shapes / "square" / "cut.png").write_bytes((shapes / "square" / "square0.png").read_bytes()[:200])
    (shapes / "lying" / "empty.jpg").touch()
    splits = split(shapes)
    assert [Path(image.name).name for image in splits.skipped] == ["empty.jpg", "cut.png"]
    assert splits.skipped[0].reason == "the file is empty"
    assert len(names(splits)) == 90
    with pytest.raises(
        InputError, match=r"empty\.jpg cannot be read as an image: the file is empty; leave out --strict"
    ):
        split(shapes, strict=True)


def test_a_part_with_no_readable_image_is_refused(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.png").touch()
    with pytest.raises(InputError, match="none of the 2 images of its all part can be read"):
        split(tmp_path)


def test_one_class_is_refused(shapes: Path) -> None:
    shutil.rmtree(shapes / "lying")
    shutil.rmtree(shapes / "square")
    with pytest.raises(InputError, match="has the class 'standing' alone; a classifier needs two or more"):
        split(shapes)


def test_a_label_that_training_does_not_have_is_refused(shapes: Path) -> None:
    (shapes.parent / "data" / "val" / "round").mkdir(parents=True)
    shapes.rename(shapes.parent / "data" / "train")
    Image.new("RGB", (8, 8)).save(shapes.parent / "data" / "val" / "round" / "1.png")
    with pytest.raises(InputError, match="the class 'round', which is not among the classes: lying, square, standing"):
        split(shapes.parent / "data")


def test_images_that_do_not_fit_into_memory_are_mapped_or_where_they_have_to_fit_refused(
    shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert split(shapes).held == "decoded, in memory"
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 1000})())
    splits = split(shapes, workers=2)
    assert isinstance(splits.train, Mapped)
    assert splits.held.startswith("as they are stored, and decoded by 2 processes when their turn comes: decoded, ")
    with pytest.raises(InputError, match=r"90 images of 3×16×16 take .* GB of memory are free; leave out --loading"):
        split(shapes, loading="memory")


def test_evaluation_of_the_training_data_reads_only_what_was_kept_for_the_test(shapes: Path) -> None:
    splits = split(shapes)
    options = {"classes": splits.classes, "size": (3, 16, 16), "fit": "crop"}
    part, pixels = load_part(open_source(shapes), held_out=0.2, **options)  # type: ignore[arg-type]
    assert splits.test is not None
    assert (part, list(pixels.names)) == ("test", list(splits.test.names))
    assert torch.equal(pixels.images, splits.test.images)
    part, pixels = load_part(open_source(shapes), **options)  # type: ignore[arg-type]
    assert (part, len(pixels)) == ("all", 90)


def test_digests_of_arrays_and_of_files_tell_images_apart(shapes: Path) -> None:
    splits = split(shapes)
    digests = np.concatenate([p.digests for p in (splits.train, splits.val, splits.test) if p is not None])
    assert len(np.unique(digests[:, 0])) == len(digests) == 90


def test_moments_are_the_mean_and_deviation_of_the_pixels(shapes: Path) -> None:
    pixels = split(shapes).train
    scaled = pixels.images.double() / 255
    mean, std = pixels.moments()
    assert mean == pytest.approx(scaled.mean((0, 2, 3)).tolist(), abs=1e-4)
    assert std == pytest.approx(scaled.std((0, 2, 3)).tolist(), abs=1e-4)


def test_the_moments_of_mnist_are_the_ones_that_everyone_uses(shared_data: Path) -> None:
    splits = load_splits(open_source(shared_data / "mnist"), size=(1, 28, 28), fit="crop", validation=0.1)
    assert splits.train.moments() == (pytest.approx((0.1307,), abs=1e-3), pytest.approx((0.3081,), abs=1e-3))


def test_the_components_are_the_principal_components_of_all_pixels(shared_data: Path) -> None:
    from sklearn.decomposition import PCA

    pixels = load_splits(open_source(shared_data / "ants_bees"), size=(3, 32, 32), fit="crop", validation=0.2).train
    values, vectors = pixels.components()
    truth = PCA().fit(pixels.images.permute(0, 2, 3, 1).reshape(-1, 3).numpy() / 255)
    np.testing.assert_allclose(values, truth.explained_variance_, atol=2e-6)
    np.testing.assert_allclose(np.abs(np.array(vectors) @ truth.components_.T), np.eye(3), atol=1e-4)
    assert all(max(vector, key=abs) > 0 for vector in vectors)
    assert pixels.take(np.arange(len(pixels))[::-1].copy()).components() == (values, vectors)


def test_grey_images_have_one_component_and_colours_of_one_kind_no_other() -> None:
    ramp = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    grey = Pixels(ramp, torch.zeros(1, dtype=torch.int64), ["ramp"], np.zeros((1, 2), np.uint64))
    variance = round((256**2 - 1) / 12 / 255**2, 6)  # of the whole numbers from 0 to 255
    assert grey.components() == ((variance,), ((1.0,),))
    values, vectors = replace(grey, images=ramp.expand(1, 3, 16, 16)).components()
    assert values == pytest.approx((3 * variance, 0, 0), abs=2e-6)
    assert vectors[0] == pytest.approx((3**-0.5,) * 3, abs=1e-6)
