"""Fine-tuning beside training from scratch: a ResNet-20 that knows eight classes of CIFAR-10 learns the two others.

    python benchmarks/finetuning.py --data ../shared/data [--work FOLDER] [--seeds 5] [--images 50]

The network is trained on airplane to horse once, and kept in FOLDER for another time; then, for each seed, so many
images of each of ship and truck are drawn, and `convatlas finetune --against-scratch` is run on them as a user would.
Tested are all 2,000 test images of the two. The records go to results/finetuning.json.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

KNOWN = 8
"""Classes that the network has seen, of ten."""


def parts(data: Path, work: Path, *, known: bool, images: int | None = None, seed: int = 0) -> Path:
    """A saved data set of the known classes or the others, with so many images of each to train on, drawn by seed."""
    import datasets

    datasets.disable_progress_bars()
    folder = work / ("known" if known else f"others-{images}-{seed}")
    if folder.is_dir():
        return folder
    made = datasets.DatasetDict()
    for part in ("train", "test"):
        (file,) = (data / "cifar10").glob(f"*{part}*.parquet")
        whole = datasets.Dataset.from_parquet(str(file))
        labels = np.array(whole["label"])
        names = whole.features["label"].names
        chosen = np.arange(10)[:KNOWN] if known else np.arange(10)[KNOWN:]
        draw = np.random.default_rng(seed)
        index = [np.flatnonzero(labels == label) for label in chosen]
        if images is not None and part == "train":
            index = [np.sort(draw.choice(where, images, replace=False)) for where in index]
        taken = whole.select(np.concatenate(index))
        kinds = datasets.ClassLabel(names=[names[label] for label in chosen])
        new = [int(np.flatnonzero(chosen == label)[0]) for label in taken["label"]]
        made[part] = taken.remove_columns("label").add_column("label", new).cast_column("label", kinds)
    made.save_to_disk(folder)
    return folder


def convatlas(*words: object) -> dict[str, Any]:
    """What a command line prints with --json."""
    command = [sys.executable, "-m", "convatlas", *map(str, words), "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def pretrained(data: Path, work: Path, epochs: int) -> Path:
    """The run of the network that knows eight classes."""
    folder = work / "resnet20"
    if not (folder / "results.json").is_file():
        source = parts(data, work, known=True)
        verb = ("resume", folder) if folder.is_dir() else ("train", "resnet20", "--data", source, "--output", folder)
        print("eight classes:", convatlas(*verb, *(("--epochs", epochs) if verb[0] == "train" else ()))["test"])
    return folder


def main() -> None:
    """Train, fine-tune, print, and keep the records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("/tmp/convatlas-finetuning"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=8, help="of the eight classes")
    parser.add_argument("--json", type=Path, default=Path("results/finetuning.json"))
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    weights = pretrained(options.data, options.work, options.epochs)
    records = []
    for seed in range(options.seeds):
        source = parts(options.data, options.work, known=False, images=options.images, seed=seed)
        output = options.work / f"tuned-{options.images}-{seed}"
        both = convatlas(
            "finetune", "resnet20", "--weights", weights, "--data", source, "--seed", seed, "--against-scratch",
            "--output", output,
        )  # fmt: skip
        records.append(
            {who: run | {place: Path(run[place]).name for place in ("run", "data")} for who, run in both.items()}
        )
        tuned, scratch = both["finetuned"]["test"], both["scratch"]["test"]
        print(f"seed {seed}: {tuned['accuracy']:.2f} % fine-tuned, {scratch['accuracy']:.2f} % from scratch")
    margins = [each["finetuned"]["test"]["accuracy"] - each["scratch"]["test"]["accuracy"] for each in records]
    spread = stdev(margins) if len(margins) > 1 else 0.0
    print(f"margin: {mean(margins):.2f} points (deviation {spread:.2f}, {min(margins):.2f} to {max(margins):.2f})")
    known = json.loads((weights / "results.json").read_text()) | {"data": "known"}
    kept = {"images_a_class": options.images, "eight_classes": known, "margins": margins, "runs": records}
    options.json.write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    main()
