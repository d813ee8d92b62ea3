"""JPEG files to training batches on one core: ours beside torchvision's ImageFolder and Hugging Face `datasets`.

    pip install -r benchmarks/requirements.txt
    python benchmarks/reading.py --data ../shared/data [--rounds 5] [--json FILE]

All read the training photographs of `ants_bees`, cut a random window out, bring it to 224×224, mirror every other
one, and give normalised float32 batches of 32 (ours with channels last). One thread, no workers: images a second and
core. Each way is in a process of its own. A round is an epoch of each, in turn; the first, which warms the disk's
cache, is left out. "From the cache" reads what `--cache` keeps decoded; "decoding alone" decodes whole files and makes
no batches of them.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import torch

MEAN, STD, BATCH = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 32
Epoch = Callable[[int], Iterable[Sized]]
"""Makes the batches of an epoch."""


def ours(folder: Path, cache: Path | None = None) -> Epoch:
    """Our batches of an epoch, as `train` makes them: decoded when their turn comes, augmented a batch at a time."""
    from convatlas.data import Preparation, load_splits, open_data
    from convatlas.data.augmentation import Augmentation
    from convatlas.data.batches import Batches
    from convatlas.training.machine import keep_freed_memory

    keep_freed_memory()
    source = open_data(str(folder), label_column=None, loading="mapped")
    splits = load_splits(
        source, size=(3, 224, 224), fit="crop", validation=0.1, loading="mapped", workers=0, windows=True, cache=cache
    )
    batches = Batches(
        pixels=splits.train, preparation=Preparation(size=(3, 224, 224), mean=MEAN, std=STD), batch_size=BATCH, seed=0,
        augmentation=Augmentation(resized_crop=0.08, flip=True), channels_last=True,
    )  # fmt: skip

    def epoch(number: int) -> Iterator[torch.Tensor]:
        for step in batches.steps(number * len(batches), (number + 1) * len(batches)):
            yield from (part.images for part in step.parts)

    return epoch


def torchvisions(folder: Path, kind: str) -> Epoch:
    """torchvision's, as its reference training writes it."""
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder

    loader = DataLoader(ImageFolder(str(folder / "train"), transform(kind)), batch_size=BATCH, shuffle=True)
    return lambda _: (images for images, _ in loader)


def datasets_and_pil(folder: Path) -> Epoch:
    """Hugging Face's `datasets`, as its guide to image classification writes it: torchvision's classic transforms."""
    import datasets
    from torch.utils.data import DataLoader

    read, make = datasets.load_dataset("imagefolder", data_dir=str(folder), split="train"), transform("classic")

    def each(rows: dict[str, list]) -> dict[str, list]:
        return {"image": [make(image.convert("RGB")) for image in rows["image"]], "label": rows["label"]}

    loader = DataLoader(read.with_transform(each), batch_size=BATCH, shuffle=True)
    return lambda _: (rows["image"] for rows in loader)


def decoding_alone(folder: Path) -> Epoch:
    """Whole photographs decoded, by the library that ours uses, and nothing else."""
    from simplejpeg import decode_jpeg

    files = sorted((folder / "train").rglob("*.jpg"))
    return lambda _: (decode_jpeg(file.read_bytes())[None] for file in files)


def transform(kind: str) -> Callable[..., torch.Tensor]:
    """Window, size, mirror, normalise."""
    from torchvision import transforms
    from torchvision.transforms import v2

    classic = [
        transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ]  # fmt: skip
    tensors = [
        v2.ToImage(), v2.RandomResizedCrop(224, antialias=True), v2.RandomHorizontalFlip(),
        v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD),
    ]  # fmt: skip
    return transforms.Compose(classic) if kind == "classic" else v2.Compose(tensors)


made: list[Epoch] = []
"""Of this process: the way that it reads by."""


def begin(make: Callable[[], Epoch]) -> None:
    """Make ready, in a process of its own."""
    torch.set_num_threads(1)
    made.append(make())


def rate(epoch: int) -> float:
    """Images a second, over an epoch."""
    started = time.perf_counter()
    count = sum(len(images) for images in made[0](epoch))
    return count / (time.perf_counter() - started)


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, default=Path("results/reading.json"))
    options = parser.parse_args()
    from convatlas.devices import processor

    folder = options.data / "ants_bees"
    with tempfile.TemporaryDirectory() as cache:
        ways: dict[str, Callable[[], Epoch]] = {
            "ours": partial(ours, folder),
            "ours, from the cache": partial(ours, folder, Path(cache)),
            "torchvision classic": partial(torchvisions, folder, "classic"),
            "torchvision v2": partial(torchvisions, folder, "v2"),
            "datasets, PIL": partial(datasets_and_pil, folder),
            "decoding alone": partial(decoding_alone, folder),
        }
        spawn = multiprocessing.get_context("spawn")
        processes = {who: ProcessPoolExecutor(1, spawn, begin, (make,)) for who, make in ways.items()}
        rates: dict[str, list[float]] = {who: [] for who in ways}
        for epoch in range(options.rounds + 1):
            for who, process in processes.items():
                rates[who].append(process.submit(rate, epoch).result())
        for process in processes.values():
            process.shutdown()
    rates = {who: each[1:] for who, each in rates.items()}
    machine = f"{processor('cpu')}, torch {torch.__version__}"
    print(machine)
    for who, each in rates.items():
        line = f"{who:20} {statistics.median(each):7.1f} images/s"
        if not who.startswith("ours"):
            for mine in ("ours", "ours, from the cache"):
                ratios = [one / other for one, other in zip(rates[mine], each, strict=True)]
                line += f"; {mine} {statistics.median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})"
        print(line)
    kept = {"machine": machine, "load": os.getloadavg()[0], "images_per_second": rates}
    options.json.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
