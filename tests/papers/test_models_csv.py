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
    # GoogLeNet and BatchNorm
    "googlenet":                   ("googlenet",       {}),
    "googlenet-separable-stem":    ("googlenet",       {"stem": "separable"}),
    "googlenet-aux":               ("googlenet",       {"auxiliary": True}),
    "googlenet-caffe":             ("googlenet",       {}),
    "googlenet-torchvision":       ("googlenet_tv",    {}),
    "googlenet-d2l":               ("googlenet_d2l",   {}),
    "bn-inception":                ("bn_inception",    {}),
    "bn-inception/bn-baseline":    ("bn_inception",    {"dropout": 0.4}),
    "bn-inception/bn-x5":          ("bn_inception",    {}),
    "bn-inception/bn-x30":         ("bn_inception",    {}),
    "bn-inception/bn-x5-sigmoid":  ("bn_inception",    {"activation": "sigmoid"}),
    "bn-mnist-mlp":                ("bn_mlp",          {"norm": "none"}),
    "se-bn-inception":             ("se_bn_inception", {}),
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
