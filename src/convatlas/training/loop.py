"""The loop: learn epoch by epoch, keep the best, test once at the end."""

import copy
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.tracking import TensorBoardTracker
from accelerate.utils import TorchDynamoPlugin
from torch import Tensor, nn

from convatlas.data.batches import Augmentation, Batches, in_order
from convatlas.data.chance import seed_torch
from convatlas.devices import exact
from convatlas.errors import InputError, WorkError
from convatlas.network import Answers, Network
from convatlas.training import machine as machines
from convatlas.training.evaluation import answer, batch_of, evaluate
from convatlas.training.job import Job, prepare
from convatlas.training.machine import out_of_memory
from convatlas.training.optim import learning_rate, loss_of, make_optimizer
from convatlas.training.progress import Display
from convatlas.training.recipe import Recipe
from convatlas.training.run import Row, Run, State
from convatlas.weights.bundle import load_trained

SAVE_EVERY = 10.0
"""Seconds between two checkpoints at least: an epoch can be shorter than the writing of one."""


def train(recipe: Recipe, *, output: str | Path | None = None, quiet: bool = False) -> Run:
    """Train as the recipe says, into the folder `output` or a new one under `runs/`.

    Raises InputError, before anything is written, for a recipe, data or a machine that do not go together, and
    WorkError where the network does not learn. After an interrupt (Ctrl-C) the best weights so far are in the
    folder, `results["status"]` is "interrupted", and `resume` goes on.
    """
    display = Display(quiet=quiet)
    with alone():
        if output is not None:
            Run.check_free(output)
        job = prepare(recipe, display)
        run = Run.create(recipe, output)
        with run.held():
            job.recipe.write(run.directory / "recipe.yaml", versions=machines.versions())
            run.write_split(job.splits)
            return learn(job, run, display, saved=None)


def resume(directory: str | Path, *, quiet: bool = False) -> Run:
    """Go on with an interrupted run from its last checkpoint, to the same weights as if it had not been stopped.

    Raises InputError for a folder that holds no run or one that another process trains, for data that are not what
    they were, and where no checkpoint can be read; WorkError like `train`.
    """
    run = Run(Path(directory).expanduser())
    if not (run.directory / "recipe.yaml").is_file():
        raise InputError(f"{directory} holds no recipe.yaml, so no run to go on with; name the folder of a run")
    display = Display(quiet=quiet)
    if (run.directory / "results.json").is_file() and run.results["status"] == "done":
        display.say(f"{run.directory} has ended already; there is nothing to go on with")
        return run
    with alone(), run.held():
        saved = run.load_state()
        job = prepare(Recipe.read(run.directory / "recipe.yaml"), display)
        if saved is not None and saved["data"] != job.splits.fingerprint():
            raise InputError(
                f"{job.recipe.data} is not what {run.directory} was trained on; put the images back as they were"
            )
        if saved is not None:
            job.bundle.save(run.directory, saved["best"])  # what is there may be of an epoch after the checkpoint
            display.say(f"going on after epoch {len(saved['rows'])}")
        return learn(job, run, display, saved=saved)


TRAINING = threading.Lock()


@contextmanager
def alone() -> Iterator[None]:
    """One training at a time in a process: they share torch's generator, which is put back, and Accelerate's state."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("training on several processes is not there yet; start one")
    with TRAINING, torch.random.fork_rng(devices=range(torch.cuda.device_count())), exact():
        try:
            yield
        finally:
            AcceleratorState._reset_state(reset_partial_state=True)


class Learner(nn.Module):
    """A network as a training step calls it: with the answers of its auxiliary classifiers."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Answers:
        """`(N, C, H, W)` to the logits of all classifiers."""
        return self.network.heads(x)


