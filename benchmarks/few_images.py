"""Fine-tuning on folders as people have them: two classes of photographs, few grey images, two hundred classes.

    python benchmarks/few_images.py --data ../shared/data --weights ../shared/weights [--only photographs grey many]

Each is what a user types, `convatlas finetune resnet20 --weights W --data FOLDER --against-scratch`, with no other
option than the normalisation that the weights were trained with. The weights know CIFAR-10 and nothing else.

photographs: ants and bees, of many sizes, from their folder as it is.
grey:        ten digits of MNIST, forty images of each to train on, a hundred of each to test.
many:        two hundred classes, each two digits side by side, bright on dark or dark on bright; forty and ten of each.
"""

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pictures = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""Images of 28×28 and their labels."""
NORMALISED = ("--mean", "0.485", "0.456", "0.406", "--std", "0.229", "0.224", "0.225")


def mnist(data: Path, part: str) -> Pictures:
    """One of the two parts, `train` or `t10k`."""
    images = gzip.decompress((data / "mnist" / f"{part}-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((data / "mnist" / f"{part}-labels-idx1-ubyte.gz").read_bytes())[8:]
    return np.frombuffer(images, np.uint8).reshape(-1, 28, 28), np.frombuffer(labels, np.uint8)


def photographs(data: Path, _: Path) -> Path:
    """The folder itself; its `val` is what is tested, since it has no other."""
    return data / "ants_bees"


def grey(data: Path, folder: Path) -> Path:
    """Few images of each digit."""
    for part, source, count in (("train", "train", 40), ("test", "t10k", 100)):
        images, labels = mnist(data, source)
        for digit in range(10):
            (folder / part / str(digit)).mkdir(parents=True)
            for i in np.flatnonzero(labels == digit)[:count]:
                Image.fromarray(images[i]).save(folder / part / str(digit) / f"{i}.png")
    return folder


def many(data: Path, folder: Path) -> Path:
    """Pairs of digits of half their size, bright on dark or dark on bright."""
    draw = np.random.default_rng(0)
    for part, source, count in (("train", "train", 40), ("test", "t10k", 10)):
        images, labels = mnist(data, source)
        halves = images.reshape(-1, 14, 2, 14, 2).mean((2, 4)).astype(np.uint8)
        where = [np.flatnonzero(labels == digit) for digit in range(10)]
        for name in range(200):
            left, right = divmod(name % 100, 10)
            (folder / part / str(name)).mkdir(parents=True)
            for i in range(count):
                picture = np.zeros((28, 28), np.uint8)
                picture[7:21, :14] = halves[draw.choice(where[left])]
                picture[7:21, 14:] = halves[draw.choice(where[right])]
                picture = picture if name < 100 else 255 - picture
                Image.fromarray(picture).save(folder / part / str(name) / f"{i}.png")
    return folder


SETS: dict[str, Callable[[Path, Path], Path]] = {"photographs": photographs, "grey": grey, "many": many}


def main() -> None:
    """Fine-tune on each, print, and keep the records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--weights", type=Path, default=Path("../shared/weights"))
    parser.add_argument("--only", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--json", type=Path, default=Path("results/few_images.json"))
    options = parser.parse_args()
    kept = json.loads(options.json.read_text()) if options.json.is_file() else {}
    for name in options.only:
        with tempfile.TemporaryDirectory() as work:
            source = SETS[name](options.data, Path(work) / name)
            weights = options.weights / "cifar10_resnet20.safetensors"
            command = ["finetune", "resnet20", "--weights", str(weights), "--data", str(source), *NORMALISED]
            command += ["--against-scratch", "--output", str(Path(work) / "run"), "--json"]
            done = subprocess.run([sys.executable, "-m", "convatlas", *command], check=True, capture_output=True)
        kept[name] = json.loads(done.stdout)
        for which in ("finetuned", "scratch"):
            kept[name][which] |= {place: Path(kept[name][which][place]).name for place in ("run", "data")}
            scores = kept[name][which]["test"] or kept[name][which]["val"]
            print(f"{name}, {which}: {scores['accuracy']:.2f} %", flush=True)
        options.json.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
