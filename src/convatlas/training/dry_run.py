"""What a run would be: its recipe with nothing left open, its data, and what it takes of memory and time."""

import copy
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from convatlas.training import machine as machines
from convatlas.training.job import described
from convatlas.training.learning import Learning
from convatlas.training.optim import learning_rate
from convatlas.training.progress import Display
from convatlas.training.recipe import Recipe
from convatlas.training.report import duration
from convatlas.training.trial import losses, trying
from convatlas.wording import some

WARM = 2
"""Steps that are made before any is timed: the first are slower."""
LEAST, MOST, ENOUGH = 3, 20, 3.0
"""Steps that are timed, at least and at most, and in between as many as so many seconds hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """What a run would be, of which nothing is written."""

    recipe: Recipe
    """With nothing left open."""
    data: str
    """The classes and the parts, in words."""
    classes: Sequence[str]
    images: dict[str, int]
    """To train, to validate and to test."""
    parameters: int
    memory: int
    """Bytes that a step takes, about: what the backward pass keeps, the weights, their gradients and the optimiser."""
    free: int
    """Bytes that are free on the device."""
    steps: int
    """An epoch."""
    epoch_seconds: float
    """Of training, about, as `timed` steps took on this machine."""
    timed: int
    machine: str
    compiled: bool
    """Whether the run would be compiled; what is timed is not."""

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return asdict(self) | {"classes": list(self.classes), "epoch_seconds": round(self.epoch_seconds, 3)}

    def to_yaml(self) -> str:
        """The recipe as a file that `--recipe` takes, and the rest as remarks in it."""
        assert self.recipe.epochs is not None
        parts = f" in {self.recipe.accumulate} parts" if self.recipe.accumulate != 1 else ""
        compiled = "; the run is compiled, and quicker once it is" if self.compiled else ""
        remarks = (
            f"data: {self.data}",
            f"network: {self.parameters:,} parameters",
            f"memory: about {amount(self.memory)} for a step of {some(self.recipe.batch_size, 'image')}{parts}, of "
            f"{amount(self.free)} that are free",
            f"time: about {duration(self.epoch_seconds)} an epoch of {some(self.steps, 'step')}, so "
            f"{duration(self.recipe.epochs * self.epoch_seconds)} for {some(self.recipe.epochs, 'epoch')}, without "
            f"validation; an estimate from {self.timed} steps here{compiled}",
            f"machine: {self.machine}",
        )
        return self.recipe.to_yaml(versions=machines.versions()) + "".join(f"# {line}\n" for line in remarks)


def dry_run(recipe: Recipe, *, quiet: bool = False) -> DryRun:
    """What `train` would do with the recipe; a few real steps are made to time them, and nothing is written.

    Raises InputError like `train`.
    """
    with trying(recipe, Display(quiet=quiet)) as learning:
        job, splits = learning.job, learning.job.splits
        seconds = times(learning)
        return DryRun(
            recipe=job.recipe, data=described(splits), classes=splits.classes,
            images={
                "train": len(splits.train), "val": len(splits.val),
                "test": 0 if splits.test is None else len(splits.test),
            },
            parameters=sum(p.numel() for p in job.network.parameters()), memory=memory_of(learning),
            free=machines.free_memory(job.machine.device), steps=len(learning.batches),
            epoch_seconds=statistics.median(seconds) * len(learning.batches), timed=len(seconds),
            machine=str(job.machine), compiled=job.machine.compiled,
        )  # fmt: skip


def times(learning: Learning) -> list[float]:
    """Seconds that each of a few steps took, at the recipe's batch size and after a warm-up."""
    recipe, steps = learning.job.recipe, len(learning.batches)
    going = losses(learning, lambda step: learning_rate(recipe, step, steps_per_epoch=steps))
    for _ in range(WARM):
        next(going)
    seconds: list[float] = []
    while len(seconds) < LEAST or (len(seconds) < MOST and sum(seconds) < ENOUGH):
        started = time.perf_counter()
        next(going)
        seconds.append(time.perf_counter() - started)
    return seconds


def memory_of(learning: Learning) -> int:
    """Bytes that a step takes, about, once one was made."""
    job, network = learning.job, learning.network
    recipe = job.recipe
    assert recipe.accumulate is not None
    at_once = -(-min(recipe.batch_size, len(job.splits.train)) // recipe.accumulate)
    image = machines.bytes_an_image(copy.deepcopy(network).cpu(), job.bundle.images.size, at_once)
    kept = [*network.state_dict().values(), *(p.grad for p in network.parameters() if p.grad is not None)]
    kept += [value for state in learning.optimizer.state.values() for value in state.values() if torch.is_tensor(value)]
    kept += learning.average.state_dict().values() if learning.average is not None else ()
    return round(at_once * image) + sum(int(tensor.nbytes) for tensor in kept)


def amount(memory: int) -> str:
    """`40 MB`, `3.2 GB`."""
    return f"{memory / 2**30:.1f} GB" if memory >= 2**30 else f"{memory / 2**20:.0f} MB"
