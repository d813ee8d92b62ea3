"""All that is compared with others, in turn, and the table of it: one command.

    pip install -r benchmarks/requirements.txt
    python benchmarks/results.py --data ../shared/data [--only reading startup …] [--rounds 3]

Each benchmark runs in a process of its own, one after another, and keeps what it measured in results/; the table is
made of all that is kept there, and written to benchmarks/RESULTS.md with the machine that each was measured on. Nothing
else should run meanwhile.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results"


class Row(NamedTuple):
    """What was compared, and how it came out."""

    work: str
    against: str
    ratios: list[float]
    wanted: str
    ours: str
    """The middle of ours, with its unit."""


def speeds(record: dict[str, Any]) -> Iterator[Row]:
    """Training LeNet and ResNet-20 beside the tutorial way."""
    for work, found in record["works"].items():
        rates = [epoch["images"] / epoch["seconds"] for epoch in found["ours"]]
        yield Row(f"an epoch of {work}", "the tutorial way", found["ratios"], "≥ 3", f"{middle(rates):,.0f} images/s")


def photographs(record: dict[str, Any]) -> Iterator[Row]:
    """Training at 224 from JPEG files, and the memory that it takes."""
    for network, rounds in record["networks"].items():
        for side in ("torchvision", "timm"):
            for name, unit, wanted in (
                ("images_per_second", "images/s", "≥ 2.5" if (network, side) == ("resnet50", "timm") else ""),
                ("peak_mb", "MB at most", ""),
            ):
                ratios = [each["ours"][name] / each[side][name] for each in rounds]
                ours = f"{middle([each['ours'][name] for each in rounds]):,.1f} {unit}"
                yield Row(f"training {network} at 224 from files", side, ratios, wanted, ours)


def reading(record: dict[str, Any]) -> Iterator[Row]:
    """JPEG files to batches, and from the cache."""
    rates = record["images_per_second"]
    wanted = {"torchvision classic": ("≥ 1.6", "≥ 6"), "torchvision v2": ("≥ 1.15", "≥ 4")}
    for i, mine in enumerate(("ours", "ours, from the cache")):
        for peer in [who for who in rates if not who.startswith("ours")]:
            ratios = [one / other for one, other in zip(rates[mine], rates[peer], strict=True)]
            work = "JPEG to training batch, one core" + mine.removeprefix("ours")
            yield Row(work, peer, ratios, wanted.get(peer, ("", ""))[i], f"{middle(rates[mine]):,.0f} images/s")


def inference(record: dict[str, Any]) -> Iterator[Row]:
    """The best of our engines beside each other way."""
    wanted = {
        "torchvision eager": "≥ 10", "torchvision compiled": "", "timm eager": "", "timm compiled": "",
        "ONNX Runtime alone": "", "OpenVINO alone": "≥ 1",
    }  # fmt: skip
    for network, found in record["networks"].items():
        best = found["seconds"][found["best"]]
        for peer in wanted:
            ratios = [theirs / mine for theirs, mine in zip(found["seconds"][peer], best, strict=True)]
            ours = f"{record['batch_size'] / middle(best):,.0f} images/s by {found['best']}"
            yield Row(f"inference, {network}", peer, ratios, wanted[peer], ours)
        if eight := found["seconds"].get("int8 int8"):
            ratios = [theirs / mine for theirs, mine in zip(found["seconds"]["OpenVINO alone"], eight, strict=True)]
            ours = f"{record['batch_size'] / middle(eight):,.0f} images/s; weights are drawn, nothing to be right about"
            yield Row(f"inference, {network} in int8", "OpenVINO alone", ratios, "", ours)
    for eight in record["int8"]:
        seconds, checked = eight["seconds"], eight["checked"]
        ratios = [theirs / mine for mine, theirs in zip(seconds["int8"], seconds["OpenVINO alone"], strict=True)]
        right, plain, total = (checked[name] for name in ("right", "right_in_float32", "checked_on"))
        rate = eight["batch_size"] / middle(seconds["int8"])
        ours = f"{rate:,.0f} images/s; {right:,} of {total:,} right, {plain:,} in float32"
        yield Row(f"inference, trained {eight['network']}, in int8", "OpenVINO alone", ratios, "≥ 1.7", ours)


def startup(record: dict[str, Any]) -> Iterator[Row]:
    """How soon something happens."""
    for work, sides in record["seconds"].items():
        for peer in [side for side in sides if side != "ours"]:
            ratios = [theirs / mine for theirs, mine in zip(sides[peer], sides["ours"], strict=True)]
            words = {"help": "convatlas --help", "import": "import convatlas", "prediction": "the first prediction"}
            wanted = "≥ 10" if (work, peer) == ("help", "timm") else ""
            against = peer if work == "prediction" else f"import {peer}"
            yield Row(words[work], against, ratios, wanted, f"{middle(sides['ours']):.2f} s")


def loop(record: dict[str, Any]) -> Iterator[Row]:
    """What the loop adds to its steps."""
    ratios = [each["ours"] / each["bare"] for each in record["seconds"]]
    ours = f"{middle([each['ours'] for each in record['seconds']]):.2f} s"
    yield Row("an epoch of LeNet: seconds", "a bare loop", ratios, "≤ 1.05", ours)


def memory(record: dict[str, Any]) -> Iterator[Row]:
    """DenseNet's memory and time with recomputation."""
    for name, wanted, unit in (("peak_mb", "≤ 0.5", "MB"), ("step_s", "≤ 1.25", "s")):
        ratios = [each["saving"][name] / each["plain"][name] for each in record["rounds"]]
        ours = f"{middle([each['saving'][name] for each in record['rounds']]):,.2f} {unit}"
        work = {"peak_mb": "memory", "step_s": "seconds a step"}[name]
        yield Row(f"DenseNet-BC (100, 12), saving: {work}", "the plain network", ratios, wanted, ours)


