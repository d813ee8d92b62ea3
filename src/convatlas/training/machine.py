"""What the machine can do, what is chosen for it, and how much of its memory a batch takes."""

import copy
import ctypes
import platform
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version

import psutil
import torch
from torch import nn

from convatlas.devices import (
    Precision,
    can_compile,
    compiles_large,
    cores,
    fast_bf16,
    find_device,
    free_memory,
    processor,
)
from convatlas.errors import InputError
from convatlas.training.recipe import Recipe
from convatlas.wording import some

COMPILED_FROM = 1_500_000
"""Images that a run trains on, epoch after epoch, from which compiling its network pays: a LeNet gains a fifth, which
is then what the first compilation on a machine takes; the next one comes out of its cache."""
SMALL = 10_000_000
"""Multiply-adds for an image up to which a network is worth compiling where large ones are not: a ResNet-20 (41
million) and a ResNet-50 gain nothing without AMX (`benchmarks/limits.py`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where a run computes, and how."""

    device: str
    name: str
    """Of the processor."""
    cores: int
    precision: Precision
    channels_last: bool
    compiled: bool = False

    def __str__(self) -> str:
        """One line: the processor and what was chosen."""
        cores = f", {some(self.cores, 'core')}" if self.device == "cpu" else ""
        words = {"32": "float32", "bf16": "bf16 autocast"}[self.precision]
        layout = ", channels last" if self.channels_last else ""
        return f"{self.name}{cores}: {words}{layout}{', compiled' if self.compiled else ''}"


def choose(recipe: Recipe) -> Machine:
    """What the recipe asks for, where it leaves a choice as the machine is. Raises InputError for a missing device."""
    device = find_device(recipe.device)
    precision: Precision = "bf16" if recipe.precision == "auto" and fast_bf16(device) else "32"
    if recipe.precision != "auto":
        precision = recipe.precision
    return Machine(
        device=device, name=processor(device), cores=torch.get_num_threads(),
        precision=precision, channels_last=recipe.channels_last,
    )  # fmt: skip


def worth_compiling(network: nn.Module, size: tuple[int, int, int], *, images: int, device: str) -> bool:
    """Whether a network gains more of being compiled than that takes, in a run on so many images of `size`."""
    if images < COMPILED_FROM or not can_compile(device):
        return False
    if compiles_large(device):
        return True
    from convatlas.explanation.explain import explain

    return explain(network, size).macs <= SMALL


def versions() -> dict[str, str]:
    """Of what a run's numbers depend on."""
    packages = ("convatlas", "torch", "accelerate", "numpy", "pillow", "simplejpeg")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def bytes_an_image(network: nn.Module, size: tuple[int, int, int], batch_size: int) -> float:
    """How much memory a training step takes for each image of `size`, about.

    The tensors that the backward pass keeps are added up for two images, or one if the batch has no more; a step
    takes them for the whole batch, and half as much again for what lives between two layers. Raises InputError where
    a batch of one cannot be normalised.
    """
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    probe = copy.deepcopy(network).train()  # a copy, since a pass moves the averages of batch normalisation
    weights = {p.untyped_storage().data_ptr() for p in probe.parameters()}
    count = min(2, batch_size)
    try:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            answer = probe(torch.zeros(count, *size))
    except ValueError as error:
        raise InputError(
            f"a batch of one image of {size[1]}×{size[2]} cannot be normalised; choose a larger --batch-size"
        ) from error
    del answer
    return 1.5 * sum(nbytes for pointer, nbytes in kept.items() if pointer not in weights) / count


def free_on(device: str) -> int:
    """Bytes that a network could still take on the device: on a GPU, also what torch holds and does not use."""
    if device != "cuda":
        return free_memory()
    held = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    return int(torch.cuda.mem_get_info()[0] + held)


def keep_freed_memory() -> None:
    """Have the C library keep the memory that is freed, for the next layer's activations.

    As it is, glibc hands every large block back to the system, and each activation of each step is paid for with
    page faults: a third of the time of a LeNet in float32. Elsewhere than on Linux with glibc, nothing changes.
    """
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        # M_MMAP_THRESHOLD: blocks below it come from the heap; glibc before 2.35 takes no more than 32 MB
        libc.mallopt(-3, 2**30) or libc.mallopt(-3, 2**25)
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: of which so much may lie idle


def described(machine: Machine) -> dict[str, str | int]:
    """The machine for the record."""
    memory = psutil.virtual_memory().total / 2**30
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor("cpu"),
        "cores": cores(),
        "memory": f"{memory:.0f} GB",
        "chosen": str(machine),
    }
