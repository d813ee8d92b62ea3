"""Loggers: told what the run writes down, in one place however often it is resumed."""

import json
import os
import signal
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from accelerate.tracking import GeneralTracker

import convatlas as ca
from convatlas.errors import InputError, WorkError
from convatlas.training import trackers
from convatlas.training.progress import Display
from convatlas.training.recipe import Recipe

TOLD = list[tuple[str, Any]]


class StandIn(GeneralTracker):
    """A logger that keeps what it is told."""

    name = "wandb"
    requires_logging_directory = False
    told: ClassVar[TOLD] = []

    def __init__(self, project: str, **options: Any) -> None:
        super().__init__()
        self.project, self.options = project, options

    @property
    def tracker(self) -> str:
        return "its run"

    def start(self) -> None:
        self.told.append(("start", (self.project, self.options)))

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.told.append(("recipe", values))

    def log(self, values: dict[str, float], step: int | None = None, **_: Any) -> None:
        self.told.append(("row", {"epoch": step} | values))

    def finish(self) -> None:
        self.told.append(("finish", None))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> TOLD:
    """What a stand-in for Weights & Biases is told."""
    monkeypatch.setattr(trackers, "WandBTracker", StandIn)
    monkeypatch.setitem(trackers.INSTALLED, "wandb", lambda: True)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    StandIn.told.clear()
    return StandIn.told


def of(told: TOLD, kind: str) -> list[Any]:
    return [what for name, what in told if name == kind]


def test_a_logger_is_told_the_recipe_and_each_row_and_goes_on_after_an_interrupt(
    convatlas, told: TOLD, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    show = Display.epoch

    def interrupt(self: Display, row: Any, **options: Any) -> None:
        show(self, row, **options)
        if row["epoch"] == 1:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Display, "epoch", interrupt)
    said = convatlas("train", "--epochs", 2, "--logger", "wandb", "--output", tmp_path / "run")
    assert said.status == 130, said.err
    assert [name for name, _ in told] == ["start", "recipe", "row", "finish"]
    assert convatlas("resume", tmp_path / "run").status == 0

    (first, second) = of(told, "start")
    assert first == second  # the same project, name and id
    assert first[0] == "convatlas"
    assert first[1] == {
        "name": "run",
        "id": json.loads((tmp_path / "run" / "loggers.json").read_text())["wandb"],
        "resume": "allow",
        "dir": str(tmp_path / "run"),
    }
    assert of(told, "row") == ca.Run(tmp_path / "run").metrics
    recipe = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert {name: list(v) if isinstance(v, tuple) else v for name, v in of(told, "recipe")[0].items()} == {
        name: value for name, value in recipe.items() if name != "versions"
    }
    assert "wandb" not in (tmp_path / "run" / "recipe.yaml").read_text()  # no number depends on it


def test_a_logger_is_told_that_a_run_that_failed_has_ended(told: TOLD, tmp_path: Path) -> None:
    recipe = Recipe(optimizer="sgd", lr=1e30, schedule="constant", warmup=0, changes={"activation": "relu"})
    with pytest.raises(WorkError):
        ca.train(recipe, output=tmp_path / "run", loggers=["wandb"], quiet=True)
    assert [name for name, _ in told] == ["start", "recipe", "finish"]


@pytest.mark.parametrize(
    ("logger", "reason"),
    [
        ("wandb", r"wandb is not installed: pip install 'convatlas\[wandb\]'"),
        ("mlflow", r"mlflow is not installed: pip install 'convatlas\[mlflow\]'"),
        ("tensorboard", r"there is no logger 'tensorboard' \(nearest: wandb or mlflow\)"),
    ],
)
def test_a_logger_that_is_not_there_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logger: Any, reason: str
) -> None:
    for name in trackers.INSTALLED:
        monkeypatch.setitem(trackers.INSTALLED, name, lambda: False)
    with pytest.raises(InputError, match=reason):
        ca.train(Recipe(epochs=1), output=tmp_path / "run", loggers=[logger], quiet=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("told")
def test_a_logger_that_cannot_begin_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: StandIn) -> None:
        raise RuntimeError("No API key configured. Use `wandb login` to log in.\nAnd more.")

    monkeypatch.setattr(StandIn, "start", refuse)
    with pytest.raises(InputError, match=r"a logger cannot begin: .* Use `wandb login` to log in; then go on"):
        ca.train(Recipe(epochs=1), output=tmp_path / "run", loggers=["wandb"], quiet=True)
