"""Images that are held as they are stored give what those in memory give, and their processes leave nothing behind."""

import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from convatlas.data import Indexed, Preparation, Splits, load_splits, open_source
from convatlas.data.augmentation import Augmentation
from convatlas.data.batches import Batches
from convatlas.data.decoding import in_processes
from convatlas.data.held import Wanted
from convatlas.data.mapped import Mapped
from convatlas.errors import InputError

CPU = torch.device("cpu")


def held(data: Path | str, loading: str, *, channels: int = 3, **options: Any) -> Splits:
    return load_splits(
        open_source(data), size=(channels, 16, 16), fit="crop", validation=0.2, loading=loading, **options
    )  # type: ignore[arg-type]


def parts(splits: Splits) -> list[Indexed]:
    return [part for part in (splits.train, splits.val, splits.test) if isinstance(part, Indexed)]


def rows(folder: Path) -> Path:
    """The pictures of a folder as a Parquet file."""
    import datasets

    files = sorted(folder.rglob("*.png"))
    columns = {"image": [str(file) for file in files], "label": [file.parent.name for file in files]}
    stored = datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())
    stored.to_parquet(folder.parent / "all.parquet")
    return folder.parent / "all.parquet"


@pytest.mark.parametrize(("data", "workers"), [("folder", 0), ("folder", 2), ("parquet", 2), ("digits", 0)])
def test_mapped_images_are_those_in_memory_in_every_order(shapes: Path, data: str, workers: int) -> None:
    where = {"folder": shapes, "parquet": rows(shapes), "digits": "digits"}[data]
    channels = 1 if data == "digits" else 3
    memory, mapped = (held(where, way, channels=channels, workers=workers) for way in ("memory", "mapped"))
    assert memory.fingerprint() == mapped.fingerprint()
    assert memory.train.moments() == mapped.train.moments()
    for one, other in zip(parts(memory), parts(mapped), strict=True):
        assert isinstance(other, Mapped)
        assert list(one.names) == list(other.names)
        some = np.random.default_rng(0).permutation(len(one))[:30]
        asked = [Wanted(index) for index in (some[:7], some[7:8], some[8:])]
        for a, b, (index, _) in zip(one.fetches(asked), other.fetches(iter(asked)), asked, strict=True):
            assert (b.which == index).all()
            assert torch.equal(a.images, b.images)
            assert torch.equal(a.labels, b.labels)
        assert torch.equal(one.at(some), other.at(some))
        again = other.take(some).take(np.arange(5, 10))
        assert torch.equal(again.at(np.arange(5)), one.at(some[5:10]))


def test_a_sample_of_many_is_evenly_spaced(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convatlas.data.mapped.SAMPLE", 10)
    train = held(shapes, "mapped", workers=0).train
    assert len(train) == 63
    assert torch.equal(torch.cat(list(train.sample())), train.at(np.arange(0, 63, 7)))  # type: ignore[attr-defined]


def test_what_cannot_be_read_is_passed_over_at_first_and_refused_once_the_run_goes_on(shapes: Path) -> None:
    (shapes / "square" / "cut.png").write_bytes((shapes / "square" / "square0.png").read_bytes()[:200])
    memory, mapped = held(shapes, "memory"), held(shapes, "mapped", workers=1)
    assert memory.skipped == mapped.skipped
    assert [Path(image.name).name for image in mapped.skipped] == ["cut.png"]
    with pytest.raises(InputError, match=r"cut\.png cannot be read as an image: .*; leave out --strict"):
        held(shapes, "mapped", strict=True)
    Path(mapped.train.names[3]).write_bytes(b"")  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"cannot be read any more \(it is of no known kind\), .* convatlas resume"):
        list(mapped.train.fetches([Wanted(np.arange(5))]))


def children() -> list[Any]:
    return multiprocessing.active_children()


def shared_files() -> set[str]:
    return {name for name in os.listdir("/dev/shm") if str(os.getpid()) in name} if os.path.isdir("/dev/shm") else set()


