"""Kill a training at random moments, resume it, and count how often it ends with the weights of one never killed.

    python benchmarks/kills.py --data ../shared/data [--kills 20] [--only mnist cifar]

Each trial is a process that is sent SIGKILL at a moment drawn between its first file and the time that a whole run
takes, and `convatlas resume` after it. Weights, metrics (but for their times) and the test's result are compared.
"""

import argparse
import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SAVE = "from convatlas.training import loop; loop.SAVE_EVERY = {}; from convatlas.cli import main; main()"
"""A checkpoint at nearly every chance: runs as short as these would have none otherwise."""
WORKS = {
    "mnist": ["lenet", "--data", "mnist", "--epochs", "1", "--no-compile"],
    "cifar": [
        "preresnet110", "--data", "cifar10_exact", "--epochs", "2", "--colour", "0.2", "--erase", "8", "--ema", "0.99",
        "--changes", "layers", "[2,1,1]", "dropout", "0.3", "survival", "0.5",
    ],
}  # fmt: skip


def started(words: list[str], folder: Path, *, every: float) -> "subprocess.Popen[bytes]":
    """A training in a process of its own."""
    command = [sys.executable, "-c", SAVE.format(every), "train", *words, "--output", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def outcome(folder: Path) -> dict[str, Any]:
    """By what two runs are compared."""
    rows = [line.split(",") for line in (folder / "metrics.csv").read_text().splitlines()]
    kept = [i for i, name in enumerate(rows[0]) if name not in ("seconds", "images_per_second")]
    return {
        "weights": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        "metrics": [[row[i] for i in kept] for row in rows],
        "test": json.loads((folder / "results.json").read_text())["test"],
    }


def trials(words: list[str], kills: int, work: Path, draw: random.Random) -> list[dict[str, Any]]:
    """What each trial came to."""
    whole = work / "whole"
    process = started(words, whole, every=10.0)
    while not (whole / "recipe.yaml").exists():
        time.sleep(0.01)
    began = time.monotonic()
    assert process.wait() == 0
    takes = time.monotonic() - began
    expected = outcome(whole)
    print(f"  a whole run takes {takes:.1f} s after its first file: {expected['test']}", flush=True)
    found = []
    for trial in range(kills):
        parts = work / f"parts-{trial}"
        moment = draw.uniform(0, takes)
        process = started(words, parts, every=0.3)
        while not (parts / "recipe.yaml").exists():
            time.sleep(0.01)
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
        there = sorted(path.name.split("-")[1] for path in (parts / "state").glob("step-*")) or ["none"]
        ended = (parts / "results.json").exists()
        subprocess.run([sys.executable, "-m", "convatlas", "resume", parts], check=True, capture_output=True)
        same = outcome(parts) == expected
        found.append({"moment": round(moment, 2), "checkpoint": there[-1], "had ended": ended, "same": same})
        print(f"  killed after {moment:5.1f} s, from step {there[-1]}: {'identical' if same else 'OTHER'}", flush=True)
        shutil.rmtree(parts)
    return found


def main() -> None:
    """Count, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--kills", type=int, default=20, help="of each work")
    parser.add_argument("--only", nargs="+", choices=WORKS, default=list(WORKS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=Path("results/kills.json"))
    options = parser.parse_args()
    kept = json.loads(options.json.read_text()) if options.json.is_file() else {}
    for name in options.only:
        words = [str(options.data / word) if word in ("mnist", "cifar10_exact") else word for word in WORKS[name]]
        print(f"convatlas train {' '.join(words)}")
        with tempfile.TemporaryDirectory() as folder:
            found = trials(words, options.kills, Path(folder), random.Random(options.seed))
        print(f"{name}: {sum(each['same'] for each in found)} of {len(found)} identical")
        kept[name] = {"command": " ".join(["convatlas train", *WORKS[name]]), "trials": found}
    options.json.write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    main()
