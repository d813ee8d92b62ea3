"""JPEG files to training batches on one core: ours beside torchvision's ImageFolder, classic transforms and v2.

    pip install -r benchmarks/requirements.txt
    python benchmarks/reading.py --data ../shared/data [--rounds 5] [--json FILE]

All read the training photographs of `ants_bees`, cut a random window out, bring it to 224×224, mirror every other
one, and give normalised float32 batches of 32 (ours with channels last). One thread, no workers: images a second and
core. A round is an epoch of each, in turn; the first, which warms the disk's cache, is left out.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from convatlas.data import Preparation, load_splits, open_data
from convatlas.data.augmentation import Augmentation
from convatlas.data.batches import Batches
from convatlas.devices import processor

MEAN, STD, BATCH = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 32


def ours(folder: Path) -> Callable[[int], Iterator[torch.Tensor]]:
    """Our batches of an epoch: decoded when their turn comes, augmented a batch at a time."""
    source = open_data(str(folder), label_column=None, loading="mapped")
    splits = load_splits(source, size=(3, 224, 224), fit="crop", validation=0.1, loading="mapped", workers=0)
    batches = Batches(
        pixels=splits.train, preparation=Preparation(size=(3, 224, 224), mean=MEAN, std=STD), batch_size=BATCH, seed=0,
        augmentation=Augmentation(resized_crop=0.08, flip=True), channels_last=True,
    )  # fmt: skip
    return lambda epoch: (part.images for step in batches.epoch(epoch) for part in step.parts)


def theirs(folder: Path, kind: str) -> Callable[[int], Iterator[torch.Tensor]]:
    """torchvision's, as its reference training writes it."""
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    classic = [
        transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ]  # fmt: skip
    tensors = [
        v2.ToImage(), v2.RandomResizedCrop(224, antialias=True), v2.RandomHorizontalFlip(),
        v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD),
    ]  # fmt: skip
    transform = transforms.Compose(classic) if kind == "classic" else v2.Compose(tensors)
    loader = DataLoader(ImageFolder(str(folder), transform), batch_size=BATCH, shuffle=True)
    return lambda _: (images for images, _ in loader)


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, default=Path("results/reading.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = options.data / "ants_bees"
    ways = {
        "ours": ours(folder),
        "torchvision classic": theirs(folder / "train", "classic"),
        "torchvision v2": theirs(folder / "train", "v2"),
    }
    rates: dict[str, list[float]] = {who: [] for who in ways}
    for epoch in range(options.rounds + 1):
        for who, batches in ways.items():
            started = time.perf_counter()
            count = sum(len(images) for images in batches(epoch))
            rates[who].append(count / (time.perf_counter() - started))
    rates = {who: each[1:] for who, each in rates.items()}
    machine = f"{processor('cpu')}, torch {torch.__version__}"
    print(machine)
    for who, each in rates.items():
        ratios = [mine / other for mine, other in zip(rates["ours"], each, strict=True)]
        middle, least, most = statistics.median(ratios), min(ratios), max(ratios)
        print(f"{who:20} {statistics.median(each):6.1f} images/s; ours {middle:.2f}x ({least:.2f} to {most:.2f})")
    kept = {"machine": machine, "load": os.getloadavg()[0], "images_per_second": rates}
    options.json.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
