"""What `train` adds to its steps: bar, logs, scores and checkpoints, beside a bare loop of the same steps, in turn.

    python benchmarks/loop.py --data ../shared/data [--rounds 5] [--json FILE]

Both train LeNet on MNIST with the same batches, network, optimiser and precision, in processes of their own and not
compiled; the first epoch warms up, and the middle one of the next five counts. Ours is the seconds of the epoch in its
own metrics, in which the bar, the running scores and the checkpoints between steps are. The bare loop is seven lines,
and looks at no loss.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch.nn import functional as F

import convatlas as ca
from convatlas.data.batches import Batches
from convatlas.devices import exact
from convatlas.training.job import prepare
from convatlas.training.machine import keep_freed_memory
from convatlas.training.optim import make_optimizer
from convatlas.training.progress import Display
from training_speed import machine

EPOCHS = 6
MOST = 1.05
"""How many times the bare loop's seconds ours may take."""


def ours(recipe: ca.Recipe) -> float:
    """Seconds of an epoch, as `train` writes them down."""
    with tempfile.TemporaryDirectory() as folder:
        rows = ca.train(recipe, output=Path(folder) / "run").metrics
    return statistics.median(row["seconds"] for row in rows[1:])


def bare(recipe: ca.Recipe) -> float:
    """Seconds of an epoch of nothing but steps."""
    epochs = []
    job = prepare(recipe, Display(quiet=True))
    keep_freed_memory()
    network = job.network.to(memory_format=torch.channels_last).train()
    optimizer = make_optimizer(network, job.recipe)
    batches = Batches(
        pixels=job.splits.train, preparation=job.bundle.images, augmentation=job.augmentation,
        batch_size=job.recipe.batch_size, seed=job.recipe.seed, channels_last=job.machine.channels_last,
    )  # fmt: skip
    with exact():
        for epoch in range(EPOCHS):
            started = time.perf_counter()
            for step in batches.steps(epoch * len(batches), (epoch + 1) * len(batches)):
                for images, labels, *_ in step.parts:
                    optimizer.zero_grad()
                    with torch.autocast("cpu", torch.bfloat16, enabled=job.machine.precision == "bf16"):
                        logits = network(images)
                    F.cross_entropy(logits.float(), labels, label_smoothing=job.recipe.label_smoothing).backward()
                    if job.recipe.clip:
                        torch.nn.utils.clip_grad_norm_(network.parameters(), job.recipe.clip)
                    optimizer.step()
            epochs.append(time.perf_counter() - started)
    return statistics.median(epochs[1:])


def measure(side: str, data: Path) -> float:
    """Seconds of an epoch of one side, in a process of its own that believes it writes to a terminal."""
    command = [sys.executable, __file__, "--side", side, "--data", str(data)]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=os.environ | {"FORCE_COLOR": "1"},
    )  # fmt: skip
    return float(done.stdout.splitlines()[-1])


def main() -> int:
    """Measure, print, keep; 1 where ours takes too long."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, default=Path("results/loop.json"))
    parser.add_argument("--side", choices=("ours", "bare"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        recipe = ca.Recipe(model="lenet", data=str(options.data / "mnist"), epochs=EPOCHS, compile=False)
        print({"ours": ours, "bare": bare}[options.side](recipe))
        return 0
    about = machine()
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    rounds = [{side: measure(side, options.data) for side in ("ours", "bare")} for _ in range(options.rounds)]
    ratios = [each["ours"] / each["bare"] for each in rounds]
    seconds = {side: statistics.median(each[side] for each in rounds) for side in ("ours", "bare")}
    print(
        f"an epoch of LeNet: {seconds['ours']:.2f} s ours, {seconds['bare']:.2f} s bare: "
        f"{statistics.median(ratios):.3f} times ({min(ratios):.3f} to {max(ratios):.3f})"
    )
    options.json.write_text(json.dumps({"machine": about, "most": MOST, "seconds": rounds}, indent=1) + "\n")
    return int(statistics.median(ratios) > MOST)


if __name__ == "__main__":
    sys.exit(main())
