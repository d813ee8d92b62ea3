"""`convatlas train --sweep`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from convatlas.cli.listing import as_json, show
from convatlas.cli.words import print_json
from convatlas.errors import WorkError
from convatlas.training.recipe import Recipe

if TYPE_CHECKING:
    from convatlas.training.trackers import Logger


def run_sweep(
    words: list[str],
    base: Callable[[str | None], Recipe],
    *,
    output: Path | None,
    devices: int,
    loggers: Sequence["Logger"],
    json: bool,
) -> int:
    """Train with all combinations of values, and print the runs side by side, and which is best."""
    from convatlas.training.sweep import combinations, swept_values

    recipes = combinations(swept_values(words), base)

    from convatlas.training.comparison import mean
    from convatlas.training.records import grouped, read_record
    from convatlas.training.run import Run
    from convatlas.training.sweep import sweep

    folder = output or Path("runs") / f"{Run.stem(base(None))}-sweep"
    paths = sweep(recipes, folder.expanduser(), devices=devices, loggers=loggers)
    groups = grouped([read_record(path) for path in paths])
    ended = [(group.val_accuracy.mean, group) for group in groups if group.done and group.val_accuracy]
    if not ended:
        raise WorkError(f"no run of the sweep ended well; convatlas runs {folder} says why")
    _, best = max(ended, key=lambda pair: pair[0])
    if json:
        print_json(as_json(groups) | {"best": best.name})
        return 0
    show(groups)
    print(f"\nbest on the validation images: {best.name}, {mean(best.val_accuracy)}")
    print(f"runs: {folder}")
    return 0
