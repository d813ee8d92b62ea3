"""Explains every network of torchvision and timm that is of the atlas's families, and says what is left out.

    pip install -r benchmarks/requirements.txt
    python benchmarks/peers_explained.py [--json FILE]

The networks are made on the meta device. The parameters are compared with a sum over the network's own; a network that
cannot be explained, or with another sum, ends the run with status 1.
"""

import argparse
import json
import platform
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import timm
import torch
import torchvision
from torch import nn

import convatlas as ca

TORCHVISION = re.compile("alexnet|vgg|googlenet|inception|resnet|resnext|densenet|shufflenet|vit")
FILES = (
    "vgg", "inception_v3", "inception_v4", "inception_resnet_v2", "resnet", "resnetv2", "senet", "sknet", "densenet",
    "vision_transformer",
)  # fmt: skip
"""Those of timm that are of one family: all of their networks."""
NAMES = ("*resnet*", "*resnext*")
"""What networks of these families are called in its other files."""

Made = tuple[str, tuple[int, int, int], Callable[[], nn.Module]]


def networks() -> Iterator[Made]:
    """Each network's name, its images, and how it is made."""
    for name in torchvision.models.list_models(module=torchvision.models):
        if TORCHVISION.search(name):
            side = 299 if name == "inception_v3" else 224
            options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
            yield f"torchvision/{name}", (3, side, side), lambda n=name, o=options: torchvision.models.get_model(n, **o)
    theirs = {name for file in FILES for name in timm.list_models(module=file)}
    for name in sorted(theirs | {name for pattern in NAMES for name in timm.list_models(pattern)}):
        config = timm.get_pretrained_cfg(name)
        size = tuple(config.input_size) if config else (3, 224, 224)
        yield f"timm/{name}", size, lambda n=name: timm.create_model(n)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # of the peers' own making
    failed, rows = {}, {}
    for name, size, make in networks():
        try:
            with torch.device("meta"):
                network = make()
            explanation = ca.explain(network, size)
        except Exception as error:  # any fault is a result here
            failed[name] = f"{type(error).__name__}: {error}"
            continue
        if explanation.params != sum(p.numel() for p in network.parameters()):
            failed[name] = f"{explanation.params:,} parameters"
        notes = dict.fromkeys(str(note) for layer in explanation.layers for note in layer.notes)
        rows[name] = {"params": explanation.params, "macs": explanation.macs, "notes": list(notes)}
        for note in notes:
            print(f"{name}: {note}")
    versions = {"python": platform.python_version(), "torch": torch.__version__, "torchvision": torchvision.__version__}
    versions["timm"] = timm.__version__
    noted = sum(bool(row["notes"]) for row in rows.values())
    print(f"{len(rows)} explained, of which {noted} with notes; {len(failed)} failed")
    for name, reason in failed.items():
        print(f"{name}: {reason}")
    if args.json:
        result = {"versions": versions, "explained": rows, "failed": failed}
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
