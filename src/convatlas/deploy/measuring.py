"""Which engine runs a network fastest on this machine: all that there are, in turn, and whether they agree."""

import json
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from convatlas.data.images import Preparation
from convatlas.deploy.engines import ENGINES, INT8, Engine, EngineName, Images, Logits, Numbers, engine
from convatlas.devices import fast_bf16, out_of_memory, processor
from convatlas.errors import InputError
from convatlas.files import write_text
from convatlas.network import Network
from convatlas.weights.bundle import fingerprint

AGREES: dict[Numbers, float] = {"32": 1e-3, "bf16": 5e-2, "int8": float("inf")}
"""How far the logits of an engine may lie from those of PyTorch in float32, by norm, as a share of theirs. Those in
eight bits were accepted by what they do to the accuracy."""
FASTER = 1.05
"""How many times as many images a second as PyTorch an engine has to answer to be preferred; less is noise."""
CHOICE = "engine.json"
"""The file in a run's folder that says which engine is the fastest there."""
LEAST, MOST = 5, 1000
"""Batches that are timed, of each engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How an engine runs a network."""

    engine: EngineName
    precision: Numbers
    batch_size: int
    images_per_second: float
    """By the middle batch, which a neighbour that disturbs some of them leaves as it is."""
    latency: tuple[float, float, float]
    """Milliseconds a batch: of the middle one, and of the slowest tenth and hundredth."""
    prepared: float
    """Seconds until it was ready."""
    difference: float
    """Of its logits to those of PyTorch in float32: the norm, as a share of theirs."""

    @property
    def agrees(self) -> bool:
        """Whether its logits are the network's, but for rounding."""
        return self.difference <= AGREES[self.precision]


class Absent(NamedTuple):
    """An engine that cannot be used, or not with this network."""

    engine: EngineName
    precision: Numbers
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """All that was timed, on one machine."""

    machine: dict[str, str]
    weights: str
    """The fingerprint of the network."""
    timings: Sequence[Timing]
    absent: Sequence[Absent]

    def choices(self) -> list["Choice"]:
        """What is clearly faster than PyTorch as it is, the fastest first, and PyTorch last if it was timed."""
        plain = max(
            (t.images_per_second for t in self.timings if (t.engine, t.precision) == ("eager", "32")), default=0
        )
        ranked = sorted((t for t in self.timings if t.agrees), key=lambda t: -t.images_per_second)
        return [
            Choice(t.engine, t.precision, t.batch_size, pays_after(t, plain))
            for t in ranked
            if t.images_per_second > FASTER * plain or (t.engine, t.images_per_second) == ("eager", plain)
        ]


class Choice(NamedTuple):
    """What a trained network is run by."""

    engine: EngineName
    precision: Numbers
    batch_size: int
    after: int = 0
    """How many images have to come before it pays for the time until it is ready."""


def pays_after(timing: Timing, plain: float) -> int:
    """After how many images an engine makes up for its preparation, where PyTorch answers `plain` of them a second.

    Whoever changes over then waits at most twice as long as whoever knows beforehand how many images come.
    """
    if timing.engine == "eager" or not plain:
        return 0
    return math.ceil(timing.prepared / (1 / plain - 1 / timing.images_per_second))


class Ready(NamedTuple):
    """An engine that is to be timed."""

    engine: Engine
    prepared: float
    """Seconds until it was."""
    difference: float


def measure(
    network: Network,
    images: Preparation,
    *,
    batch_sizes: Sequence[int],
    names: Sequence[EngineName] | None = None,
    device: str = "cpu",
    seconds: float = 3.0,
    pictures: Images | None = None,
    folder: Path | None = None,
    on_ready: Callable[[Engine], object] | None = None,
) -> Measured:
    """Time every engine with batches of each size, `seconds` each, in turn, batch by batch.

    The `pictures`, or else noise, are `uint8 (N, C, H, W)`; in the `folder` lies what was calibrated before. Raises
    InputError where none of the named can be used.
    """
    kinds = [engine(name) for name in names] if names else list(ENGINES)
    precisions: list[Numbers] = ["32", "bf16"] if fast_bf16(device) else ["32"]
    if names or (folder is not None and (folder / INT8[-1]).is_file()):  # who asks for it is told what it lacks
        precisions.append("int8")
    weights = fingerprint(network)
    timings: list[Timing] = []
    absent: dict[tuple[EngineName, Numbers], Absent] = {}
    for batch_size in batch_sizes:
        with out_of_memory("--batch-size"):
            batch = pictures_for(images, batch_size, pictures)
            expected = engine("eager")(network, images, batch_size=batch_size, device=device)(batch)
        ready = []
        for kind, precision in product(kinds, precisions):
            if precision not in kind.precisions or (kind.name, precision) in absent:
                continue
            started = time.perf_counter()
            try:
                made = kind(network, images, batch_size=batch_size, device=device, precision=precision, folder=folder)
                difference = apart(made(batch), expected)
            except InputError as error:
                absent[kind.name, precision] = Absent(kind.name, precision, str(error))
                continue
            ready.append(Ready(made, time.perf_counter() - started, difference))
            if on_ready is not None:
                on_ready(made)
        timings += in_turn(ready, batch, seconds)
    if names and not timings:
        raise InputError("; ".join(each.reason for each in absent.values()))
    return Measured(machine=machine_of(device), weights=weights, timings=timings, absent=list(absent.values()))


