"""A training epoch end to end: convatlas beside the way tutorials write it, in turn, a ratio a line.

    python benchmarks/training_speed.py [--work lenet] [--rounds 5] [--data FOLDER] [--json FILE]

In the time is the whole of an epoch of training: shuffling, data, augmentation, forward, backward, step, and
the loss that is shown. Not in it are reading and decoding the data set, evaluation, and the first epoch,
which warms up. Each side runs in a process of its own, so neither inherits the other's caches or threads.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import PIL
import psutil
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import convatlas as ca
from convatlas.data import load_splits, open_source
from convatlas.devices import processor
from convatlas.training import machine as machines
from convatlas.training.recipes import own

TARGET = 3.0
"""How many times the tutorial's images a second ours is to reach."""
EPOCHS = 2
"""The first warms up, and the last is timed."""
WORKERS = (0, 2)
"""Of the tutorial's DataLoader; the faster counts, since which one it is depends on the machine."""
DISTURBED = 0.05
"""Cores that other programs may use while a side is measured; with more it is measured again."""
TRIES = 5
WORKS = {
    # model     folder, and of how many of its training images; None: all
    "lenet":    ("mnist",   None),
    "resnet20": ("cifar10", 7_100),  # nine tenths are trained on: some 6,400, or 50 steps
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """The timed epoch of one side."""

    images: int
    seconds: float
    loss: float
    """Its mean training loss: both sides have to learn alike, or speed was bought by doing less."""
    workers: int = 0
    disturbed: float = 0.0
    """Cores that other programs used meanwhile."""

    @property
    def speed(self) -> float:
        """Images a second."""
        return self.images / self.seconds


def recipe_of(work: str, data: str, *, plain: bool) -> ca.Recipe:
    """Our own recipe for the network, from which both sides take everything; the learning rate stays constant."""
    changes = {"crop": 0, "flip": False} if plain else {}
    return ca.Recipe(model=work, data=data, epochs=EPOCHS, schedule="constant", warmup=0.0, **changes)


# --------------------------------------------------------------------------- ours


def ours(recipe: ca.Recipe) -> Epoch:
    """The last epoch of `ca.train`, as its own metrics have it: compiled where an epoch of the whole run would be."""
    machines.COMPILED_FROM = machines.COMPILED_FROM * EPOCHS // own(recipe.model)["epochs"]
    with tempfile.TemporaryDirectory() as folder:
        run = ca.train(recipe, output=Path(folder) / "run", quiet=True)
        last = run.metrics[-1]
        return Epoch(images=run.results["images"]["train"], seconds=last["seconds"], loss=last["train_loss"])


# --------------------------------------------------------------------------- the tutorial way


@dataclass(frozen=True, slots=True, kw_only=True)
class Transforms:
    """RandomCrop(padding), RandomHorizontalFlip, ToTensor and Normalize, line by line as torchvision 0.2x does them."""

    crop: int
    flip: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, image: Image.Image) -> Tensor:
        """The image as the network takes it, `float32 (C, H, W)`."""
        if self.crop:
            width, height = image.size
            image = ImageOps.expand(image, border=self.crop, fill=0)
            top = int(torch.randint(0, 2 * self.crop + 1, size=(1,)).item())
            left = int(torch.randint(0, 2 * self.crop + 1, size=(1,)).item())
            image = image.crop((left, top, left + width, top + height))
        if self.flip and torch.rand(1) < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(image, np.uint8, copy=True))
        pixels = pixels.view(image.size[1], image.size[0], len(image.getbands())).permute((2, 0, 1)).contiguous()
        scaled = pixels.to(torch.get_default_dtype()).div(255)
        mean = torch.as_tensor(self.mean, dtype=scaled.dtype).view(-1, 1, 1)
        std = torch.as_tensor(self.std, dtype=scaled.dtype).view(-1, 1, 1)
        return scaled.clone().sub_(mean).div_(std)


@dataclass(frozen=True, slots=True)
class Images(Dataset[tuple[Tensor, int]]):
    """As torchvision's MNIST and CIFAR10: the decoded bytes in one array, made a PIL image one at a time."""

    data: NDArray[np.uint8]
    """(N, H, W) or (N, H, W, 3)."""
    targets: list[int]
    transform: Transforms

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """The image at `index`, transformed, and its class."""
        return self.transform(Image.fromarray(self.data[index])), self.targets[index]


def tutorial(recipe: ca.Recipe, workers: int) -> Epoch:
    """The last epoch of a loop as d2l's and PyTorch's tutorials write it: float32, eager, one image at a time.

    The network, the training images and all numbers of the recipe are those of the other side.
    """
    size = ca.model_card(recipe.model).input_size
    source = open_source(recipe.data)
    splits = load_splits(source, size=size, fit=recipe.fit, validation=recipe.validation)
    mean, std = splits.train.moments()
    flip = (size[0] == 3 and not source.handwriting) if recipe.flip is None else recipe.flip
    arrays = splits.train.images.permute(0, 2, 3, 1).squeeze(3).contiguous().numpy()
    images = Images(arrays, splits.train.labels.tolist(), Transforms(crop=recipe.crop, flip=flip, mean=mean, std=std))
    loader = DataLoader(images, batch_size=recipe.batch_size, shuffle=True, num_workers=workers)

    torch.manual_seed(recipe.seed)
    network = ca.create_model(recipe.model, num_classes=len(splits.classes))
    criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    optimizer: torch.optim.Optimizer
    if recipe.optimizer == "sgd":
        optimizer = torch.optim.SGD(
            network.parameters(), lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
        )  # fmt: skip
    else:
        optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)

    network.train()
    for _ in range(EPOCHS):
        started, total_loss = time.perf_counter(), 0.0
        for inputs, labels in loader:
            optimizer.zero_grad()
            loss = criterion(network(inputs), labels)
            loss.backward()
            optimizer.step()
            total_loss += loss.item() * len(labels)
        seconds = time.perf_counter() - started
    return Epoch(images=len(images), seconds=seconds, loss=total_loss / len(images), workers=workers)


