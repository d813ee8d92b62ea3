"""`convatlas bench`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from convatlas.cli.words import Device, complain, parse, print_json, print_table
from convatlas.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from convatlas.data.images import Preparation
    from convatlas.deploy.measuring import Measured
    from convatlas.network import Network


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """Time every engine that this machine has on a network, in turn, and say which is the fastest.

    For a run, the fastest is kept in its folder, from where `predict` takes it for as many pictures as fill a batch.
    """

    run: Annotated[Positional[str], arg(metavar="RUN|MODEL")]
    """The folder of a run, org/name on the Hub, or the name of a network, whose weights are then drawn."""
    batch_size: Annotated[tuple[int, ...], arg(metavar="INT …")] = (1, 16)
    """How many images are answered at once; several sizes are measured one after another."""
    engine: Annotated[tuple[Literal["eager", "compiled", "openvino", "onnxruntime"], ...], arg(metavar="ENGINE …")] = ()
    """Only these: eager, compiled, openvino, onnxruntime."""
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
    if options.seconds <= 0:
        raise InputError(f"--seconds is above 0, and not {options.seconds}")

    from convatlas.deploy.measuring import keep_choice, measure
    from convatlas.devices import find_device

    network, images = opened(options.run)
    measured = measure(
        network, images, batch_sizes=sorted(set(options.batch_size)), names=options.engine or None,
        device=find_device(options.device), seconds=options.seconds,
        on_ready=lambda made: complain(f"{made.name} is ready for batches of {made.batch_size}", 0),
    )  # fmt: skip
    folder = Path(options.run).expanduser()
    if folder.is_dir():
        keep_choice(measured, folder)
    if options.json:
        print_json(asdict(measured))
        return 0
    print_table(table(measured))
    for engine, precision, reason in measured.absent:
        print(f"{engine}{' in bf16' * (precision == 'bf16')}: {reason}")
    if best := measured.fastest():
        ending = "; predict will use it here" if folder.is_dir() else ""
        print(f"the fastest: {best.engine} with batches of {best.batch_size}{ending}")
    return 0


def opened(name: str) -> "tuple[Network, Preparation]":
    """The network of a run with its weights, or a network by its name with those that are drawn."""
    from convatlas.data.images import Preparation
    from convatlas.models import build, list_models, model_card
    from convatlas.weights.bundle import load_trained

    if name in list_models():
        size = model_card(name).input_size
        return build(name).eval(), Preparation(size=size, mean=(0.5,) * size[0], std=(0.25,) * size[0])
    bundle, network = load_trained(name)
    return network, bundle.images


def table(measured: "Measured") -> "Table":
    """A line for each engine and batch size."""
    from rich.table import Table

    lines = Table(box=None, pad_edge=False)
    for head in ("batch", "engine", "", "images/s", "ms: middle", "90 %", "99 %", "ready after", "difference"):
        lines.add_column(head, justify="left" if head in ("engine", "") else "right")
    for timing in measured.timings:
        middle, tenth, hundredth = timing.latency
        lines.add_row(
            f"{timing.batch_size}", timing.engine, {"32": "float32"}.get(timing.precision, timing.precision),
            f"{timing.images_per_second:,.1f}", f"{middle:.2f}", f"{tenth:.2f}", f"{hundredth:.2f}",
            f"{timing.prepared:.1f} s", f"{timing.difference:.1g}{'' if timing.agrees else ' too far'}",
        )  # fmt: skip
    return lines
