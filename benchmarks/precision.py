"""The fast path beside the plain one: whether both learn to the same accuracy, over several seeds.

    python benchmarks/precision.py --data ../shared/data [--rounds 8] [--only MODEL] [--json FILE]

The fast path is what `train` chooses on the machine: bf16 where it multiplies that fast, compiled where the run is long
enough. The plain one is `--precision 32 --no-compile`. Both have the same seed, so the same first weights, order and
augmentation; the difference of their test errors is of a pair. LeNet learns all of MNIST by its default recipe,
ResNet-20 a fifth of CIFAR-10, in eight epochs; both are tested on all test images. A round is a seed. Nothing is timed,
so there is a run for each core, of one thread.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
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
    Work("resnet20", "cifar10", 10_000, ("--epochs", "8")),
    Work("lenet", "mnist", None),
)


def learn(work: Work, data: Path, seed: int, path: str) -> dict[str, Any]:
    """The test error of a run, in percent, and what it computed in."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["train", work.model, "--data", str(data), "--seed", str(seed), *work.options, *PATHS[path]]
        command = [sys.executable, "-m", "convatlas", *words, "--output", f"{folder}/run", "--json"]
        one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=one_thread)
    results = json.loads(done.stdout)
    print(f"  {work.model} {seed} {path}: {results['test']['error']:.2f} %", flush=True)
    return {"error": results["test"]["error"], "chosen": results["machine"]["chosen"]}


def pairs(work: Work, data: Path, seeds: int) -> list[dict[str, Any]]:
    """A run of each path for each seed."""
    with ThreadPoolExecutor(os.cpu_count()) as cores:
        runs = [{path: cores.submit(learn, work, data, seed, path) for path in PATHS} for seed in range(seeds)]
        return [{path: run.result() for path, run in pair.items()} for pair in runs]


def line(work: Work, pairs: list[dict[str, Any]]) -> str:
    """Both errors, and how far they are apart, with the standard error of that over the seeds."""
    errors = {path: statistics.mean(pair[path]["error"] for pair in pairs) for path in PATHS}
    apart = [pair["fast"]["error"] - pair["plain"]["error"] for pair in pairs]
    standard_error = statistics.stdev(apart) / len(apart) ** 0.5
    return (
        f"{work.model} on {work.data}: fast {errors['fast']:.2f} %, plain {errors['plain']:.2f} %; apart "
        f"{statistics.mean(apart):+.2f} ± {standard_error:.2f} points ({min(apart):+.2f} to {max(apart):+.2f}, "
        f"{len(apart)} seeds)"
    )


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("CONVATLAS_TEST_DATA", beside)))
    parser.add_argument("--rounds", type=int, default=8, help="seeds, two or more")
    parser.add_argument("--only", nargs="+", choices=[work.model for work in WORKS])
    parser.add_argument("--json", type=Path, default=Path("results/precision.json"))
    options = parser.parse_args()
    about = machine()
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    kept: dict[str, Any] = {"machine": about, "works": {}}
    if options.only and options.json.is_file():
        before = json.loads(options.json.read_text())
        same = all(before["machine"][name] == about[name] for name in ("processor", "torch"))
        kept["works"] = before["works"] if same else {}
    for work in WORKS:
        if options.only and work.model not in options.only:
            continue
        with training_images(work.data, options.data, count=work.images, tested=None) as data:
            found = pairs(work, data, options.rounds)
        print(line(work, found), flush=True)
        kept["works"][work.model] = {"data": work.data, "images": work.images, "options": work.options, "pairs": found}
        options.json.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
