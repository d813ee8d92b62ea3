"""The command line: verbs, each a few lines that call a room.

A room is imported by the verb that needs it, so that help and errors answer at once. Results go to stdout,
progress to stderr. Exit status: 0 done, 1 the work failed, 2 the request or its input was wrong, 130
interrupted after saving.
"""

import contextlib
import csv
import errno
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import tyro
from tyro.conf import OmitArgPrefixes, Positional

from convatlas import __version__
from convatlas.errors import InputError, WorkError, nearest
from convatlas.training.recipe import Recipe

Options = TypeVar("Options")
Device = Literal["auto", "cpu", "cuda", "mps"]

DISK = {
    errno.ENOSPC: "there is no space left on the disk",
    errno.EDQUOT: "the quota of the disk is used up",
    errno.EFBIG: "the file would be larger than is allowed here",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "it may not be written or read",
    errno.EPERM: "it may not be written or read",
    errno.ENOTDIR: "a part of the path is a file",
    errno.EEXIST: "a part of the path is a file",
    errno.ENOENT: "it is not there",
}
"""What goes wrong with files and is no fault of ours, in words."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line, and return its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    try:
        return dispatch([word for word in words if word != "--debug"])
    except KeyboardInterrupt:
        return complain("interrupted", 130)
    except BrokenPipeError:  # whoever read our results has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (InputError, WorkError, OSError) as error:
        if debug or (isinstance(error, OSError) and error.errno not in DISK):
            raise
        if isinstance(error, OSError):
            return complain(f"{error.filename or 'a file'} cannot be used: {DISK[error.errno or 0]}", 2)
        return complain(error, 2 if isinstance(error, InputError) else 1)


def dispatch(words: list[str]) -> int:
    """Run the verb that the first word names."""
    if not words or words[0] in ("-h", "--help", "help"):
        show_help()
        return 0
    if words[0] == "--version":
        print(f"convatlas {__version__}")
        return 0
    if words[0] not in VERBS:
        known = nearest(words[0], tuple(VERBS))
        raise InputError(f"there is no verb {words[0]!r} (nearest: {known}); see convatlas --help")
    return VERBS[words[0]](words[1:])


def complain(message: object, status: int) -> int:
    """Print one sentence on stderr, and return the status."""
    print(f"convatlas: {message}", file=sys.stderr)
    return status


def show_help() -> None:
    """Print the verbs, with the first line of what each says of itself."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 2))
    for verb, function in VERBS.items():
        table.add_row(f"[bold]{verb}[/]", (function.__doc__ or "").splitlines()[0].rstrip("."))
    console = Console(highlight=False)
    console.print("convatlas: an atlas of the landmark convolutional networks\n")
    console.print("usage: [bold]convatlas VERB[/] …\n")
    console.print(table)
    console.print("\n`convatlas VERB --help` says more; `--debug` shows where an error comes from.", markup=False)


def parse(kind: type[Options], verb: str, words: list[str], *, default: Options | None = None) -> Options:
    """The verb's options. Raises InputError with one sentence, which names what could not be understood."""
    said = io.StringIO()
    wants_help = any(word in ("-h", "--help") for word in words)
    try:
        with contextlib.nullcontext() if wants_help else contextlib.redirect_stderr(said):
            unset = tyro.MISSING_NONPROP if default is None else default
            options: Options = tyro.cli(kind, args=words, prog=f"convatlas {verb}", default=unset)
            return options
    except SystemExit as error:
        if not error.code:
            raise
        raise InputError(f"{complaint(said.getvalue())}; see convatlas {verb} --help") from None


def complaint(box: str) -> str:
    """What tyro's box of an error says above its first rule, in one line."""
    from rich.text import Text

    lines = [Text.from_ansi(line).plain.strip("│ ") for line in box.splitlines()]
    body = [line for line in lines if not line.startswith("╭")]
    end = next((i for i, line in enumerate(body) if set(line) <= set("─╰╯")), len(body))
    return " ".join(body[:end]).rstrip(". ")