def learn(job: Job, run: Run, display: Display, *, saved: State | None) -> Run:
    """Train from the checkpoint, or from the beginning, to the end; then test and report."""
    recipe, machine = job.recipe, job.machine
    assert recipe.epochs is not None
    machines.keep_freed_memory(saving=getattr(job.network.spec, "saving", False))
    accelerator = Accelerator(
        mixed_precision="bf16" if machine.precision == "bf16" else "no",
        cpu=machine.device == "cpu",
        # Batches come in two sizes, so code for each of them is less than code for any: two short compilations.
        dynamo_plugin=TorchDynamoPlugin(backend="inductor" if machine.compiled else "no", dynamic=False),
        log_with=TensorBoardTracker(".", logging_dir=run.directory),
    )
    accelerator.init_trackers("convatlas")
    layout = torch.channels_last if machine.channels_last else torch.contiguous_format
    own_network = job.network.to(accelerator.device, memory_format=layout)  # type: ignore[call-overload]
    # The optimiser goes without a wrapper: there are no gradients to unscale in bf16, and a look at what is
    # installed, at every step, takes a twentieth of the time of a LeNet.
    network, optimizer = accelerator.prepare(Learner(own_network)), make_optimizer(own_network, recipe)
    batches = Batches(
        pixels=job.splits.train.to(accelerator.device), preparation=job.bundle.images,
        augmentation=Augmentation(flip=bool(recipe.flip), crop=recipe.crop, colour=recipe.colour, erase=recipe.erase),
        batch_size=recipe.batch_size, seed=recipe.seed, channels_last=machine.channels_last,
    )  # fmt: skip

    rows: list[Row] = []
    if saved is not None:
        own_network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        rows = list(saved["rows"])
    best = max(rows, key=standing, default=None)
    best_weights = saved["best"] if saved is not None else {}
    state, last_save, data = saved, time.monotonic(), job.splits.fingerprint()

    with interrupts() as stop, out_of_memory(), display.training(
        epochs=recipe.epochs, steps=len(batches), done=len(rows), compiled=machine.compiled
    ):  # fmt: skip
        for epoch in range(len(rows), recipe.epochs):
            row = train_epoch(epoch, network, optimizer, batches, recipe, accelerator, stop, display)
            whole = not stop
            if not whole and rows:
                break
            row |= validate(own_network, job, accelerator)
            better = best is None or standing(row) > standing(best)
            if better:
                best, best_weights = row, copy.deepcopy(own_network.state_dict())
                job.bundle.save(run.directory, best_weights)
            if not whole:
                break
            rows.append(row)
            run.write_metrics(rows)
            accelerator.log({k: v for k, v in row.items() if k != "epoch"}, step=epoch + 1)
            display.epoch(row, epochs=recipe.epochs, best=better)
            state = State(
                network=copy.deepcopy(own_network.state_dict()), optimizer=copy.deepcopy(optimizer.state_dict()),
                best=best_weights, rows=list(rows), data=data,
            )  # fmt: skip
            if time.monotonic() - last_save > SAVE_EVERY:
                run.save_state(state)
                last_save = time.monotonic()
            if stop:
                break
    if state is not None:
        run.save_state(state)  # of the last epoch that was ended, which was perhaps not yet due
    accelerator.end_training()
    assert best is not None
    return finish(job, run, best, interrupted=len(rows) < recipe.epochs, display=display)