# --------------------------------------------------------------------------- both, in turn


def measure(side: str, work: str, data: Path, *, plain: bool, workers: int = 0) -> Epoch:
    """The epoch of one side, in a process of its own, when nothing else runs, or nearly."""
    command = [
        sys.executable, __file__, "--side", side, "--work", work, "--data", str(data), "--workers", str(workers),
    ]  # fmt: skip
    for _ in range(TRIES):
        wait_for_quiet()
        since, before = time.monotonic(), others()
        done = subprocess.run([*command, *["--plain"] * plain], check=True, stdout=subprocess.PIPE, text=True)
        disturbed = (others() - before) / (time.monotonic() - since)
        epoch = replace(Epoch(**json.loads(done.stdout)), disturbed=round(max(0.0, disturbed), 3))
        who = "ours" if side == "ours" else f"tutorial, {workers} workers"
        print(
            f"  {work}: {epoch.speed:8,.0f} images/s, loss {epoch.loss:.4f}, others {epoch.disturbed:.0%}  {who}",
            file=sys.stderr,
        )
        if disturbed < DISTURBED:
            break
    return epoch


def others() -> float:
    """Processor seconds that programs other than this one and its children have used."""
    all_of_it, ours = psutil.cpu_times(), os.times()
    mine = ours.user + ours.system + ours.children_user + ours.children_system
    return all_of_it.user + all_of_it.system + getattr(all_of_it, "nice", 0.0) - mine


def wait_for_quiet(*, seconds: int = 120) -> None:
    """Return when other programs have been idle for a second, or when `seconds` are over."""
    for _ in range(seconds):
        before = others()
        time.sleep(1)
        if others() - before < 2 * DISTURBED:
            return


@contextmanager
def training_images(name: str, data: Path, *, count: int | None, tested: int | None) -> Iterator[Path]:
    """The folder of a data set, or of its first `count` training images and the first `tested` to test; None: all."""
    if count is None:
        yield data / name
        return
    from pyarrow import parquet

    with tempfile.TemporaryDirectory() as folder:
        for part, rows in (("train", count), ("test", tested)):
            for file in (data / name).glob(f"{part}-*.parquet"):
                parquet.write_table(parquet.read_table(file).slice(0, rows), Path(folder) / file.name)
        yield Path(folder)


def compare(work: str, data: Path, *, rounds: int, plain: bool) -> dict[str, object]:
    """Every epoch of both sides, and our images a second over the tutorial's: a ratio a round."""
    mine, theirs = [], []
    name, count = WORKS[work]
    with training_images(name, data, count=count, tested=count and count // 10) as folder:
        for _ in range(rounds):
            mine.append(measure("ours", work, folder, plain=plain))
            tries = [measure("tutorial", work, folder, plain=plain, workers=workers) for workers in WORKERS]
            theirs.append(max(tries, key=lambda epoch: epoch.speed))
    ratios = [a.speed / b.speed for a, b in zip(mine, theirs, strict=True)]
    return {"ours": [asdict(e) for e in mine], "tutorial": [asdict(e) for e in theirs], "ratios": ratios}


def line(work: str, result: dict[str, object]) -> str:
    """The ratio with its spread, and what it is made of."""
    sides = [[Epoch(**epoch) for epoch in result[side]] for side in ("ours", "tutorial")]
    speeds = [statistics.median(epoch.speed for epoch in side) for side in sides]
    losses = [statistics.median(epoch.loss for epoch in side) for side in sides]
    workers = statistics.mode(epoch.workers for epoch in sides[1])
    ratios = result["ratios"]
    return (
        f"{work:<9} {statistics.median(ratios):5.2f}x ({min(ratios):.2f} to {max(ratios):.2f})   "
        f"images/s {speeds[0]:,.0f} to {speeds[1]:,.0f} ({workers} workers)   "
        f"loss {losses[0]:.3f} to {losses[1]:.3f}   {sides[0][0].images:,} images"
    )


def machine() -> dict[str, str | int | float]:
    """What the numbers depend on, and how busy it was before we began."""
    return {
        "processor": processor("cpu"),
        "cores": os.cpu_count() or 1,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "pillow": PIL.__version__,
        "load": round(os.getloadavg()[0], 2),
    }


def main() -> int:
    """Measure and print; 1 where a work's median falls short of the target."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", choices=WORKS, help="one of them; if not given, each")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("CONVATLAS_TEST_DATA", beside)))
    parser.add_argument("--plain", action="store_true", help="without augmentation, on either side")
    parser.add_argument("--json", type=Path, help="write every epoch of every round")
    parser.add_argument("--side", choices=("ours", "tutorial"), help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()

    if args.side:
        recipe = recipe_of(args.work, str(args.data), plain=args.plain)
        epoch = ours(recipe) if args.side == "ours" else tutorial(recipe, args.workers)
        print(json.dumps(asdict(epoch)))
        return 0

    about = machine()
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    results = {}
    for work in [args.work] if args.work else WORKS:
        results[work] = compare(work, args.data, rounds=args.rounds, plain=args.plain)
        print(line(work, results[work]), flush=True)
    if args.json:
        record = {"machine": about, "plain": args.plain, "target": TARGET, "works": results}
        args.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return int(any(statistics.median(result["ratios"]) < TARGET for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())
