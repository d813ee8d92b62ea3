"""What limits a training step: its time by kinds of operation, and how near its convolutions are to what can be had.

    python benchmarks/limits.py [--networks lenet resnet20 resnet50_v1_5 densenet121] [--json FILE]

Of each network a few steps are profiled, in float32 as the others compute and in the precision that `train` chooses,
channels last. The multiply-adds of all convolutions, forwards and backwards, over the time that they take, stand beside
those of one large 1×1 convolution in the same numbers, which is about what torch gets out of the processor: where they
come near, no more is to be had of it. Last the same step compiled, in turn with the one that is not, by which is
decided up to which size `train` compiles networks.
"""

import argparse
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

import convatlas as ca
from convatlas.devices import fast_bf16, instructions
from convatlas.training.machine import keep_freed_memory
from training_speed import machine

BATCH = {"lenet": 128, "resnet20": 128}
"""Images of a step; of others 16."""
STEPS, ROUNDS, SECONDS = 3, 5, 1.0
"""Steps that are profiled; turns of the compiled step and the other, each of so many steps, or for so long."""
KINDS = {
    "convolution": "convolutions", "mkldnn_convolution": "convolutions", "convolution_backward": "convolutions",
    "native_batch_norm": "normalisation", "native_batch_norm_backward": "normalisation", "clamp_min": "ReLU",
    "threshold_backward": "ReLU", "add": "additions", "add_": "additions", "cat": "concatenation",
}  # fmt: skip


def large(dtype: torch.dtype) -> float:
    """Multiply-adds a second of a convolution of 512 to 512 channels, in thousands of millions; the best of some."""
    images = torch.randn(16, 512, 28, 28).to(dtype).contiguous(memory_format=torch.channels_last)
    convolution = torch.nn.Conv2d(512, 512, kernel_size=1, bias=False).to(dtype)
    best = float("inf")
    with torch.no_grad():
        for _ in range(8):
            started = time.perf_counter()
            convolution(images)
            best = min(best, time.perf_counter() - started)
    return 16 * 28 * 28 * 512 * 512 / best / 1e9


def look(name: str, *, bf16: bool) -> dict[str, Any]:
    """Where the time of a step goes."""
    torch.manual_seed(0)
    network = ca.create_model(name, num_classes=10).to(memory_format=torch.channels_last).train()
    card = ca.model_card(name)
    count = BATCH.get(name, 16)
    images = torch.randn(count, *card.input_size).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (count,))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, fused=True)

    def step(learner: Callable[..., Tensor] = network) -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = F.cross_entropy(learner(images).float(), labels)
        loss.backward()
        optimizer.step()

    compiled = partial(step, torch.compile(network, dynamic=False))
    for each in (step, compiled):  # for warmth
        paced(each)
    turns = [(paced(step), paced(compiled)) for _ in range(ROUNDS)]
    with profile(activities=[ProfilerActivity.CPU]) as traced:
        for _ in range(STEPS):
            step()
    spent: dict[str, float] = defaultdict(float)
    for event in traced.key_averages():
        spent[KINDS.get(event.key.removeprefix("aten::"), "the rest")] += event.self_cpu_time_total / 1e6 / STEPS
    # Backwards, gradients of inputs and of weights cost as much each as forwards; those of the images are not wanted.
    macs = [layer.macs for layer in ca.explain(name, num_classes=10).layers if layer.kind == "convolution"]
    return {
        "images": count, "seconds": statistics.median(plain for plain, _ in turns), "spent": dict(spent),
        "gain_compiled": [plain / other for plain, other in turns],
        "macs_per_second": count * (3 * sum(macs) - macs[0]) / spent["convolutions"] / 1e9,
    }  # fmt: skip


def paced(step: Callable[[], None]) -> float:
    """Seconds of a step, of some."""
    started, steps = time.perf_counter(), 0
    while steps < STEPS or time.perf_counter() - started < SECONDS:
        step()
        steps += 1
    return (time.perf_counter() - started) / steps


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["lenet", "resnet20", "resnet50_v1_5", "densenet121"])
    parser.add_argument("--json", type=Path, default=Path("results/limits.json"))
    options = parser.parse_args()
    keep_freed_memory()
    about = machine() | {"instructions": ", ".join(instructions())}
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    precisions = {"32": torch.float32} | ({"bf16": torch.bfloat16} if fast_bf16("cpu") else {})
    reached = {precision: large(dtype) for precision, dtype in precisions.items()}
    print(
        ", ".join(f"a large convolution in {p}: {rate:,.0f} thousand million a second" for p, rate in reached.items())
    )
    kept: dict[str, Any] = {"machine": about, "large": reached, "networks": {}}
    for name in options.networks:
        kept["networks"][name] = {}
        for precision in precisions:
            found = look(name, bf16=precision == "bf16")
            total = sum(found["spent"].values())
            shares = ", ".join(
                f"{kind} {spent / total:.0%}"
                for kind, spent in sorted(found["spent"].items(), key=lambda item: -item[1])
            )
            print(
                f"{name} {precision}: {found['images'] / found['seconds']:,.1f} images/s; {shares}; convolutions at "
                f"{found['macs_per_second']:,.0f}, {found['macs_per_second'] / reached[precision]:.0%} of a large one; "
                f"compiled {statistics.median(found['gain_compiled']):.2f} times as fast",
                flush=True,
            )
            kept["networks"][name][precision] = found
    options.json.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