def train_epoch(
    epoch: int,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    recipe: Recipe,
    accelerator: Accelerator,
    stop: list[int],
    display: Display,
) -> Row:
    """One pass over the training images; the row of `metrics.csv` so far. Ends early where `stop` is not empty."""
    network.train()
    started, seen = time.perf_counter(), 0
    total_loss = torch.zeros((), device=accelerator.device)
    right = torch.zeros((), device=accelerator.device)
    for step, (_, (batch,)) in enumerate(batches.epoch(epoch), start=epoch * len(batches)):
        lr = learning_rate(recipe, step, steps_per_epoch=len(batches))
        for group in optimizer.param_groups:
            group["lr"] = lr
        seed_torch(recipe.seed, "step", step)  # for what a network draws itself, such as dropout

        answers = network(batch.images)
        loss = loss_of(answers, batch.labels, recipe)
        optimizer.zero_grad()
        accelerator.backward(loss)
        if recipe.clip:
            accelerator.clip_grad_norm_(network.parameters(), recipe.clip)
        optimizer.step()

        seen += len(batch.labels)
        total_loss += loss.detach() * len(batch.labels)
        right += (answers.logits.detach().argmax(1) == batch.labels).sum()
        if step % 10 == 0 or seen == len(batches.pixels):
            check_finite(total_loss, epoch)
            display.step(
                done=step + 1, epoch=epoch + 1, loss=total_loss.item() / seen, accuracy=100 * right.item() / seen,
                speed=seen / (time.perf_counter() - started),
            )  # fmt: skip
        if stop:
            break
    seconds = time.perf_counter() - started
    check_finite(total_loss, epoch)
    return {
        "epoch": epoch + 1,
        "lr": lr,
        "train_loss": total_loss.item() / seen,
        "train_accuracy": 100 * right.item() / seen,
        "images_per_second": seen / seconds,
        "seconds": seconds,
    }


def check_finite(loss: Tensor, epoch: int) -> None:
    """Raise WorkError where the loss is no number any more."""
    if not math.isfinite(loss.item()):
        raise WorkError(f"the loss grew beyond all numbers in epoch {epoch + 1}; choose a smaller --lr or --clip 1")


def validate(network: nn.Module, job: Job, accelerator: Accelerator) -> Row:
    """The validation images' part of an epoch's row."""
    answers = answer(
        network,
        in_order(
            job.splits.val, job.bundle.images, batch_size=batch_of(job.splits.val), device=accelerator.device,
            channels_last=job.machine.channels_last,
        ),
    )  # fmt: skip
    return {"val_loss": answers.loss, "val_accuracy": answers.accuracy}


def standing(row: Row) -> tuple[float, float]:
    """The best epoch has the highest validation accuracy, and of those the lowest loss."""
    return row["val_accuracy"], -row["val_loss"]


def finish(job: Job, run: Run, best: Row, *, interrupted: bool, display: Display) -> Run:
    """Test the best weights, once and only at the end, and write the results and the report."""
    from convatlas.training.report import write_report

    _, network = load_trained(run.directory)
    device = job.machine.device
    val = evaluate(network, job.splits.val, job.bundle.images, device=device)
    results: dict[str, Any] = {
        "status": "interrupted" if interrupted else "done",
        "model": job.recipe.model,
        "data": job.recipe.data,
        "parameters": sum(p.numel() for p in job.network.parameters()),
        "images": {
            "train": len(job.splits.train),
            "val": len(job.splits.val),
            "test": 0 if job.splits.test is None else len(job.splits.test),
            "skipped": len(job.splits.skipped),
        },
        "split": job.splits.how,
        "best_epoch": best["epoch"],
        "val": val.scores(),
        "test": None,
        "note": "the best epoch was chosen on the validation images",
        "machine": machines.described(job.machine),
        "versions": machines.versions(),
    }
    pixels, answers = job.splits.val, val
    if interrupted:
        results["note"] += "; the run was interrupted, and the test images were not read"
    elif job.splits.test is None:
        results["note"] += "; the data set has no test images"
    else:
        pixels, answers = job.splits.test, evaluate(network, job.splits.test, job.bundle.images, device=device)
        results["test"] = answers.scores()
        results["note"] += ", and the test images were read once, at the end, in float32"
    write_report(
        run, recipe=job.recipe, bundle=job.bundle, splits=job.splits, results=results, pixels=pixels, answers=answers
    )  # fmt: skip
    run.write_results(results)  # last: a run that has them has ended
    display.say(f"report: {run.directory / 'report.html'}")
    return run


@contextmanager
def interrupts() -> Iterator[list[int]]:
    """A list that is empty until Ctrl-C or SIGTERM asks for an end; a second one ends at once."""
    asked: list[int] = []

    def ask(number: int, _: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    try:
        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread, where signals do not arrive
        before = {}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
