"""The figures that the project states of its own recipes: minutes each. `pytest -m slow`."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def train(output: Path, *words: object) -> dict[str, object]:
    """The results of a run on the command line."""
    command = [sys.executable, "-m", "convatlas", "train", *map(str, words), "--output", str(output), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    results: dict[str, object] = json.loads(done.stdout)
    print(json.dumps({name: results[name] for name in ("model", "data", "val", "test", "best_epoch")}))
    return results


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_digits_are_learned_to_97_per_cent(tmp_path: Path, seed: int) -> None:
    started = time.monotonic()
    results = train(tmp_path / "run", "lenet", "--seed", seed)
    print(f"{time.monotonic() - started:.1f} s, imports included")
    assert results["test"]["accuracy"] >= 97  # type: ignore[index]


def test_lenet_errs_on_at_most_1_2_per_cent_of_mnist(shared_data: Path, tmp_path: Path) -> None:
    assert train(tmp_path / "run", "lenet", "--data", shared_data / "mnist")["test"]["error"] <= 1.2  # type: ignore[index]


def test_lenet5_errs_on_at_most_1_per_cent_of_mnist(shared_data: Path, tmp_path: Path) -> None:
    assert train(tmp_path / "run", "lenet5", "--data", shared_data / "mnist")["test"]["error"] <= 1.0  # type: ignore[index]


def test_resnet20_learns_cifar10_in_15_epochs(shared_data: Path, tmp_path: Path) -> None:
    results = train(tmp_path / "run", "resnet20", "--data", shared_data / "cifar10", "--epochs", 15)
    assert results["val"]["accuracy"] >= 80  # type: ignore[index]
