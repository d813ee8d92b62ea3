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
    # DenseNet
    "densenet-40-12":                 ("densenet_40_12",           {}),
    "densenet-40-12-cifar100":        ("densenet_40_12",           {}),
    "densenet-100-12":                ("densenet_100_12",          {}),
    "densenet-100-12-cifar100":       ("densenet_100_12",          {}),
    "densenet-100-24":                ("densenet_100_24",          {}),
    "densenet-100-24-cifar100":       ("densenet_100_24",          {}),
    "densenet-bc-100-12":             ("densenet_bc_100_12",       {}),
    "densenet-bc-100-12-cifar100":    ("densenet_bc_100_12",       {}),
    "densenet-bc-250-24":             ("densenet_bc_250_24",       {}),
    "densenet-bc-250-24-cifar100":    ("densenet_bc_250_24",       {}),
    "densenet-bc-190-40":             ("densenet_bc_190_40",       {}),
    "densenet-bc-190-40-cifar100":    ("densenet_bc_190_40",       {}),
    "densenet-121":                   ("densenet121",              {}),
    "densenet-169":                   ("densenet169",              {}),
    "densenet-201":                   ("densenet201",              {}),
    "densenet-264":                   ("densenet264",              {}),
    "densenet-161":                   ("densenet161",              {}),
    "densenet-d2l":                   ("densenet_d2l",             {}),
    # ShuffleNet
    "shufflenet-1x-g1":               ("shufflenet_v1_x1_0_g1",    {}),
    "shufflenet-1x-g2":               ("shufflenet_v1_x1_0_g2",    {}),
    "shufflenet-1x-g3":               ("shufflenet_v1_x1_0_g3",    {}),
    "shufflenet-1x-g4":               ("shufflenet_v1_x1_0_g4",    {}),
    "shufflenet-1x-g8":               ("shufflenet_v1_x1_0_g8",    {}),
    "shufflenet-0.5x-g1":             ("shufflenet_v1_x0_5_g1",    {}),
    "shufflenet-0.5x-g3":             ("shufflenet_v1_x0_5_g3",    {}),
    "shufflenet-0.5x-g8":             ("shufflenet_v1_x0_5_g8",    {}),
    "shufflenet-0.25x-g1":            ("shufflenet_v1_x0_25_g1",   {}),
    "shufflenet-0.25x-g3":            ("shufflenet_v1_x0_25_g3",   {}),
    "shufflenet-0.25x-g8":            ("shufflenet_v1_x0_25_g8",   {}),
    "shufflenet-1x-g3-noshuffle":     ("shufflenet_v1_x1_0_g3",    {"shuffle": False}),
    "shufflenet-1x-g8-noshuffle":     ("shufflenet_v1_x1_0_g8",    {"shuffle": False}),
    "shufflenet-0.5x-g3-noshuffle":   ("shufflenet_v1_x0_5_g3",    {"shuffle": False}),
    "shufflenet-0.5x-g8-noshuffle":   ("shufflenet_v1_x0_5_g8",    {"shuffle": False}),
    "shufflenet-0.25x-g3-noshuffle":  ("shufflenet_v1_x0_25_g3",   {"shuffle": False}),
    "shufflenet-0.25x-g8-noshuffle":  ("shufflenet_v1_x0_25_g8",   {"shuffle": False}),
    "shufflenet-1.5x-g3":             ("shufflenet_v1_x1_5_g3",    {}),
    "shufflenet-2x-g3":               ("shufflenet_v1_x2_0_g3",    {}),
    "shufflenet-2x-g3-se":            ("shufflenet_v1_x2_0_g3_se", {}),
    "se-shufflenet-1x-g3":            ("shufflenet_v1_x1_0_g3",    {"se": True}),
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
