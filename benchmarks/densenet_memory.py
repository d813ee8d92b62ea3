"""Training memory of DenseNet-BC (L = 100, k = 12): with `saving` beside plain, each in a process of its own.

    python benchmarks/densenet_memory.py [--rounds 3] [--steps 3] [--batch 64] [--threads 2] [--heap kept] [--json FILE]

The memory is the greatest resident size of a process, torch itself included; the time, the median of a step
(forward, backward, SGD; channels last, float32) after one that warms up; the ratios, the medians of the rounds. What is
freed stays in the process, as in `convatlas train`; with `--heap glibc` what the C library makes of it, with `--heap
returned` every block from 1 MB on goes back to the system.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

import convatlas as ca
from convatlas.devices import cores, processor
from convatlas.training.machine import keep_freed_memory

MEMORY, TIME = 0.5, 1.25
"""What `saving` is held to: at most half of the memory, in at most 1.25 times the step."""


def measure(args: argparse.Namespace) -> dict[str, float]:
    """Peak memory in MB and seconds a step of one side, in this process."""
    torch.set_num_threads(args.threads)
    if args.heap == "kept":
        keep_freed_memory()
    torch.manual_seed(0)
    network = ca.create_model(args.model, saving=args.side == "saving")
    network = network.train().to(memory_format=torch.channels_last)
    before = peak()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    images = torch.randn(args.batch, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (args.batch,))
    seconds = []
    for _ in range(args.steps + 1):
        start = time.perf_counter()
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        optimiser.step()
        seconds.append(time.perf_counter() - start)
    return {"peak_mb": peak(), "before_mb": before, "step_s": statistics.median(seconds[1:])}


def peak() -> float:
    """The greatest resident size of this process so far, in MB."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux, bytes on macOS
    return size / (1e6 if sys.platform == "darwin" else 1e6 / 1024)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="densenet_bc_100_12")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--heap", choices=("kept", "glibc", "returned"), default="kept")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--side", choices=("plain", "saving"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps(measure(args)))
        return 0

    environment = os.environ | ({"MALLOC_MMAP_THRESHOLD_": "1000000"} if args.heap == "returned" else {})
    rounds = []
    for _ in range(args.rounds):
        sides = {}
        for side in ("plain", "saving"):
            command = [sys.executable, __file__, *sys.argv[1:], "--side", side]
            sides[side] = json.loads(subprocess.check_output(command, text=True, env=environment))
            print(f"{side:7} {sides[side]['peak_mb']:6.0f} MB   {sides[side]['step_s']:6.2f} s a step", flush=True)
        rounds.append(sides)
    memories = [sides["saving"]["peak_mb"] / sides["plain"]["peak_mb"] for sides in rounds]
    times = [sides["saving"]["step_s"] / sides["plain"]["step_s"] for sides in rounds]
    memory, slower = statistics.median(memories), statistics.median(times)
    ran = f"{args.threads} threads, torch {torch.__version__}, batch {args.batch}, heap {args.heap}"
    machine = f"{processor('cpu')}, {ran}"
    print(
        f"memory  {memory:.2f} (bar {MEMORY})   time {slower:.2f} ({min(times):.2f} to {max(times):.2f}; bar {TIME})   "
        f"{machine}"
    )
    if args.json:
        result = {"machine": machine, "model": args.model, "rounds": rounds, "memory": memory, "time": slower}
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0 if memory <= MEMORY and slower <= TIME else 1


if __name__ == "__main__":
    sys.exit(main())
