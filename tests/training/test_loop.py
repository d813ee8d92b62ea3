"""Runs: repeatable, resumable, interruptible, and honest about what was read when."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from trained import QUICK, equal, go, wait_for, weights, without_time

import convatlas as ca
from convatlas import Recipe, devices
from convatlas.devices import can_compile
from convatlas.errors import InputError, WorkError
from convatlas.models import build
from convatlas.training import loop, machine
from convatlas.training.run import Run


def test_a_run_folder_holds_what_the_design_says(run: Run) -> None:
    names = {path.name for path in run.directory.iterdir() if path.name != ".lock"}
    events = {name for name in names if name.startswith("events.out.tfevents")}
    assert len(events) == 1
    assert names - events == {
        "recipe.yaml", "metrics.csv", "split.csv", "state", "model.safetensors", "config.json", "results.json",
        "report.html",
    }  # fmt: skip


def test_results_say_what_was_read_and_when(run: Run) -> None:
    results = run.results
    assert results["status"] == "done"
    assert results["test"]["total"] == results["images"]["test"]
    wrong = results["test"]["total"] - results["test"]["right"]
    assert results["test"]["error"] == pytest.approx(100 * wrong / results["test"]["total"], abs=1e-3)
    assert "test images were read once, at the end" in results["note"]
    assert results["parameters"] == 61_706
    best = max(run.metrics, key=lambda row: (row["val_accuracy"], -row["val_loss"]))
    assert results["best_epoch"] == best["epoch"]
    assert sum(results["images"].values()) == 1797


def test_the_recipe_of_a_run_leaves_nothing_open_and_repeats_it_to_the_same_numbers(run: Run, tmp_path: Path) -> None:
    recipe = Recipe.read(run.directory / "recipe.yaml")
    for name in ("epochs", "mean", "std", "flip", "size", "in_channels"):
        assert getattr(recipe, name) is not None
    assert recipe.precision != "auto"
    again = go(recipe, tmp_path / "again")
    assert equal(run, again)
    assert without_time(again.metrics) == without_time(run.metrics)
    assert again.results["test"] == run.results["test"]


def test_another_seed_gives_other_weights(run: Run, tmp_path: Path) -> None:
    assert not equal(run, go(replace(QUICK, seed=1), tmp_path / "other"))


def test_the_split_is_written_down_and_can_be_read_back(shapes: Path, tmp_path: Path) -> None:
    first = go(Recipe(model="resnet20", data=str(shapes), epochs=1, size=16), tmp_path / "one")
    with (first.directory / "split.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["split"] for row in rows} == {"train", "val", "test"}
    assert all(Path(row["file_name"]).is_file() for row in rows)
    second = go(Recipe(model="resnet20", data=str(first.directory / "split.csv"), epochs=1, size=16), tmp_path / "two")
    assert equal(first, second)


def test_a_data_set_without_a_test_part_is_reported_on_its_validation_part(shapes: Path, tmp_path: Path) -> None:
    for label in ("lying", "square", "standing"):
        folder = shapes.parent / "data" / "val" / label
        folder.mkdir(parents=True)
        for i in range(5):
            (shapes / label / f"{label}{i}.png").rename(folder / f"{i}.png")
    shapes.rename(shapes.parent / "data" / "train")
    results = go(
        Recipe(model="resnet20", data=str(shapes.parent / "data"), epochs=1, size=16), tmp_path / "run"
    ).results
    assert results["test"] is None
    assert results["images"] == {"train": 75, "val": 15, "test": 0, "skipped": 0}
    assert "the data set has no test images" in results["note"]


def test_resnet20_learns_simple_shapes(shapes: Path, tmp_path: Path) -> None:
    results = go(
        Recipe(model="resnet20", data=str(shapes), size=16, epochs=25, batch_size=32, crop=2, seed=2), tmp_path / "run"
    ).results
    assert results["test"]["accuracy"] > 80


def test_looking_at_the_memory_leaves_the_network_as_it_was_drawn() -> None:
    from convatlas.data.chance import seed_torch
    from convatlas.models import build
    from convatlas.training.progress import Display

    job = loop.prepare(Recipe(model="resnet20", data="digits"), Display(quiet=True))
    seed_torch(0, "weights")
    drawn = build("resnet20", num_classes=10).state_dict()
    assert all(torch.equal(value, drawn[key]) for key, value in job.network.state_dict().items())


def test_training_leaves_torchs_generator_and_accelerate_as_they_were(tmp_path: Path) -> None:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    for precision in ("32", "bf16"):
        go(replace(QUICK, epochs=1, precision=precision), tmp_path / precision)  # type: ignore[arg-type]
    assert torch.equal(torch.rand(3), expected)
    assert Accelerator(cpu=True, mixed_precision="bf16").mixed_precision == "bf16"
    AcceleratorState._reset_state(reset_partial_state=True)


def test_two_trainings_in_threads_do_not_disturb_each_other(run: Run, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda name: go(QUICK, tmp_path / name), ("a", "b")))
    assert all(equal(run, other) for other in runs)


def test_lenet5_takes_colour_with_the_papers_scaling_on_each_channel(shapes: Path, tmp_path: Path) -> None:
    run = go(Recipe(model="lenet5", data=str(shapes), in_channels=3, epochs=1), tmp_path / "run")
    assert Recipe.read(run.directory / "recipe.yaml").mean == pytest.approx((0.1 / 1.275,) * 3)


def test_a_batch_of_one_pixel_cannot_be_normalised(shapes: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one image of 4×4 cannot be normalised; choose a larger --batch-size"):
        go(Recipe(model="resnet20", data=str(shapes), size=4, batch_size=1), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_ends_a_run_cleanly_with_the_best_weights_kept(tmp_path: Path, number: int) -> None:
    words = ["train", "lenet", "--epochs", "5000", "--no-compile", "--output", str(tmp_path / "run")]
    child = subprocess.Popen(
        [sys.executable, "-m", "convatlas", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for(tmp_path / "run" / "metrics.csv", child)
    child.send_signal(number)
    out, err = child.communicate(timeout=120)
    assert child.returncode == 130, err
    assert "Traceback" not in err
    assert f"go on with convatlas resume {tmp_path / 'run'}" in err
    run = Run(tmp_path / "run")
    assert run.results["status"] == "interrupted"
    assert run.results["test"] is None
    assert "the test images were not read" in run.results["note"]
    assert (run.directory / "report.html").is_file()
    assert ca.load(run.directory).classes == tuple("0123456789")
    assert "validation: accuracy" in out


def test_a_loss_beyond_all_numbers_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(WorkError, match="the loss grew beyond all numbers in epoch 1; choose a smaller --lr"):
        go(
            replace(QUICK, optimizer="sgd", lr=1e30, schedule="constant", warmup=0, changes={"activation": "relu"}),
            tmp_path / "run",
        )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model": "lenett"}, "no model is called 'lenett'"),
        (
            {"size": 20},
            "lenet takes 28×28 images, for which it is made, and got 20×20; choose another --size",
        ),
        ({"model": "resnet20", "size": 2}, "resnet20 needs images of at least 4×4 pixels, and got 2×2"),
        ({"changes": {"depth": 3}}, "lenet has no 'depth' to change"),
        ({"data": "nowhere"}, "there is no data 'nowhere'"),
        ({"device": "cuda"}, "there is no cuda on this machine"),
        ({"mean": (0.5, 0.5, 0.5)}, "mean has 3 values, and the network takes 1 channel"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(
    tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    if changes.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(InputError, match=reason):
        go(replace(QUICK, **changes), tmp_path / "run")  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_a_batch_that_is_too_large_for_memory_is_learned_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psutil

    memory = type("Memory", (), {"available": 40 * 2**20, "total": 2**30})()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    large = replace(QUICK, batch_size=5000, epochs=1)
    run = go(large, tmp_path / "run")
    parts = Recipe.read(run.directory / "recipe.yaml").accumulate
    assert parts is not None
    assert parts > 1
    with pytest.raises(InputError, match=r"a batch of 1,280 images takes about .* GB, .* or a larger --accumulate"):
        go(replace(large, accumulate=1), tmp_path / "whole")


def test_a_folder_that_is_in_use_is_not_written_to(run: Run) -> None:
    before = (run.directory / "results.json").read_bytes()
    with pytest.raises(InputError, match="is there already and is not empty; choose another --output"):
        go(QUICK, run.directory)
    assert (run.directory / "results.json").read_bytes() == before


@pytest.mark.parametrize("fast", [True, False])
def test_bf16_is_chosen_where_the_machine_multiplies_in_it(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fast: bool
) -> None:
    monkeypatch.setattr(machine, "fast_bf16", lambda _: fast)
    run = go(Recipe(model="resnet20", data=str(shapes), epochs=1, size=8), tmp_path / "run")
    assert Recipe.read(run.directory / "recipe.yaml").precision == ("bf16" if fast else "32")
    assert ("bf16 autocast" in run.results["machine"]["chosen"]) == fast


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_both_precisions_train_every_kind_of_network(shapes: Path, tmp_path: Path, precision: str) -> None:
    for model, size in (("lenet", None), ("lenet5", None), ("plain20", 16)):
        recipe = Recipe(model=model, data=str(shapes), size=size, epochs=1, precision=precision)  # type: ignore[arg-type]
        row = go(recipe, tmp_path / model).metrics[0]
        assert 0 < row["train_loss"] < 100  # LeNet-5 begins some 84 away from each code


def test_runs_without_a_given_folder_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = [Run.create(QUICK, None).directory for _ in range(3)]
    assert [str(name) for name in names] == [f"runs/lenet-digits-{i}" for i in (1, 2, 3)]


def test_a_disk_that_fills_up_leaves_the_old_files_whole(tmp_path: Path) -> None:
    run = go(replace(QUICK, epochs=1), tmp_path / "run")
    before = {path: path.read_bytes() for path in run.directory.rglob("*") if path.is_file()}
    code = (
        "import resource, signal, sys; from convatlas.cli import main;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
        f"sys.exit(main(['train', 'lenet', '--epochs', '1', '--output', {str(tmp_path / 'other')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "larger than is allowed" in done.stderr
    left = [
        path for path in (tmp_path / "other").rglob("*") if path.suffix == ".part" or path.name == "model.safetensors"
    ]
    assert not left
    assert before == {path: path.read_bytes() for path in run.directory.rglob("*") if path.is_file()}


def test_tensorboard_can_read_the_events(run: Run) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.directory))
    events.Reload()
    assert [e.step for e in events.Scalars("val_accuracy")] == [1, 2, 3]
    assert events.Scalars("val_accuracy")[-1].value == pytest.approx(run.metrics[-1]["val_accuracy"], rel=1e-5)


def test_json_results_are_json(run: Run) -> None:
    assert json.loads((run.directory / "results.json").read_text())["model"] == "lenet"


def test_a_run_that_has_ended_is_not_tested_again(run: Run) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.directory.iterdir()}
    assert ca.resume(run.directory, quiet=True).results["status"] == "done"
    assert before == {path: path.stat().st_mtime_ns for path in run.directory.iterdir()}


def test_a_run_that_is_being_trained_is_not_resumed_by_another_process(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "convatlas"]
    command = [*words, "train", "--epochs", "5000", "--no-compile", "--output", str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True) as child:
        try:
            wait_for(tmp_path / "run" / "metrics.csv", child)
            second = subprocess.run(
                [*words, "resume", str(tmp_path / "run")], capture_output=True, text=True, check=False
            )
            assert second.returncode == 2
            assert f"{tmp_path / 'run'} is being trained by another process" in second.stderr
            assert child.poll() is None
        finally:
            child.kill()
    with Run(tmp_path / "run").held():
        pass  # the lock does not outlive the process that was killed


def test_what_makes_figures_doubtful_is_said_before_the_training(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "photos"
    shutil.copytree(shapes, data)
    label = next(folder for folder in data.iterdir() if folder.is_dir())
    (label / "broken.png").write_bytes(b"broken")
    (label / "IMG_1.HEIC").write_bytes(b"heic")
    ca.train(Recipe(model="resnet20", data=str(data), size=8, epochs=1), output=tmp_path / "run")
    said = capsys.readouterr().err
    assert "passed over 1 image that cannot be read; the first:" in said
    assert "passed over 1 file that by name are no images: .heic" in said
    assert re.search(r"only \d+ images to validate: one is \d+\.\d % of the accuracy", said)


@pytest.mark.parametrize("name", ["in_channels", "num_classes"])
def test_what_is_no_change_of_a_spec_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=rf"{name} is none of --changes: channels are --in-channels"):
        ca.train(Recipe(model="lenet", data="digits", changes={name: 3}), output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_compiled_run_learns_as_the_eager_one_and_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not can_compile("cpu"):
        pytest.skip("there is no C++ compiler")
    recipe = replace(QUICK, precision="32")
    eager = go(recipe, tmp_path / "eager")
    monkeypatch.setattr(machine, "COMPILED_FROM", 0)
    compiled, again = (go(recipe, tmp_path / name) for name in ("compiled", "again"))
    assert compiled.results["machine"]["chosen"].endswith("compiled")
    assert equal(compiled, again)
    for ours, theirs in zip(compiled.metrics, eager.metrics, strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-3)


@pytest.mark.parametrize("which", ["forward", pytest.param("backward", marks=pytest.mark.slow)])
def test_a_network_that_cannot_be_compiled_is_trained_as_it_is_and_that_is_said(
    which: str, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not at all, or not backwards, which comes to light when averages and sums have moved already."""
    if not can_compile("cpu"):
        pytest.skip("there is no C++ compiler")
    recipe = Recipe(model="lenet_bn", data=str(shapes), epochs=2, batch_size=32, accumulate=2)
    plain = go(replace(recipe, compile=False), tmp_path / "plain")
    monkeypatch.setattr(machine, "COMPILED_FROM", 0)

    import torch._inductor.compile_fx as compiler

    compile_one = compiler._InProcessFxCompile.codegen_and_compile

    def fail(self: Any, graph: Any, examples: Any, inputs: Any, options: Any) -> Any:
        if which == "forward" or options.get("is_backward"):
            raise RuntimeError("no such instruction")
        return compile_one(self, graph, examples, inputs, options)

    monkeypatch.setattr(compiler._InProcessFxCompile, "codegen_and_compile", fail)
    with torch._inductor.config.patch(force_disable_caches=True):
        run = ca.train(recipe, output=tmp_path / "run")
    assert "lenet_bn cannot be compiled here, and is trained as it is" in capsys.readouterr().err
    assert "compiled" not in run.results["machine"]["chosen"]
    assert equal(run, plain)
    assert without_time(run.metrics) == without_time(plain.metrics)


