"""`convatlas bench`."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from convatlas.cli.words import Device, complain, parse, print_json, print_table
from convatlas.errors import InputError, WorkError
from convatlas.wording import nearest

if TYPE_CHECKING:
    from rich.table import Table

    from convatlas.data.images import Preparation
    from convatlas.deploy.measuring import Measured
    from convatlas.network import Network


MOST_CHECKED = 3000
"""Images on which eight bits are calibrated and checked, at most."""


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """Time every engine that this machine has on a network, in turn, and say which is the fastest.

    For a run, the fastest is kept in its folder, from where `predict` takes it for as many pictures as fill a batch.
    """

    run: Annotated[Positional[str], arg(metavar="RUN|MODEL")]
    """The folder of a run, org/name on the Hub, or the name of a network, whose weights are then drawn."""
    batch_size: Annotated[tuple[int, ...], arg(metavar="INT …")] = (1, 16)
    """How many images are answered at once; several sizes are measured one after another."""
    engine: Annotated[
        tuple[Literal["eager", "compiled", "openvino", "int8", "onnxruntime"], ...], arg(metavar="ENGINE …")
    ] = ()
    """Only these: eager, compiled, openvino, int8, onnxruntime."""
    int8: bool = False
    """Of a run: make it in eight bits too, calibrated on images that it has not learned from, and checked on others."""
    most_loss: float = 1.0
    """How many points of accuracy eight bits may lose; if they lose more, they are refused."""
    data: Annotated[str | None, arg(metavar="DATA")] = None
    """The images for --int8; if not given, what the run was trained on."""
    seconds: float = 3.0
    """How long each is timed, at each size."""
    device: Device = "auto"
    """Where to compute."""
    json: bool = False
    """Print JSON."""


def bench(words: list[str]) -> int:
    """Time every engine that this machine has on a network, and say which is the fastest."""
    options = parse(BenchOptions, "bench", words)
    if not options.batch_size or min(options.batch_size) < 1:
        raise InputError("--batch-size takes whole numbers from 1 on")
    if not 0 < options.seconds < math.inf:
        raise InputError(f"--seconds is a number above 0, and not {options.seconds}")
    if options.data is not None and not options.int8:
        raise InputError("--data is for --int8; add it, or leave out --data")
    if not 0 <= options.most_loss <= 100:
        raise InputError(f"--most-loss is from 0 to 100 points, and not {options.most_loss:g}")

    from convatlas.deploy.engines import WORDS
    from convatlas.deploy.measuring import keep_choice, measure
    from convatlas.devices import find_device

    network, images, folder = opened(options.run)
    names = options.engine or None
    if names and folder is not None:
        names = tuple(dict.fromkeys(("eager", *names)))  # by which is told when another pays
    status = make_int8(options, folder) if options.int8 else 0
    measured = measure(
        network, images, batch_sizes=sorted(set(options.batch_size)), names=names,
        device=find_device(options.device), seconds=options.seconds, folder=folder,
        on_ready=lambda made: complain(
            f"{made.name} in {WORDS[made.precision]} is ready for batches of {made.batch_size}", 0
        ),
    )  # fmt: skip
    if options.engine and not {timing.engine for timing in measured.timings} & set(options.engine):
        raise InputError("; ".join(each.reason for each in measured.absent))
    if not options.json:
        print_table(table(measured))
        for engine, precision, reason in measured.absent:
            print(f"{engine}{' in bf16' * (precision == 'bf16')}: {reason}")
    choices = (keep_choice(measured, folder) if folder is not None else measured).choices()
    if options.json:
        print_json(asdict(measured) | {"choices": [choice._asdict() for choice in choices]})
        return status
    for best in choices[:1]:
        now = {(timing.engine, timing.precision, timing.batch_size) for timing in measured.timings}
        before = "" if best[:3] in now else ", as was measured before"
        since = f", from {best.after:,} pictures on" if best.after else ""
        ending = f"; predict will use it here{since}" if folder is not None else ""
        print(
            f"the fastest: {best.engine} in {WORDS[best.precision]} with batches of {best.batch_size}{before}{ending}"
        )
    return status


def opened(name: str) -> "tuple[Network, Preparation, Path | None]":
    """A network by its name, with weights that are drawn, or that of a run with its weights, and the run's folder."""
    from convatlas.data.images import Preparation
    from convatlas.models import build, list_models, model_card
    from convatlas.weights.bundle import load_trained
    from convatlas.weights.load import is_hub_name

    if name in list_models():
        size = model_card(name).input_size
        return build(name).eval(), Preparation(size=size, mean=(0.5,) * size[0], std=(0.25,) * size[0]), None
    folder = Path(name).expanduser()
    if not folder.is_dir() and not is_hub_name(name):
        raise InputError(f"there is no run and no network {name} (nearest: {nearest(name, list_models())})")
    bundle, network = load_trained(name)
    return network, bundle.images, folder if folder.is_dir() else None


def make_int8(options: BenchOptions, folder: Path | None) -> int:
    """Calibrate the run's network in eight bits, and say what that does to its accuracy. 1 where that is refused."""
    import numpy as np

    from convatlas.data import load_part
    from convatlas.deploy.quantizing import quantize
    from convatlas.training.evaluation import of_run

    if folder is None:
        raise InputError("--int8 is for a run, in whose folder what comes of it is kept; name the folder of a run")
    bundle, network, source, held_out = of_run(options.run, data=options.data)
    images = bundle.images
    part, held = load_part(source, classes=bundle.classes, size=images.size, fit=images.fit, held_out=held_out)
    index = np.unique(np.linspace(0, len(held) - 1, MOST_CHECKED).astype(np.int64))
    pixels, labels = held.at(index).numpy(), held.labels.numpy()[index]
    try:
        checked = quantize(network, images, pixels, labels, folder, most_loss=options.most_loss)
    except WorkError as error:
        return complain(error, 1)
    complain(
        f"in eight bits, calibrated on {checked.calibrated_on} images of {source.name}, {part}: {checked.right:,} of "
        f"{checked.checked_on:,} others named rightly, and {checked.right_in_float32:,} in float32", 0,
    )  # fmt: skip
    if checked.right_in_float32 <= checked.commonest:
        complain(
            f"{checked.commonest:,} are of the commonest class, so that the network has learned little, and the "
            "comparison says little", 0,
        )  # fmt: skip
    return 0


def table(measured: "Measured") -> "Table":
    """A line for each engine and batch size."""
    from rich.table import Table

    from convatlas.deploy.engines import WORDS

    lines = Table(box=None, pad_edge=False)
    for head in ("batch", "engine", "", "images/s", "ms: middle", "90 %", "99 %", "ready after", "difference"):
        lines.add_column(head, justify="left" if head in ("engine", "") else "right")
    for timing in measured.timings:
        middle, tenth, hundredth = timing.latency
        lines.add_row(
            f"{timing.batch_size}", timing.engine, WORDS[timing.precision],
            f"{timing.images_per_second:,.1f}", f"{middle:.2f}", f"{tenth:.2f}", f"{hundredth:.2f}",
            f"{timing.prepared:.1f} s", f"{timing.difference:.1g}{'' if timing.agrees else ' too far'}",
        )  # fmt: skip
    return lines
