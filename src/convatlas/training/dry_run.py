"""What a run would be: its recipe with nothing left open, its data, and what it takes of memory and time."""

import copy
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch

from convatlas.data.batches import Batch, Step
from convatlas.training import machine as machines
from convatlas.training.job import described
from convatlas.training.learning import Learning
from convatlas.training.optim import learning_rate
from convatlas.training.progress import Display
from convatlas.training.recipe import Recipe
from convatlas.training.report import duration
from convatlas.training.trial import endless, loss, trying
from convatlas.wording import some

MOST, ENOUGH = 20, 3.0
"""Steps that are timed, at most, and fewer where so many seconds are full before."""
LONG = 10.0
"""Seconds beyond which a step is not made, and its time is told from fewer images."""


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
    timed_images: int
    """In each of them: fewer than in a step of the run where that takes long."""
    machine: str
    compiled: bool
    """Whether the run would be compiled; what is timed is not."""

    @property
    def estimate(self) -> str:
        """What the time was told from, in words."""
        steps = f"{some(self.timed, 'step')} here"
        if self.timed_images >= self.images["train"] // self.steps:
            return steps
        return f"{steps} of {some(self.timed_images, 'image')} alone, in proportion and without reading any"

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
            f"validation; an estimate from {self.estimate}{compiled}",
            f"machine: {self.machine}",
        )
        return self.recipe.to_yaml(versions=machines.versions()) + "".join(f"# {line}\n" for line in remarks)


def dry_run(recipe: Recipe, *, quiet: bool = False) -> DryRun:
    """What `train` would do with the recipe; a few real steps are made to time them, and nothing is written.

    Raises InputError like `train`.
    """
    display = Display(quiet=quiet)
    with trying(recipe, display) as learning:
        job, splits = learning.job, learning.job.splits
        display.say(f"timing a few steps of up to {some(job.recipe.batch_size, 'image')}; nothing of them is kept")
        timed = times(learning)
        return DryRun(
            recipe=job.recipe, data=described(splits), classes=splits.classes,
            images={
                "train": len(splits.train), "val": len(splits.val),
                "test": 0 if splits.test is None else len(splits.test),
            },
            parameters=sum(p.numel() for p in job.network.parameters()), memory=memory_of(learning),
            free=machines.free_on(job.machine.device), steps=len(learning.batches),
            epoch_seconds=timed.of_a_step * len(learning.batches), timed=timed.steps, timed_images=timed.images,
            machine=str(job.machine), compiled=job.machine.compiled,
        )  # fmt: skip


class Timed(NamedTuple):
    """What a step takes."""

    of_a_step: float
    """Seconds."""
    steps: int
    """Told from so many."""
    images: int
    """In each of them."""


def times(learning: Learning) -> Timed:
    """How long a step of the recipe takes: the median of a few, or where one takes long, told from fewer images.

    Smaller and then larger parts of the first step are made before it. They fill caches, and where they tell that the
    whole would take long, it is left, and thought to take as much for each image as the largest part that was made.
    """
    recipe, steps = learning.job.recipe, endless(learning)

    def seconds(steps: Iterator[Step]) -> float:
        started = time.perf_counter()
        loss(learning, next(steps), learning_rate(recipe, learning.step, steps_per_epoch=len(learning.batches)))
        return time.perf_counter() - started

    whole = next(steps)
    at_once = whole.parts[0]
    seconds(iter([part_of(at_once, 2)]))  # the very first is slower
    smaller = [2**n for n in range(1, 32) if 2**n < len(at_once.labels)]
    for images, following in pairwise([*smaller, whole.images]):
        taken = seconds(iter([part_of(at_once, images)]))
        if taken * following / images > LONG:
            return Timed(taken * whole.images / images, 1, images)
    seconds(iter([whole]))  # and the first of its size
    several = [seconds(steps)]
    while len(several) < MOST and sum(several) < ENOUGH:
        several.append(seconds(steps))
    return Timed(statistics.median(several), len(several), whole.images)


def part_of(batch: Batch, images: int) -> Step:
    """A step of the batch's first images alone."""
    part = Batch._make(None if tensor is None else tensor[:images] for tensor in batch)
    return Step(len(part.labels), [part])


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
