"""How soon something happens: convatlas beside timm and torchvision, in turn, each in a process of its own.

    pip install -r benchmarks/requirements.txt
    python benchmarks/startup.py [--rounds 5] [--json FILE]

help:        `convatlas --help`, beside `import timm` and `import torchvision`, which any script of theirs begins with.
import:      `import convatlas`, beside the same.
prediction:  `convatlas predict RUN PICTURE` of a ResNet-18, from the command to the answer, beside a script that does
             the same with the peer's network, weights from a file, and its own transforms.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from training_speed import machine

THEIRS = {
    "timm": """
import sys, timm, torch
from PIL import Image
network = timm.create_model("resnet18", num_classes=2, checkpoint_path=sys.argv[1]).eval()
make = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
with torch.inference_mode():
    print(network(make(Image.open(sys.argv[2]).convert("RGB"))[None]).softmax(1))
""",
    "torchvision": """
import sys, torch, torchvision
from PIL import Image
network = torchvision.models.resnet18(num_classes=2)
network.load_state_dict(torch.load(sys.argv[1]))
make = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
with torch.inference_mode():
    print(network.eval()(make(Image.open(sys.argv[2]).convert("RGB"))[None]).softmax(1))
""",
}


def trained(folder: Path) -> tuple[Path, Path, Path]:
    """A run's folder with a ResNet-18 of two classes, the same weights as a file of torch.save, and a picture."""
    import torch
    import torchvision
    from PIL import Image

    from convatlas.data import Preparation
    from convatlas.models import build
    from convatlas.weights.bundle import Bundle
    from convatlas.weights.load import load_weights

    weights = torchvision.models.resnet18(num_classes=2).state_dict()
    torch.save(weights, folder / "resnet18.pt")
    images = Preparation(size=(3, 224, 224), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    network = load_weights(build("resnet18", num_classes=2), weights)
    (folder / "run").mkdir()
    bundle = Bundle(model="resnet18", changes={}, classes=("ants", "bees"), images=images)
    bundle.save(folder / "run", network.state_dict())
    Image.effect_noise((500, 375), 50).convert("RGB").save(folder / "picture.jpg")
    return folder / "run", folder / "resnet18.pt", folder / "picture.jpg"


def seconds(command: list[str]) -> float:
    """Until the command has ended."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, default=Path("results/startup.json"))
    options = parser.parse_args()
    about = machine()
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    python, convatlas = [sys.executable, "-c"], [str(Path(sys.executable).with_name("convatlas"))]
    imports = {peer: [*python, f"import {peer}"] for peer in THEIRS}
    with tempfile.TemporaryDirectory() as work:
        run, weights, picture = trained(Path(work))
        works = {
            "help": {"ours": [*convatlas, "--help"], **imports},
            "import": {"ours": [*python, "import convatlas"], **imports},
            "prediction": {
                "ours": [*convatlas, "predict", str(run), str(picture)],
                **{peer: [*python, script, str(weights), str(picture)] for peer, script in THEIRS.items()},
            },
        }
        kept = {}
        for name, sides in works.items():
            taken: dict[str, list[float]] = {side: [] for side in sides}
            for _ in range(options.rounds + 1):
                for side, command in sides.items():
                    taken[side].append(seconds(command))
            kept[name] = {side: each[1:] for side, each in taken.items()}  # the first fills the disk's cache
            for side, each in kept[name].items():
                ratios = [theirs / mine for mine, theirs in zip(kept[name]["ours"], each, strict=True)]
                middle, spread = statistics.median(ratios), f"{min(ratios):.1f} to {max(ratios):.1f}"
                print(f"{name:10} {side:12} {statistics.median(each):6.2f} s; ours {middle:.1f}x sooner ({spread})")
    options.json.write_text(json.dumps({"machine": about, "seconds": kept}, indent=1) + "\n")


if __name__ == "__main__":
    main()
