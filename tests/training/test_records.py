"""Runs are read back by what their folders hold, whole or damaged."""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import convatlas as ca
from convatlas.errors import InputError, WorkError
from convatlas.training.comparison import curves, seeds, seeds_table
from convatlas.training.records import chosen, differing, find_records, grouped, read_record
from convatlas.training.run import Run

WriteRun = Callable[..., Path]


def test_a_run_that_has_ended_has_the_accuracies_of_its_results(write_run: WriteRun, tmp_path: Path) -> None:
    record = read_record(write_run(tmp_path / "run", val=[70.0, 90.0, 80.0], test=85.5, lr=0.5))
    assert (record.status, record.best_epoch, record.val_accuracy, record.test_accuracy) == ("done", 2, 90.0, 85.5)
    assert record.recipe is not None
    assert record.recipe.lr == 0.5
    assert record.seconds == 6.0


def test_a_run_without_results_was_interrupted_or_is_running(write_run: WriteRun, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", val=[70.0, 80.0], epochs=9)
    record = read_record(folder)
    assert (record.status, record.best_epoch, record.val_accuracy, record.test_accuracy) == ("interrupted", 2, 80, None)
    with Run(folder).held():
        assert read_record(folder).status == "running"
    assert read_record(folder).status == "interrupted"


def test_a_run_whose_loss_exploded_has_failed_and_says_why(tmp_path: Path) -> None:
    recipe = ca.Recipe(
        optimizer="sgd", lr=1e30, schedule="constant", warmup=0, epochs=1, changes={"activation": "relu"}
    )  # fmt: skip
    with pytest.raises(WorkError):
        ca.train(recipe, output=tmp_path / "run", quiet=True)
    record = read_record(tmp_path / "run")
    assert record.status == "failed"
    assert "the loss grew beyond all numbers" in record.fault


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("recipe.yaml", None),
        ("recipe.yaml", "lr: ["),
        ("recipe.yaml", "lr: fast"),
        ("recipe.yaml", "changes: 3"),
        ("recipe.yaml", "model: [lenet]"),
        ("recipe.yaml", "speed: 3"),
        ("recipe.yaml", b"\xff\xfe\x00"),
        ("metrics.csv", "epoch,val_accuracy\n1,"),
        ("metrics.csv", "epoch,val_accuracy,val_loss\n1,5,6\n"),
        ("metrics.csv", "epoch,train_loss,val_loss,val_accuracy,seconds\n1,2,3,4,5\n2,3"),
        ("metrics.csv", b"\x00\xff\n\x00"),
        ("results.json", '{"status": "do'),
        ("results.json", "[]"),
        ("results.json", '{"status": "done"}'),
        ("results.json", '{"status": "done", "best_epoch": 1, "val": 3, "test": null}'),
    ],
)
def test_a_damaged_run_is_told_as_such(
    write_run: WriteRun, tmp_path: Path, file: str, content: str | bytes | None
) -> None:
    folder = write_run(tmp_path / "run", val=[70.0], test=60.0)
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    record = read_record(folder)
    assert record.status == "damaged"
    assert file in record.fault
    assert "\n" not in record.fault


def test_runs_are_found_below_a_folder_the_newest_last_and_not_inside_each_other(
    write_run: WriteRun, tmp_path: Path
) -> None:
    for age, name in enumerate(("new", "deep/er/middle", "old")):
        write_run(tmp_path / name, val=[50.0])
        os.utime(tmp_path / name / "recipe.yaml", (time.time() - 100 * age,) * 2)
    write_run(tmp_path / "new" / "state" / "inside", val=[50.0])
    before = sorted(tmp_path.rglob("*"))
    assert [record.directory.name for record in find_records(tmp_path)] == ["old", "middle", "new"]
    assert sorted(tmp_path.rglob("*")) == before
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"there are no runs in .*empty; convatlas train makes one"):
        find_records(tmp_path / "empty")


