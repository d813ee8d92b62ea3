"""Images in shards: an order that is a function of (seed, epoch), at any step, in bounded memory."""

import io
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from convatlas.data import Preparation, Splits, chance, load_part, load_splits, open_data, open_source, streamed
from convatlas.data.batches import Augmentation, Batches, Shard
from convatlas.data.streamed import Streamed
from convatlas.errors import InputError

CLASSES = ["cat", "ant", "bee"]


def picture(number: int, kind: str = "png") -> bytes:
    """An image that says which it is."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (number % 256, number // 256, 7)).save(file, kind)
    return file.getvalue()


def numbers(images: torch.Tensor) -> list[int]:
    """Which images these are, `uint8 (N, 3, 8, 8)`."""
    corner = images[:, :, 0, 0].long()
    return (corner[:, 0] + 256 * corner[:, 1]).tolist()


def write_parquet(folder: Path, counts: list[int], *, part: str = "train", group: int = 10, first: int = 0) -> Path:
    """Files of so many rows each, in row groups; the class follows from the number."""
    import datasets

    folder.mkdir(exist_ok=True)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=CLASSES)})
    for i, count in enumerate(counts):
        rows = range(first, first := first + count)
        columns = {"image": [{"bytes": picture(n), "path": None} for n in rows], "label": [n % 3 for n in rows]}
        stored = datasets.Dataset.from_dict(columns, features=features)
        stored.to_parquet(folder / f"{part}-{i:05d}.parquet", batch_size=group)
    return folder


def write_tars(folder: Path, counts: list[int], *, label: str = "cls", kind: str = "png") -> Path:
    """Tars of so many samples each, whose class is in a file beside the image or is their folder."""
    folder.mkdir(exist_ok=True)
    first = 0
    for i, count in enumerate(counts):
        with tarfile.open(folder / f"train-{i:03d}.tar", "w") as tar:
            for number in range(first, first := first + count):
                key = f"{CLASSES[number % 3]}/{number:06d}" if label == "folder" else f"{number:06d}"
                files = {f"{key}.{kind}": picture(number, kind)}
                if label != "folder":
                    value = str(number % 3) if label == "cls" else CLASSES[number % 3] + "\n"
                    files[f"{key}.{label}"] = value.encode()
                for name, content in files.items():
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    return folder


def splits_of(data: Path | str, **options: Any) -> Splits:
    shards = open_data(str(data), label_column=None, loading="stream")
    defaults = {"size": (3, 8, 8), "fit": "crop", "validation": 0.1, "workers": 0}
    return load_splits(shards, loading="stream", **(defaults | options))


def trained_on(data: Path | str, **options: Any) -> Streamed:
    train = splits_of(data, **options).train
    assert isinstance(train, Streamed)
    return train


def batches(train: Streamed, **changes: Any) -> Batches:
    options = {
        "preparation": Preparation(size=(3, 8, 8), mean=(0.0,) * 3, std=(1 / 255,) * 3), "augmentation": Augmentation(),
        "batch_size": 16, "seed": 0, "channels_last": False,
    } | changes  # fmt: skip
    return Batches(pixels=train, **options)


def epoch(source: Batches, number: int = 0, start: int = 0) -> list[list[int]]:
    """The images of each step, whose classes are looked at on the way."""
    steps = []
    for step in source.steps(number * len(source) + start, (number + 1) * len(source)):
        shown = [n for part in step.parts for n in numbers(part.images)]
        named = [source.pixels.classes[i] for part in step.parts for i in part.labels.tolist()]  # type: ignore[attr-defined]
        assert all(name in (CLASSES[n % 3], str(n % 3)) for n, name in zip(shown, named, strict=True))
        steps.append(shown)
    return steps


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed, "WINDOW", 40)
    monkeypatch.setattr(streamed, "BLOCK", 16)
    monkeypatch.setattr("convatlas.data.shards.BLOCK", 16)


@pytest.mark.parametrize("form", ["row groups", "files", "tars"])
@pytest.mark.usefixtures("small_windows")
def test_an_epoch_has_every_row_once_in_another_order_each_time(tmp_path: Path, form: str) -> None:
    counts = [70, 33, 1, 55]
    if form == "tars":
        write_tars(tmp_path, counts)
    else:
        write_parquet(tmp_path, counts, group=10 if form == "row groups" else 1000)
    splits = splits_of(tmp_path)
    kept = numbers(splits.val.at(np.arange(len(splits.val))))
    assert len(kept) == 16 if form == "row groups" else 11 <= len(kept) <= 16
    source = batches(splits.train)  # type: ignore[arg-type]
    orders = [epoch(source, 0), epoch(source, 1), epoch(batches(splits.train, seed=1), 0)]  # type: ignore[arg-type]
    for order in orders:
        assert sorted([n for step in order for n in step] + kept) == list(range(159))
        assert 16 >= max(map(len, order)) >= min(map(len, order)) >= max(map(len, order)) - 1
    assert epoch(source, 1) == orders[1]
    assert len({tuple(order[0]) for order in orders}) == 3


@pytest.mark.usefixtures("small_windows")
def test_a_window_has_rows_of_a_few_row_groups_in_no_order(tmp_path: Path) -> None:
    blocks = trained_on(write_parquet(tmp_path, [100, 100])).blocks
    walk = streamed.Walk(blocks, 0, 0, 10)
    windows = [walk.window(number) for number in range(len(walk.heads))]
    assert [n for step in range(10) for n in walk(step)] == [n for window in windows for n in window]
    for window in windows[:-1]:
        assert 40 - 16 < len(window) < 40 + 16
        assert len(np.unique(np.searchsorted(blocks.first, window, side="right"))) <= 6
        assert abs(np.corrcoef(window, range(len(window)))[0, 1]) < 0.6


def test_a_data_set_of_one_window_has_the_order_that_it_has_in_memory(tmp_path: Path) -> None:
    write_parquet(write_parquet(tmp_path, [60]), [9], part="validation", first=60)
    assert [n for step in epoch(batches(trained_on(tmp_path)), 5) for n in step] == chance.order(0, 5, 60).tolist()


@pytest.mark.parametrize("form", ["parquet", "tars"])
@pytest.mark.parametrize("start", [1, 5, 8])
@pytest.mark.usefixtures("small_windows")
def test_an_epoch_that_is_begun_in_the_middle_goes_on_as_the_whole_one(tmp_path: Path, form: str, start: int) -> None:
    train = trained_on(write_parquet(tmp_path, [80, 80]) if form == "parquet" else write_tars(tmp_path, [80, 80]))
    source = batches(train, augmentation=Augmentation(flip=True, crop=1))
    whole, rest = list(source.steps(27, 36)), list(source.steps(27 + start, 36))
    assert len(rest) == 9 - start
    for one, other in zip(whole[start:], rest, strict=True):
        assert torch.equal(one.parts[0].images, other.parts[0].images)


@pytest.mark.parametrize(("world", "parts"), [(2, 1), (3, 2)])
@pytest.mark.parametrize("form", ["parquet", "tars"])
@pytest.mark.usefixtures("small_windows")
def test_processes_share_a_step_and_each_row_is_decoded_by_one(
    tmp_path: Path, world: int, parts: int, form: str
) -> None:
    train = trained_on(write_parquet(tmp_path, [80, 80]) if form == "parquet" else write_tars(tmp_path, [80, 80]))
    whole = epoch(batches(train))
    shares = [epoch(batches(train, shard=Shard(rank, world), parts=parts)) for rank in range(world)]
    for step, *mine in zip(whole, *shares, strict=True):
        assert sorted(step) == sorted(n for share in mine for n in share)
        assert max(map(len, mine)) - min(map(len, mine)) <= 1


@pytest.mark.usefixtures("small_windows")
def test_of_two_processes_each_reads_mostly_row_groups_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = trained_on(write_parquet(tmp_path, [200], group=5), validation=0.01)
    monkeypatch.setattr(streamed, "WINDOW", 100)
    read, kept = Counter[int](), streamed.Shelf.read

    def counted(shelf: streamed.Shelf, missing: Any) -> Any:
        found = kept(shelf, missing)
        read[rank] += sum(map(len, found.values()))
        return found

    monkeypatch.setattr(streamed.Shelf, "read", counted)
    for rank in (0, 1):
        epoch(batches(train, shard=Shard(rank, 2), batch_size=50))
    assert all(count < 0.75 * len(train) for count in read.values())


@pytest.mark.usefixtures("small_windows")
def test_no_more_than_some_windows_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    take = streamed.Shelf.take

    def counted(shelf: streamed.Shelf, index: Any) -> Any:
        rows = take(shelf, index)
        held.append(sum(map(len, shelf.held.values())))
        return rows

    monkeypatch.setattr(streamed.Shelf, "take", counted)
    for name, count in (("few", 200), ("many", 2000)):
        epoch(batches(trained_on(write_parquet(tmp_path / name, [count], group=25))))
        assert max(held) <= 3 * (40 + 16)


@pytest.mark.parametrize("label", ["cls", "txt", "folder"])
def test_a_web_dataset_says_its_classes_in_a_file_beside_the_image_or_by_folders(tmp_path: Path, label: str) -> None:
    splits = splits_of(write_tars(tmp_path, [30, 30], label=label, kind="jpeg" if label == "txt" else "png"))
    assert splits.classes == (("0", "1", "2") if label == "cls" else ("ant", "bee", "cat"))
    every = splits.train.counts(3) + splits.val.counts(3)
    assert every.tolist() == [20, 20, 20]
    if label != "txt":
        epoch(batches(splits.train))  # type: ignore[arg-type]
    held = load_splits(open_source(tmp_path), size=(3, 8, 8), fit="crop", validation=0.1)
    assert held.classes == splits.classes
    assert len(held.train) + len(held.val) + len(held.test or ()) == 60


def test_a_pattern_names_shards_for_every_way_to_hold_them(tmp_path: Path) -> None:
    write_parquet(tmp_path, [30, 30, 30])
    pattern = str(tmp_path / "train-0000[01].parquet")
    splits = splits_of(pattern)
    assert len(splits.train) + len(splits.val) == 60
    assert len(open_source(pattern).parts["all"]) == 60


def test_parts_of_its_own_are_held_and_only_training_is_streamed(tmp_path: Path) -> None:
    write_parquet(tmp_path, [40])
    write_parquet(tmp_path, [9], part="validation", first=40)
    write_parquet(tmp_path, [6], part="test", first=49)
    splits = splits_of(tmp_path)
    assert splits.test is not None
    assert numbers(splits.val.at(np.arange(9))) == list(range(40, 49))
    assert numbers(splits.test.at(np.arange(6))) == list(range(49, 55))
    assert sorted(n for step in epoch(batches(splits.train)) for n in step) == list(range(40))  # type: ignore[arg-type]
    part, images = load_part(
        open_data(str(tmp_path), label_column=None, loading="stream"), classes=splits.classes, size=(3, 8, 8),
        fit="crop", held_out=0.1,
    )  # fmt: skip
    assert (part, numbers(images.at(np.arange(6)))) == ("test", list(range(49, 55)))


def test_rows_kept_for_validation_come_from_all_over_a_sorted_data_set_and_are_found_again(tmp_path: Path) -> None:
    shards = open_data(str(write_parquet(tmp_path, [100, 100])), label_column=None, loading="stream")
    splits = load_splits(shards, size=(3, 8, 8), fit="crop", validation=0.1, workers=0)
    kept = numbers(splits.val.at(np.arange(len(splits.val))))
    assert len({n // 10 for n in kept}) >= 16
    assert "rows of 16 row groups" in splits.how
    part, images = load_part(shards, classes=splits.classes, size=(3, 8, 8), fit="crop", held_out=0.1)
    assert (part, numbers(images.at(np.arange(len(images))))) == ("val", kept)
    assert list(images.names) == list(splits.val.names)
    assert images.names[0] == f"{tmp_path / 'train-00000.parquet'}, row 0"


def test_an_unreadable_image_is_replaced_by_its_neighbour_and_listed_or_refused(tmp_path: Path) -> None:
    write_tars(tmp_path, [40])
    path = tmp_path / "train-000.tar"
    good = picture(25)
    path.write_bytes(path.read_bytes().replace(good, b"\0" * len(good)))
    splits = splits_of(tmp_path)
    shown = Counter(n for step in epoch(batches(splits.train)) for n in step)  # type: ignore[arg-type]
    assert sum(shown.values()) == len(splits.train)
    assert 25 not in shown
    assert sorted(shown.values())[-2:] == [1, 2]
    assert [image.name for image in splits.skipped] == [f"{path}, row 25"]
    epoch(batches(splits.train), 1)  # type: ignore[arg-type]
    assert len(splits.skipped) == 1
    with pytest.raises(
        InputError, match=r"row 25 cannot be read as an image: it is of no known kind; leave out --strict"
    ):
        epoch(batches(trained_on(tmp_path, strict=True)))


@pytest.mark.parametrize("form", ["parquet", "tar"])
def test_a_damaged_shard_is_named_before_the_training(tmp_path: Path, form: str) -> None:
    folder = write_parquet(tmp_path, [40, 40]) if form == "parquet" else write_tars(tmp_path, [40, 40])
    path = sorted(folder.iterdir())[1]
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(InputError, match=rf"the shard {path} cannot be read: .*; take it out, or get it anew"):
        splits_of(folder)


def test_a_shard_that_is_damaged_within_is_named_when_it_is_read(tmp_path: Path) -> None:
    path = write_parquet(tmp_path, [400]) / "train-00000.parquet"
    train = trained_on(tmp_path)
    content = bytearray(path.read_bytes())
    content[2000 : len(content) // 2] = bytes(len(content) // 2 - 2000)
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"the shard {path} cannot be read: .*; take it out"):
        epoch(batches(train))


def test_rows_without_a_label_are_refused(tmp_path: Path) -> None:
    import datasets

    columns = {
        "image": [{"bytes": picture(n), "path": None} for n in range(6)],
        "label": ["a", None, "b", None, "a", "b"],
    }
    stored = datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())
    stored.to_parquet(tmp_path / "train.parquet")
    with pytest.raises(InputError, match=r"train\.parquet has 2 rows without a label; leave them out"):
        splits_of(tmp_path)


def test_samples_without_a_class_are_refused_however_they_are_held(tmp_path: Path) -> None:
    write_tars(tmp_path, [6], label="folder")
    with tarfile.open(tmp_path / "train-000.tar", "a") as tar:
        member = tarfile.TarInfo("alone.png")
        member.size = len(picture(7))
        tar.addfile(member, io.BytesIO(picture(7)))
    with pytest.raises(InputError, match=r"train-000\.tar has 1 row without a cls, txt or folder; leave them out"):
        splits_of(tmp_path)
    with pytest.raises(InputError, match=r"images of its all part have no cls, no txt and no folder; leave them out"):
        open_source(tmp_path)


def test_what_cannot_be_streamed_is_answered_with_what_can(shapes: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"reads Parquet files or WebDataset shards \(\.tar\), and .* is none"):
        splits_of(shapes)
    for loading in ("stream", "auto"):
        with pytest.raises(InputError, match=r"no file matches .*nothing-\*\.tar"):
            open_data(f"{tmp_path}/nothing-*.tar", label_column=None, loading=loading)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="there is no data 'nowhere' in shards"):
        splits_of("nowhere")
    with pytest.raises(InputError, match="has the class 'cat' alone"):
        splits_of(write_parquet(tmp_path / "one", [1]))


def test_a_name_of_the_hub_is_streamed_from_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    write_parquet(tmp_path, [40])
    write_parquet(tmp_path, [9], part="validation", first=40)
    files = {split: [str(tmp_path / f"{split}-00000.parquet")] for split in ("train", "validation")}
    builder = type("Builder", (), {"config": type("Config", (), {"data_files": files})})
    asked: list[object] = []
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda *words: asked.append(words) or builder)
    splits = splits_of("someone/pictures:large")
    assert asked == [("someone/pictures", "large")]
    assert (len(splits.train), len(splits.val)) == (40, 9)


def test_other_rows_or_labels_have_another_fingerprint(tmp_path: Path) -> None:
    one, again = (splits_of(write_parquet(tmp_path / "a", [40])).fingerprint() for _ in range(2))
    assert one == again
    assert one != splits_of(write_parquet(tmp_path / "b", [41])).fingerprint()


def test_moments_are_those_of_all_where_there_are_few(tmp_path: Path) -> None:
    write_parquet(write_parquet(tmp_path, [60]), [9], part="validation", first=60)
    held = load_splits(open_source(tmp_path), size=(3, 8, 8), fit="crop", validation=0.1)
    assert trained_on(tmp_path, workers=2).moments() == held.train.moments()
