"""Several processes that learn one network: how they start, what they agree on, and one normalisation for all."""

import itertools
import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list
from torch import Tensor, distributed, nn
from torch.distributed.rendezvous import rendezvous

from convatlas.data.batches import Shard
from convatlas.devices import cores
from convatlas.errors import InputError
from convatlas.wording import some

MEETINGS = itertools.count()
"""Numbers the runs that this process takes part in, which all of its fellows number alike."""


def several() -> bool:
    """Whether this process was started as one of several, by torchrun, `accelerate launch` or `--devices`."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def joined(device: str) -> Iterator[Shard]:
    """Which of the processes this is, once they have found each other; at the end they part.

    `device` is what the recipe asks for. Raises InputError where a machine has fewer GPUs than processes.
    """
    try:
        if not several():
            yield Shard()
            return
        cpu = device == "cpu" or not torch.cuda.is_available()
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if not cpu and local >= torch.cuda.device_count():
            there = some(torch.cuda.device_count(), "GPU")
            raise InputError(f"this machine has {there}, and process {local + 1} wants one of its own; start fewer")
        # torchrun's store outlives a process that is killed and a run that has ended, and with it the addresses at
        # which nobody is any more.
        store, rank, world = next(rendezvous("env://"))
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        fresh = distributed.PrefixStore(f"convatlas/{attempt}/{next(MEETINGS)}", store)  # type: ignore[attr-defined]
        state = PartialState(cpu=cpu, store=fresh, rank=rank, world_size=world)
        yield Shard(state.process_index, state.num_processes)
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
        if distributed.is_available() and distributed.is_initialized():
            distributed.destroy_process_group()


def told(value: Any) -> Any:
    """The first process's value, in all of them."""
    if several():
        (value,) = broadcast_object_list([value])
    return value


def agreed(accelerator: Accelerator, *flags: bool) -> tuple[bool, ...]:
    """Each flag, raised where any process raises it: all of them stop and save at one step."""
    if accelerator.num_processes == 1:
        return flags
    raised = torch.tensor(flags, dtype=torch.int32, device=accelerator.device)
    distributed.all_reduce(raised, distributed.ReduceOp.MAX)
    return tuple(bool(flag) for flag in raised.tolist())


def added(accelerator: Accelerator, values: Tensor) -> Tensor:
    """The sum of the processes' values, in all of them."""
    if accelerator.num_processes > 1:
        distributed.all_reduce(values)
    return values


class _Added(torch.autograd.Function):
    """The sum over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        total = x.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        distributed.all_reduce(total)
        return total


def _added(x: Tensor) -> Tensor:
    total: Tensor = _Added.apply(x)  # type: ignore[no-untyped-call]
    return total


class SynchronizedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation by the images of all processes, on processors, for which torch has none."""

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, H, W) -> (N, C, H, W)`."""
        if not self.training:
            return super().forward(x)
        values = x.double() if x.dtype == torch.float64 else x.float()
        count = _added(values.new_tensor(x.numel() / x.shape[1]))
        mean = _added(values.sum((0, 2, 3))) / count
        centred = values - mean[:, None, None]
        variance = _added(centred.square().sum((0, 2, 3))) / count
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            with torch.no_grad():
                self.num_batches_tracked += 1
                factor = self.momentum or 1 / self.num_batches_tracked.item()
                self.running_mean.lerp_(mean, factor)
                self.running_var.lerp_(variance * count / (count - 1), factor)
        scaled = centred * (variance + self.eps).rsqrt()[:, None, None]
        if self.affine:
            scaled = scaled * self.weight[:, None, None] + self.bias[:, None, None]
        return scaled.to(x.dtype)


def synchronize(network: nn.Module, device: torch.device) -> None:
    """Have every batch normalisation of the network see the images of all processes; its weights stay as they are."""
    if device.type == "cuda":
        for name, child in network.named_children():
            setattr(network, name, nn.SyncBatchNorm.convert_sync_batchnorm(child))  # type: ignore[no-untyped-call]
        return
    for layer in network.modules():
        if type(layer) is nn.BatchNorm2d:
            layer.__class__ = SynchronizedBatchNorm2d


def shard_weights(network: nn.Module, device: torch.device) -> None:
    """Part the weights of each stage, and with them what an optimiser keeps, among the processes (FSDP).

    Rajbhandari et al. 2020, "ZeRO", stage 3; Zhao et al. 2023, "PyTorch FSDP". A stage is whole only while it computes.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (distributed.get_world_size(),))
    for _, stage in network.named_children():
        fully_shard(stage, mesh=mesh)


def whole_states(network: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[dict[str, Any], dict[str, Any]]:
    """The state dicts of a sharded network and its optimiser, brought together in each process."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict

    return get_state_dict(network, optimizer, options=StateDictOptions(full_state_dict=True))


def whole_weights(network: nn.Module) -> dict[str, Tensor]:
    """The state dict of a sharded network, brought together in each process."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    return cast(dict[str, Tensor], get_model_state_dict(network, options=StateDictOptions(full_state_dict=True)))


def take_states(
    network: nn.Module, optimizer: torch.optim.Optimizer, weights: dict[str, Any], steps: dict[str, Any]
) -> None:
    """Part whole state dicts among the processes again."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_state_dict

    whole = StateDictOptions(full_state_dict=True)
    set_state_dict(network, optimizer, model_state_dict=weights, optim_state_dict=steps, options=whole)


def check_devices(devices: int, device: str) -> None:
    """Raise InputError where the machine has fewer GPUs than `devices`, or cores where it computes on these."""
    gpus = torch.cuda.device_count() if device in ("auto", "cuda") else 0
    there, what = (gpus, some(gpus, "GPU")) if gpus else (cores(), some(cores(), "core"))
    if not 1 <= devices <= there:
        raise InputError(f"this machine has {what}, and --devices asks for {devices}; choose from 1 to {there}")


def launch(work: Callable[[str], None], directory: Path, *, devices: int) -> int:
    """Have so many processes on this machine do the work in the folder, and return the exit status of the worst.

    They are started by torch's elastic launcher, as torchrun does; an interrupt is passed on to them.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the processes speak for themselves
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=devices, run_id=str(os.getpid()), rdzv_backend="c10d",
        rdzv_endpoint="localhost:0", max_restarts=0, start_method="spawn",
    )  # fmt: skip
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    variables = dict(os.environ)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // devices)))
    try:
        elastic_launch(config, work)(str(directory))
    except ChildFailedError as error:
        return error.get_first_failure()[1].exitcode or 1
    except SignalException:
        return 130
    finally:
        for number, handler in before.items():  # the launcher leaves its own, and variables for its processes
            signal.signal(number, handler)
        for name in os.environ.keys() - variables.keys():
            del os.environ[name]
        os.environ.update(variables)
    return 0
