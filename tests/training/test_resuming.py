"""Runs that were stopped, killed or damaged go on to what they would have been."""

import errno
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from trained import QUICK, equal, go, weights, without_time

import convatlas as ca
from convatlas import Recipe
from convatlas.data.batches import Step
from convatlas.errors import InputError
from convatlas.training import loop
from convatlas.training.learning import Learning
from convatlas.training.optim import standing
from convatlas.training.progress import Display
from convatlas.training.run import Row, Run


class Killed(BaseException):
    """As if the process had been killed: nothing is tidied up."""


def kill_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have training end like that before this step, with a checkpoint after each step until then."""
    steps = Learning.steps

    def until(learning: Learning) -> Iterator[Step]:
        for each in steps(learning):
            if learning.step == step:
                raise Killed
            yield each

    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(loop, "SHARE", 0.0)
    monkeypatch.setattr(Learning, "steps", until)


LEARNED = {
    "sgd": replace(QUICK, optimizer="sgd", lr=0.01, erase=3, colour=0.1),
    "adam": replace(QUICK, optimizer="adam", lr=0.01, accumulate=2),
    "an average": replace(QUICK, ema=0.9, patience=2),
    "dropout and dropped branches": Recipe(
        model="preresnet110", data="digits", size=8, in_channels=1, epochs=2, batch_size=512, schedule="constant",
        changes={"layers": [2, 1, 1], "dropout": 0.3, "survival": 0.5},
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "step"),
    [("sgd", 1), ("sgd", 7), ("adam", 5), ("an average", 8), ("dropout and dropped branches", 2)],
)
def test_a_run_that_is_killed_at_a_step_ends_as_one_that_was_never_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, step: int
) -> None:
    whole = go(LEARNED[kind], tmp_path / "whole")
    with monkeypatch.context() as patch:
        kill_at(step, patch)
        with pytest.raises(Killed):
            go(LEARNED[kind], tmp_path / "parts")
    resumed = ca.resume(tmp_path / "parts", quiet=True)
    assert equal(whole, resumed)
    assert without_time(resumed.metrics) == without_time(whole.metrics)
    one, other = whole.load_state(), resumed.load_state()
    assert one is not None
    assert other is not None
    for name in ("network", "average", "best"):
        assert all(torch.equal(value, other[name][key]) for key, value in one[name].items())  # type: ignore[literal-required]


@pytest.mark.parametrize("step", [2, 4])
def test_windows_that_processes_cut_go_on_within_an_epoch_and_after_one_and_leave_no_process(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    recipe = Recipe(
        model="lenet", in_channels=3, data=str(shapes), epochs=2, batch_size=16, resized_crop=0.3, mixup=0.2, workers=2
    )
    whole = go(recipe, tmp_path / "whole")
    assert not multiprocessing.active_children()
    with monkeypatch.context() as patch:
        kill_at(step, patch)
        with pytest.raises(Killed):
            go(recipe, tmp_path / "parts")
    assert not multiprocessing.active_children()
    assert equal(whole, ca.resume(tmp_path / "parts", quiet=True))


@pytest.mark.parametrize("damage", ["cut short", "a bit"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before_it_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)
    run = go(QUICK, tmp_path / "run")
    newest = sorted((run.directory / "state").iterdir())[-1]
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content if damage == "a bit" else content[:1000])
    (run.directory / "results.json").unlink()
    before = weights(run)
    assert all(torch.equal(v, before[k]) for k, v in weights(ca.resume(run.directory)).items())
    assert re.search(r"the checkpoint .* is damaged; the one before it is taken", capsys.readouterr().err)
    assert newest.with_suffix(".damaged").exists()
    assert not newest.exists() or newest.read_bytes() != content  # and the places are for whole ones


def test_resuming_on_other_data_is_refused(shapes: Path, tmp_path: Path) -> None:
    run = go(Recipe(model="resnet20", data=str(shapes), epochs=2, size=8), tmp_path / "run")
    (run.directory / "results.json").unlink()
    before = {path: path.read_bytes() for path in run.directory.rglob("*") if path.is_file()}
    (shapes / "lying" / "lying0.png").write_bytes((shapes / "lying" / "lying1.png").read_bytes())
    with pytest.raises(InputError, match=r"trained on \(the content of some images changed\); put the"):
        ca.resume(run.directory, quiet=True)
    with pytest.raises(InputError, match="no run to go on with"):
        ca.resume(shapes, quiet=True)
    assert before == {path: path.read_bytes() for path in run.directory.rglob("*") if path.is_file()}


def test_a_run_whose_checkpoints_are_all_damaged_is_not_silently_begun_anew(tmp_path: Path) -> None:
    run = go(QUICK, tmp_path / "run")
    (run.directory / "results.json").unlink()
    for damage in (lambda path: path.write_bytes(b"damaged"), lambda path: torch.save([1, 2], path)):
        for path in (run.directory / "state").iterdir():
            damage(path)
        with pytest.raises(InputError, match=r"none of the checkpoints in .* can be read"):
            ca.resume(run.directory, quiet=True)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"lr": 0.5}, "lr was 0.008 and is 0.5"),
        ({"erase": 2}, "erase was 0 and is 2"),
        ({"changes": {"activation": "relu"}}, "changes was {} and is {'activation': 'relu'}"),
    ],
)
def test_resuming_with_a_changed_recipe_says_what_changed(
    run: Run, tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    copied = Run(shutil.copytree(run.directory, tmp_path / "copy"))
    (copied.directory / "results.json").unlink()
    recipe = copied.directory / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(yaml.safe_load(recipe.read_text()) | change))
    with pytest.raises(InputError, match=re.escape(reason)):
        ca.resume(copied.directory, quiet=True)


def test_a_run_that_was_killed_at_once_tells_a_changed_recipe_and_finds_data_that_moved(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe(model="resnet20", data=str(shapes), epochs=1, size=8)
    with monkeypatch.context() as killed:
        killed.setattr(loop, "train_epoch", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            go(recipe, tmp_path / "run")
    run = Run(tmp_path / "run")
    written = yaml.safe_load((run.directory / "recipe.yaml").read_text())
    (run.directory / "recipe.yaml").write_text(yaml.safe_dump(written | {"lr": 0.001}))
    with pytest.raises(InputError, match=r"lr was 0\.1 and is 0\.001"):
        ca.resume(run.directory, quiet=True)
    moved = shapes.rename(tmp_path / "moved")
    (run.directory / "recipe.yaml").write_text(yaml.safe_dump(written))
    with pytest.raises(InputError, match=r"is not there any more; .* where it is now as data in .*recipe\.yaml"):
        ca.resume(run.directory, quiet=True)
    (run.directory / "recipe.yaml").write_text(yaml.safe_dump(written | {"data": str(moved)}))
    assert equal(ca.resume(run.directory, quiet=True), go(replace(recipe, data=str(moved)), tmp_path / "whole"))


def test_a_run_on_files_that_a_pattern_names_is_resumed(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    files = sorted(shapes.rglob("*.png"))
    columns = {"image": [str(file) for file in files], "label": [file.parent.name for file in files]}
    stored = datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())
    stored.to_parquet(tmp_path / "part-0.parquet")
    recipe = Recipe(model="resnet20", data=str(tmp_path / "part-*.parquet"), epochs=1, size=8)
    with monkeypatch.context() as killed:
        killed.setattr(loop, "train_epoch", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            go(recipe, tmp_path / "run")
    assert equal(ca.resume(tmp_path / "run", quiet=True), go(recipe, tmp_path / "whole"))


def test_images_that_came_and_went_are_named(shapes: Path, tmp_path: Path) -> None:
    run = go(Recipe(model="resnet20", data=str(shapes), epochs=2, size=8), tmp_path / "run")
    (run.directory / "results.json").unlink()
    (shapes / "lying" / "lying0.png").rename(shapes / "square" / "other.png")
    with pytest.raises(InputError, match=r"\(1 image gone: .*lying0\.png, 1 image new: .*other\.png\); put the images"):
        ca.resume(run.directory, quiet=True)


def test_a_resumed_and_interrupted_run_has_the_weights_that_its_record_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed epochs after its last checkpoint, resumed, and stopped at once."""
    recipe = replace(QUICK, epochs=8, batch_size=64)
    save_state = Run.save_state
    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(loop, "SHARE", 0.0)
    monkeypatch.setattr(
        Run, "save_state", lambda run, state: save_state(run, state) if len(state["rows"]) <= 3 else None
    )
    run = go(recipe, tmp_path / "run")
    (run.directory / "results.json").unlink()
    rows = run.metrics
    assert max(rows, key=standing)["epoch"] > 3

    monkeypatch.setattr(loop, "train_epoch", lambda *_: True)  # stopped at once
    results = ca.resume(run.directory, quiet=True).results
    assert results["status"] == "interrupted"
    assert results["best_epoch"] == max(rows[:3], key=standing)["epoch"]
    assert results["val"]["accuracy"] == pytest.approx(rows[results["best_epoch"] - 1]["val_accuracy"], abs=1e-3)


