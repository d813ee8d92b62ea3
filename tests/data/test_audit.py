"""What an audit finds in data sets whose faults are known, and what it does not find where there is none."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from rich.console import Console

from convatlas.data import open_source
from convatlas.data.audit import audit, table
from convatlas.data.findings import Audit, Spread, findings
from convatlas.data.source import Part, Source


def photo(seed: int, size: tuple[int, int] = (96, 72)) -> Image.Image:
    """Something with the soft large shapes and the fine grain of a photograph, another for each seed."""
    rng = np.random.default_rng(seed)
    shapes = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    grain = rng.integers(-12, 13, (size[1], size[0], 3))
    return Image.fromarray((np.asarray(shapes) + grain).clip(0, 255).astype(np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An image folder with 4 and 3 photographs for training and 2 and 2 for validation, all different."""
    seed = 0
    for part, label, count in (("train", "cat", 4), ("train", "dog", 3), ("val", "cat", 2), ("val", "dog", 2)):
        (tmp_path / part / label).mkdir(parents=True)
        for i in range(count):
            photo(seed).save(tmp_path / part / label / f"{i}.png")
            seed += 1
    return tmp_path


def audited(path: Path) -> Audit:
    return audit(open_source(path))


def printed(found: Audit) -> str:
    text = io.StringIO()
    Console(file=text, width=1000).print(table(found))
    return text.getvalue()


def test_images_are_counted_by_class_and_part(folder: Path) -> None:
    train, val = audited(folder).parts
    assert (train.name, train.images, train.classes) == ("train", 7, {"cat": 4, "dog": 3})
    assert (val.name, val.images, val.classes) == ("val", 4, {"cat": 2, "dog": 2})


def test_of_a_data_set_without_faults_it_is_said_that_nothing_stands_out(folder: Path) -> None:
    found = audited(folder)
    assert not any((found.copies, found.lookalikes, found.ignored, found.unfit, found.notes))
    assert findings(found) == ["Nothing stands out: every image can be read, and none is there twice."]


def test_sizes_are_those_of_the_files(folder: Path) -> None:
    photo(50, (200, 30)).save(folder / "train" / "dog" / "wide.png")
    train, val = audited(folder).parts
    assert train.heights == Spread(30, 72, 72)
    assert train.widths == Spread(96, 96, 200)
    assert (train.commonest, train.sizes) == ((72, 96), 2)
    assert (val.commonest, val.sizes) == ((72, 96), 1)


def test_modes_are_those_of_the_files(folder: Path) -> None:
    dogs = folder / "train" / "dog"
    photo(60).convert("CMYK").save(dogs / "print.jpg")
    photo(61).convert("RGBA").save(dogs / "glass.png")
    photo(62).convert("L").save(dogs / "grey.jpg")
    photo(63).quantize(16).save(dogs / "palette.gif")
    deep = np.random.default_rng(64).integers(0, 65536, (20, 20), dtype=np.uint16)
    Image.fromarray(deep).save(dogs / "deep.png")
    assert audited(folder).parts[0].modes == {"RGB": 7, "I;16": 1, "RGBA": 1, "L": 1, "P": 1, "CMYK": 1}


def test_images_that_exif_turns_are_counted_at_the_size_of_the_file(folder: Path) -> None:
    for orientation in (1, 3, 6):
        exif = Image.Exif()
        exif[0x0112] = orientation
        photo(70 + orientation).save(folder / "val" / "cat" / f"turned{orientation}.jpg", exif=exif)
    train, val = audited(folder).parts
    assert (train.rotated, val.rotated) == (0, 2)
    assert val.sizes == 1


def test_an_image_that_exif_turns_is_a_copy_of_the_upright_one(folder: Path) -> None:
    upright, exif = photo(80), Image.Exif()
    exif[0x0112] = 6
    upright.save(folder / "val" / "cat" / "upright.png")
    upright.transpose(Image.Transpose.ROTATE_90).save(folder / "train" / "cat" / "turned.png", exif=exif)
    (copies,) = audited(folder).leaks
    assert not copies.same_bytes


