"""The figures that the default recipes reach, each over several seeds, and the table made of the runs' records.

    python benchmarks/figures.py --data ../shared/data --output results/training.md [--only digits mnist cifar10]

Every run is one command line in a process of its own, as a user types it. The records go to a JSON file beside the
table; what was measured before and is not measured now stays in both.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any


@dataclass(frozen=True)
class Work:
    """A row of the table."""

    model: str
    data: str
    seeds: int
    options: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """What a user types."""
        return " ".join(("convatlas train", self.model, "--data", self.data, *self.options))


WORKS = (
    Work("lenet", "digits", 5),
    Work("lenet", "mnist", 3),
    Work("lenet5", "mnist", 3),
    Work("resnet20", "cifar10", 1, ("--epochs", "15")),
    Work("resnet20", "cifar10", 1, ("--recipe", "paper", "--epochs", "5")),
)


def measure(work: Work, seed: int, data: Path) -> dict[str, Any]:
    """The record of one run."""
    source = work.data if work.data == "digits" else str(data / work.data)
    with tempfile.TemporaryDirectory() as folder:
        words = ["train", work.model, "--data", source, *work.options, "--seed", str(seed), "--output", f"{folder}/run"]
        started = time.perf_counter()
        command = [sys.executable, "-m", "convatlas", *words, "--json"]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
        rows = [line.split(",") for line in Path(folder, "run", "metrics.csv").read_text().splitlines()]
    results = json.loads(done.stdout)
    column = rows[0].index("seconds")
    kept = ("val", "test", "best_epoch", "images", "machine", "versions")
    return {
        "command": work.command,
        "seed": seed,
        "seconds": round(seconds, 1),
        "training_seconds": round(sum(float(row[column]) for row in rows[1:]), 1),
        "epochs": len(rows) - 1,
        **{name: results[name] for name in kept},
    }


def table(records: Sequence[dict[str, Any]]) -> str:
    """The records as a page: a line for each command and machine."""
    lines = [
        "# What the default recipes reach",
        "",
        "Made by `python benchmarks/figures.py` from the runs' records in `training.json`. Errors in per cent of the",
        "test images, which were read once, at the end; the best epoch was chosen on validation images cut from the",
        "training part. Mean (least to greatest) over the seeds. Seconds: the whole command, with imports and report.",
        "`cifar10` here is a re-encoding as JPEG, on which errors are some points higher than on the original.",
        "",
        "| command | seeds | epochs | validation error | test error | seconds | machine |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for record in records:
        groups.setdefault((record["command"], record["machine"]["chosen"]), []).append(record)
    for (command, machine), group in groups.items():
        figures = (
            spread([r["val"]["error"] for r in group]),
            spread([r["test"]["error"] for r in group]),
            spread([r["seconds"] for r in group], digits=0),
        )
        torch = group[0]["versions"]["torch"]
        lines.append(
            f"| `{command}` | {len(group)} | {group[0]['epochs']} | {' | '.join(figures)} | {machine}; torch {torch} |"
        )
    return "\n".join(lines) + "\n"


def spread(values: Sequence[float], digits: int = 2) -> str:
    """`0.83 (0.79 to 0.90)`."""
    middle = f"{mean(values):.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def main() -> None:
    """Measure, and write the records and the table."""
    here = Path(__file__).parents[1]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("CONVATLAS_TEST_DATA", here.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=default, help="the folder with mnist/ and cifar10/")
    parser.add_argument("--output", type=Path, default=here / "results" / "training.md")
    parser.add_argument("--only", nargs="*", help="data sets, or words of the command")
    options = parser.parse_args()

    store = options.output.with_suffix(".json")
    records = json.loads(store.read_text()) if store.exists() else []
    for work in WORKS:
        if options.only and not {work.data, *work.options} & set(options.only):
            continue
        for seed in range(work.seeds):
            record = measure(work, seed, options.data)
            same = ("command", "seed", "machine")
            records = [r for r in records if any(r[name] != record[name] for name in same)] + [record]
            print(work.command, seed, record["test"], f"{record['seconds']} s", flush=True)
            store.write_text(json.dumps(records, indent=1) + "\n")
            options.output.write_text(table(records))


if __name__ == "__main__":
    main()
