"""One option, `data`, for every layout that people have."""

import csv
import gzip
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convatlas.data import open_source
from convatlas.data.source import ALIASES, natural
from convatlas.data.splits import load_splits
from convatlas.data.tables import HUB, from_datasets
from convatlas.errors import InputError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (12, 28, 28), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
LABELS = np.arange(12) % 3


def write_idx(path: Path, array: np.ndarray, *, packed: bool) -> None:
    content = struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape) + array.astype(np.uint8).tobytes()
    if packed:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(content))
    else:
        path.write_bytes(content)


@pytest.mark.parametrize("packed", [True, False])
def test_idx_files_are_read_as_mnist_ships_them(tmp_path: Path, packed: bool) -> None:
    for prefix in ("train", "t10k"):
        write_idx(tmp_path / f"{prefix}-images-idx3-ubyte", GREY, packed=packed)
        write_idx(tmp_path / f"{prefix}-labels-idx1-ubyte", LABELS, packed=packed)
    source = open_source(tmp_path)
    assert set(source.parts) == {"train", "test"}
    assert source.class_list() == ("0", "1", "2")
    assert (np.asarray(source.parts["test"].images) == GREY).all()
    assert list(source.parts["train"].labels) == [str(i) for i in LABELS]
    assert source.handwriting


def test_an_idx_file_that_is_cut_short_is_named(tmp_path: Path) -> None:
    write_idx(tmp_path / "train-images-idx3-ubyte", GREY, packed=False)
    write_idx(tmp_path / "train-labels-idx1-ubyte", LABELS, packed=False)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"train-images-idx3-ubyte should hold 9,408 bytes .* and holds 9,407"):
        open_source(tmp_path)


def test_images_and_labels_that_differ_in_number_are_refused(tmp_path: Path) -> None:
    write_idx(tmp_path / "train-images-idx3-ubyte", GREY, packed=False)
    write_idx(tmp_path / "train-labels-idx1-ubyte", LABELS[:5], packed=False)
    with pytest.raises(InputError, match="12 images and 5 labels"):
        open_source(tmp_path)


def write_cifar(folder: Path) -> None:
    folder.mkdir()
    rows = COLOUR.transpose(0, 3, 1, 2).reshape(12, -1)
    for name in ("data_batch_1", "data_batch_2", "test_batch"):
        (folder / name).write_bytes(pickle.dumps({b"data": rows, b"labels": LABELS.tolist()}))
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"plane", b"car", b"bird"]}))


def test_cifar_batches_are_read_with_their_class_names(tmp_path: Path) -> None:
    write_cifar(tmp_path / "cifar-10-batches-py")
    source = open_source(tmp_path)  # the folder around it is fine too
    assert len(source.parts["train"]) == 24
    assert source.class_list() == ("plane", "car", "bird")
    assert (np.asarray(source.parts["test"].images) == COLOUR).all()
    splits = load_splits(source, size=(3, 32, 32), fit="crop", validation=0.1)
    assert splits.test is not None
    assert (splits.test.images.numpy().transpose(0, 2, 3, 1) == COLOUR).all()


def test_a_cifar_batch_that_would_run_code_is_refused_and_runs_none(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "harmed",))

    write_cifar(tmp_path / "cifar")
    (tmp_path / "cifar" / "data_batch_2").write_bytes(pickle.dumps({b"data": Harm()}))
    with pytest.raises(InputError, match=r"data_batch_2 is refused: it would run"):
        open_source(tmp_path / "cifar")
    assert not (tmp_path / "harmed").exists()


def dataset(count: int = 12) -> Any:
    import datasets

    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "ant", "bee"])})
    rows = {"img": [Image.fromarray(c) for c in COLOUR[:count]], "label": LABELS[:count].tolist()}
    return datasets.Dataset.from_dict(rows, features=features)


def test_parquet_is_read_as_the_hub_has_it(tmp_path: Path) -> None:
    dataset().to_parquet(tmp_path / "train-00000-of-00001.parquet")
    dataset(6).to_parquet(tmp_path / "validation-00000-of-00001.parquet")
    source = open_source(tmp_path)
    assert {name: len(part) for name, part in source.parts.items()} == {"train": 12, "val": 6}
    assert source.class_list() == ("cat", "ant", "bee")  # as the data set numbers them
    splits = load_splits(source, size=(3, 32, 32), fit="crop", validation=0.1)
    assert (splits.train.images.numpy().transpose(0, 2, 3, 1) == COLOUR).all()
    assert splits.test is None


