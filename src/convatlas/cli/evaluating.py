"""`convatlas evaluate`."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from convatlas.cli.words import Device, complain, parse, print_json, scored
from convatlas.errors import InputError

if TYPE_CHECKING:
    from convatlas.data import Indexed, Preparation
    from convatlas.deploy.engines import Numbers
    from convatlas.training.evaluation import Answers, Trained

ELSEWHERE = ("model", "weights", "mean", "std", "changes", "in_channels", "size")
"""The options for weights that came from elsewhere, which a run has in its own folder."""


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Count how many images a trained network names rightly; by PyTorch in float32, if nothing else is asked for.

    Of a data set with splits the test part is taken (or else the validation part); of one without, all, or
    the part that was kept for the test if the network was trained on it.
    """

    run: Annotated[Positional[str | None], arg(metavar="[RUN]")] = None
    """The folder of a run, or org/name on the Hub. Left out with --model and --weights."""
    data: Annotated[str | None, arg(metavar="DATA")] = None
    """As for train; if not given, what the run was trained on."""
    model: Annotated[str | None, arg(metavar="MODEL")] = None
    """For weights from elsewhere: the network that they are for."""
    weights: Annotated[str | None, arg(metavar="FILE")] = None
    """For weights from elsewhere: a file of safetensors or torch.save, or org/name on the Hub."""
    mean: Annotated[tuple[float, ...] | None, arg(metavar="FLOAT …")] = None
    """For weights from elsewhere: what is subtracted from pixels of 0…1, a value a channel."""
    std: Annotated[tuple[float, ...] | None, arg(metavar="FLOAT …")] = None
    """For weights from elsewhere: what is divided by after that, a value a channel."""
    changes: Annotated[dict[str, bool | int | float | str], arg(metavar="NAME VALUE …")] = field(default_factory=dict)
    """For weights from elsewhere: changes of the network's spec, such as: shortcut B."""
    in_channels: Annotated[Literal[1, 3] | None, arg(metavar="{1,3}")] = None
    """For weights from elsewhere: 1 for grey images, 3 for colour; if not given, as the network has it."""
    size: Annotated[int | None, arg(metavar="INT")] = None
    """For weights from elsewhere: the height and width of the images; if not given, as the network has it."""
    fit: Annotated[Literal["crop", "pad", "stretch"] | None, arg(metavar="{crop,pad,stretch}")] = None
    """How an image is brought to the network's size; if not given, as in training, or else crop."""
    label_column: Annotated[str | None, arg(metavar="COLUMN")] = None
    """The column of the labels, where a data set has several."""
    strict: bool = False
    """Refuse images that cannot be read, instead of passing over them."""
    device: Device = "auto"
    """Where to compute."""
    engine: Literal["eager", "compiled", "openvino", "int8", "onnxruntime"] = "eager"
    """What runs the network."""
    precision: Literal["32", "bf16"] = "32"
    """In which numbers it computes; int8 has its own."""
    json: bool = False
    """Print the scores as JSON."""


def evaluate(words: list[str]) -> int:
    """Count how many images a trained network names rightly."""
    options = parse(EvaluateOptions, "evaluate", words)
    from convatlas.deploy.engines import numbers_of

    numbers = numbers_of(options.engine, options.precision)
    trained = from_elsewhere(options) if options.run is None else from_run(options, options.run)

    from convatlas.data import load_part
    from convatlas.devices import find_device
    from convatlas.training.evaluation import evaluate
    from convatlas.training.progress import Display

    images = replace(trained.bundle.images, fit=options.fit) if options.fit else trained.bundle.images
    display = Display()
    with display.decoding():
        part, pixels = load_part(
            trained.source, classes=trained.bundle.classes, size=images.size, fit=images.fit, strict=options.strict,
            held_out=trained.held_out, on_images=display.decoded,
        )  # fmt: skip
    if (options.engine, options.precision) == ("eager", "32"):
        answers = evaluate(trained.network, pixels, images, device=find_device(options.device))
    else:
        answers = by_engine(options, numbers, trained, images, pixels)
    if options.json:
        names = {"model": trained.bundle.model, "data": trained.source.name, "part": part}
        names |= {"engine": options.engine, "precision": numbers}
        print_json(names | {"skipped": len(pixels.skipped)} | answers.scores())
    else:
        print(f"{trained.source.name}, {part}: {scored(answers.scores())}")
        if pixels.skipped:
            first = pixels.skipped[0].name
            complain(f"passed over {len(pixels.skipped)} images that cannot be read; the first: {first}", 0)
    return 0


def by_engine(
    options: EvaluateOptions, numbers: "Numbers", trained: "Trained", images: "Preparation", pixels: "Indexed"
) -> "Answers":
    """What an engine answers. Raises InputError where it lacks what it needs."""
    import numpy as np
    import torch

    from convatlas.data.held import Wanted
    from convatlas.deploy.engines import engine
    from convatlas.devices import find_device
    from convatlas.training.evaluation import Answers, batch_of

    size = min(batch_of(pixels), len(pixels))
    made = engine(options.engine)(
        trained.network, images, batch_size=size, device=find_device(options.device),
        precision=numbers,
        folder=Path(options.run).expanduser() if options.run else None,
    )  # fmt: skip
    order = np.array_split(np.arange(len(pixels)), -(-len(pixels) // size))
    batches = pixels.fetches([Wanted(part) for part in order])
    answers = [(torch.from_numpy(made(batch.images.numpy())), batch.labels) for batch in batches]
    logits, labels = zip(*answers, strict=True)
    return Answers(torch.cat(logits), torch.cat(labels))


def from_run(options: EvaluateOptions, run: str) -> "Trained":
    """The network of a run, and the images that it was trained on or those of `--data`."""
    given = [name for name in ELSEWHERE if getattr(options, name)]
    if given:
        raise InputError(
            f"evaluate takes a run, or else --model, --weights, --mean and --std, and not both: leave out --{given[0]}"
        )
    from convatlas.training.evaluation import of_run

    return of_run(run, data=options.data, label_column=options.label_column)


def from_elsewhere(options: EvaluateOptions) -> "Trained":
    """The network of `--model` with the weights of `--weights`, and the images of `--data`."""
    absent = [f"--{name}" for name in ("model", "weights", "mean", "std", "data") if not getattr(options, name)]
    if absent:
        raise InputError(f"evaluate needs the folder of a run, or for weights from elsewhere also {', '.join(absent)}")
    from convatlas.data import Preparation, open_source
    from convatlas.fields import of_text
    from convatlas.models import model_card
    from convatlas.training.evaluation import Trained
    from convatlas.weights.bundle import Bundle
    from convatlas.weights.load import load_weights

    assert options.model and options.weights and options.data and options.mean and options.std  # noqa: PT018
    channels, height, width = model_card(options.model).input_size
    channels = options.in_channels or channels
    source = open_source(options.data, label_column=options.label_column)
    images = Preparation(
        size=(channels, options.size or height, options.size or width),
        mean=options.mean * channels if len(options.mean) == 1 else options.mean,
        std=options.std * channels if len(options.std) == 1 else options.std,
    )
    changes = {name: of_text(value) for name, value in options.changes.items()}
    bundle = Bundle(model=options.model, changes=changes, classes=source.class_list(), images=images)
    network = bundle.build()
    try:
        network.check_input(images.size)
    except ValueError as error:
        raise InputError(f"{error}; choose another --size") from error
    return Trained(bundle, load_weights(network, options.weights), source, None)
