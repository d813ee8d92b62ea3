"""The loop: learn step by step, keep the best epoch, test once at the end."""

import math
import signal
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from types import FrameType

import torch

from convatlas.data.batches import Shard, Step, in_order
from convatlas.data.tables import is_pattern
from convatlas.devices import exact, out_of_memory
from convatlas.errors import InputError, WorkError
from convatlas.training import machine as machines
from convatlas.training.ending import finish
from convatlas.training.evaluation import answer, batch_of
from convatlas.training.job import Job, asked_otherwise, prepare
from convatlas.training.learning import Learning, best_of, make_accelerator
from convatlas.training.optim import learning_rate, loss_of, set_rate, standing
from convatlas.training.processes import added, agreed, check_devices, joined, launch, several, told
from convatlas.training.profiling import check_profile, part, profiling
from convatlas.training.progress import Display
from convatlas.training.recipe import Recipe
from convatlas.training.run import Row, Run, State
from convatlas.training.trackers import Logger, check_loggers, remember, trackers, tracking

SAVE_EVERY = 10.0
"""Seconds between two checkpoints, at least."""
SHARE = 20
"""And at least so many times what the last one took: they cost a twentieth of the time at most."""
AGREE_EVERY = 10
"""Steps after which several processes agree whether to stop or to save."""