def test_one_parquet_file_is_a_data_set_without_splits(tmp_path: Path) -> None:
    dataset().to_parquet(tmp_path / "all.parquet")
    assert set(open_source(tmp_path / "all.parquet").parts) == {"all"}


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_bytes(b"PAR1 no PAR1")
    with pytest.raises(InputError, match=r"train\.parquet cannot be read as Parquet"):
        open_source(tmp_path)


def test_a_saved_data_set_is_read(tmp_path: Path) -> None:
    import datasets

    datasets.DatasetDict({"train": dataset(), "dev": dataset(6)}).save_to_disk(tmp_path / "saved")
    assert {name: len(part) for name, part in open_source(tmp_path / "saved").parts.items()} == {"train": 12, "val": 6}


@pytest.mark.parametrize("name", [*HUB, "someone/pictures"])
def test_a_name_of_the_hub_is_loaded_by_datasets(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    import datasets

    asked = []

    def load(repository: str, _: str | None) -> Any:
        asked.append(repository)
        return datasets.DatasetDict({"train": dataset(), "test": dataset(6)})

    monkeypatch.setattr(datasets, "load_dataset", load)
    source = open_source(name)
    assert asked == [HUB.get(name, name)]
    assert {part: len(images) for part, images in source.parts.items()} == {"train": 12, "test": 6}
    assert source.handwriting == ("mnist" in name)


def test_a_hub_that_cannot_be_reached_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(InputError, match="no-one/nothing is no path here, and could not be had from the Hub"):
        open_source("no-one/nothing")


def test_secret_test_labels_leave_the_test_part_out(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    secret = dataset(6).map(lambda _: {"label": -1})
    monkeypatch.setattr(
        datasets,
        "load_dataset",
        lambda *_: datasets.DatasetDict({"train": dataset(), "validation": dataset(), "test": secret}),
    )
    assert set(open_source("imagenet").parts) == {"train", "val"}


def picture(path: Path, value: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (value, value, value)).save(path)


@pytest.mark.parametrize("alias", sorted(ALIASES))
def test_every_name_of_a_split_is_understood(tmp_path: Path, alias: str) -> None:
    other = "test" if ALIASES[alias] == "train" else "train"
    for split in (alias, other):
        for label in ("a", "b"):
            picture(tmp_path / split / label / "1.png")
    assert set(open_source(tmp_path).parts) == {ALIASES[alias], other}


def test_a_folder_without_splits_is_one_part_with_classes_in_natural_order(tmp_path: Path) -> None:
    for label in ("class10", "class9", "class1"):
        picture(tmp_path / label / "deeper" / "1.png")
        picture(tmp_path / label / "2.JPEG")
    (tmp_path / "class1" / "notes.txt").write_text("not an image")
    (tmp_path / "class1" / ".hidden.png").write_text("nor this")
    source = open_source(tmp_path)
    assert source.class_list() == ("class1", "class9", "class10")
    assert len(source.parts["all"]) == 6
    assert [Path(name).name for name in source.ignored] == ["notes.txt"]


def test_the_real_ants_and_bees_are_read(shared_data: Path) -> None:
    source = open_source(shared_data / "ants_bees")
    assert {name: len(part) for name, part in source.parts.items()} == {"train": 245, "val": 153}
    assert source.class_list() == ("ants", "bees")


@pytest.mark.parametrize("columns", ["file_name,label", "file_name,label,split"])
def test_a_csv_table_is_read(tmp_path: Path, columns: str) -> None:
    with (tmp_path / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(columns.split(","))
        for i in range(6):
            picture(tmp_path / "pictures" / f"{i}.png", i)
            table.writerow(
                [f"pictures/{i}.png", "even" if i % 2 == 0 else "odd", "train" if i < 4 else "dev"][
                    : columns.count(",") + 1
                ]
            )
    parts = open_source(tmp_path / "labels.csv").parts
    assert {name: len(part) for name, part in parts.items()} == (
        {"train": 4, "val": 2} if "split" in columns else {"all": 6}
    )
    (tmp_path / "labels.csv").rename(tmp_path / "metadata.csv")
    assert open_source(tmp_path).layout == "a CSV table"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("name,class\n", "needs the columns file_name,label and may have split; it has name,class"),
        ("file_name,label,split\na.png,x,tset\n", "line 2: the split is train, val or test, and not 'tset'"),
        ("file_name,label\na.png,\n", "line 2: file_name or label is empty"),
        ("file_name,label,split\na.png,x,train\nb.png,x,\n", "the split is empty in some rows"),
        ("file_name,label\n", "holds no images"),
        ("file_name,label\na.png,caf\udce9\n", "line 2: the label is no text in UTF-8"),
    ],
)
def test_a_faulty_table_is_answered_with_its_line(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "t.csv").write_text(content, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(InputError, match=reason):
        open_source(tmp_path / "t.csv")


def test_what_is_not_there_is_answered_with_what_could_be_meant(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no data 'cifar1': .*nearest: cifar10"):
        open_source("cifar1")
    with pytest.raises(InputError, match="is empty; name a folder with a folder of images for each class"):
        open_source(tmp_path)
    picture(tmp_path / "1.png")
    with pytest.raises(InputError, match="holds images but no folder for each class"):
        open_source(tmp_path)
    with pytest.raises(InputError, match=r"of files only \.csv, \.parquet and \.tar hold data sets"):
        open_source(tmp_path / "1.png")


def test_two_folders_for_one_split_are_refused(tmp_path: Path) -> None:
    for split in ("train", "val", "valid"):
        picture(tmp_path / split / "a" / "1.png")
    with pytest.raises(InputError, match="val and valid, which mean the same split"):
        open_source(tmp_path)


def test_numbers_in_names_are_sorted_as_numbers() -> None:
    assert sorted(["b2", "b10", "B1", "a"], key=natural) == ["a", "B1", "b2", "b10"]


def test_images_without_a_label_among_others_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    gaps = dataset(6).map(lambda row, i: {"label": -1 if i == 2 else row["label"]}, with_indices=True)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_: datasets.DatasetDict({"train": gaps}))
    with pytest.raises(InputError, match="1 images of its all part have no label"):
        open_source("someone/pictures")


def test_an_empty_cell_of_a_table_is_an_image_that_cannot_be_read() -> None:
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    rows = {"image": [None, *(Image.fromarray(c) for c in COLOUR)], "label": [0, *(LABELS % 2).tolist()]}
    source = from_datasets("gaps", "", datasets.Dataset.from_dict(rows, features=features), None)
    splits = load_splits(source, size=(3, 32, 32), fit="crop", validation=0.2)
    assert list(splits.skipped) == [("all/0", "the file is empty")]


def test_what_lies_beside_the_classes_and_the_splits_is_named(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for label in ("a", "b"):
            picture(tmp_path / split / label / "1.png")
    picture(tmp_path / "train" / "loose.png")
    picture(tmp_path / "extra" / "c" / "1.png")
    (tmp_path / "README").touch()
    assert {Path(name).name for name in open_source(tmp_path).ignored} == {"loose.png", "extra", "README"}


def test_a_class_that_is_called_like_a_split_is_a_class(tmp_path: Path) -> None:
    for label in ("train", "bus", "test"):
        picture(tmp_path / label / "1.png")
    assert open_source(tmp_path).class_list() == ("bus", "test", "train")


def test_a_test_part_alone_is_nothing_to_train_on(tmp_path: Path) -> None:
    dataset().to_parquet(tmp_path / "test-00000-of-00001.parquet")
    with pytest.raises(InputError, match="has the parts test, and nothing to train on"):
        load_splits(open_source(tmp_path), size=(3, 32, 32), fit="crop", validation=0.1)


def test_a_label_outside_the_classes_is_refused(tmp_path: Path) -> None:
    for label in (-1, 3):
        folder = tmp_path / str(label)
        write_cifar(folder)
        rows = COLOUR.transpose(0, 3, 1, 2).reshape(12, -1)
        batch = {b"data": rows, b"labels": [label, *LABELS[1:].tolist()]}
        (folder / "data_batch_1").write_bytes(pickle.dumps(batch))
        with pytest.raises(InputError, match=f"has the label {label}, outside the classes 0 to 2"):
            open_source(folder)


@pytest.mark.parametrize("protocol", range(6))
def test_batches_of_every_pickle_protocol_are_read(tmp_path: Path, protocol: int) -> None:
    write_cifar(tmp_path / "cifar")
    rows = COLOUR.transpose(0, 3, 1, 2).reshape(12, -1)
    batch = {b"data": rows, b"labels": [LABELS[0], *LABELS[1:].tolist()]}
    (tmp_path / "cifar" / "data_batch_1").write_bytes(pickle.dumps(batch, protocol=protocol))
    assert len(open_source(tmp_path / "cifar").parts["train"]) == 24


def test_a_class_folder_left_empty_is_named(shapes: Path) -> None:
    (shapes / "round").mkdir()
    with pytest.raises(InputError, match=r"round is empty; put the images of the class there, or remove the folder"):
        open_source(shapes)