def in_turn(ready: Sequence[Ready], batch: Images, seconds: float) -> list[Timing]:
    """Time the engines by one batch each, over and over, so that what else the machine does is borne by all."""
    taken: list[list[float]] = [[] for _ in ready]
    while any(unfinished(each, seconds) for each in taken):
        for (made, _, _), each in zip(ready, taken, strict=True):
            if unfinished(each, seconds):
                started = time.perf_counter()
                made.run(batch)
                each.append(time.perf_counter() - started)
    return [timing(*each, batches) for each, batches in zip(ready, taken, strict=True)]


def timing(made: Engine, prepared: float, difference: float, taken: Sequence[float]) -> Timing:
    """What the seconds of so many batches come to."""
    middle, tenth, hundredth = (1000 * float(second) for second in np.quantile(taken, (0.5, 0.9, 0.99)))
    return Timing(
        engine=made.name, precision=made.precision, batch_size=made.batch_size,
        images_per_second=1000 * made.batch_size / middle, latency=(middle, tenth, hundredth),
        prepared=prepared, difference=difference,
    )  # fmt: skip


def unfinished(taken: Sequence[float], seconds: float) -> bool:
    """Whether an engine has not been timed for long enough."""
    return len(taken) < LEAST or (sum(taken) < seconds and len(taken) < MOST)


def apart(answer: Logits, expected: Logits) -> float:
    """The norm of the difference, as a share of what was expected, unless that is 0 as of a classifier of zeros."""
    return float(np.linalg.norm(answer - expected) / (np.linalg.norm(expected) or 1.0))


def pictures_for(images: Preparation, batch_size: int, pictures: Images | None) -> Images:
    """`uint8 (batch_size, C, H, W)`: of the pictures, again and again if they are few, or noise."""
    if pictures is None:
        return np.random.default_rng(0).integers(0, 256, (batch_size, *images.size), dtype=np.uint8)
    return np.resize(pictures, (batch_size, *images.size))


def machine_of(device: str) -> dict[str, str]:
    """By what a choice is known to have been made on this machine, with these versions."""
    found = {"device": device, "processor": processor(device), "threads": str(torch.get_num_threads())}
    for kind in ENGINES:
        for package in ("torch", *kind.needs):
            try:
                found[package] = version(package)
            except ImportError:
                found[package] = "absent"
    return found


def keep_choice(measured: Measured, folder: Path) -> Measured:
    """Write what was measured into a run's folder, with what was measured there before and is not now.

    That is what comes back.
    """
    now = {(t.engine, t.precision, t.batch_size) for t in measured.timings}
    before = [t for t in kept_timings(folder, measured) if (t.engine, t.precision, t.batch_size) not in now]
    measured = replace(measured, timings=[*measured.timings, *before])
    timings = [asdict(timing) for timing in measured.timings]
    choices = [choice._asdict() for choice in measured.choices()]
    content = {"machine": measured.machine, "weights": measured.weights, "choices": choices, "timings": timings}
    write_text(folder / CHOICE, json.dumps(content, indent=2) + "\n")
    return measured


def kept_timings(folder: Path, measured: Measured) -> list[Timing]:
    """What was measured for a run before, if on that machine and with those weights."""
    content = read_choice(folder)
    if (content.get("machine"), content.get("weights")) != (measured.machine, measured.weights):
        return []
    return [Timing(**(timing | {"latency": tuple(timing["latency"])})) for timing in content["timings"]]


def kept_choices(folder: Path, device: str, network: Network) -> list[Choice]:
    """What answers for a run, the fastest first.

    None, if it was not measured with the network's weights, on a machine like this one, by these versions.
    """
    content = read_choice(folder)
    if content.get("machine") != machine_of(device) or content.get("weights") != fingerprint(network):
        return []
    choices = [Choice(**choice) for choice in content["choices"]]
    return [choice for choice in choices if choice.engine != "int8" or (folder / INT8[-1]).is_file()]


def read_choice(folder: Path) -> dict[str, Any]:
    """The content of the file, or nothing where there is none; if it is damaged, that is warned of."""
    try:
        content: dict[str, Any] = json.loads((folder / CHOICE).read_text(encoding="utf-8"))
        for kind, name in ((Choice, "choices"), (Timing, "timings")):
            for each in content[name]:
                kind(**each)
        return content
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError):
        said = f"{folder / CHOICE} cannot be read, and is passed over; convatlas bench {folder} writes it anew"
        warnings.warn(said, RuntimeWarning, stacklevel=2)
        return {}