def test_files_that_cannot_be_read_are_named_with_the_reason(folder: Path) -> None:
    cats = folder / "train" / "cat"
    photo(90).save(cats / "cut.jpg")
    (cats / "cut.jpg").write_bytes((cats / "cut.jpg").read_bytes()[:900])
    (cats / "empty.png").touch()
    (cats / "letter.png").write_text("Dear reader,")
    found = audited(folder)
    train = found.parts[0]
    assert train.images == 10
    assert sum(train.modes.values()) == 7
    reasons = {Path(name).name: reason for name, reason in train.unreadable}
    assert "truncated" in reasons["cut.jpg"]
    assert reasons["empty.png"] == "the file is empty"
    assert reasons["letter.png"] == "it is of no known kind"
    assert "Cannot be read in train: 3 images: train/cat/cut.jpg (" in printed(found)


def test_a_missing_file_of_a_table_is_unreadable(tmp_path: Path) -> None:
    photo(0).save(tmp_path / "a.png")
    (tmp_path / "metadata.csv").write_text("file_name,label\na.png,cat\nb.png,dog\n")
    ((name, reason),) = audited(tmp_path).parts[0].unreadable
    assert (Path(name).name, reason) == ("b.png", "No such file or directory")


def test_a_file_in_two_parts_is_found_and_both_are_named(folder: Path) -> None:
    original = folder / "train" / "cat" / "0.png"
    (folder / "val" / "cat" / "again.png").write_bytes(original.read_bytes())
    found = audited(folder)
    (copies,) = found.leaks
    assert [(place.part, Path(place.name).name, place.label) for place in copies.images] == [
        ("train", "0.png", "cat"),
        ("val", "again.png", "cat"),
    ]
    assert copies.same_bytes
    assert not any((found.contradictions, found.repeats, found.lookalikes))
    assert "In more than one split, pixel for pixel: 1 picture: train/cat/0.png = val/cat/again.png." in printed(found)


def test_equal_pixels_in_other_bytes_are_found(folder: Path) -> None:
    Image.open(folder / "train" / "cat" / "3.png").save(folder / "train" / "cat" / "4.bmp")
    found = audited(folder)
    (copies,) = found.repeats
    assert not copies.same_bytes
    assert found.leaks == ()
    said = "More than once in one part, pixel for pixel: 1 picture: train/cat/3.png = train/cat/4.bmp."
    assert findings(found) == [said]


def test_a_picture_under_two_classes_is_a_contradiction(folder: Path) -> None:
    original = folder / "train" / "cat" / "0.png"
    (folder / "train" / "dog" / "cat.png").write_bytes(original.read_bytes())
    found = audited(folder)
    assert len(found.contradictions) == 1
    assert "1 picture: train/cat/0.png is 'cat' but train/dog/cat.png is 'dog'." in printed(found)


def test_a_copy_that_was_saved_anew_is_found_in_another_part_and_a_strange_picture_is_not(folder: Path) -> None:
    original = Image.open(folder / "train" / "cat" / "0.png")
    copies = folder / "val" / "dog"
    original.save(copies / "jpeg.jpg", quality=75)
    original.resize((86, 65), Image.Resampling.BICUBIC).save(copies / "small.png")
    ImageEnhance.Brightness(original).enhance(1.1).save(copies / "bright.png")
    ImageEnhance.Brightness(original).enhance(0.9).save(copies / "dark.png")
    original.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(copies / "mirrored.png")
    found = audited(folder)
    assert {(Path(pair.image.name).stem, Path(pair.like.name).name) for pair in found.lookalikes} == {
        ("jpeg", "0.png"),
        ("small", "0.png"),
        ("bright", "0.png"),
        ("dark", "0.png"),
    }
    assert {pair.like.part for pair in found.lookalikes} == {"train"}
    assert not found.copies
    assert "Nearly the same to look at: 4 pairs: " in printed(found)
    assert "Of these, 4 pairs of different classes." in printed(found)


