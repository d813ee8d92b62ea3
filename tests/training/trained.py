"""Quick runs, and how two of them are compared."""

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file

import convatlas as ca
from convatlas import Recipe
from convatlas.training.run import Row, Run

QUICK = Recipe(model="lenet", data="digits", epochs=3, batch_size=256)


def go(recipe: Recipe, output: Path) -> Run:
    return ca.train(recipe, output=output, quiet=True)


def weights(run: Run) -> dict[str, torch.Tensor]:
    return load_file(run.directory / "model.safetensors")


def equal(one: Run, other: Run) -> bool:
    return all(torch.equal(value, weights(other)[key]) for key, value in weights(one).items())


def without_time(rows: Sequence[Row]) -> list[Row]:
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in rows]


def wait_for(path: Path, child: "subprocess.Popen[str]") -> None:
    """Return when the file is there, as long as the process lives."""
    until = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < until
        assert child.poll() is None, child.stderr.read() if child.stderr else ""
        time.sleep(0.05)
