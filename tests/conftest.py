"""What the tests share: the real data, tiny data sets made on the spot, and the command line."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from convatlas.training.run import Run

os.environ["HF_HUB_OFFLINE"] = "1"  # no test may reach for the network
os.environ["HF_DATASETS_OFFLINE"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:  # a process for each core, and all that they start: one thread each
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of the real data sets."""
    folder = Path(os.environ.get("CONVATLAS_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("real data sets are in neither CONVATLAS_TEST_DATA nor ../shared/data")
    return folder


@pytest.fixture(scope="session")
def shared_weights(shared_data: Path) -> Path:
    """The folder of the real trained weights, beside the data."""
    folder = shared_data.parent / "weights"
    if not folder.is_dir():
        pytest.skip(f"trained weights are not in {folder}")
    return folder


@pytest.fixture(scope="session")
def shared_peers(shared_data: Path) -> Path:
    """The folder of what torchvision's and timm's networks answer, beside the data."""
    folder = shared_data.parent / "peers"
    if not folder.is_dir():
        pytest.skip(f"peers' answers are not in {folder}")
    return folder


class Said(NamedTuple):
    """What a command line did."""

    status: int
    out: str
    err: str


@pytest.fixture
def convatlas(capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Runs the command line in this process."""
    from convatlas.cli import main

    def run(*words: object) -> Said:
        capfd.readouterr()
        try:
            status = main([str(word) for word in words])
        except SystemExit as stop:
            status = int(stop.code or 0)
        out, err = capfd.readouterr()
        return Said(status, out, err)

    return run


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """An image folder without splits: 30 pictures each of bars that lie, bars that stand, and squares."""
    rng = np.random.default_rng(0)
    for label in ("lying", "square", "standing"):
        (tmp_path / "shapes" / label).mkdir(parents=True)
        for i in range(30):
            picture = rng.integers(0, 60, (24, 24, 3), dtype=np.uint8)
            top, left = rng.integers(2, 8, 2)
            height, width = {"lying": (4, 14), "square": (9, 9), "standing": (14, 4)}[label]
            picture[top : top + height, left : left + width] += 150
            Image.fromarray(picture).save(tmp_path / "shapes" / label / f"{label}{i}.png")
    return tmp_path / "shapes"


@pytest.fixture
def write_run() -> Callable[..., Path]:
    """Writes the folder of a run that was not made: with a recipe, an accuracy an epoch, and perhaps results."""
    from convatlas.training.recipe import Recipe
    from convatlas.training.run import Run

    def write(folder: Path, *, val: list[float], test: float | None = None, **fields: Any) -> Path:
        recipe = Recipe(**{"epochs": len(val), "mean": (0.3,), "std": (0.3,)} | fields)
        run = Run.create(recipe, folder)
        recipe.write(folder / "recipe.yaml", versions={})
        run.write_metrics(
            [
                {"epoch": i, "train_loss": 3 / i, "val_loss": 4 / i, "val_accuracy": accuracy, "seconds": 2.0}
                for i, accuracy in enumerate(val, start=1)
            ]
        )
        if test is not None:
            scores = {"val": {"accuracy": max(val)}, "test": {"accuracy": test}}
            run.write_results({"status": "done", "best_epoch": val.index(max(val)) + 1, **scores})
        return folder

    return write


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> "Run":
    """A quick run that has ended, to be looked at."""
    from trained import QUICK, go

    return go(QUICK, tmp_path_factory.mktemp("runs") / "first")