def test_the_processes_end_with_what_they_were_started_for(shapes: Path) -> None:
    train = held(shapes, "mapped", workers=2).train
    before = shared_files()
    going = train.fetches([Wanted(index) for index in np.array_split(np.arange(len(train)), 20)])
    next(going)
    assert len(children()) == 2
    going.close()
    assert not children()

    def failing() -> None:
        for _ in train.fetches([Wanted(index) for index in np.array_split(np.arange(len(train)), 20)]):
            raise ValueError("out of the middle")

    with pytest.raises(ValueError, match="out of the middle"):
        failing()
    assert not children()
    assert shared_files() == before


def test_the_processes_go_on_from_epoch_to_epoch_with_windows_of_each(shapes: Path) -> None:
    train = held(shapes, "mapped", workers=2).train
    batches = Batches(
        pixels=train, preparation=Preparation(size=(3, 16, 16), mean=(0.5,) * 3, std=(0.2,) * 3), batch_size=16, seed=3,
        augmentation=Augmentation(resized_crop=0.2, flip=True), channels_last=True,
    )  # fmt: skip
    going = batches.steps(2, 10)
    first, pids = next(going), {process.pid for process in children()}
    rest = list(islice(going, 6))
    assert {process.pid for process in children()} == pids
    assert len(pids) == 2
    going.close()
    for number, step in enumerate((first, *rest), 2):  # of 4 steps an epoch
        (alone,) = replace(batches, pixels=replace(train, workers=0)).steps(number, number + 1)
        assert torch.equal(step.parts[0].images, alone.parts[0].images)
        assert step.images == alone.images == len(alone.parts[0].labels)


SPAWNED = """
import multiprocessing, sys
import numpy as np, torch
from dataclasses import replace
from functools import partial
from convatlas.data import load_splits, open_source
from convatlas.data.augmentation import Augmentation
from convatlas.data.held import Wanted

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[2])
    source, options = open_source(sys.argv[1]), dict(fit="crop", validation=0.2, loading="mapped", workers=2)
    train = load_splits(source, size=(3, 16, 16), windows=True, **options).train
    cut = partial(Augmentation(resized_crop=0.3, flip=True).windows, seed=1, epoch=2)
    wanted = [Wanted(index, cut) for index in np.array_split(np.arange(len(train)), 5)]
    for one, other in zip(train.fetches(wanted), replace(train, workers=0).fetches(wanted), strict=True):
        assert torch.equal(one.images, other.images)
    print("alike")
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes_that_are_not_forked_decode_alike(shapes: Path, tmp_path: Path, method: str) -> None:
    """As they are started on macOS and Windows, and from Python 3.14 on everywhere."""
    (tmp_path / "script.py").write_text(SPAWNED)
    command = [sys.executable, str(tmp_path / "script.py"), str(shapes), method]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.stdout == "alike\n", done.stderr


def test_processes_leave_torchs_generator_as_it_was(shapes: Path) -> None:
    train = held(shapes, "mapped", workers=1).train
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    list(train.fetches([Wanted(np.arange(5))]))
    assert torch.rand(1) == expected


def die(_: int) -> None:
    os._exit(1)


def test_the_death_of_a_process_is_one_sentence() -> None:
    with pytest.raises(InputError, match=r"a process that decodes images has died .*; choose fewer --workers"):
        list(in_processes(die, [1, 2], workers=1, device=CPU))


def slowly(image: int) -> int:
    time.sleep(0.2 if image == 0 else 0.0)
    return image


def test_results_come_in_the_order_of_the_jobs_whichever_is_done_first() -> None:
    assert list(in_processes(slowly, range(8), workers=2, device=CPU)) == list(range(8))


def test_parquet_is_not_read_into_memory(shapes: Path) -> None:
    source = open_source(rows(shapes))
    assert source.parts["all"].images.data.cache_files  # type: ignore[union-attr]


def test_one_image_alone_can_be_looked_at(tmp_path: Path) -> None:
    for label, grey in (("a", 10), ("b", 200)):
        (tmp_path / label).mkdir()
        for i in range(4):
            Image.new("L", (16, 16), grey + i).save(tmp_path / label / f"{i}.png")
    train = held(tmp_path, "mapped", channels=1).train
    assert isinstance(train, Mapped)
    for i in range(len(train)):
        path = Path(train.names[i])
        assert (train.at(np.array([i])) == (10 if path.parent.name == "a" else 200) + int(path.stem)).all()
