"""ResNet-152 explained whole, beside torchinfo's plain summary and fvcore's count of it: in turn, a ratio a line.

    pip install -r benchmarks/requirements.txt
    python benchmarks/explanation.py [--rounds 15] [--json FILE]

Ours and torchinfo are given the network on the meta device, where nothing is computed; fvcore does not run there, and
gets it on the processor. The image is of 224×224. Ours says each layer's shape, cost, receptive field and formulas;
torchinfo each module's shape and parameters, and fvcore the operations. Each ends with the total in hand. A round is
one of each; the first, which imports and warms up, is left out.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

import convatlas as ca
from convatlas.devices import processor
from convatlas.models import build

SIZE = (3, 224, 224)
TARGETS = {"torchinfo": 1.0, "fvcore": 2.0}
"""How many times the peer's time ours has to fit into."""
DEEPEST, SECONDS = "resnet1202", 5.0
"""The network that has to be explained in so many seconds."""


def ours(network: nn.Module) -> int:
    """The MACs, from the whole explanation."""
    return ca.explain(network, SIZE).macs


def torchinfo(network: nn.Module) -> int:
    """The MACs, from the summary that is printed."""
    from torchinfo import summary

    found = summary(network, input_data=[torch.empty(1, *SIZE, device="meta")], device="meta", verbose=0)
    str(found)
    return found.total_mult_adds


def fvcore(network: nn.Module) -> int:
    """The MACs, from the count by operators."""
    from fvcore.nn import FlopCountAnalysis

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = FlopCountAnalysis(network, torch.zeros(1, *SIZE))
        return int(found.unsupported_ops_warnings(False).uncalled_modules_warnings(False).total())


def timed(count: Callable[[nn.Module], int], network: nn.Module) -> tuple[float, int]:
    """Seconds, and what was counted."""
    started = time.perf_counter()
    macs = count(network)
    return time.perf_counter() - started, macs


def main() -> int:
    """Measure and print; 1 where a median falls short of the target."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, help="write every time of every round")
    args = parser.parse_args()

    about = {
        "processor": processor("cpu"), "cores": os.cpu_count() or 1, "python": platform.python_version(),
        "torch": torch.__version__, "load": round(os.getloadavg()[0], 2),
    }  # fmt: skip
    print(", ".join(f"{name} {value}" for name, value in about.items()))

    networks = {}
    for device in ("meta", "cpu"):
        with torch.device(device):
            networks[device] = build("resnet152").eval()
    sides: dict[str, list[float]] = {}
    macs: dict[str, int] = {}
    for at in range(args.rounds + 1):
        for count in (ours, torchinfo, fvcore):
            seconds, macs[count.__name__] = timed(count, networks["cpu" if count is fvcore else "meta"])
            if at:
                sides.setdefault(count.__name__, []).append(seconds)
    fails = False
    for peer, target in TARGETS.items():
        ratios = [theirs / mine for mine, theirs in zip(sides["ours"], sides[peer], strict=True)]
        median = statistics.median(ratios)
        fails |= median < target
        print(
            f"resnet152 beside {peer:<9} {median:5.2f}x ({min(ratios):.2f} to {max(ratios):.2f}), target {target}x   "
            f"{statistics.median(sides['ours']):.3f} s to {statistics.median(sides[peer]):.3f} s   "
            f"{macs['ours'] / 1e9:.3f} G to {macs[peer] / 1e9:.3f} G"
        )
    deepest = [timed(lambda _: ca.explain(DEEPEST).macs, networks["meta"])[0] for _ in range(3)]
    fails |= statistics.median(deepest) > SECONDS
    print(
        f"{DEEPEST} by name {statistics.median(deepest):.2f} s ({min(deepest):.2f} to {max(deepest):.2f}), "
        f"target {SECONDS} s"
    )
    if args.json:
        record = {"machine": about, "seconds": sides, "macs": macs, DEEPEST: deepest}
        args.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return int(fails)


if __name__ == "__main__":
    sys.exit(main())
