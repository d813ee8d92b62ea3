"""The fast path beside the plain one: whether both learn to the same accuracy, over several seeds.

    python benchmarks/precision.py --data ../shared/data [--rounds 5] [--json FILE]

The fast path is what `train` chooses on the machine: bf16 where it multiplies that fast, compiled where the run is long
enough. The plain one is `--precision 32 --no-compile`. Both have the same seed, so the same first weights, order and
augmentation; the difference of their test errors is of a pair. LeNet learns all of MNIST by its default recipe,
ResNet-20 some of CIFAR-10, in eight epochs; both are tested on all test images. A round is a seed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training_speed import machine, training_images

PATHS = {"fast": (), "plain": ("--precision", "32", "--no-compile")}


@dataclass(frozen=True)
class Work:
    """What is learned, twice a seed."""

    model: str
    data: str
    images: int | None
    """Of its training part; None: all."""
    options: tuple[str, ...] = ()


WORKS = (
    Work("resnet20", "cifar10", 5_000, ("--epochs", "8")),
    Work("lenet", "mnist", None),
)


def learn(work: Work, data: Path, seed: int, options: Sequence[str]) -> dict[str, Any]:
    """The results of a run."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["train", work.model, "--data", str(data), "--seed", str(seed), *work.options, *options]
        command = [sys.executable, "-m", "convatlas", *words, "--output", f"{folder}/run", "--json"]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    results = json.loads(done.stdout)
    return {"error": results["test"]["error"], "chosen": results["machine"]["chosen"]}


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("CONVATLAS_TEST_DATA", beside)))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, default=Path("results/precision.json"))
    options = parser.parse_args()
    about = machine()
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    kept: dict[str, Any] = {"machine": about, "works": {}}
    for work in WORKS:
        pairs = []
        with training_images(work.data, options.data, count=work.images, tested=None) as data:
            for seed in range(options.rounds):
                pairs.append({path: learn(work, data, seed, words) for path, words in PATHS.items()})
                print(f"  {work.model} {seed}: " + ", ".join(f"{p} {r['error']:.2f} %" for p, r in pairs[-1].items()))
        apart = [pair["fast"]["error"] - pair["plain"]["error"] for pair in pairs]
        errors = {path: statistics.mean(pair[path]["error"] for pair in pairs) for path in PATHS}
        print(
            f"{work.model} on {work.data}: fast {errors['fast']:.2f} %, plain {errors['plain']:.2f} %; apart "
            f"{statistics.mean(apart):+.2f} points ({min(apart):+.2f} to {max(apart):+.2f}, {options.rounds} seeds)",
            flush=True,
        )
        kept["works"][work.model] = {"data": work.data, "images": work.images, "options": work.options, "pairs": pairs}
        options.json.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
