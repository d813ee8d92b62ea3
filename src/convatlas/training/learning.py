"""A run as it goes: what changes step by step, and so what a checkpoint holds."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker
from accelerate.utils import DistributedDataParallelKwargs, TorchDynamoPlugin
from torch import Tensor, nn

from convatlas.data.batches import Batches, Shard, Step
from convatlas.data.chance import mix, seed_torch
from convatlas.errors import InputError
from convatlas.layers.depth import StochasticDepth
from convatlas.network import Answers, Network
from convatlas.training.average import averaged
from convatlas.training.freezing import freeze, frozen_stages
from convatlas.training.job import Job
from convatlas.training.optim import balanced, make_optimizer, standing
from convatlas.training.processes import (
    added,
    shard_weights,
    synchronize,
    take_states,
    whole_states,
    whole_weights,
)
from convatlas.training.profiling import part
from convatlas.training.run import Row, State


class Learner(nn.Module):
    """A network as a training step calls it: with the answers of its auxiliary classifiers."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Answers:
        """`(N, C, H, W)` to the logits of all classifiers."""
        return self.network.heads(x)


@dataclass
class Sums:
    """Of the steps of an epoch so far. What is counted on the device stays there, so that no step waits for it."""

    device: torch.device
    images: int = 0
    seconds: float = 0.0
    counted: Tensor = field(init=False)
    """(2,): the losses of this process's images added up, in nats, and how many it named rightly."""

    def __post_init__(self) -> None:
        self.counted = torch.zeros(2, device=self.device)

    def __call__(self) -> dict[str, float]:
        """The sums as numbers."""
        loss, right = self.counted.tolist()
        return {"images": self.images, "seconds": self.seconds, "loss": loss, "right": right}

    def restore(self, sums: Mapping[str, float]) -> None:
        """Go on from these."""
        self.images, self.seconds = int(sums["images"]), sums["seconds"]
        self.counted = torch.tensor([sums["loss"], sums["right"]], device=self.device)


