"""Where networks compute: finding the device, naming it, and having it give the same numbers each time."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from convatlas.errors import InputError


def find_device(asked: str) -> str:
    """The device that is asked for, or with "auto" the best there is. Raises InputError for a missing one."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    device = asked if asked != "auto" else next(name for name in there if there[name])
    if not there.get(device):
        raise InputError(f"there is no {device} on this machine; leave out --device {device}")
    return device


def processor(device: str) -> str:
    """The processor's name."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


@contextmanager
def exact() -> Iterator[None]:
    """The same numbers each time, and all their bits, on a GPU too: no choice by timing, no TF32."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield
