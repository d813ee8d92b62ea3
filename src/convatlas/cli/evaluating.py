"""`convatlas evaluate`."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from convatlas.cli.words import Device, complain, parse, print_json, scored
from convatlas.errors import InputError
from convatlas.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Count how many images a trained network names rightly; in float32.

    Of a data set with splits the test part is taken (or else the validation part); of one without, all, or
    the part that was kept for the test if the network was trained on it.
    """

    run: Positional[str | None] = None
    """The folder of a run, or org/name on the Hub. Left out with --model and --weights."""
    data: str | None = None
    """As for train; if not given, what the run was trained on."""
    model: str | None = None
    """For weights from elsewhere: the network that they are for."""
    weights: str | None = None
    """For weights from elsewhere: a file of safetensors or torch.save, or org/name on the Hub."""
    mean: tuple[float, ...] | None = None
    """For weights from elsewhere: what is subtracted from pixels of 0…1, a value a channel."""
    std: tuple[float, ...] | None = None
    """For weights from elsewhere: what is divided by after that, a value a channel."""
    changes: dict[str, bool | int | float | str] = field(default_factory=dict)
    """For weights from elsewhere: changes of the network's spec, such as: shortcut B."""
    fit: Literal["crop", "pad", "stretch"] | None = None
    """How an image is brought to the network's size; if not given, as in training, or else crop."""
    label_column: str | None = None
    """The column of the labels, where a data set has several."""
    strict: bool = False
    """Refuse images that cannot be read, instead of passing over them."""
    device: Device = "auto"
    """Where to compute."""
    json: bool = False
    """Print the scores as JSON."""


def evaluate(words: list[str]) -> int:
    """Count how many images a trained network names rightly."""
    options = parse(EvaluateOptions, "evaluate", words)
    elsewhere = {"--model": options.model, "--weights": options.weights, "--mean": options.mean, "--std": options.std}
    if options.run is not None and any(elsewhere.values()):
        raise InputError("evaluate takes a run, or --model and --weights with --mean and --std, and not both")
    if options.run is None:
        absent = [name for name, value in (elsewhere | {"--data": options.data}).items() if not value]
        if absent:
            raise InputError(
                f"evaluate needs the folder of a run, or for weights from elsewhere also {', '.join(absent)}"
            )

    from convatlas.data import Preparation, load_part, open_source
    from convatlas.models import model_card
    from convatlas.training.evaluation import evaluate
    from convatlas.training.machine import find_device
    from convatlas.training.progress import Display
    from convatlas.weights.bundle import Bundle, load_trained
    from convatlas.weights.load import load_weights

    device = find_device(options.device)
    data, held_out, column = options.data, False, options.label_column
    if options.run is not None:
        bundle, network = load_trained(options.run)
        recipe_file = Path(options.run) / "recipe.yaml"
        if recipe_file.is_file():
            recipe = Recipe.read(recipe_file)
            data = data or recipe.data
            held_out = same_data(data, recipe.data)
            column = column or (recipe.label_column if held_out else None)
        if data is None:
            raise InputError(f"{options.run} does not say what it was trained on; name the images with --data")
        source = open_source(data, label_column=column)
    else:
        assert data is not None
        assert options.model is not None
        assert options.weights is not None
        assert options.mean is not None
        assert options.std is not None
        card = model_card(options.model)
        source = open_source(data, label_column=column)
        bundle = Bundle(
            model=options.model, changes=options.changes, classes=source.class_list(),
            images=Preparation(size=card.input_size, mean=options.mean, std=options.std),
        )  # fmt: skip
        network = load_weights(bundle.build(), options.weights)

    images = replace(bundle.images, fit=options.fit) if options.fit else bundle.images
    display = Display()
    with display.decoding():
        part, pixels = load_part(
            source, classes=bundle.classes, size=images.size, fit=images.fit, strict=options.strict,
            held_out=held_out, on_images=display.decoded,
        )  # fmt: skip
    answers = evaluate(network, pixels, images, device=device)
    if options.json:
        names = {"model": bundle.model, "data": data, "part": part, "skipped": len(pixels.skipped)}
        print_json(names | answers.scores())
    else:
        print(f"{source.name}, {part}: {scored(answers.scores())}")
        if pixels.skipped:
            complain(
                f"passed over {len(pixels.skipped)} images that cannot be read; the first: {pixels.skipped[0].name}", 0
            )
    return 0


def same_data(one: str, other: str) -> bool:
    """Whether two names of data mean the same."""
    return one == other or (Path(one).exists() and Path(one).resolve() == Path(other).resolve())