class Learning:
    """A network, its optimiser and its average as they learn, and how far they have come."""

    def __init__(self, job: Job, accelerator: Accelerator) -> None:
        recipe, machine = job.recipe, job.machine
        assert recipe.accumulate is not None
        self.job, self.accelerator = job, accelerator
        self.sharded = recipe.sharded  # and so are its checkpoints, whatever number of processes goes on with them
        # FSDP takes weights as they lie in memory by themselves; images come with their channels last all the same.
        last = machine.channels_last and not self.sharded
        layout = torch.channels_last if last else torch.contiguous_format
        self.network: Network = job.network.to(accelerator.device, memory_format=layout)  # type: ignore[call-overload]
        self.average = averaged(self.network, recipe.ema) if recipe.ema else None
        if accelerator.num_processes > 1:
            synchronize(self.network, accelerator.device)
        assert recipe.epochs is not None
        freeze(self.network, frozen_stages(self.network, recipe, epoch=recipe.epochs - 1))  # what never learns
        if self.sharded and accelerator.num_processes > 1:
            shard_weights(self.network, accelerator.device)
        self.depth = torch.Generator()
        for layer in self.network.modules():
            if isinstance(layer, StochasticDepth):
                layer.generator = self.depth
        # The optimiser goes without a wrapper: there are no gradients to unscale in bf16, and a look at what is
        # installed, at every step, takes a twentieth of the time of a LeNet.
        # What is sharded brings its gradients together by itself, and is not wrapped for that.
        self.learner = accelerator.prepare_model(Learner(self.network), evaluation_mode=self.sharded)
        self.optimizer = make_optimizer(self.network, recipe)
        self.batches = Batches(
            pixels=job.splits.train.to(accelerator.device), preparation=job.bundle.images,
            augmentation=job.augmentation, batch_size=recipe.batch_size, seed=recipe.seed,
            channels_last=machine.channels_last, parts=recipe.accumulate,
            shard=Shard(accelerator.process_index, accelerator.num_processes),
        )  # fmt: skip
        self.class_weights: Tensor | None = None
        if recipe.class_weights == "balanced":
            self.class_weights = balanced(job.splits.train.counts(len(job.splits.classes))).to(accelerator.device)
        self.data = job.splits.fingerprint()
        self.step = 0
        """Steps made, over the whole run."""
        self.lr = recipe.lr
        self.rows: list[Row] = []
        self.best: dict[str, Tensor] = {}
        self.sums = Sums(accelerator.device)
        self.compiled: set[int] = set()
        """Of how many images the steps are that the network is compiled for."""
        self.stream: Iterator[Step] = iter(())
        """The steps that are still to be made, which go on from epoch to epoch."""
        self.after_step: Callable[[], None] = lambda: None
        """Told of each step, where some are traced."""

    @property
    def epoch(self) -> int:
        """The epoch that is going on, counted from 0."""
        return self.step // len(self.batches)

    @property
    def judged(self) -> Network:
        """What is validated and kept: the network, or the average of its weights."""
        return self.network if self.average is None else cast(Network, self.average.module)

    @property
    def ended(self) -> bool:
        """Whether all epochs are done, or patience is at its end."""
        recipe = self.job.recipe
        assert recipe.epochs is not None
        since = len(self.rows) - (best_of(self.rows) or {"epoch": 0})["epoch"]
        return len(self.rows) >= recipe.epochs or 0 < recipe.patience <= since

    def steps(self) -> Iterator[Step]:
        """What is left of the epoch that is going on. What a network draws in a step follows from its number."""
        self.network.train()
        freeze(self.network, frozen_stages(self.network, self.job.recipe, epoch=self.epoch))
        end = (self.epoch + 1) * len(self.batches)
        while self.step < end:
            with part("data"):
                step = next(self.stream)
            yield step

    def seed(self, part: int) -> None:
        """Seed what the network draws in this step: dropout for each part of it, dropped branches for all alike."""
        seed_torch(self.job.recipe.seed, "step", self.step, part)
        self.depth.manual_seed(int(mix(self.job.recipe.seed, "depth", self.step)[0] >> np.uint64(1)))

    def before_compiling(self, step: Step) -> list[Tensor]:
        """What a step changes before its backward pass is compiled: the network's averages, and the sums.

        Empty where nothing is compiled, or steps of as many images are already: an epoch has them in two sizes.
        """
        if not self.job.machine.compiled or step.images in self.compiled:
            return []
        self.compiled.add(step.images)
        return [tensor.clone() for tensor in (*self.network.buffers(), self.sums.counted)]

    def leave_uncompiled(self, before: list[Tensor]) -> bool:
        """Go on with the network as it is, from what was `before_compiling`; False where it was never compiled."""
        if not before:
            return False
        self.learner = getattr(self.learner, "_orig_mod", self.learner)
        for tensor, value in zip((*self.network.buffers(), self.sums.counted), before, strict=True):
            tensor.copy_(value)
        self.job = replace(self.job, machine=replace(self.job.machine, compiled=False))
        return True

    def totals(self) -> dict[str, float]:
        """The sums over all processes."""
        loss, right = added(self.accelerator, self.sums.counted.clone()).tolist()
        return self.sums() | {"loss": loss, "right": right}

    def row(self) -> Row:
        """The row of `metrics.csv` so far, of what was trained."""
        sums = self.totals()
        images = int(sums["images"])
        return {
            "epoch": len(self.rows) + 1,
            "lr": self.lr,
            "train_loss": sums["loss"] / images,
            "train_accuracy": 100 * sums["right"] / images,
            "images_per_second": images / sums["seconds"],
            "seconds": sums["seconds"],
        }

    def end_epoch(self, row: Row) -> None:
        """Keep the row, and begin to count anew."""
        self.rows.append(row)
        self.sums = Sums(self.accelerator.device)

    def weights(self) -> dict[str, Tensor]:
        """A copy of the weights that are validated and kept. All processes have to ask for it."""
        if self.sharded:
            return whole_weights(self.network)
        return copy.deepcopy(self.judged.state_dict())

    def state(self) -> State:
        """The checkpoint at this step, which holds nothing that goes on changing. All processes have to ask for it."""
        if self.sharded:
            network, optimizer = whole_states(self.network, self.optimizer)
        else:
            network = copy.deepcopy(self.network.state_dict())
            optimizer = copy.deepcopy(self.optimizer.state_dict())
        return State(
            recipe=plain(self.job), data=self.data, step=self.step, network=network, optimizer=optimizer,
            average={} if self.average is None else copy.deepcopy(self.average.state_dict()),
            best=self.best, rows=list(self.rows), sums=self.totals(),
        )  # fmt: skip

    def restore(self, state: State) -> None:
        """Go on from a checkpoint. Raises InputError for one of another recipe or another network."""
        changed = [
            f"{name} was {state['recipe'].get(name)!r} and is {value!r}"
            for name, value in plain(self.job).items()
            if value != state["recipe"].get(name)
        ]
        if changed:
            raise InputError(
                f"the recipe is not the one that the run was begun with ({'; '.join(changed[:3])}); put it back in "
                "recipe.yaml, or train anew"
            )
        try:
            if self.sharded:
                take_states(self.network, self.optimizer, state["network"], state["optimizer"])
            else:
                self.network.load_state_dict(state["network"])
                self.optimizer.load_state_dict(state["optimizer"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise InputError(
                f"the checkpoint is of another network than {self.job.recipe.model}: train anew"
            ) from error
        self.step, self.rows, self.best = state["step"], list(state["rows"]), state["best"]
        if self.accelerator.is_main_process:
            self.sums.restore(state["sums"])
        self.sums.images = int(state["sums"]["images"])


MAY_CHANGE = ("device", "workers", "channels_last", "compile", "data")
"""What a run may go on with otherwise than it began: where and how it is computed, and where the same images lie,"""
MAY_MOVE = ("loading", "cache")
"""and where images are held, unless windows are cut out of them, which are other ones elsewhere."""


def plain(job: Job) -> dict[str, Any]:
    """The recipe as the values of a file, of what may not change."""
    free = MAY_CHANGE if job.recipe.resized_crop else MAY_CHANGE + MAY_MOVE
    values = {name: value for name, value in asdict(job.recipe).items() if name not in free}
    if "cache" in values:
        values["cache"] = values["cache"] is not None  # and where it is matters no more than where the images are
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def best_of(rows: list[Row]) -> Row | None:
    """The best epoch so far."""
    return max(rows, key=standing, default=None)


def make_accelerator(job: Job, trackers: Sequence[GeneralTracker] = ()) -> Accelerator:
    """Devices, processes and precision as the machine and the recipe choose; none of the trackers has begun."""
    recipe, machine = job.recipe, job.machine
    # A branch that is dropped, and a stage that learns only later, have no gradients that processes could wait for.
    idle = recipe.thaw > 0 or any(isinstance(layer, StochasticDepth) for layer in job.network.modules())
    if machine.compiled:  # or else torch goes on uncompiled when a process has compiled some networks of a class
        torch._dynamo.reset()
    return Accelerator(
        mixed_precision="bf16" if machine.precision == "bf16" else "no",
        cpu=machine.device == "cpu",
        # Batches come in two sizes, so code for each of them is less than code for any: two short compilations.
        dynamo_plugin=TorchDynamoPlugin(backend="inductor" if machine.compiled else "no", dynamic=False),
        log_with=list(trackers) or None,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=idle)],
    )
