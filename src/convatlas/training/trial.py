"""A few real steps of a recipe, of which nothing is kept: to see how long they take, and how the loss goes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from convatlas.errors import InputError
from convatlas.training import machine as machines
from convatlas.training.job import prepare
from convatlas.training.learning import Learning, make_accelerator
from convatlas.training.loop import alone
from convatlas.training.machine import out_of_memory
from convatlas.training.optim import loss_of
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
        machines.keep_freed_memory(saving=getattr(job.network.spec, "saving", False))
        with out_of_memory():
            yield Learning(job, make_accelerator(eager))


def losses(learning: Learning, rate: Callable[[int], float]) -> Iterator[float]:
    """The loss of one step after another, in nats, without end: epoch follows epoch.

    `rate` is the learning rate at a step, counted from 0; groups of weights that learn slower do so here too.
    """
    recipe, accelerator, optimizer = learning.job.recipe, learning.accelerator, learning.optimizer
    while True:
        for step in learning.steps():
            for group in optimizer.param_groups:
                group["lr"] = group.get("factor", 1.0) * rate(learning.step)
            optimizer.zero_grad()
            total = 0.0
            for part, batch in enumerate(step.parts):
                learning.seed(part)
                loss = loss_of(learning.learner(batch.images), batch.labels, recipe)
                loss = loss * len(batch.labels) / step.images
                accelerator.backward(loss)
                total += loss.item()
            if recipe.clip:
                accelerator.clip_grad_norm_(learning.learner.parameters(), recipe.clip)
            optimizer.step()
            learning.step += 1
            yield total
