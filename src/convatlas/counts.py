"""How many parameters a network has, and how many multiply-accumulates it does on an image of its paper's size.

`counts.csv` beside this file keeps the figures of every network of the registry, since a list of them all should
not wait for each to be built. It is made by

    python -m convatlas.counts

and tests compare it with the networks.
"""

import csv
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import torch

from convatlas.files import write_text
from convatlas.models import build, list_models, model_card


class Counts(NamedTuple):
    """Of one network, as its paper has it."""

    params: int
    macs: int
    """Multiply-accumulates of convolutions and dense layers, for one image; without the auxiliary classifiers."""


def counts_of(name: str) -> Counts:
    """The parameters and multiply-accumulates of the network of that name, as they are kept, or else counted.

    Raises InputError for an unknown name.
    """
    return kept().get(name) or counted(name)


@cache
def kept() -> dict[str, Counts]:
    """What `counts.csv` says."""
    lines = files("convatlas").joinpath("counts.csv").read_text(encoding="utf-8").splitlines()
    return {row["name"]: Counts(int(row["params"]), int(row["macs"])) for row in csv.DictReader(lines)}


def counted(name: str) -> Counts:
    """The same by a pass on the meta device. Raises InputError for an unknown name."""
    from torch.utils.flop_counter import FlopCounterMode

    channels, height, width = model_card(name).input_size
    with torch.device("meta"):
        network = build(name).eval()
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(1, channels, height, width))
    # torch counts an operation each for multiplying and adding; and multiplications by zeros that are laid between.
    idle = sum(getattr(module, "idle_macs", 0) for module in network.modules())
    return Counts(sum(p.numel() for p in network.parameters()), counter.get_total_flops() // 2 - idle)


def main() -> None:
    """Count every network of the registry, and keep the figures."""
    rows = "".join(f"{name},{','.join(map(str, counted(name)))}\n" for name in list_models())
    write_text(Path(__file__).with_name("counts.csv"), f"name,params,macs\n{rows}")


if __name__ == "__main__":
    main()
