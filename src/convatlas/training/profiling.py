"""Where the time of a training goes: a trace of some steps, and a page that names what most of it is spent on."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from torch.profiler import profile, record_function

from convatlas.errors import InputError
from convatlas.files import write_text, writing
from convatlas.wording import some

Share = Literal["data", "forward", "backward", "optimiser", "logging", "validation"]
"""The parts of a step: the batch is made, the network answers, its gradients, its weights, and what is said of it; and
what comes after an epoch's last."""
WARM, TRACED = 5, 20
"""Steps that pass before, in which memory and caches fill, and those that are traced: of a run that has so many."""
LEAST = 4
"""Steps of a run, of which the first passes and the others are traced."""
PREFIX = "convatlas: "
ADVICE: dict[str, str] = {
    "data": "images are made slower than they are learned from: more --workers, --loading memory if they fit, or fewer "
    "augmentations",
    "forward": "the network itself: a smaller one, or smaller images (--size)",
    "backward": "the network itself: a smaller one, or smaller images (--size)",
    "optimiser": "weights are changed more than they are used: a larger --batch-size",
    "logging": "what is said of the steps takes the most: very small steps; a larger --batch-size",
    "validation": "epochs are short beside it: fewer images for it (--validation)",
    "the rest": "what lies between: a larger --batch-size spreads it over more images",
}


def part(name: Share) -> Any:
    """A context that a profile shows under this name; it costs a microsecond."""
    return record_function(PREFIX + name)


class Spent(NamedTuple):
    """What a part of a step takes."""

    name: str
    milliseconds: float
    """A step."""
    share: float
    """Of the step, from 0 to 1."""


def check_profile(steps: int) -> None:
    """Raise InputError where a run of so many steps has too few to be traced."""
    if steps < LEAST:
        raise InputError(f"--profile takes a run of {LEAST} steps or more, and this has {steps}; choose more --epochs")


@contextmanager
def profiling(folder: Path | None, *, steps: int) -> Iterator[Callable[[], None]]:
    """What is to be called after each of so many steps, so that some are traced; a folder of None: nothing is.

    Of a run that ends before all of these are done, those that were are told.
    """
    if folder is None:
        yield lambda: None
        return
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # or else it says on stderr that it starts, and stops
    profiler = profile(acc_events=True)
    warm = min(WARM, steps // LEAST)
    last = min(warm + TRACED, steps)
    done, started, ended = 0, 0.0, 0.0

    def after_step() -> None:
        nonlocal done, started, ended
        done, ended = done + 1, time.perf_counter()
        if done == warm:
            profiler.start()
            started = time.perf_counter()
        elif done == last:
            tell()

    def tell() -> None:
        profiler.stop()
        if (traced := done - warm) > 0:
            folder.mkdir(exist_ok=True)
            with writing(folder / "trace.json") as path:
                profiler.export_chrome_trace(str(path))
            write_text(folder / "profile.md", page(profiler, ended - started, traced=traced, warm=warm))

    try:
        yield after_step
    finally:
        if warm <= done < last:
            tell()


def page(profiler: profile, seconds: float, *, traced: int, warm: int) -> str:
    """The profile on a page: the parts of a step, and the operations that take the most.

    So many steps were traced, for so many seconds, after others for warmth.
    """
    step = 1000 * seconds / traced
    parts = spent(profiler, step, traced=traced)
    largest = max(parts, key=lambda each: each.milliseconds)
    lines = [
        "# Where the time goes",
        "",
        f"Over {some(traced, 'step')}, after {some(warm, 'other')}: {step:.2f} ms a step, by the clock of the process "
        "that trains.",
        "What a GPU does while that goes on counts where it is waited for. The rest lies between the parts: losses and",
        "right answers are counted, weights and checkpoints written, and the profile itself is kept.",
        "",
        "| part | ms a step | share |",
        "| --- | ---: | ---: |",
        *(f"| {name} | {milliseconds:.2f} | {share:.1%} |" for name, milliseconds, share in parts),
        "",
        f"Most of it is {largest.name}: {ADVICE[largest.name]}.",
        "",
        "The operations that take the most, by their own time:",
        "",
        "```",
        profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=15, max_name_column_width=50).strip(),
        "```",
        "",
        "`trace.json` is for chrome://tracing, or ui.perfetto.dev.",
    ]
    return "\n".join(lines) + "\n"


def spent(profiler: profile, step: float, *, traced: int) -> list[Spent]:
    """What each part of a step of so many milliseconds takes, and what lies between them."""
    totals = {event.key: event.cpu_time_total / 1000 / traced for event in profiler.key_averages()}
    named = {name: totals.get(PREFIX + name, 0.0) for name in get_args(Share)}
    named["the rest"] = max(0.0, step - sum(named.values()))
    return [Spent(name, taken, taken / step) for name, taken in named.items()]