def precision(record: dict[str, Any]) -> Iterator[Row]:
    """The errors of the fast path beside those of the plain one, of the same seed."""
    for model, found in record["works"].items():
        ratios = [pair["fast"]["error"] / pair["plain"]["error"] for pair in found["pairs"]]
        fast, plain = (statistics.mean(pair[path]["error"] for pair in found["pairs"]) for path in ("fast", "plain"))
        apart = [pair["fast"]["error"] - pair["plain"]["error"] for pair in found["pairs"]]
        error = statistics.stdev(apart) / len(apart) ** 0.5
        ours = f"{fast:.2f} %, plain {plain:.2f} %: {fast - plain:+.2f} ± {error:.2f} points, {len(apart)} seeds"
        yield Row(f"test error of {model} on {found['data']}", "float32, not compiled", ratios, "", ours)


@dataclass(frozen=True)
class Work:
    """A benchmark: its script, whether it takes `--data`, and what its record says."""

    script: str
    rows: Callable[[dict[str, Any]], Iterator[Row]]
    data: bool = True
    weights: bool = False
    """And `--weights`, beside the data."""
    rounds: int | None = None
    """Its own number of them, where what is asked for would be too few."""

    @property
    def record(self) -> Path:
        """Where it is kept."""
        return RESULTS / f"{self.script}.json"

    def run(self, data: Path, rounds: int) -> None:
        """Measure anew."""
        words = ["--data", str(data)] if self.data else []
        words += ["--weights", str(data.parent / "weights")] if self.weights else []
        command = [sys.executable, str(HERE / f"{self.script}.py"), *words, "--rounds", str(self.rounds or rounds)]
        started = time.time_ns()
        subprocess.run([*command, "--json", str(self.record)], check=False)  # its status may be that a target is missed
        if not self.record.is_file() or self.record.stat().st_mtime_ns < started:
            raise SystemExit(f"{self.script} failed")


WORKS = {
    "training": Work("training_speed", speeds),
    "photographs": Work("photographs", photographs),
    "reading": Work("reading", reading),
    "inference": Work("inference", inference, weights=True),
    "startup": Work("startup", startup, data=False),
    "loop": Work("loop", loop),
    "memory": Work("densenet_memory", memory, data=False),
    "precision": Work("precision", precision, rounds=8),
}
HEAD = """# What was measured beside others

`python benchmarks/results.py` makes this table, of what [its benchmarks](README.md) keep in `results/`. A ratio is of
one round, in which every side runs once, in turn: ours by the other's in images a second, or the other's seconds by
ours, so that more is better; memory, errors, and what a bare loop or a plain network is set beside, are ours by the
other's, and less is better. First stands the middle of the rounds, then the least and the greatest; bold is what
meets what is wanted.

"""


def middle(values: list[float]) -> float:
    """The median."""
    return statistics.median(values)


def about(record: dict[str, Any]) -> str:
    """The machine of a record in a line."""
    machine = record.get("machine", "a machine that was not written down")
    if isinstance(machine, dict):
        return ", ".join(f"{name} {value}" for name, value in machine.items())
    return f"{machine}, load {record['load']:.2f}" if "load" in record else str(machine)


def met(row: Row) -> bool:
    """Whether the middle ratio is what is wanted."""
    sign, _, number = row.wanted.partition(" ")
    return bool(row.wanted) and (
        middle(row.ratios) >= float(number) if sign == "≥" else middle(row.ratios) <= float(number)
    )


def table() -> str:
    """The page, of all records that there are."""
    lines = [HEAD]
    for name, work in WORKS.items():
        if not work.record.is_file():
            continue
        record = json.loads(work.record.read_text())
        lines += [f"## {name.capitalize()}\n\n", f"`python benchmarks/{work.script}.py`, on: {about(record)}\n\n"]
        lines += [
            "| work | against | ratio | least to greatest | wanted | ours |\n",
            "| --- | --- | --- | --- | --- | --- |\n",
        ]
        for row in work.rows(record):
            ratio = f"{middle(row.ratios):.2f}"
            ratio = f"**{ratio}**" if met(row) else ratio
            spread = f"{min(row.ratios):.2f} to {max(row.ratios):.2f}"
            lines.append(f"| {row.work} | {row.against} | {ratio} | {spread} | {row.wanted} | {row.ours} |\n")
        lines.append("\n")
    return "".join(lines).rstrip() + "\n"


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--only", nargs="*", choices=WORKS, default=list(WORKS), help="none: the table alone")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for name in options.only:
        print(f"-- {name}", flush=True)
        WORKS[name].run(options.data, options.rounds)
    (HERE / "RESULTS.md").write_text(table(), encoding="utf-8")


if __name__ == "__main__":
    main()
