"""`runs`, `compare-runs`, `find-lr` and `train --dry-run`, as a user types them."""

import errno
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from matplotlib.figure import Figure

from convatlas.training.run import Run

WriteRun = Callable[..., Path]


@pytest.fixture
def runs(write_run: WriteRun, tmp_path: Path) -> Path:
    """Runs of every kind: two seeds of one recipe, another rate, one that was interrupted, and two damaged ones."""
    folder = tmp_path / "runs"
    write_run(folder / "a0", val=[50.0, 90.0], test=80.0, lr=0.1)
    write_run(folder / "a1", val=[60.0, 92.0], test=84.0, lr=0.1, seed=1)
    write_run(folder / "sweep" / "b", val=[70.0, 75.0], test=99.0, lr=0.0125)
    write_run(folder / "stopped", val=[30.0], epochs=7, model="resnet20", data="/photos/ants", lr=0.3)
    write_run(folder / "cut", val=[30.0], test=1.0)
    (folder / "cut" / "results.json").write_text('{"stat')
    (folder / "half").mkdir()
    (folder / "half" / "split.csv").touch()
    return folder


def test_runs_lists_what_differs_and_what_came_out(convatlas, runs: Path) -> None:
    said = convatlas("runs", runs)
    assert said.status == 0
    table, seeds = said.out.replace("\N{NARROW NO-BREAK SPACE}", "").split("\n\n")
    lines = {line.split()[0]: " ".join(line.split()) for line in table.splitlines()}
    assert lines["run"] == "run model data lr seed epochs validation test time status"
    assert lines["a1"] == "a1 lenet digits 0.1 1 2/2 92.00% 84.00% 4.0 s done"
    assert lines["sweep/b"].startswith("sweep/b lenet digits 0.0125 ")
    assert lines["stopped"] == "stopped resnet20 ants 0.3 0 1/7 30.00% 2.0 s interrupted"
    assert lines["cut"].endswith("damaged")
    assert lines["half"] == "half damaged"
    assert re.search(r"a0 \+1 +lenet +digits +0, 1 +91.00 ± 1.41% +82.00 ± 2.83%", seeds)
    assert re.search(r"cut is damaged: .*results.json cannot be read", said.err)
    assert re.search(r"half is damaged: .*recipe.yaml cannot be read", said.err)


def test_a_run_that_is_going_on_is_told_so(convatlas, runs: Path) -> None:
    with Run(runs / "stopped").held():
        assert re.search("stopped .* running", convatlas("runs", runs).out)


@pytest.mark.parametrize(
    ("sort", "last"),
    [("validation", "a1"), ("test", "sweep/b"), ("lr", "stopped"), ("seed", "a1"), ("name", "sweep/b")],
)
def test_runs_are_sorted_the_largest_last(convatlas, runs: Path, sort: str, last: str) -> None:
    for damaged in ("cut", "half"):
        shutil.rmtree(runs / damaged)
    names = [Path(run["run"]) for run in json.loads(convatlas("runs", runs, "--sort", sort, "--json").out)]
    assert str(names[-1].relative_to(runs)) == last
    assert len(names) == 4


def test_runs_as_json_have_the_whole_recipe(convatlas, runs: Path) -> None:
    told = {Path(run["run"]).name: run for run in json.loads(convatlas("runs", runs, "--json").out)}
    assert told["a0"]["recipe"]["lr"] == 0.1
    assert (told["a0"]["status"], told["a0"]["test_accuracy"], told["a0"]["best_epoch"]) == ("done", 80.0, 2)
    assert (told["half"]["status"], told["half"]["recipe"]) == ("damaged", None)