def train(
    recipe: Recipe,
    *,
    output: str | Path | None = None,
    devices: int = 1,
    loggers: Sequence[Logger] = (),
    profile: bool = False,
    quiet: bool = False,
) -> Run:
    """Train as the recipe says, into the folder `output` or a new one under `runs/`, on so many GPUs or processes.

    The figures go to `loggers` too, such as "wandb". With `profile`, some of the first steps are traced, and the run
    has a folder `profile` that says where their time went. Raises InputError, before anything is written, for a
    recipe, data or a machine that do not go together, and WorkError where the network does not learn. After an
    interrupt (Ctrl-C) the best weights so far are in the folder, `results["status"]` is "interrupted", and `resume`
    goes on. Of several processes that others have started (torchrun, `accelerate launch`) each calls this; one that is
    started again goes on with the run in `output`.
    """
    check_devices(devices, recipe.device)
    check_loggers(loggers)
    with alone(recipe.device) as shard:
        display = Display(quiet=quiet or shard.rank > 0 or devices > 1)
        if output is not None and several() and (Path(output) / "recipe.yaml").is_file():
            return go_on(Run(Path(output).expanduser()), shard, display, asked=recipe)
        if output is not None:
            Run.check_free(output)
        job = prepare(recipe, display, Shard(0, devices) if devices > 1 else shard)
        if profile:
            assert job.recipe.epochs is not None
            check_profile(job.recipe.epochs * -(-len(job.splits.train) // job.recipe.batch_size))
        run = told(begin(job, output, loggers) if shard.rank == 0 else None)
        if devices == 1:
            with run.held() if shard.rank == 0 else nullcontext():
                return learn(job, run, display, saved=None, profile=profile)
    return together(run, devices)


def together(run: Run, devices: int) -> Run:
    """Train what is left of a run in so many processes. Raises WorkError where one of them fails."""
    status = launch(one_of_several, run.directory, devices=devices)
    if status not in (0, 130):
        raise WorkError(f"a process failed; go on with convatlas resume {run.directory} --devices {devices}")
    if not (run.directory / "results.json").is_file():
        raise KeyboardInterrupt(f"interrupted; go on with convatlas resume {run.directory} --devices {devices}")
    return run


def one_of_several(directory: str) -> None:
    """What each process does that `together` starts."""
    try:
        resume(directory)
    except (InputError, WorkError) as error:
        raise SystemExit(f"convatlas: {error}") from None
    except Exception:
        traceback.print_exc()  # what is raised beyond this, the launcher keeps to itself
        raise


def begin(job: Job, output: str | Path | None, loggers: Sequence[Logger]) -> Run:
    """The folder of a new run, with its recipe, its split and its loggers."""
    run = Run.create(job.recipe, output)
    remember(run, loggers)
    run.write_split(job.splits)
    job.recipe.write(run.directory / "recipe.yaml", versions=machines.versions())  # last: `resume` looks for it
    return run


def resume(directory: str | Path, *, devices: int = 1, loggers: Sequence[Logger] = (), quiet: bool = False) -> Run:
    """Go on with an interrupted run from its last checkpoint, to the same weights as if it had not been stopped.

    The figures go on to the loggers that it had, and to these. Raises InputError for a folder that holds no run or one
    that another process trains, for a recipe or data that are not what they were, and where no checkpoint can be read;
    WorkError like `train`.
    """
    run = Run(Path(directory).expanduser())
    if not (run.directory / "recipe.yaml").is_file():
        raise InputError(f"{directory} holds no recipe.yaml, so no run to go on with; name the folder of a run")
    device = Recipe.read(run.directory / "recipe.yaml").device
    check_devices(devices, device)
    check_loggers(loggers)
    if devices > 1:
        remember(run, loggers)
        return together(run, devices)
    with alone(device) as shard:
        if shard.rank == 0:
            remember(run, loggers)
        return go_on(run, shard, Display(quiet=quiet or shard.rank > 0))


def go_on(run: Run, shard: Shard, display: Display, *, asked: Recipe | None = None) -> Run:
    """Train what is left of a run. Raises InputError where another recipe is asked for than the run's."""
    recipe = Recipe.read(run.directory / "recipe.yaml")
    if asked is not None and (other := asked_otherwise(asked, recipe)):
        raise InputError(f"{run.directory} holds a run of another recipe ({other}); choose another --output")
    if (run.directory / "results.json").is_file() and run.results["status"] == "done":
        display.say(f"{run.directory} has ended already; there is nothing to go on with")
        return run
    if Path(recipe.data).is_absolute() and not is_pattern(recipe.data) and not Path(recipe.data).exists():
        raise InputError(
            f"{recipe.data}, which {run.directory} learns from, is not there any more; put it back, or write where it "
            f"is now as data in {run.directory / 'recipe.yaml'}"
        )
    with run.held() if shard.rank == 0 else nullcontext():
        saved = run.load_state(display.say)
        job = prepare(recipe, display, shard, begun=saved is not None)
        if saved is not None and saved["data"] != job.splits.fingerprint():
            changed = run.images_that_changed(job.splits) or "the content of some images changed"
            raise InputError(
                f"{recipe.data} is not what the run was trained on ({changed}); put the images back as they were"
            )
        return learn(job, run, display, saved=saved)


COMPILER = ("torch._dynamo", "torch._inductor")
"""Where the errors are from of a network that cannot be compiled; to import them takes two seconds."""
TRAINING = threading.Lock()


@contextmanager
def alone(device: str) -> Iterator[Shard]:
    """One training at a time in a process: they share torch's generator, which is put back, and Accelerate's state.

    What comes is which of the processes that train together this is.
    """
    with TRAINING, torch.random.fork_rng(devices=range(torch.cuda.device_count())), exact(), joined(device) as shard:
        yield shard


class Keeper:
    """Writes a checkpoint when one is due: so often that little is lost, and so seldom that it costs little."""

    def __init__(self, run: Run) -> None:
        self.run, self.last, self.cost = run, time.monotonic(), 0.0

    @property
    def due(self) -> bool:
        """Whether the last one is long ago."""
        return time.monotonic() - self.last > max(SAVE_EVERY, SHARE * self.cost)

    def keep(self, learning: Learning) -> None:
        """Write one; the first process does, and all have to ask for it."""
        started = time.monotonic()
        state = learning.state()
        if learning.accelerator.is_main_process:
            self.run.save_state(state)
        self.last = time.monotonic()
        self.cost = self.last - started


def learn(job: Job, run: Run, display: Display, *, saved: State | None, profile: bool = False) -> Run:
    """Train from the checkpoint, or from the beginning, to the end; then test and report."""
    recipe, machine = job.recipe, job.machine
    assert recipe.epochs is not None
    machines.keep_freed_memory()
    accelerator = make_accelerator(job, trackers(run))
    learning, keeper = Learning(job, accelerator), Keeper(run)
    if saved is not None:
        learning.restore(saved)
        if saved["best"] and accelerator.is_main_process:
            job.bundle.save(run.directory, saved["best"])  # what is there may be of an epoch after the checkpoint
        display.say(f"going on after step {learning.step:,}, in epoch {learning.epoch + 1}")
    elif not learning.sharded:  # to gather the state of such an optimiser, torch makes a step of it
        keeper.keep(learning)  # by which a change of recipe or data is told, however soon the run is stopped
    best, stopped = best_of(learning.rows), False

    steps = recipe.epochs * len(learning.batches)
    with interrupts() as stop, out_of_memory(), tracking(accelerator, run, recipe), display.training(
        epochs=recipe.epochs, steps=len(learning.batches), done=learning.step, compiled=machine.compiled
    ), closing(learning.batches.steps(learning.step, steps)) as learning.stream, profiling(
        run.directory / "profile" if profile else None, steps=steps
    ) as learning.after_step:  # fmt: skip
        while not stopped and not learning.ended:
            stopped = train_epoch(learning, keeper, stop, display)
            if stopped and learning.rows:
                break
            with part("validation"):
                row = learning.row() | validate(learning)
            better = best is None or standing(row) > standing(best)
            if better:
                best, learning.best = row, learning.weights()
                if accelerator.is_main_process:
                    job.bundle.save(run.directory, learning.best)
            if stopped:
                break
            learning.end_epoch(row)
            if accelerator.is_main_process:
                run.write_metrics(learning.rows)
            accelerator.log({k: v for k, v in row.items() if k != "epoch"}, step=int(row["epoch"]))
            display.epoch(row, epochs=recipe.epochs, best=better)
            stopped, due = agreed(accelerator, bool(stop), keeper.due)
            if due:
                keeper.keep(learning)
    interrupted = stopped and not learning.ended
    if not learning.rows:
        learning.best = {}  # of an epoch that will go on
    keeper.keep(learning)
    assert best is not None
    if accelerator.is_main_process:
        finish(learning.job, run, best, epochs=len(learning.rows), interrupted=interrupted, display=display)
    accelerator.wait_for_everyone()  # what was written is there for all
    accelerator.end_training()
    return run


def train_epoch(learning: Learning, keeper: Keeper, stop: list[int], display: Display) -> bool:
    """What is left of a pass over the training images. True where it was stopped before its end."""
    recipe, accelerator, sums = learning.job.recipe, learning.accelerator, learning.sums
    steps, epoch, world = len(learning.batches), learning.epoch, accelerator.num_processes
    last = time.perf_counter()
    for step in learning.steps():
        lr = learning_rate(recipe, learning.step, steps_per_epoch=steps, rows=learning.rows)
        before = learning.before_compiling(step)
        try:
            take_step(learning, step, lr)
        except RuntimeError as error:
            if not type(error).__module__.startswith(COMPILER) or not learning.leave_uncompiled(before):
                raise
            why = " ".join(str(error).split())[:200]
            display.say(f"{recipe.model} cannot be compiled here, and is trained as it is ({why})")
            take_step(learning, step, lr)

        now = time.perf_counter()
        sums.seconds, last = sums.seconds + now - last, now
        ends = learning.step % steps == 0
        if learning.step % 10 == 1 or ends:
            with part("logging"):
                check_finite(sums.counted[0].item(), epoch)
                display.step(done=learning.step, epoch=epoch + 1, sums=sums(), world=world)
        if not ends and (world == 1 or learning.step % AGREE_EVERY == 0):
            stopped, due = agreed(accelerator, bool(stop), keeper.due)
            if stopped:
                return True
            if due:
                keeper.keep(learning)
                last = time.perf_counter()
        learning.after_step()
    return False


def take_step(learning: Learning, step: Step, lr: float) -> None:
    """Forwards, backwards, and what the optimiser makes of it; the sums get how it went."""
    recipe, accelerator, optimizer, parts = learning.job.recipe, learning.accelerator, learning.optimizer, step.parts
    learning.lr = lr
    set_rate(optimizer, lr)
    optimizer.zero_grad()
    for number, batch in enumerate(parts):
        learning.seed(accelerator.process_index * len(parts) + number)
        with nullcontext() if batch is parts[-1] else accelerator.no_sync(learning.learner):
            with part("forward"):
                answers = learning.learner(batch.images)
                loss = loss_of(answers, batch, recipe, learning.class_weights)
            with part("backward"):  # of several processes' gradients the mean is taken
                accelerator.backward(loss * (len(batch.labels) * accelerator.num_processes / step.images))
        right = (answers.logits.detach().argmax(1) == batch.labels).sum()
        learning.sums.counted += torch.stack([loss.detach() * len(batch.labels), right])
    with part("optimiser"):
        if recipe.clip:
            accelerator.clip_grad_norm_(learning.learner.parameters(), recipe.clip)
        optimizer.step()
        if learning.average is not None:
            learning.average.update_parameters(learning.network)
    learning.step += 1
    learning.sums.images += step.images


def check_finite(loss: float, epoch: int) -> None:
    """Raise WorkError where the loss is no number any more."""
    if not math.isfinite(loss):
        raise WorkError(f"the loss grew beyond all numbers in epoch {epoch + 1}; choose a smaller --lr or --clip 1")


def validate(learning: Learning) -> Row:
    """The validation images' part of an epoch's row; each process looks at its share of them."""
    job, accelerator = learning.job, learning.accelerator
    batches = in_order(
        job.splits.val, job.bundle.images, batch_size=batch_of(job.splits.val), device=accelerator.device,
        channels_last=job.machine.channels_last, shard=learning.batches.shard,
    )  # fmt: skip
    sums = torch.zeros(2, dtype=torch.float64)
    if learning.batches.shard.rank < len(job.splits.val):  # or else there are more processes than images
        answers = answer(learning.judged, batches)
        sums = torch.tensor([answers.loss * answers.total, answers.right], dtype=torch.float64)
    loss, right = added(accelerator, sums.to(accelerator.device, torch.float32)).tolist()
    return {"val_loss": loss / len(job.splits.val), "val_accuracy": 100 * right / len(job.splits.val)}


@contextmanager
def interrupts() -> Iterator[list[int]]:
    """A list that is empty until Ctrl-C or SIGTERM asks for an end; the same a second time ends at once."""
    asked: list[int] = []

    def ask(number: int, _: FrameType | None) -> None:
        if number in asked and not several():  # a launcher passes Ctrl-C on to processes that had it already
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
