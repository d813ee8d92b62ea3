"""Training at 224×224 from JPEG files: ours beside torchvision's reference way and timm's train script, in turn.

    pip install -r benchmarks/requirements.txt
    python benchmarks/photographs.py --data ../shared/data [--networks resnet50 densenet121] [--rounds 3]

An epoch of photographs of ants and bees, end to end: reading, a random window at 224×224, mirroring, forward,
backward, step. torchvision's side is its references/classification/train.py, timm's its train.py, made of their own
datasets, transforms, loaders, networks and optimisers with their defaults, but for the batch and for as many workers as
cores; timm's changes colours besides. Ours is `convatlas train NETWORK --resized-crop 0.08 --crop 0`. Each side is in a
process of its own; its first epoch warms up, the second counts. (Of that, ours may have decoded the first steps while
it validated, a hundredth of its time or two.) A round is an epoch of each; ratios are of a round.
Beside the images a second stands the most memory that the process that trains held, without its workers. Where the
processor multiplies bf16 fast, ours does, and the others, as they come, do not.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from densenet_memory import peak
from training_speed import machine

BATCH = 16
WORKERS = os.cpu_count() or 1
NAMES = {"resnet50": "resnet50_v1_5"}
"""What we call torchvision's and timm's networks, where it is something else."""
Loader = Iterable[tuple[Tensor, Tensor]]


def few(data: Path, folder: Path, count: int) -> Path:
    """So many of the photographs to train on, and one of each class to validate."""
    for label in ("ants", "bees"):
        for part, number in (("train", count // 2), ("val", 1)):
            (folder / part / label).mkdir(parents=True)
            for file in islice(sorted((data / "ants_bees" / part / label).glob("*.jpg")), number):
                (folder / part / label / file.name).symlink_to(file.resolve())
    return folder


def ours(network: str, folder: Path) -> tuple[int, float]:
    """Images and seconds of the last epoch of `train`, as its own metrics have it."""
    import convatlas as ca

    recipe = ca.Recipe(
        model=NAMES.get(network, network), data=str(folder), epochs=2, batch_size=BATCH, crop=0, resized_crop=0.08,
        schedule="constant", warmup=0.0,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as output:
        run = ca.train(recipe, output=Path(output) / "run", quiet=True)
        return run.results["images"]["train"], run.metrics[-1]["seconds"]


def torchvisions(network: str, folder: Path) -> tuple[int, float]:
    """An epoch as references/classification writes it."""
    import torchvision
    from torch.utils.data import DataLoader
    from torchvision import transforms

    transform = transforms.Compose([
        transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), transforms.PILToTensor(),
        transforms.ConvertImageDtype(torch.float), transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ])  # fmt: skip
    images = torchvision.datasets.ImageFolder(str(folder / "train"), transform)
    loader = DataLoader(images, batch_size=BATCH, shuffle=True, num_workers=WORKERS)
    model = getattr(torchvision.models, network)(num_classes=2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    return len(images), second_epoch(model, loader, optimizer, nn.CrossEntropyLoss())


def timms(network: str, folder: Path) -> tuple[int, float]:
    """An epoch as its train.py makes it of timm's parts."""
    import timm
    from timm.data import create_dataset, create_loader
    from timm.optim import create_optimizer_v2

    images = create_dataset("", root=str(folder), split="train", is_training=True, batch_size=BATCH)
    loader = create_loader(
        images, input_size=(3, 224, 224), batch_size=BATCH, is_training=True, num_workers=WORKERS, color_jitter=0.4,
        interpolation="random", device=torch.device("cpu"), pin_memory=False,
    )  # fmt: skip
    model = timm.create_model(network, num_classes=2)
    optimizer = create_optimizer_v2(model, opt="sgd", lr=0.1, momentum=0.9, weight_decay=2e-5)
    return len(images), second_epoch(model, loader, optimizer, nn.CrossEntropyLoss())


def second_epoch(model: nn.Module, loader: Loader, optimizer: torch.optim.Optimizer, criterion: nn.Module) -> float:
    """The seconds of the second epoch, of steps as both scripts have them."""
    model.train()
    for _ in range(2):
        started = time.perf_counter()
        for inputs, labels in loader:
            loss = criterion(model(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()
    return time.perf_counter() - started


SIDES: dict[str, Callable[[str, Path], tuple[int, float]]] = {
    "ours": ours, "torchvision": torchvisions, "timm": timms,
}  # fmt: skip


def measure(side: str, network: str, folder: Path) -> dict[str, float]:
    """Images a second and the greatest resident size, of a side in a process of its own."""
    command = [sys.executable, __file__, "--side", side, "--networks", network, "--data", str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--networks", nargs="+", default=["resnet50", "densenet121"])
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=Path("results/photographs.json"))
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        images, seconds = SIDES[options.side](options.networks[0], options.data)
        print(json.dumps({"images_per_second": images / seconds, "peak_mb": peak()}))
        return
    about = machine()
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    kept: dict[str, Any] = {"machine": about, "batch_size": BATCH, "networks": {}}
    with tempfile.TemporaryDirectory() as work:
        folder = few(options.data, Path(work) / "photographs", options.images)
        for network in options.networks:
            rounds = [{side: measure(side, network, folder) for side in SIDES} for _ in range(options.rounds)]
            kept["networks"][network] = rounds
            for side in SIDES:
                ratios = [each["ours"]["images_per_second"] / each[side]["images_per_second"] for each in rounds]
                rate, size = (
                    statistics.median(each[side][name] for each in rounds) for name in ("images_per_second", "peak_mb")
                )
                print(
                    f"{network} {side:12} {rate:6.2f} images/s; ours {statistics.median(ratios):.2f}x "
                    f"({min(ratios):.2f} to {max(ratios):.2f}); at most {size:,.0f} MB",
                    flush=True,
                )
            options.json.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
