"""Every row of the published table that has exact figures: ours has the same parameters and operations.

The table itself is in `models.csv` beside this file: what the papers print, and what their networks come to.
"""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from convatlas.models import build

ROWS = {
    row["model"]: row
    for row in csv.DictReader(Path(__file__).with_name("models.csv").read_text(encoding="utf-8").splitlines())
    if row["params_exact"]
}

OURS: dict[str, tuple[str, Mapping[str, Any]]] = {
    # row                          ours         changes
    "lenet5-1998":                 ("lenet5",   {}),
    "lenet5-1998-distortions":     ("lenet5",   {}),
    "lenet-d2l":                   ("lenet",    {}),
    # LeNet, AlexNet, VGG, NiN, the MNIST network of batch normalisation
    "lenet-d2l-bn":            ("lenet_bn",             {}),
    "alexnet-2012":            ("alexnet",              {}),
    "alexnet-2012-ilsvrc2010": ("alexnet",              {}),
    "alexnet-ungrouped":       ("alexnet",              {"groups": 1}),
    "alexnet-owt-footnote":    ("alexnet_owt_footnote", {}),
    "alexnet-owt-torchvision": ("alexnet_owt",          {}),
    "alexnet-caffe":           ("alexnet_caffe",        {}),
    "caffenet":                ("caffenet",             {}),
    "alexnet-d2l":             ("alexnet_d2l",          {}),
    "vgg-A":                   ("vgg11",                {}),
    "vgg-A-LRN":               ("vgg11_lrn",            {}),
    "vgg-B":                   ("vgg13",                {}),
    "vgg-B-shallow-5x5":       ("vgg13_5x5",            {}),
    "vgg-C":                   ("vgg16_c",              {}),
    "vgg-D":                   ("vgg16",                {}),
    "vgg-E":                   ("vgg19",                {}),
    "vgg11-torchvision":       ("vgg11",                {}),
    "vgg13-torchvision":       ("vgg13",                {}),
    "vgg16-torchvision":       ("vgg16",                {}),
    "vgg19-torchvision":       ("vgg19",                {}),
    "vgg11_bn-torchvision":    ("vgg11_bn",             {}),
    "vgg16_bn-torchvision":    ("vgg16_bn",             {}),
    "vgg11-d2l":               ("vgg11_d2l",            {}),
    "vgg11-d2l-quarter":       ("vgg11_d2l",            {"width": 0.25}),
    "nin-cifar10":             ("nin_cifar",            {}),
    "nin-cifar10-aug":         ("nin_cifar",            {}),
    "nin-cifar100":            ("nin_cifar",            {}),
    "nin-svhn":                ("nin_cifar",            {}),
    "nin-imagenet":            ("nin_imagenet",         {}),
    "nin-d2l":                 ("nin_d2l",              {}),
    "bn-mnist-mlp":            ("mnist_mlp",            {}),
}  # fmt: skip

UNSEEN = {"lenet5-1998": 36 * 100 * 25, "lenet5-1998-distortions": 36 * 100 * 25}
"""Multiplications by the zeros that C3 lays between the 60 kernels of Table I: a counter sees them, the paper not."""


@pytest.mark.parametrize("row", OURS)
def test_ours_has_the_parameters_and_operations_of_the_row(row: str) -> None:
    name, changes = OURS[row]
    channels, height, width = map(int, ROWS[row]["input"].split("x"))
    with torch.device("meta"):
        network = build(name, num_classes=int(ROWS[row]["num_classes"]), in_channels=channels, **changes).eval()
        assert sum(p.numel() for p in network.parameters()) == int(ROWS[row]["params_exact"])
        with FlopCounterMode(display=False) as counter:
            network.heads(torch.empty(1, channels, height, width))
    assert counter.get_total_flops() // 2 - UNSEEN.get(row, 0) == int(ROWS[row]["macs_exact"])