def print_json(content: Any) -> None:
    """Print the content as JSON."""
    print(json.dumps(content, indent=2, ensure_ascii=False))


# --------------------------------------------------------------------------- the verbs


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Train a network on images. What is not given is as the network's own recipe says."""

    training: OmitArgPrefixes[Recipe] = field(default_factory=Recipe)
    recipe: Path | None = None
    """A YAML file with a recipe, such as the recipe.yaml of a run; options given here win over it."""
    output: Path | None = None
    """The folder of the run; if not given, a new one under runs/."""
    json: bool = False
    """Print the results as JSON."""


def train(words: list[str]) -> int:
    """Train a network on images, with a report of how it went."""
    # What the words leave open is the recipe file's, or else the model's own: so they are read once to
    # learn which, and again with that for defaults, which is also what the help shows.
    asked = parse(TrainOptions, "train", [word for word in words if word not in ("-h", "--help")])
    base = Recipe.read(asked.recipe) if asked.recipe else Recipe(model=asked.training.model)
    options = parse(TrainOptions, "train", words, default=TrainOptions(training=base))

    from convatlas.training.loop import train

    return ended(train(options.training, output=options.output), as_json=options.json)


@dataclass(frozen=True, kw_only=True)
class ResumeOptions:
    """Go on with a run that was interrupted, to the same weights as if it had not been."""

    run: Positional[Path]
    """The folder of the run."""
    json: bool = False
    """Print the results as JSON."""


def resume(words: list[str]) -> int:
    """Go on with a run that was interrupted."""
    options = parse(ResumeOptions, "resume", words)
    from convatlas.training.loop import resume

    return ended(resume(options.run), as_json=options.json)


def ended(run: Any, *, as_json: bool) -> int:
    """Print how a run ended, and return the exit status."""
    results = run.results
    if as_json:
        print_json({"run": str(run.directory), **results})
    elif results["test"]:
        print(f"test: {scored(results['test'])}")
    else:
        print(f"validation: accuracy {results['val']['accuracy']:.2f} % (epoch {results['best_epoch']})")
    if not as_json:
        print(f"run: {run.directory}")
    if results["status"] == "done":
        return 0
    return complain(f"interrupted; the best weights are kept; go on with convatlas resume {run.directory}", 130)


def scored(scores: Mapping[str, Any]) -> str:
    """`932 of 1,017 right, accuracy 91.64 %, error 8.36 %`."""
    return (
        f"{scores['right']:,} of {scores['total']:,} right, "
        f"accuracy {scores['accuracy']:.2f} %, error {scores['error']:.2f} %"
    )


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Look at a data set before it is trained on: classes, sizes, kinds, damage and duplicates."""

    data: Positional[str]
    """As for train: digits, a name of the Hub, or a path."""
    label_column: str | None = None
    """The column of the labels, where a data set has several."""
    json: bool = False
    """Print what was found as JSON."""


def data(words: list[str]) -> int:
    """Look at a data set before it is trained on."""
    options = parse(DataOptions, "data", words)
    from rich.console import Console

    from convatlas.data.audit import audit, table
    from convatlas.data.sources import open_source
    from convatlas.training.progress import Display

    display = Display()
    source = open_source(options.data, label_column=options.label_column)
    with display.decoding():
        found = audit(source, on_images=display.decoded)
    if options.json:
        print_json(found.to_dict())
    else:
        Console(highlight=False).print(table(found))
    return 0


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


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """Say what pictures show, by a trained network's opinion."""

    run: Positional[str]
    """The folder of a run, or org/name on the Hub."""
    pictures: Positional[tuple[Path, ...]]
    """Files, and folders of files."""
    top: int = 3
    """How many classes to name for each picture, the likeliest first."""
    device: Device = "auto"
    """Where to compute."""
    json: bool = False
    """Print JSON."""
    csv: bool = False
    """Print a CSV table."""


