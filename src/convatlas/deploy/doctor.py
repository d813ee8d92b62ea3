"""What a machine has that networks run on, and what is chosen for it."""

import platform
from importlib.util import find_spec
from typing import NamedTuple

import psutil
import torch

from convatlas.deploy.engines import ENGINES, EightBits
from convatlas.devices import (
    can_compile,
    compiles_large,
    cores,
    fast_bf16,
    find_device,
    free_memory,
    instructions,
    processor,
)


class Finding(NamedTuple):
    """A thing that was looked for."""

    what: str
    found: str
    advice: str = ""
    """What would be faster, or empty."""


def examine() -> list[Finding]:
    """What was found, in the order in which it matters."""
    device = find_device("auto")
    memory = psutil.virtual_memory()
    fast = instructions()
    bf16 = fast_bf16(device)
    compiler = can_compile(device)
    few = "" if compiles_large(device) else " of small networks"
    findings = [
        Finding("processor", f"{processor('cpu')}, {cores()} cores, {torch.get_num_threads()} threads"),
        Finding("instructions", ", ".join(fast) or platform.machine()),
        Finding("memory", f"{memory.total / 2**30:.0f} GB, of which {free_memory() / 2**30:.0f} are free"),
        Finding("GPU", processor("cuda") if device == "cuda" else {"mps": "Apple's"}.get(device, "none")),
        Finding(
            "precision",
            "bf16 autocast, since it is multiplied fast here" if bf16 else "float32",
            "" if bf16 else "AMX, AVX-512 BF16 or a GPU since Ampere would multiply bf16 faster",
        ),
        Finding(
            "compiler",
            f"found: long trainings{few} are compiled" if compiler else "none",
            "" if compiler else "install g++ and Python's headers",
        ),
    ]
    for kind in ENGINES:
        lacking = kind.lacks(device, kind.precisions[0])
        found = "cannot be used" if lacking else "ready"
        if not lacking and kind is EightBits:
            found = "ready for what convatlas bench RUN --int8 makes"
            lacking = None if find_spec("nncf") else "to make it, pip install 'convatlas[int8]'"
        findings.append(Finding(f"engine {kind.name}", found, lacking or ""))
    return findings