@pytest.mark.parametrize("ending", [".png", ".svg", ".pdf"])
def test_runs_are_set_side_by_side_and_drawn(convatlas, runs: Path, tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"curves{ending}"
    said = convatlas("compare-runs", runs / "a0", runs / "a1", runs / "sweep", "--plot", file)
    assert said.status == 0
    lines = {line[:10].strip(): line[10:].split() for line in said.out.splitlines() if line}
    assert lines["lr"] == ["0.1", "0.0125"]
    assert lines["seed"] == ["0,", "1", "0"]
    assert lines["test"] == ["82.00", "±", "2.83", "%", "99.00", "%"]
    assert lines["time"] == ["4.0", "s", "4.0", "s"]
    assert "± is the standard deviation over seeds, of runs that have ended; the time is their mean" in said.out
    assert f"wrote {file}" in said.err
    head = file.read_bytes()[:8]
    assert head.startswith({".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[ending])
    if ending == ".svg":
        words = "".join(ElementTree.parse(file).getroot().itertext())
        assert "lr 0.1 (mean of 2 seeds)" in words
        assert "Validation accuracy, per cent" in words


def test_seeds_of_one_recipe_alone_are_shown_each_and_together(convatlas, runs: Path) -> None:
    told = json.loads(convatlas("compare-runs", runs / "a0", runs / "a1", "--json").out)
    assert told["differ"] == []
    assert [group["seeds"] for group in told["groups"]] == [[0], [1], [0, 1]]
    assert told["groups"][2]["val_accuracy"]["mean"] == 91.0
    assert [row["val_accuracy"] for row in told["groups"][1]["runs"][0]["metrics"]] == [60.0, 92.0]


def test_a_run_and_its_repeat_are_shown_each_and_not_as_two_seeds(convatlas, runs: Path) -> None:
    shutil.copytree(runs / "a0", runs / "again")
    said = convatlas("compare-runs", runs / "a0", runs / "again")
    assert said.out.splitlines()[0].split() == ["a0", "again"]
    assert "±" not in said.out
    assert re.search(r"a0 \+2 .* 0, 1 +91.00 ± 1.41.* 82.00 ± 2.83", convatlas("runs", runs).out)


def test_a_dry_run_prints_a_recipe_that_can_be_trained_and_writes_nothing(
    convatlas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = convatlas("train", "lenet", "--epochs", 2, "--batch-size", 512, "--dry-run")
    assert said.status == 0, said.err
    assert list(tmp_path.iterdir()) == []
    recipe = yaml.safe_load(said.out)
    assert (recipe["epochs"], recipe["batch_size"], recipe["size"], recipe["in_channels"]) == (2, 512, 28, 1)
    assert "# network: 61,706 parameters" in said.out
    (tmp_path / "mine.yaml").write_text(said.out)
    told = json.loads(convatlas("train", "--recipe", tmp_path / "mine.yaml", "--dry-run", "--json").out)
    assert told["recipe"] == {name: value for name, value in recipe.items() if name != "versions"}
    assert (told["steps"], told["parameters"], told["images"]["test"]) == (3, 61_706, 360)
    assert told["epoch_seconds"] > 0


def test_a_learning_rate_is_found_and_drawn(convatlas, tmp_path: Path) -> None:
    words = ["find-lr", "lenet", "--batch-size", 64, "--changes", "activation", "relu", "--steps", 60]
    said = convatlas(*words, "--plot", tmp_path / "lr.svg")
    assert said.status == 0, said.err
    bars, scale, steepest, tenth = said.out.splitlines()
    assert bars.startswith(("loss  ▆", "loss  ▇"))
    assert "0.001" in scale
    rates = [float(line.split("--lr ")[1]) for line in (steepest, tenth)]
    assert all(1e-4 < rate < 1 for rate in rates)
    assert f"steepest descent: {rates[0]:.2g}" in (tmp_path / "lr.svg").read_text()
    assert len(list(tmp_path.iterdir())) == 1


def test_rates_are_printed_though_the_disk_is_too_full_for_their_plot(
    convatlas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    said = convatlas("find-lr", "lenet", "--batch-size", 256, "--steps", 20, "--plot", tmp_path / "lr.png")
    assert said.status == 2
    assert said.out.startswith("loss  ")
    assert said.err.endswith(f"{tmp_path / 'lr.png'} cannot be used: there is no space left on the disk\n")
    assert list(tmp_path.iterdir()) == []


def test_a_plot_that_could_not_be_written_is_refused_before_the_work(
    convatlas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lr.png").mkdir()
    assert "lr.png is a folder; name a file" in convatlas("find-lr", "--plot", tmp_path / "lr.png").err
    monkeypatch.setattr(os, "access", lambda *_: False)  # root, whom tests may run as, may write anywhere
    said = convatlas("find-lr", "--plot", tmp_path / "x.png")
    assert (said.status, said.out) == (2, "")
    assert said.err == f"convatlas: --plot: nothing may be written into {tmp_path}; name another folder\n"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("runs {tmp}/nothing", "there is no folder .*nothing; name one with runs in it"),
        ("runs {tmp}", "there are no runs in .*; convatlas train makes one"),
        ("runs {tmp} --sort speed", "--sort knows no 'speed'"),
        ("compare-runs", "compare-runs needs the folders of runs, such as"),
        ("compare-runs {tmp} --plot {tmp}/x.jpg", "--plot draws a .png, .svg or .pdf, and not x.jpg"),
        ("find-lr --plot nodir/x.png", "--plot: there is no folder nodir; make it, or name another"),
        ("compare-runs {tmp} --plot {tmp}/nodir/x.png", "--plot: there is no folder .*nodir; make it, or name another"),
        ("find-lr --plot x", "--plot draws a .png, .svg or .pdf, and not x"),
        ("find-lr lenet6", "no model is called 'lenet6'"),
        ("find-lr --steps 3", "a range test takes 20 steps or more, and not 3"),
        ("train --dry-run --sweep lr=0.1", "--dry-run looks at one run, and --sweep makes several"),
        ("train --dry-run --data {tmp}/nothing", "there is no data"),
        ("train --sweep lrr=0.1", r"--sweep: a recipe has no 'lrr' \(nearest: lr\)"),
        ("train --sweep lr=fast", "lr is a number, and not 'fast'"),
        ("train --logger tensorboard", "--logger takes mlflow or wandb, and not 'tensorboard'"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    convatlas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    said: Any = convatlas(*words.format(tmp=tmp_path).split())
    assert (said.status, said.out) == (2, "")
    assert re.search(reason, said.err), said.err
    assert len([line for line in said.err.splitlines() if line.startswith("convatlas: ")]) == 1
    assert list(tmp_path.iterdir()) == []
