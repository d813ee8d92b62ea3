"""Where networks compute: finding the device, saying what it can, and having it give the same numbers each time."""

import os
import platform
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import psutil
import torch

from convatlas.errors import InputError

Precision = Literal["32", "bf16"]
PROCESS_GROUPS, CONTROL_GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
"""Where Linux says what group a process is of, and what a group may have (control groups, version 2)."""
INSTRUCTIONS = {"amx_bf16": "AMX", "avx512_bf16": "AVX-512 BF16", "avx512_f": "AVX-512", "avx2": "AVX2"}
"""What makes processors fast at networks, by torch's names and in words, the fastest first."""


def find_device(asked: str) -> str:
    """The device that is asked for, or with "auto" the best there is. Raises InputError for a missing one."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    device = asked if asked != "auto" else next(name for name in there if there[name])
    if not there.get(device):
        raise InputError(f"there is no {device} on this machine; leave out --device {device}")
    return device


def cores() -> int:
    """How many of the machine's cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory() -> int:
    """Bytes that could still be taken: of the machine, or what the process's control group leaves of them."""
    free = int(psutil.virtual_memory().available)
    with suppress(OSError, StopIteration):
        lines = PROCESS_GROUPS.read_text().splitlines()
        group = CONTROL_GROUPS / next(line[3:] for line in lines if line.startswith("0::")).lstrip("/")
        for folder in (group, *group.parents):
            with suppress(OSError, ValueError):  # it has no limit, or is none
                most = int((folder / "memory.max").read_text())
                statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                used = int((folder / "memory.current").read_text()) - int(statistics["inactive_file"])
                free = min(free, max(0, most - used))
    return free


@contextmanager
def out_of_memory(smaller: str = "--batch-size or --size") -> Iterator[None]:
    """Turn what torch and NumPy raise when memory runs out into an InputError, which names what to choose smaller."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        raise InputError(f"the memory ran out; choose a smaller {smaller}") from error


def processor(device: str) -> str:
    """The processor's name."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def fast_bf16(device: str) -> bool:
    """Whether the device multiplies in bf16 faster than in float32: AMX or AVX-512-BF16, or a GPU since Ampere."""
    if device == "cuda":
        return torch.cuda.get_device_capability() >= (8, 0)
    if device == "mps":
        return False
    return not {"AMX", "AVX-512 BF16"}.isdisjoint(instructions())


def instructions() -> tuple[str, ...]:
    """Of the processor's instructions, those that make it fast at networks."""
    has = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return tuple(words for name, words in INSTRUCTIONS.items() if has.get(name))


def can_compile(device: str) -> bool:
    """Whether torch can compile for the device: on a processor it needs a C++ compiler, and Python's headers."""
    if device != "cpu":
        return find_spec("triton") is not None
    compiler = os.environ.get("CXX", {"win32": "cl", "darwin": "clang++"}.get(sys.platform, "g++"))  # torch's choice
    headers = Path(sysconfig.get_paths()["include"], "Python.h")
    return headers.is_file() and answers(compiler)


@cache
def answers(program: str) -> bool:
    """Whether there is such a program, and it works."""
    try:
        words = [*shlex.split(program), *([] if sys.platform == "win32" else ["--version"])]
        return subprocess.run(words, capture_output=True, check=False, timeout=20).returncode == 0
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return False


def compiles_large(device: str) -> bool:
    """Whether large networks gain of being compiled too.

    Their time is that of convolutions, which torch's compiler leaves as they are: what lies between them is worth it
    where those are very fast, as on a GPU or by AMX.
    """
    return device != "cpu" or "AMX" in instructions()


@contextmanager
def exact() -> Iterator[None]:
    """The same numbers each time, and all their bits, on a GPU too: no choice by timing, no TF32."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield
