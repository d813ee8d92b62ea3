"""Running networks: our engines beside torchvision's and timm's in PyTorch, and beside the runtimes without us.

    pip install -r benchmarks/requirements.txt
    python benchmarks/inference.py [--networks resnet18 resnet50 densenet121] [--batch-size 16] [--rounds 5]
        [--weights ../shared/weights --data ../shared/data]

All have the same weights, torchvision's, which are drawn. Each round runs one batch on each; ratios are of a round,
images a second of ours by the other's, and the middle one is printed with the least and the greatest. Ours takes
`uint8` images and normalises them itself; the others are given normalised ones, for which no time is counted. They
compute as they come, in float32, but for OpenVINO alone, which has bf16 where ours may have it.

Our int8 runs in turn with them and is never the best: weights that are drawn name nothing, so there is no accuracy to
check. With --weights and --data follow trained networks in eight bits beside OpenVINO alone, and what is named rightly
in either of those images that neither training nor calibration saw: a ResNet-20 with published weights on CIFAR-10,
and each of the networks after a quarter of an hour's training at most on some 240 photographs of ants and bees.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from convatlas.data import load_part, open_source
from convatlas.data.images import Preparation
from convatlas.deploy.engines import ENGINES, EightBits, Engine
from convatlas.deploy.quantizing import quantize, write_eight_bits
from convatlas.devices import fast_bf16, instructions, processor
from convatlas.models import build
from convatlas.network import Network
from convatlas.training.evaluation import of_run
from convatlas.weights.load import load_weights

NAMES = {"resnet50": "resnet50_v1_5"}
"""What we call torchvision's networks, where it is something else."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PAUSE = 0.3
"""Seconds before each batch, in which the threads of the last runtime give up waiting for more."""
TRAINING = ("--epochs", "15", "--batch-size", "16", "--lr", "0.02", "--resized-crop", "0.3")
"""Of a network that is to have learned something before its eight bits are checked."""
Run = Callable[[], np.ndarray]


def in_torch(network: torch.nn.Module, images: torch.Tensor) -> Run:
    """A network that PyTorch runs, compiled or as it is."""

    def run() -> np.ndarray:
        with torch.no_grad():
            return network(images).numpy()

    return run


def peers(name: str, network: torch.nn.Module, images: torch.Tensor, precision: str) -> dict[str, Run]:
    """What the others run the same network by."""
    import onnxruntime
    import timm

    theirs = timm.create_model(name)
    theirs.load_state_dict(network.state_dict())
    runs = {}
    for who, module in (("torchvision", network), ("timm", theirs.eval())):
        runs[f"{who} eager"] = in_torch(module, images)
        runs[f"{who} compiled"] = in_torch(torch.compile(module, dynamic=False), images)
    program = torch.onnx.export(network, (images,), dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    given = {session.get_inputs()[0].name: images.numpy()}
    runs["ONNX Runtime alone"] = lambda: session.run(None, given)[0]
    return runs | {"OpenVINO alone": openvino_alone(network, images, precision)}


def openvino_alone(network: torch.nn.Module, images: torch.Tensor, precision: str) -> Run:
    """OpenVINO as its guide has it."""
    import openvino

    model = openvino.convert_model(network, example_input=images, input=[images.shape])
    hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
    compiled = openvino.Core().compile_model(model, "CPU", hints)
    given = images.numpy()
    return lambda: compiled(given)[0]


def ours(name: str, weights: dict[str, torch.Tensor], batch_size: int) -> tuple[list[Engine], Preparation]:
    """Every engine that is here, with torchvision's weights."""
    network = load_weights(build(NAMES.get(name, name)), weights).eval()
    images = Preparation(size=(3, 224, 224), mean=MEAN, std=STD)
    precisions = ("32", "bf16") if fast_bf16("cpu") else ("32",)
    kinds = [(kind, p) for kind in ENGINES for p in precisions if kind.lacks("cpu", p) is None]  # type: ignore[arg-type]
    made = [kind(network, images, batch_size=batch_size, precision=p) for kind, p in kinds]  # type: ignore[arg-type]
    if EightBits.lacks("cpu", "int8") is None:
        with tempfile.TemporaryDirectory() as folder:
            write_eight_bits(network, images, noise(30), Path(folder))
            made.append(EightBits(network, images, batch_size=batch_size, precision="int8", folder=Path(folder)))
    return made, images


def noise(count: int) -> np.ndarray:
    """So many images of nothing."""
    return np.random.default_rng(0).integers(0, 256, (count, 3, 224, 224), dtype=np.uint8)


class Trained(NamedTuple):
    """A trained network, and images that it has not learned from."""

    name: str
    network: Network
    images: Preparation
    pixels: np.ndarray
    """uint8 (N, C, H, W)."""
    labels: np.ndarray


def resnet20(weights: Path, data: Path) -> Trained:
    """The ResNet-20 with published weights, and some of CIFAR-10's test images."""
    images = Preparation(size=(3, 32, 32), mean=MEAN, std=STD)
    network = load_weights(build("resnet20"), str(weights / "cifar10_resnet20.safetensors")).eval()
    source = open_source(str(data / "cifar10"))
    _, held = load_part(source, classes=tuple(source.class_list()), size=images.size, fit="crop")
    return Trained("resnet20 on cifar10", network, images, held.at(np.arange(3000)).numpy(), held.labels[:3000].numpy())


def learned(name: str, data: Path) -> Trained:
    """A network that `convatlas train` has taught at 224, and the images that were held out of it."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["train", name, "--data", str(data), "--size", "224", *TRAINING, "--output", f"{folder}/run"]
        subprocess.run([sys.executable, "-m", "convatlas", *words], check=True, stderr=subprocess.DEVNULL)
        bundle, network, source, held_out = of_run(f"{folder}/run")
    images = bundle.images
    _, held = load_part(source, classes=bundle.classes, size=images.size, fit=images.fit, held_out=held_out)
    pixels, labels = held.at(np.arange(len(held))).numpy(), held.labels.numpy()
    return Trained(f"{name} on {data.name}", network.eval(), images, pixels, labels)


def eight_bits(trained: Trained, *, batch_size: int, rounds: int) -> dict[str, Any]:
    """A trained network in eight bits beside OpenVINO alone: seconds a batch, and what is named rightly."""
    name, network, images, pixels, labels = trained
    batch = np.resize(pixels, (batch_size, *images.size))
    alone = openvino_alone(network, images.normalize(torch.from_numpy(batch)), "bf16" if fast_bf16("cpu") else "f32")
    with tempfile.TemporaryDirectory() as folder:
        checked = quantize(network, images, pixels, labels, Path(folder), most_loss=100.0)
        made = EightBits(network, images, batch_size=batch_size, precision="int8", folder=Path(folder))
    seconds: dict[str, list[float]] = {"int8": [], "OpenVINO alone": []}
    for _ in range(rounds):
        for who, run in (("int8", lambda: made.run(batch)), ("OpenVINO alone", alone)):
            time.sleep(PAUSE)
            started = time.perf_counter()
            run()
            seconds[who].append(time.perf_counter() - started)
    ratios = [b / a for a, b in zip(seconds["int8"], seconds["OpenVINO alone"], strict=True)]
    print(
        f"{name}, in int8: {statistics.median(ratios):.2f}x OpenVINO alone; {checked.right:,} of "
        f"{checked.checked_on:,} named rightly, in float32 {checked.right_in_float32:,}"
    )
    return {"network": name, "batch_size": batch_size, "seconds": seconds, "checked": checked._asdict()}


def main() -> None:
    """Measure, print, keep."""
    import torchvision

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="*", default=["resnet18", "resnet50", "densenet121"])
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--weights", type=Path, help="the folder of cifar10_resnet20.safetensors")
    parser.add_argument("--data", type=Path, help="the folder of cifar10 and ants_bees")
    parser.add_argument("--json", type=Path, default=Path("results/inference.json"))
    options = parser.parse_args()
    machine = f"{processor('cpu')}, {os.cpu_count()} cores, {', '.join(instructions())}; torch {torch.__version__}"
    print(machine)
    kept: dict[str, Any] = {"machine": machine, "load": os.getloadavg()[0], "batch_size": options.batch_size}
    kept |= {"networks": {}, "int8": []}
    pixels = noise(options.batch_size)
    for name in options.networks:
        torch.manual_seed(0)
        network = getattr(torchvision.models, name)().eval()
        engines, images = ours(name, network.state_dict(), options.batch_size)
        normalised = images.normalize(torch.from_numpy(pixels))
        runs = peers(name, network, normalised, "bf16" if fast_bf16("cpu") else "f32")
        runs |= {f"{made.name} {made.precision}": lambda made=made: made.run(pixels) for made in engines}
        expected = runs["torchvision eager"]()
        apart = {who: float(np.linalg.norm(run() - expected) / np.linalg.norm(expected)) for who, run in runs.items()}
        seconds: dict[str, list[float]] = {who: [] for who in runs}
        turns = list(runs.items())
        for turn in range(options.rounds):
            for who, run in turns[turn:] + turns[:turn]:  # each begins a round
                time.sleep(PAUSE)
                started = time.perf_counter()
                run()
                seconds[who].append(time.perf_counter() - started)
        exact = [f"{each.name} {each.precision}" for each in engines if each.precision != "int8"]
        best = min(exact, key=lambda who: statistics.median(seconds[who]))
        print(f"{name}: best of ours {best}")
        for who in runs:
            ratios = [theirs / mine for theirs, mine in zip(seconds[who], seconds[best], strict=True)]
            middle, rate = statistics.median(ratios), options.batch_size / statistics.median(seconds[who])
            print(
                f"  {who:20} {rate:7.1f} images/s; the best of ours {middle:5.2f}x ({min(ratios):.2f} to "
                f"{max(ratios):.2f}); logits {apart[who]:.1g} apart"
            )
        kept["networks"][name] = {"best": best, "seconds": seconds, "apart": apart}
    if options.weights and options.data:
        trained = resnet20(options.weights, options.data)
        kept["int8"].append(eight_bits(trained, batch_size=64, rounds=4 * options.rounds))  # short ones
        for name in options.networks:
            trained = learned(NAMES.get(name, name), options.data / "ants_bees")
            kept["int8"].append(eight_bits(trained, batch_size=options.batch_size, rounds=options.rounds))
    options.json.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
