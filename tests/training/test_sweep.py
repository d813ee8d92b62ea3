"""Sweeps: which runs they are, that they go on where they were interrupted, and that the test set chooses nothing."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from convatlas.errors import InputError
from convatlas.training.progress import Display
from convatlas.training.recipe import Recipe
from convatlas.training.records import read_record
from convatlas.training.sweep import combinations, sweep, swept_values

WriteRun = Callable[..., Path]


def test_all_combinations_are_runs_under_names_that_say_which() -> None:
    values = swept_values(["lr=0.1,5e-2", "seed=0,1", "lr=1e-5"])
    recipes = combinations(values, lambda _: Recipe(epochs=3))
    assert list(recipes) == [f"lr={lr},seed={seed}" for lr in ("0.1", "0.05", "1e-05") for seed in (0, 1)]
    assert [(recipe.lr, recipe.seed) for recipe in recipes.values()][2:4] == [(0.05, 0), (0.05, 1)]
    assert {recipe.epochs for recipe in recipes.values()} == {3}


def test_each_model_of_a_sweep_has_a_recipe_of_its_own() -> None:
    recipes = combinations({"model": ["lenet", "resnet20"]}, lambda model: Recipe(model=model or "lenet", clip=0.5))
    assert [(recipe.optimizer, recipe.clip) for recipe in recipes.values()] == [("adamw", 0.5), ("sgd", 0.5)]


def test_lists_and_changes_are_swept_in_brackets() -> None:
    recipes = combinations(swept_values(["milestones=[0.3,0.6],[0.5]"]), lambda _: Recipe())
    assert {name: recipe.milestones for name, recipe in recipes.items()} == {
        "milestones=0.3-0.6": (0.3, 0.6),
        "milestones=0.5": (0.5,),
    }
    values = swept_values(["changes={shortcut: A},{shortcut: B}"])
    recipes = combinations(values, lambda _: Recipe(model="resnet20", changes={"n": 1}))
    assert [recipe.changes for recipe in recipes.values()] == [{"n": 1, "shortcut": "A"}, {"n": 1, "shortcut": "B"}]


@pytest.fixture
def interrupted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C at the end of the first epoch that ends."""
    epoch, before = Display.epoch, list[Any]()

    def show(self: Display, *arguments: Any, **options: Any) -> None:
        epoch(self, *arguments, **options)
        if not before:
            before.append(True)
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Display, "epoch", show)


@pytest.mark.usefixtures("interrupted_once")
def test_a_sweep_that_was_interrupted_goes_on_and_repeats_nothing(tmp_path: Path) -> None:
    recipes = combinations({"lr": [0.02, 0.01]}, lambda _: Recipe(epochs=2, batch_size=256))
    with pytest.raises(
        KeyboardInterrupt, match=r"interrupted in .*lr=0.02, with 1 run to come; the same command goes on"
    ):
        sweep(recipes, tmp_path, quiet=True)
    assert [path.name for path in tmp_path.iterdir()] == ["lr=0.02"]
    assert read_record(tmp_path / "lr=0.02").status == "interrupted"

    paths = sweep(recipes, tmp_path, quiet=True)
    assert paths == [tmp_path / "lr=0.02", tmp_path / "lr=0.01"]
    assert [(read_record(path).status, len(read_record(path).rows)) for path in paths] == [("done", 2)] * 2

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert sweep(recipes, tmp_path, quiet=True) == paths
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_run_that_fails_leaves_the_others_to_go_on(tmp_path: Path) -> None:
    base = Recipe(optimizer="sgd", schedule="constant", warmup=0, epochs=1, changes={"activation": "relu"})
    recipes = combinations({"lr": [1e30, 0.01]}, lambda _: base)
    paths = sweep(recipes, tmp_path, quiet=True)
    assert [read_record(path).status for path in paths] == ["failed", "done"]


def test_the_best_is_chosen_by_validation_and_never_by_test(
    convatlas: Callable[..., Any], write_run: WriteRun, tmp_path: Path
) -> None:
    own = Recipe(model="lenet")
    for lr, seed, val, test in (
        (0.1, 0, 80.0, 99.0),
        (0.1, 1, 82.0, 99.0),
        (0.05, 0, 84.0, 10.0),
        (0.05, 1, 79.0, 10.0),
    ):
        where = tmp_path / f"lr={lr},seed={seed}"
        write_run(where, val=[val], test=test, lr=lr, seed=seed, accumulate=1, in_channels=1, size=28, flip=False)
    assert own.lr not in (0.1, 0.05)
    words = ["train", "--epochs", 1, "--sweep", "lr=0.1,0.05", "--sweep", "seed=0,1", "--output", tmp_path]
    said = convatlas(*words)
    assert said.status == 0, said.err
    assert "best on the validation images: lr=0.05,seed=0 +1, 81.50 ± 3.54" in said.out
    assert said.err.count("done already") == 4


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("lr", "--sweep takes a field and its values, such as lr=0.1,0.05, and not 'lr'"),
        ("rate=0.1", r"--sweep: a recipe has no 'rate' \(nearest: "),
        ("lr=", "--sweep: lr has no values that can be read: 'lr='"),
        ("lr=[0.1", "--sweep: lr has no values that can be read"),
        ("lr=0.1,fast", "lr is a number, and not 'fast'"),
        ("seed=0,0.5", "seed is a whole number, and not 0.5"),
        ("batch-size=0", "batch_size is at least 1, and not 0"),
        ("data=a/b,a-b", "--sweep has two runs whose folder would be called data=a-b"),
        ("model=lenet,lenet6", "no model is called 'lenet6'"),
    ],
)
def test_what_cannot_be_swept_is_refused_before_anything_starts(tmp_path: Path, words: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        sweep(combinations(swept_values([words]), lambda model: Recipe(model=model or "lenet")), tmp_path, quiet=True)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_another_run_is_not_taken_for_one_of_the_sweep(write_run: WriteRun, tmp_path: Path) -> None:
    write_run(tmp_path / "lr=0.1", val=[50.0, 60.0], test=50.0, lr=0.1, epochs=2)
    recipes = combinations({"lr": [0.1]}, lambda _: Recipe(epochs=3))
    with pytest.raises(InputError, match=r"another recipe \(epochs is 2 there, and 3 here\); choose another --output"):
        sweep(recipes, tmp_path, quiet=True)
    recipes = combinations({"lr": [0.1]}, lambda _: Recipe(epochs=2, data="mnist"))
    with pytest.raises(InputError, match=r"data is 'digits' there, and 'mnist' here"):
        sweep(recipes, tmp_path, quiet=True)
    (tmp_path / "lr=0.1" / "recipe.yaml").write_text("lr: [")
    with pytest.raises(InputError, match=r"lr=0.1 is damaged: .*; remove it, or choose another --output"):
        sweep(recipes, tmp_path, quiet=True)
