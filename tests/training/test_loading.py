"""Wherever images are held, in memory, as they are stored, or in shards, a run learns the same from them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import convatlas as ca
from convatlas import Recipe
from convatlas.training import loop
from convatlas.training.run import Run

QUICK = Recipe(model="lenet", data="", epochs=2, batch_size=16, colour=0.1)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of Parquet with 60 pictures to train on and 15 to validate, of two classes."""
    import datasets

    folder, random = tmp_path_factory.mktemp("rows"), np.random.default_rng(0)
    for part, count in (("train", 60), ("validation", 15)):
        pictures = random.integers(0, 100, (count, 20, 20, 3), dtype=np.uint8)
        pictures[::2, :10] += 100
        columns = {
            "image": [Image.fromarray(picture) for picture in pictures],
            "label": ["up" if i % 2 == 0 else "none" for i in range(count)],
        }
        stored = datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())
        stored.to_parquet(folder / f"{part}-00000.parquet", batch_size=20)
    return folder


def go(data: Path, output: Path, **changes: Any) -> Run:
    return ca.train(replace(QUICK, data=str(data), **changes), output=output, quiet=True)


def weights(run: Run) -> dict[str, torch.Tensor]:
    return load_file(run.directory / "model.safetensors")


def equal(one: Run, other: Run) -> bool:
    return all(torch.equal(value, weights(other)[key]) for key, value in weights(one).items())


@pytest.fixture(scope="module")
def streamed(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return go(rows, tmp_path_factory.mktemp("runs") / "stream", loading="stream", workers=2)


def test_each_way_to_hold_images_trains_the_same_weights_bit_for_bit(rows: Path, streamed: Run, tmp_path: Path) -> None:
    memory = go(rows, tmp_path / "memory", loading="memory")
    mapped = go(rows, tmp_path / "mapped", loading="mapped", workers=2)
    assert equal(memory, mapped)
    assert equal(memory, streamed)
    assert memory.results["val"] == mapped.results["val"] == streamed.results["val"]


def test_a_streamed_run_that_dies_within_an_epoch_goes_on_to_the_same_weights(
    rows: Path, streamed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(loop.Keeper, "due", True)
    learning_rate = loop.learning_rate

    def dying(recipe: Recipe, step: int, **others: Any) -> float:
        if step == 6:
            raise RuntimeError("the lights went out")
        return learning_rate(recipe, step, **others)

    with monkeypatch.context() as until_then:
        until_then.setattr(loop, "learning_rate", dying)
        with pytest.raises(RuntimeError, match="the lights went out"):
            go(rows, tmp_path / "run", loading="stream", workers=2)
    saved = Run(tmp_path / "run").load_state()
    assert saved is not None
    assert saved["step"] == 6  # of four an epoch
    assert equal(ca.resume(tmp_path / "run", quiet=True), streamed)


def test_a_streamed_run_is_evaluated_on_what_it_did_not_learn_from(
    streamed: Run, convatlas: Callable[..., Any]
) -> None:
    said = convatlas("evaluate", streamed.directory)
    assert said.status == 0
    assert ", val: " in said.out
    assert f"{streamed.results['val']['right']} of 15" in said.out


def test_where_images_are_held_is_said_and_split_csv_lists_those_that_are(
    rows: Path, streamed: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convatlas.training.job.SAMPLE", 10)
    text = (streamed.directory / "split.csv").read_text(encoding="utf-8")
    assert (text.count(",train"), text.count(",val")) == (0, 15)
    ca.train(replace(QUICK, data=str(rows), epochs=1, loading="stream", workers=1), output=tmp_path / "run")
    said = capfd.readouterr().err
    assert "images: streamed, and decoded by 1 process; those held out decoded, in memory" in said
    assert "the mean and deviation of their pixels are those of 10, from some of the shards" in said


def test_an_interrupt_to_all_processes_of_a_mapped_run_ends_it_and_them(shapes: Path, tmp_path: Path) -> None:
    """As a terminal sends it: to the workers too."""
    words = ["train", "lenet", "--data", str(shapes), "--epochs", "5000", "--batch-size", "4"]
    held = ["--loading", "mapped", "--workers", "2", "--output", str(tmp_path / "run")]
    before = set(os.listdir("/dev/shm")) if Path("/dev/shm").is_dir() else set()
    child = subprocess.Popen(
        [sys.executable, "-m", "convatlas", *words, *held], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    until = time.monotonic() + 120
    while not (tmp_path / "run" / "metrics.csv").exists():
        assert time.monotonic() < until
        assert child.poll() is None, child.stderr.read() if child.stderr else ""
        time.sleep(0.05)
    workers: list[psutil.Process] = []
    while not workers:  # between two epochs there are none
        workers = psutil.Process(child.pid).children()
    os.killpg(child.pid, signal.SIGINT)
    _, err = child.communicate(timeout=120)
    assert child.returncode == 130, err
    assert "Traceback" not in err
    assert "leaked" not in err
    assert not any(worker.is_running() for worker in workers)
    if before:
        assert not {name for name in set(os.listdir("/dev/shm")) - before if str(child.pid) in name}
    assert Run(tmp_path / "run").results["status"] == "interrupted"


def test_what_cannot_be_streamed_is_refused_before_anything_is_written(
    shapes: Path, tmp_path: Path, convatlas: Callable[..., Any]
) -> None:
    said = convatlas("train", "resnet20", "--data", shapes, "--loading", "stream", "--output", tmp_path / "run")
    assert said.status == 2
    assert said.err.count("\n") == 1
    assert "leave it out, and images that do not fit into memory are decoded when their turn comes" in said.err
    assert not (tmp_path / "run").exists()