def predict(words: list[str]) -> int:
    """Say what pictures show, by a trained network's opinion."""
    options = parse(PredictOptions, "predict", words)
    if options.top < 1:
        raise InputError(f"--top is at least 1, and not {options.top}")
    paths = list(pictures(options.pictures))

    from convatlas.data.images import UnreadableImageError
    from convatlas.deploy.classifier import load
    from convatlas.training.machine import find_device

    classifier = load(options.run, device=find_device(options.device))
    answers = zip(paths, classifier.stream(paths, top=options.top), strict=True)
    unread = 0
    table = csv.writer(sys.stdout, lineterminator="\n")
    if options.csv:
        ranks = range(1, min(options.top, len(classifier.classes)) + 1)
        table.writerow(["file_name", *(head for rank in ranks for head in (f"label_{rank}", f"probability_{rank}"))])
    listed: list[dict[str, Any]] = []
    for path, answer in answers:
        if isinstance(answer, UnreadableImageError):
            unread += 1
            complain(answer, 0)
            listed.append({"file_name": str(path), "error": str(answer)})
            continue
        pairs = list(zip(answer.labels, answer.probabilities, strict=True))
        listed.append({"file_name": str(path), "predictions": [{"label": c, "probability": p} for c, p in pairs]})
        if options.csv:
            table.writerow([path, *(value for label, p in pairs for value in (label, f"{p:.6f}"))])
        elif not options.json:
            print(f"{path}  " + "  ".join(f"{label} {100 * p:.1f} %" for label, p in pairs))
    if options.json:
        print_json(listed)
    if unread == len(paths):
        raise InputError("none of the pictures can be read")
    return 0


def pictures(paths: Sequence[Path]) -> Iterator[Path]:
    """The files, and the images in the folders. Raises InputError where there are none."""
    from convatlas.data.sources import is_image, walk

    for path in paths:
        if path.is_dir():
            inside = [file for file in walk(path) if is_image(file)]
            if not inside:
                raise InputError(f"the folder {path} holds no images")
            yield from inside
        elif path.exists():
            yield path
        else:
            raise InputError(f"there is no file {path}")


@dataclass(frozen=True, kw_only=True)
class ModelsOptions:
    """List the networks of the atlas."""

    pattern: Positional[str] = "*"
    """Such as 'resnet*'."""
    json: bool = False
    """Print JSON."""


def models(words: list[str]) -> int:
    """List the networks of the atlas."""
    options = parse(ModelsOptions, "models", words)
    import torch
    from rich.console import Console
    from rich.table import Table

    from convatlas.models import build, list_models, model_card

    names = list_models(options.pattern)
    if not names:
        raise InputError(
            f"no model matches {options.pattern!r}; the nearest: {nearest(options.pattern, list_models())}"
        )
    cards = [model_card(name) for name in names]
    with torch.device("meta"):
        parameters = {name: sum(p.numel() for p in build(name).parameters()) for name in names}
    if options.json:
        print_json(
            [
                {"name": c.name, "family": c.family, "paper": c.paper.citation, "year": c.year, "table": c.table,
                 "input_size": c.input_size, "num_classes": c.num_classes, "parameters": parameters[c.name],
                 "published": dict(c.published), "deviations": c.deviations}
                for c in cards
            ]
        )  # fmt: skip
        return 0
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in ("model", "year", "images", "parameters", "error", "paper"):
        table.add_column(head, justify="right" if head in ("parameters", "error") else "left", no_wrap=head != "paper")
    for card in cards:
        error = card.published.get("top1_error")
        table.add_row(
            card.name, str(card.year), "×".join(map(str, card.input_size)), f"{parameters[card.name]:,}",
            f"{error} %" if error else "", f"{card.paper.authors.split(',')[0]}, {card.paper.title}",
        )  # fmt: skip
    Console(highlight=False).print(table)
    return 0


VERBS = {
    "train": train,
    "resume": resume,
    "evaluate": evaluate,
    "predict": predict,
    "data": data,
    "models": models,
}