def test_a_killed_run_resumes_to_the_weights_of_one_that_was_never_stopped(tmp_path: Path) -> None:
    code = "from convatlas.training import loop; loop.SAVE_EVERY = 0.0; from convatlas.cli import main; main()"
    words = ["train", "plain20", "--size", "8", "--epochs", "6", "--batch-size", "512", "--colour", "0.2"]
    command = [sys.executable, "-c", code, *words, "--output", str(tmp_path / "parts")]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while len(Run(tmp_path / "parts").metrics) < 2:
        assert time.monotonic() < until
        assert child.poll() is None
        time.sleep(0.02)
    child.kill()
    child.wait()
    assert len(Run(tmp_path / "parts").metrics) < 6
    recipe = Recipe.read(tmp_path / "parts" / "recipe.yaml")
    resumed = ca.resume(tmp_path / "parts", quiet=True)
    whole = go(recipe, tmp_path / "whole")
    assert equal(whole, resumed)
    assert without_time(resumed.metrics) == without_time(whole.metrics)


def test_an_interrupt_after_an_epoch_keeps_that_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    validate, train_epoch = loop.validate, loop.train_epoch
    stops: list[list[int]] = []

    def remembered(learning: Learning, keeper: loop.Keeper, stop: list[int], display: Display) -> bool:
        stops.append(stop)
        return train_epoch(learning, keeper, stop, display)

    def interrupted(learning: Learning) -> Row:
        if len(stops) == 2:
            stops[-1].append(signal.SIGINT)
        return validate(learning)

    monkeypatch.setattr(loop, "train_epoch", remembered)
    monkeypatch.setattr(loop, "validate", interrupted)
    run = go(QUICK, tmp_path / "run")
    assert run.results["status"] == "interrupted"
    assert [row["epoch"] for row in run.metrics] == [1, 2]