def test_what_was_chosen_otherwise_is_told_and_what_follows_from_the_model_is_not(
    write_run: WriteRun, tmp_path: Path
) -> None:
    records = [
        read_record(write_run(tmp_path / str(i), val=[50.0], **fields))
        for i, fields in enumerate(
            [{"lr": 0.1, "seed": 1}, {"lr": 0.2, "seed": 1}, {"model": "resnet20", "lr": 0.3, "clip": 1.0}]
        )
    ]
    assert chosen(records) == ["lr"]
    assert {"model", "lr", "clip", "batch_size"} <= set(differing([record.recipe for record in records]))


def test_runs_that_differ_in_seed_alone_have_a_mean_and_a_spread(write_run: WriteRun, tmp_path: Path) -> None:
    test = [81.0, 84.0, 88.5]
    several = [write_run(tmp_path / f"a{i}", val=[90.0 + i], test=value, seed=i) for i, value in enumerate(test)]
    other = write_run(tmp_path / "b", val=[70.0], test=60.0, lr=0.5)
    still_going = write_run(tmp_path / "c", val=[10.0], seed=9)
    groups = grouped([read_record(path) for path in [*several, other, still_going]])
    assert [group.name for group in groups] == ["a0 +3", "b"]
    assert groups[0].test_accuracy == (statistics.fmean(test), statistics.stdev(test), 3)
    assert groups[0].val_accuracy == (91.0, 1.0, 3)  # of those that have ended
    assert groups[1].test_accuracy == (60.0, None, 1)


def test_a_seed_that_is_repeated_counts_once(write_run: WriteRun, tmp_path: Path) -> None:
    write_run(tmp_path / "cut", val=[10.0], epochs=3)
    write_run(tmp_path / "first", val=[90.0, 90.0, 90.0], test=80.0)
    write_run(tmp_path / "again", val=[90.0, 90.0, 90.0], test=80.0)
    repeated = [read_record(tmp_path / name) for name in ("cut", "first", "again")]
    assert grouped(repeated)[0].test_accuracy == (80.0, None, 1)
    assert seeds_table(repeated) is None
    write_run(tmp_path / "other", val=[92.0, 92.0, 92.0], test=84.0, seed=1)
    (group,) = grouped([*repeated, read_record(tmp_path / "other")])
    assert group.test_accuracy == (82.0, statistics.stdev([80, 84]), 2)
    assert [record.directory.name for record in group.of_seeds] == ["first", "other"]
    assert seeds(group.records) == "0, 1"


def test_curves_are_the_rows_and_of_several_seeds_mean_and_deviation_as_far_as_all_go(
    write_run: WriteRun, tmp_path: Path
) -> None:
    paths = [
        write_run(tmp_path / "a", val=[10.0, 30.0], test=1.0),
        write_run(tmp_path / "b", val=[20.0, 50.0, 60.0], epochs=2, seed=1),
        write_run(tmp_path / "c", val=[40.0, 35.0], test=1.0, lr=0.5),
    ]
    figure = curves(grouped([read_record(path) for path in paths]))
    axes = figure.axes[2]
    assert axes.get_title(loc="left") == "Validation accuracy, per cent"
    mean, single, best = axes.get_lines()
    assert mean.get_xydata().tolist() == [[1, 15], [2, 40]]
    assert single.get_xydata().tolist() == [[1, 40], [2, 35]]
    assert best.get_xydata().tolist() == [[1, 40]]
    (band,) = axes.collections
    corners = band.get_paths()[0].vertices
    assert corners[:, 0].max() == 2
    low, high = corners[corners[:, 0] == 2][:, 1].min(), corners[corners[:, 0] == 2][:, 1].max()
    assert ((low + high) / 2, (high - low) / 2) == pytest.approx((40, statistics.stdev([30, 50])))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "lr 0.008 (mean of 2 seeds)", "lr 0.5", "± standard deviation over seeds, as far as all of them go",
    ]  # fmt: skip


def test_the_time_of_several_seeds_is_their_mean(write_run: WriteRun, tmp_path: Path) -> None:
    paths = [write_run(tmp_path / str(n), val=[50.0] * n, test=1.0, epochs=9, seed=n) for n in (2, 3)]
    (group,) = grouped([read_record(path) for path in paths])
    assert group.seconds == 5.0  # an epoch has two