def test_without_splits_copies_are_looked_for_among_all(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for i in range(5):
            photo(i + 5 * (label == "dog")).save(tmp_path / label / f"{i}.png")
    photo(3).save(tmp_path / "dog" / "3.jpg", quality=75)
    (pair,) = audited(tmp_path).lookalikes
    assert {Path(pair.image.name).name, Path(pair.like.name).name} == {"3.png", "3.jpg"}


def test_too_many_images_to_compare_are_said_to_be_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convatlas.data.copies.MOST_WITHIN", 3)
    images = np.stack([np.asarray(photo(seed)) for seed in (0, 1, 2, 2)])
    found = audit(Source(name="few", layout="arrays", parts={"all": Part(images, list("abab"), list("0123"))}))
    assert found.notes == ("Look-alikes were not looked for: 4 images are too many to compare all.",)
    assert len(found.contradictions) == 1


def test_comparing_in_tiles_finds_what_comparing_at_once_does(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.stack([np.asarray(photo(seed % 7)) for seed in range(20)])
    images = (images * np.linspace(0.9, 1, 20)[:, None, None, None]).astype(np.uint8)
    part = Part(images, ["a"] * 20, [str(i) for i in range(20)])
    whole = {"at once": Source(name="x", layout="x", parts={"all": part})}
    whole["split"] = Source(name="x", layout="x", parts={"train": part, "test": part})
    at_once = {name: audit(source) for name, source in whole.items()}
    assert len(at_once["at once"].lookalikes) == 13
    monkeypatch.setattr("convatlas.data.copies.TILE", 3)
    for name, source in whole.items():
        assert audit(source).lookalikes == at_once[name].lookalikes


def test_pictures_of_one_colour_are_not_alike_and_those_of_other_colours_neither() -> None:
    squares = np.zeros((4, 40, 40, 3), np.uint8)
    squares[0, 8:30, 8:30, 0] = 200
    squares[1, 8:30, 8:30, 1] = 200
    squares[2], squares[3] = 90, 91
    train = Part(squares[::2], ["red", "plain"], ["0", "2"])
    test = Part(squares[1::2], ["green", "plain"], ["1", "3"])
    assert not audit(Source(name="squares", layout="arrays", parts={"train": train, "test": test})).lookalikes


@pytest.mark.parametrize("shape", [(6, 28, 28), (6, 28, 28, 3)])
def test_decoded_images_are_audited_as_the_same_files_are(shape: tuple[int, ...]) -> None:
    stack = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    stack[5] = stack[0]
    labels, names = list("ababab"), [f"all/{i}" for i in range(6)]
    files = []
    for array in stack:
        Image.fromarray(array).save(file := io.BytesIO(), "png")
        files.append(file.getvalue())
    decoded, encoded = (
        audit(Source(name="x", layout="x", parts={"all": Part(images, labels, names)})) for images in (stack, files)
    )
    assert decoded == encoded
    assert decoded.parts[0].modes == {"L" if len(shape) == 3 else "RGB": 6}
    assert len(decoded.contradictions) == 1


def test_what_nothing_can_be_trained_on_is_audited_too_and_it_is_said_why(tmp_path: Path) -> None:
    (tmp_path / "train" / "cat").mkdir(parents=True)
    photo(0).save(tmp_path / "train" / "cat" / "0.png")
    (tmp_path / "val" / "dog").mkdir(parents=True)
    (tmp_path / "val" / "dog" / "0.png").touch()
    assert audited(tmp_path).unfit == (
        "All images to train on are of the class 'cat'; a classifier needs two or more.",
        "None of the 1 images of val can be read.",
        "In val there are classes that training does not have: dog.",
    )
    assert "val: no image can be read." in printed(audited(tmp_path))


def test_of_a_test_part_alone_it_is_said_that_there_is_nothing_to_train_on(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        (tmp_path / "test" / label).mkdir(parents=True)
        photo(len(label)).save(tmp_path / "test" / label / "0.png")
    (reason,) = audited(tmp_path).unfit
    assert reason == "There is nothing to train on, test alone."


def test_classes_without_images_and_classes_much_smaller_than_others_are_said(folder: Path) -> None:
    for seed in range(30):
        photo(100 + seed, (20, 20)).save(folder / "train" / "cat" / f"more{seed}.png")
    (folder / "train" / "eel").mkdir()
    photo(99).save(folder / "train" / "eel" / "0.png")
    assert findings(audited(folder)) == [
        "Uneven: train has 34 images of cat and 1 of eel; accuracy will tell little of the small classes.",
        "Without an image in val: eel.",
    ]


def test_files_that_are_no_images_are_named(folder: Path) -> None:
    (folder / "train" / "dog" / "notes.txt").write_text("good dogs")
    found = audited(folder)
    assert [Path(name).name for name in found.ignored] == ["notes.txt"]
    assert "Passed over, being no images: 1 file: train/dog/notes.txt." in printed(found)


def test_of_many_classes_the_largest_and_the_smallest_are_shown() -> None:
    labels = [f"[red]{i}" for i in range(40) for _ in range(i + 1)]
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 8, 8), dtype=np.uint8)
    names = [str(i) for i in range(len(labels))]
    text = printed(audit(Source(name="many", layout="arrays", parts={"all": Part(images, labels, names)})))
    assert "[red]39 " in text
    assert "[red]0 " in text
    assert "[red]20 " not in text
    assert "… 20 classes between …" in text
    assert "40 classes" in text


def test_an_audit_comes_back_from_json(folder: Path) -> None:
    (folder / "val" / "dog" / "again.png").write_bytes((folder / "train" / "cat" / "0.png").read_bytes())
    photo(1).save(folder / "val" / "cat" / "near.jpg")
    (folder / "val" / "dog" / "empty.png").touch()
    found = audited(folder)
    told = found.to_dict()
    assert json.loads(json.dumps(told)) == told
    assert told["parts"][0]["classes"] == {"cat": 4, "dog": 3}
    assert told["parts"][0]["heights"] == {"min": 72, "median": 72.0, "max": 72}
    assert told["parts"][1]["unreadable"][0]["reason"] == "the file is empty"
    assert told["copies"][0]["images"][1]["label"] == "dog"
    assert told["contradictions"] == told["copies"]
    assert told["lookalikes"][0]["like"]["part"] == "train"
    assert told["findings"] == findings(found)


def test_progress_counts_the_images_of_all_parts(folder: Path) -> None:
    told: list[tuple[int, int]] = []
    audit(open_source(folder), on_images=lambda done, total: told.append((done, total)))
    assert told == [(7, 11), (11, 11)]


def test_a_name_that_is_no_utf_8_can_be_shown(folder: Path) -> None:
    photo(0).save(folder / "train" / "dog" / "caf\udce9.png")
    assert "train/dog/caf?.png" in printed(audited(folder)).encode("ascii", "replace").decode()


def test_ants_and_bees_have_no_copies(shared_data: Path) -> None:
    found = audited(shared_data / "ants_bees")
    assert [part.images for part in found.parts] == [245, 153]
    assert found.parts[0].modes == {"RGB": 244, "P": 1}
    assert not any((found.copies, found.lookalikes, found.unfit))


def test_a_bee_that_was_saved_anew_is_found_among_the_training_bees(shared_data: Path, tmp_path: Path) -> None:
    source = open_source(shared_data / "ants_bees")
    bee = Path(source.parts["train"].names[-1])
    with Image.open(bee) as image:
        image.resize((int(image.width * 0.9), int(image.height * 0.9))).save(tmp_path / "bee.jpg", quality=75)
    val = source.parts["val"]
    more = Part([*val.images[:20], tmp_path / "bee.jpg"], [*val.labels[:20], "bees"], [*val.names[:20], "bee.jpg"])
    found = audit(Source(name="x", layout="x", parts={"train": source.parts["train"], "val": more}))
    (pair,) = found.lookalikes
    assert (pair.image.name, Path(pair.like.name).name) == ("bee.jpg", bee.name)


@pytest.mark.slow
def test_mnist_has_two_pairs_of_look_alikes_and_no_copies(shared_data: Path) -> None:
    found = audited(shared_data / "mnist")
    assert len(found.lookalikes) == 2
    assert not found.copies


@pytest.mark.slow
def test_cifar_10_has_some_pictures_in_training_and_test_that_differ_by_little(shared_data: Path) -> None:
    found = audited(shared_data / "cifar10")
    assert len(found.lookalikes) == pytest.approx(19, abs=2)
    assert all(pair.image.label == pair.like.label for pair in found.lookalikes)