def test_short_runs_are_not_compiled_and_no_run_is_that_forbids_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "compiled" not in run.results["machine"]["chosen"]
    monkeypatch.setattr(machine, "COMPILED_FROM", 0)
    forbidden = go(replace(QUICK, epochs=1, compile=False), tmp_path / "run")
    assert "compiled" not in forbidden.results["machine"]["chosen"]


@pytest.mark.parametrize(
    ("name", "has", "images", "worth"),
    [
        ("lenet", (), 2_000_000, True), ("lenet", (), 1_000_000, False),
        ("resnet20", ("AVX-512 BF16",), 2_000_000, False), ("resnet20", ("AMX", "AVX-512 BF16"), 2_000_000, True),
    ],
)  # fmt: skip
def test_a_network_is_compiled_where_it_gains_by_that(
    name: str, has: tuple[str, ...], images: int, worth: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "instructions", lambda: has)
    monkeypatch.setattr(machine, "can_compile", lambda _: True)
    with torch.device("meta"):
        network = build(name)
    size = ca.model_card(name).input_size
    assert machine.worth_compiling(network, size, images=images, device="cpu") is worth


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_network_whose_branches_are_dropped_is_trained(shapes: Path, tmp_path: Path, optimizer: str) -> None:
    recipe = Recipe(
        model="resnet110_sd", data=str(shapes), changes={"n": 2, "survival": 0.1}, size=8, epochs=2, optimizer=optimizer
    )
    run = go(replace(recipe, batch_size=16), tmp_path / "run")
    assert run.results["status"] == "done"
    assert equal(run, go(replace(recipe, batch_size=16), tmp_path / "again"))


def test_auxiliary_classifiers_are_trained_and_what_they_count_is_in_the_recipe(shapes: Path, tmp_path: Path) -> None:
    recipe = Recipe(
        model="googlenet", data=str(shapes), changes={"auxiliary": True}, size=80, epochs=1, batch_size=32,
        weight_decay=0.0,
    )  # fmt: skip
    trained = weights(go(recipe, tmp_path / "with"))
    silent = weights(go(replace(recipe, auxiliary_weight=0.0), tmp_path / "without"))
    first = [name for name in trained if name.startswith("auxiliary.") and name.endswith("weight")]
    assert len(first) == 6  # of each classifier a convolution and two dense layers
    assert not any(torch.equal(trained[name], silent[name]) for name in first)
    assert not torch.equal(trained["conv1.conv.weight"], silent["conv1.conv.weight"])
