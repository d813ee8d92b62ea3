"""Drawings of runs: curves, heat maps, the style that all pictures have, and how one comes onto a page."""

import io
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from convatlas.training.run import Row
from convatlas.wording import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    #          light      dark
    "ink":    ("#20211f", "#e4e4e0"),
    "muted":  ("#6a6b66", "#9b9c96"),
    "rule":   ("#dcdcd6", "#3a3b38"),
    "paper":  ("#fdfdfb", "#171816"),
    "panel":  ("#f4f4ef", "#212220"),
    # right and wrong, in colours of Okabe and Ito that the colour-blind tell apart; orange a little darker, to be read
    "blue":   ("#0072b2", "#56b4e9"),
    "orange": ("#c25400", "#e69f00"),
}  # fmt: skip
INK, MUTED, RULE, PAPER, _, BLUE, ORANGE = (light for light, _ in COLOURS.values())

STYLE: Mapping[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: the browser sets it in the page's own font
    "text.parse_math": False,  # a class may be called $5
    "font.size": 8.5,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "xtick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.color": RULE,
    "ytick.labelcolor": MUTED,
    "ytick.left": False,
    "legend.frameon": False,
}

NUMBERED = 20
"""Up to so many classes, all are listed and the heat map has its counts written in."""


def curves(rows: Sequence[Row], *, best_epoch: int) -> dict[str, "Figure"]:
    """A small figure each of the loss, the accuracy and the learning rate over the epochs."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    epochs = [row["epoch"] for row in rows]
    lines = {
        "Loss": {"train": "train_loss", "validation": "val_loss"},
        "Accuracy, per cent": {"train": "train_accuracy", "validation": "val_accuracy"},
        "Learning rate": {"at the end of the epoch": "lr"},
    }
    figures = {}
    for title, columns in lines.items():
        figures[title] = figure = Figure(figsize=(3.7, 2.5), layout="constrained")
        axes: Axes = figure.subplots()
        for label, column in columns.items():
            colour = BLUE if label == "validation" else MUTED
            axes.plot(epochs, [row[column] for row in rows], color=colour, label=label, linewidth=1.4,
                      marker="o" if len(rows) == 1 else "", markersize=3)  # fmt: skip
        for row in rows:
            if row["epoch"] == best_epoch and "validation" in columns:
                axes.axvline(best_epoch, color=MUTED, linewidth=0.6, linestyle=(0, (2, 2)))
                axes.plot(best_epoch, row[columns["validation"]], "o", color=BLUE, markersize=5,
                          markeredgecolor=PAPER, label=f"best, epoch {best_epoch}")  # fmt: skip
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=(1, 2, 5, 10), integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=(1, 2, 5, 10)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_xlabel("epoch")
        axes.legend(
            loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=3, borderaxespad=0, handlelength=1.2, columnspacing=1.2
        )
    return figures


def heat_map(counts: NDArray[np.int64], classes: Sequence[str]) -> "Figure":
    """Who is taken for whom, `counts` (K, K): right in blue, wrong in orange, deep by the share of the class."""
    from matplotlib.colors import to_rgb
    from matplotlib.figure import Figure

    labels = [shortened(name) for name in classes]
    longest = max(map(len, labels))
    cell = min(max(3.2 / len(labels), 0.34 if len(labels) <= NUMBERED else 0.085), 0.6)  # inches
    font = min(8.5, 0.85 * 72 * cell)
    side = cell * len(labels) + longest * font / 120 + 0.5
    figure = Figure(figsize=(side, side), layout="constrained")
    axes: Axes = figure.subplots()

    share = counts / counts.sum(1, keepdims=True).clip(1)
    pixels = np.empty((*counts.shape, 4))
    pixels[..., :3] = to_rgb(ORANGE)
    pixels[np.diag_indices(len(labels))] = (*to_rgb(BLUE), 1)
    pixels[..., 3] = np.sqrt(share)  # or else a single mistake in a hundred would not be seen
    axes.imshow(pixels, interpolation="none")
    if len(labels) <= NUMBERED:
        for (i, j), count in np.ndenumerate(counts):
            if count:
                axes.text(j, i, f"{count:,}", ha="center", va="center", fontsize=7.5 if count < 1000 else 6,
                          color="white" if share[i, j] > 0.7 else INK)  # fmt: skip
    axes.grid(visible=False)
    axes.tick_params(length=0, labelsize=font)
    axes.set_xticks(range(len(labels)), labels, rotation=0 if longest <= 3 and cell >= 0.34 else 90)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.spines[:].set_visible(True)
    return figure


@contextmanager
def drawing() -> Iterator[None]:
    """In the block Matplotlib has our style and not the user's, and is silent."""
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it tells that it builds its cache of fonts
    try:
        import matplotlib

        with matplotlib.rc_context(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph")  # its font may lack a letter that the browser has
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(STYLE)
            yield
    finally:
        logger.setLevel(level)


def svg(figure: "Figure", label: str) -> Markup:
    """The figure as an element of the page, in the page's colours, light or dark."""
    import matplotlib

    file = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": label}):  # fixed, so a run gives one page; and no two alike on it
        figure.savefig(file, format="svg", transparent=True)
    _, _, body = file.getvalue().partition('<g id="figure_1">')
    body = re.sub(r'<g id="[^"]*">', "<g>", "<g>" + body)
    for name, (light, _) in COLOURS.items():
        body = body.replace(light, f"var(--{name})")
    width, height = 72 * figure.get_size_inches()
    head = Markup('<svg viewBox="0 0 {:.0f} {:.0f}" style="width: {:.0f}pt" role="img" aria-label="{}">')
    return head.format(width, height, width, label) + Markup(body)


def shortened(name: str, length: int = 18) -> str:
    """The name, its middle left out where it is long."""
    name, half = printable(name), (length - 1) // 2
    return name if len(name) <= length else f"{name[:half].rstrip()}…{name[-half:].lstrip()}"