def test_an_interrupt_within_an_epoch_loses_no_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Learning.steps

    def interrupted(learning: Learning) -> Iterator[Step]:
        for each in steps(learning):
            if learning.step == 3:
                os.kill(os.getpid(), signal.SIGINT)
            yield each

    with monkeypatch.context() as patch:
        patch.setattr(Learning, "steps", interrupted)
        run = go(QUICK, tmp_path / "run")
    assert run.results["status"] == "interrupted"
    assert not run.metrics
    state = run.load_state()
    assert state is not None
    assert state["step"] == 4
    assert equal(ca.resume(run.directory, quiet=True), go(QUICK, tmp_path / "whole"))


def test_a_checkpoint_that_does_not_fit_is_named_and_the_one_before_it_stays(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = Run(shutil.copytree(run.directory, tmp_path / "copy"))
    state = copied.load_state()
    assert state is not None
    before = sorted((copied.directory / "state").iterdir())

    def full(_: Path, __: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left") as error:
        copied.save_state(state)
    assert "state/step-" in error.value.filename
    assert sorted((copied.directory / "state").iterdir()) == before


def test_a_run_that_is_killed_while_it_is_tested_ends_when_it_is_resumed(tmp_path: Path) -> None:
    code = (
        "import os; from convatlas.training import loop, report; "
        "report.write_report = lambda *_, **__: os.kill(os.getpid(), 9); from convatlas.cli import main; main()"
    )
    words = ["train", "--epochs", "3", "--batch-size", "256", "--output", str(tmp_path / "run")]
    killed = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "run" / "report.html").exists()
    resumed = ca.resume(tmp_path / "run", quiet=True)
    assert (tmp_path / "run" / "report.html").is_file()
    assert equal(resumed, go(QUICK, tmp_path / "whole"))


def test_a_second_interrupt_ends_at_once_and_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(*_: object) -> Row:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the second one did not arrive")

    monkeypatch.setattr(loop, "train_epoch", twice)
    with pytest.raises(KeyboardInterrupt, match=f"go on with convatlas resume {tmp_path / 'run'}"):
        go(QUICK, tmp_path / "run")
    monkeypatch.undo()
    assert equal(ca.resume(tmp_path / "run", quiet=True), go(QUICK, tmp_path / "whole"))
