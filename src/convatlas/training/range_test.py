"""The learning-rate range test: Smith 2017, "Cyclical learning rates for training neural networks", Sec. 3.3."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from convatlas.errors import InputError, WorkError
from convatlas.training.drawings import BLUE, MUTED, ORANGE, PAPER, drawing
from convatlas.training.progress import Display
from convatlas.training.recipe import Recipe
from convatlas.training.records import data_name
from convatlas.training.trial import losses, trying
from convatlas.wording import some

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXPLODED = 4.0
"""The test stops where the loss is so many times the least so far."""
FELL = 0.9
"""The loss fell if it came to this share of what it was."""
BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeTest:
    """How the loss went while the learning rate grew, step by step and each time by the same factor."""

    recipe: Recipe
    """With nothing left open."""
    rates: tuple[float, ...]
    """Of each step that was made."""
    losses: tuple[float, ...]
    """Of each, in nats, before it was made."""
    smoothed: tuple[float, ...]
    """The same, without the noise of single batches and not late."""
    exploded: bool
    """Whether the loss exploded, and the test stopped before its end."""
    steepest: float | None
    """The rate at which the loss fell fastest; None where it did not fall."""
    tenth: float | None
    """A tenth of the rate at which the loss was least; None where it did not fall."""

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return asdict(self)


def find_learning_rate(
    recipe: Recipe, *, lowest: float = 1e-6, highest: float = 10.0, steps: int = 200, quiet: bool = False
) -> RangeTest:
    """The loss at learning rates from `lowest` to `highest`, in so many steps of the recipe, and two that it suggests.

    Each step is a real one at a rate that is larger by one factor than the last, as in fastai; what was learned is not
    kept, and nothing is written. Rates are meant as `lr` of the recipe, whose own is not looked at, nor its schedule.
    Raises InputError like `train`, and for a range that is none; WorkError where the loss is no number from the first
    on. Smith 2017, Sec. 3.3.
    """
    if not 0 < lowest < highest < math.inf:
        raise InputError(f"learning rates go from above 0 to a larger one, and not from {lowest:g} to {highest:g}")
    if steps < 20:
        raise InputError(f"a range test takes 20 steps or more, and not {steps}")
    rates = np.geomspace(lowest, highest, steps).tolist()
    display = Display(quiet=quiet)
    with trying(recipe, display) as learning:
        recipe = learning.job.recipe
        scale = recipe.batch_size / (recipe.lr_batch or recipe.batch_size)
        going = losses(learning, lambda step: scale * rates[step])
        shown = track(
            going, "learning rates", total=steps, console=display.console, transient=True,
            disable=not display.console.is_terminal,
        )  # fmt: skip
        seen, exploded = until_explosion(shown, steps)
    if len(seen) < 2:
        raise WorkError(f"the loss is no number from the first step on, at a learning rate of {lowest:g}")
    return judged(recipe, rates, seen, exploded=exploded)


def until_explosion(losses: Iterable[float], steps: int) -> tuple[list[float], bool]:
    """The losses of so many steps, or of fewer where the loss explodes; and whether it did."""
    seen: list[float] = []
    mean, least = 0.0, math.inf
    for loss in losses:
        if not math.isfinite(loss):
            return seen, True
        seen.append(loss)
        mean = 0.8 * mean + 0.2 * loss  # late by a few steps, which only has it stop a few later
        running = mean / (1 - 0.8 ** len(seen))
        least = min(least, running)
        if running > EXPLODED * least:
            return seen, True
        if len(seen) == steps:
            break
    return seen, False


def judged(recipe: Recipe, rates: Sequence[float], seen: Sequence[float], *, exploded: bool) -> RangeTest:
    """What the losses say of the rates."""
    # An explosion is cut off, or else it would be smeared over the steps before it.
    smooth = smoothed(np.minimum(seen, 2 * seen[0]), width=len(rates) / 50)
    lowest = int(smooth.argmin())
    fell = bool(smooth[lowest] < FELL * smooth[0])
    # A loss that comes down from where it had risen to does not count as falling.
    falls = np.diff(np.minimum.accumulate(smooth))
    return RangeTest(
        recipe=recipe, rates=tuple(rates[: len(seen)]), losses=tuple(seen), smoothed=tuple(smooth.tolist()),
        exploded=exploded, steepest=rates[int(falls.argmin())] if fell else None,
        tenth=rates[lowest] / 10 if fell else None,
    )  # fmt: skip


def smoothed(values: NDArray[np.float64], *, width: float) -> NDArray[np.float64]:
    """`(N,) -> (N,)`: means by a normal weight of that deviation, in steps, to both sides.

    An average that runs after the losses, as is often drawn, is late by some ten steps, and names rates too high.
    """
    place = np.arange(len(values))
    weights = np.exp(-((place[:, None] - place) ** 2) / (2 * width**2))
    means: NDArray[np.float64] = weights @ values / weights.sum(1)
    return means


# --------------------------------------------------------------------------- drawing


def sparkline(test: RangeTest, *, width: int = 10) -> tuple[str, str]:
    """Two lines for a terminal: the smoothed loss in bars, and below it the rates, `width` columns for ten times."""
    start, end = math.log10(test.rates[0]), math.log10(test.rates[-1])
    columns = round(width * (end - start)) + 1
    values = np.interp(np.linspace(start, end, columns), np.log10(test.rates), test.smoothed)
    top, bottom = 1.1 * test.smoothed[0], min(test.smoothed)
    heights = ((values - bottom) / max(top - bottom, 1e-9)).clip(0, 1) * (len(BARS) - 1)
    bars = "".join(BARS[round(height)] for height in heights)
    scale = "".join(f"{10 ** (start + mark):<{width}.3g}" for mark in range(math.floor(end - start) + 1))
    return bars, scale.rstrip()


def draw(test: RangeTest) -> "Figure":
    """The loss over the learning rate, with the rates that are suggested."""
    from matplotlib.figure import Figure

    recipe = test.recipe
    with drawing():
        figure = Figure(figsize=(6.4, 3.6), dpi=200, layout="constrained")
        axes = figure.subplots()
        axes.plot(test.rates, test.losses, color=MUTED, alpha=0.45, linewidth=0.7, label="each step")
        axes.plot(test.rates, test.smoothed, color=BLUE, linewidth=1.6, label="smoothed")
        marks = (("steepest descent", test.steepest, "o"), ("a tenth of the rate at the least loss", test.tenth, "s"))
        for name, rate, marker in marks:
            if rate is not None:
                height = np.interp(np.log10(rate), np.log10(test.rates), test.smoothed)
                axes.plot(rate, height, marker, color=ORANGE, markersize=6, markeredgecolor=PAPER, linestyle="",
                          label=f"{name}: {rate:.2g}")  # fmt: skip
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        room = 0.06 * (test.smoothed[0] - min(test.smoothed))
        axes.set_ylim(min(*test.smoothed, *test.losses) - room, 1.15 * test.smoothed[0])
        axes.set_xlabel("learning rate")
        axes.set_title(
            f"{recipe.model} on {data_name(recipe)}: loss of steps of {some(recipe.batch_size, 'image')}",
            loc="left", fontsize=9.5,
        )  # fmt: skip
        axes.legend(loc="lower left")
    return figure
