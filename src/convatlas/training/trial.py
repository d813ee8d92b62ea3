"""A few real steps of a recipe, of which nothing is kept: to see how long they take, and how the loss goes."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

from convatlas.data.batches import Step
from convatlas.devices import out_of_memory
from convatlas.errors import InputError
from convatlas.training import machine as machines
from convatlas.training.job import prepare
from convatlas.training.learning import Learning, Sums, make_accelerator
from convatlas.training.loop import alone, take_step
from convatlas.training.progress import Display
from convatlas.training.recipe import Recipe


@contextmanager
def trying(recipe: Recipe, display: Display) -> Iterator[Learning]:
    """The recipe's network, data and optimiser, ready to learn, without a folder; nothing is compiled.

    Raises InputError like `train`.
    """
    with alone(recipe.device) as shard:
        if shard.world > 1:
            raise InputError("a trial takes one process; start it without torchrun or `accelerate launch`")
        job = prepare(recipe, display)
        eager = replace(job, machine=replace(job.machine, compiled=False))  # a compilation takes longer than a trial
        machines.keep_freed_memory()
        with out_of_memory():
            learning = Learning(job, make_accelerator(eager))
            with closing(learning.batches.steps()) as learning.stream:
                yield learning


def losses(learning: Learning, rate: Callable[[int], float]) -> Iterator[float]:
    """The loss of one step after another, in nats, without end.

    `rate` is the learning rate at a step, counted from 0; stages that learn slower do so here too.
    """
    return (loss(learning, step, rate(learning.step)) for step in endless(learning))


def endless(learning: Learning) -> Iterator[Step]:
    """One step after another, to be made: epoch follows epoch."""
    while True:
        yield from learning.steps()


def loss(learning: Learning, step: Step, rate: float) -> float:
    """The loss of a step, in nats, which is made."""
    learning.sums = Sums(learning.accelerator.device)
    take_step(learning, step, rate)
    return learning.sums()["loss"] / step.images
