"""`convatlas explain` and `convatlas compare`."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from tyro.conf import Positional, arg

from convatlas.cli.words import complain, parse, print_json
from convatlas.errors import InputError
from convatlas.wording import some

if TYPE_CHECKING:
    from rich.console import Console
    from torch import nn

    from convatlas.data import Preparation, Source
    from convatlas.explanation.explain import Explanation
    from convatlas.explanation.probe import Probe
    from convatlas.explanation.verify import Verification

Format = Literal["table", "mermaid", "dot", "html", "svg"]


@dataclass(frozen=True, kw_only=True)
class ExplainOptions:
    """Say what a network is made of, layer by layer, with the arithmetic: shapes, weights, costs, what a unit sees.

    Nothing is trained or computed: the network is followed without allocating its weights.
    """

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    """A network of the atlas, the folder of a run, or package.module:name, which is or returns a module of your own."""
    input: Annotated[tuple[int, int, int] | None, arg(metavar="C H W")] = None
    """The channels, height and width of the images; if not given, as the network has it."""
    changes: Annotated[dict[str, bool | int | float | str], arg(metavar="NAME VALUE …")] = field(default_factory=dict)
    """Changes of the spec of a network of the atlas, such as: shortcut B."""
    depth: int | None = None
    """How far it is opened: 1 shows the stages, more their parts; if not given, 1, or what a drawing has room for."""
    part: Annotated[str | None, arg(metavar="NAME")] = None
    """For --format svg: draw one module opened, such as inception_4a; --depth counts from there on."""
    picture: Annotated[Path | None, arg(metavar="FILE")] = None
    """For --format html: the photograph on which receptive fields are shown."""
    real: bool = False
    """Compute with weights on the processor, for a module that looks at what it computes."""
    verify: bool = False
    """Hold the receptive fields against gradients; the exit status is 1 where they disagree, or none can be."""
    probe: Annotated[str | None, arg(metavar="DATA")] = None
    """Push a batch of images, named as for train, through the network, and add signals and gradients."""
    weights: Annotated[str | None, arg(metavar="FILE")] = None
    """For --probe, the weights of a network of the atlas; if not given, new ones."""
    batch_size: int = 32
    """For --probe: how many images."""
    lr: float = 0.1
    """For --probe: the learning rate, of which the size of an update depends."""
    seed: int = 0
    """For --probe: of new weights, of dropout, and of which images are taken."""
    format: Format = "table"
    """How to show it; mermaid and dot are texts that these tools draw, html and svg stand alone."""
    json: bool = False
    """Print all of it as JSON."""
    output: Annotated[Path | None, arg(metavar="FILE")] = None
    """Write to a file, and not to the terminal."""


class Subject(NamedTuple):
    """What is explained: a name with changes, or a module."""

    model: "str | nn.Module"
    changes: dict[str, Any]
    prepared: "Preparation | None" = None
    """How images are made ready for the network of a run."""
    classes: tuple[str, ...] = ()
    """Of the network of a run."""


def explain(words: list[str]) -> int:
    """Say what a network is made of, layer by layer, with the arithmetic."""
    options = parse(ExplainOptions, "explain", words)
    check(options)
    subject = subject_of(options)

    from convatlas.explanation.explain import explain

    size = options.input or (subject.prepared.size if subject.prepared else None)
    explained = explain(subject.model, size, real=options.real, **subject.changes)
    probed = probe_of(options, subject, explained) if options.probe else None
    verified = None
    if options.verify:
        from convatlas.explanation.verify import verify

        verified = verify(subject.model, size, real=options.real, **subject.changes)
    if options.json:
        import json

        content = explained.to_dict()
        content |= {"probe": probed.to_dict()} if probed else {}
        content |= {"verified": as_dict(verified)} if verified else {}
        deliver(json.dumps(content, indent=2, ensure_ascii=False) + "\n", options.output)
    elif options.format == "table":
        show(explained, probed, verified, options)
    else:
        deliver(drawing(explained, options), options.output)
    return 0 if verified is None or (verified.holds and checked(verified)) else 1


def check(options: ExplainOptions) -> None:
    """Raise InputError for options that do not go together."""
    if options.depth is not None and options.depth < 1:
        raise InputError(f"--depth is at least 1, and not {options.depth}")
    if options.input and min(options.input) < 1:
        raise InputError(f"--input takes the channels, height and width of images, and not {options.input}")
    if options.json and options.format != "table":
        raise InputError(f"explain shows --json or --format {options.format}, and not both")
    if (options.probe or options.verify) and not options.json and options.format != "table":
        raise InputError("what --probe and --verify find is shown in the table and with --json alone")
    if options.depth and options.format == "html":
        raise InputError("--depth is not for --format html: a page opens to every layer")
    if options.part is not None and options.format != "svg":
        raise InputError("--part is for --format svg, which draws one module opened")
    if options.picture and options.format != "html":
        raise InputError("--picture is for --format html, which shows on it what units see")
    if options.weights and not options.probe:
        raise InputError("--weights are for --probe: an explanation without it needs none")
    if options.batch_size < 1 or options.lr <= 0:
        raise InputError("--batch-size is at least 1, and --lr above 0")


def subject_of(options: ExplainOptions) -> Subject:
    """What MODEL means. Raises InputError where it means nothing."""
    name = options.model
    if ":" in name:
        refuse(options, "a module of your own", "changes", "weights")
        if options.input is None:
            raise InputError(f"{name} does not say what images it takes; give --input C H W, such as --input 3 224 224")
        return Subject(own(name), {})
    if Path(name).expanduser().is_dir():
        refuse(options, "a run", "changes", "weights")
        from convatlas.weights.bundle import load_trained

        bundle, network = load_trained(name)
        return Subject(network, {}, bundle.images, bundle.classes)
    from convatlas.models import model_card

    model_card(name)  # or else it says which names are near
    return Subject(name, dict(options.changes))


def refuse(options: ExplainOptions, what: str, *names: str) -> None:
    """Raise InputError where an option is given that is for a network of the atlas."""
    for name in names:
        if getattr(options, name):
            raise InputError(f"--{name} is for networks of the atlas, and {options.model} is {what}")


def own(name: str) -> "nn.Module":
    """The module that `package.module:name` is, or returns; what lies in the current folder can be imported too."""
    from importlib import import_module

    from torch import nn

    package, _, attribute = name.partition(":")
    if not package or not attribute:
        raise InputError(f"{name!r} is no package.module:name, such as torchvision.models:resnet18")
    with importing_from_here():
        try:
            module = import_module(package)
        except Exception as error:  # importing runs whatever the file holds
            raise InputError(f"{package} cannot be imported: {type(error).__name__}: {error}") from error
        made = getattr(module, attribute, None)
        if isinstance(made, nn.Module):
            return made
        if not callable(made):
            raise InputError(
                f"{package} has no function, class or module {attribute!r}; name what is or returns an nn.Module"
            )
        try:
            made = made()
        except Exception as error:
            raise InputError(f"{name}() ends with {type(error).__name__}: {error}") from error
    if not isinstance(made, nn.Module):
        raise InputError(f"{name}() returns a {type(made).__name__}, and has to return a torch.nn.Module")
    return made


@contextmanager
def importing_from_here() -> Iterator[None]:
    """What lies in the current folder can be imported."""
    sys.path.insert(0, "")
    try:
        yield
    finally:
        with suppress(ValueError):  # a file that is imported may tidy up
            sys.path.remove("")


def probe_of(options: ExplainOptions, subject: Subject, explained: "Explanation") -> "Probe":
    """What a batch of `--probe` is in the network."""
    import torch

    from convatlas.data import open_source
    from convatlas.explanation.probe import probe
    from convatlas.weights import create_model

    assert options.probe
    source = open_source(options.probe)
    classes = subject.classes or source.class_list()
    torch.manual_seed(options.seed)
    if isinstance(subject.model, str):
        network: nn.Module = create_model(
            subject.model, num_classes=len(classes), in_channels=explained.input_size[0], weights=options.weights,
            **subject.changes,
        )  # fmt: skip
    else:
        network = subject.model
    images, labels = batch(source, classes, subject.prepared, explained.input_size, options)
    return probe(network, images, labels, lr=options.lr, seed=options.seed)


def batch(
    source: "Source",
    classes: tuple[str, ...],
    prepared: "Preparation | None",
    size: tuple[int, int, int],
    options: ExplainOptions,
) -> tuple[Any, Any]:
    """Images `(N, C, H, W)`, drawn from those to train on and normalised as training would, and classes `(N,)`."""
    from dataclasses import replace

    import numpy as np

    from convatlas.data import Preparation
    from convatlas.data.pixels import decode
    from convatlas.training.job import over_channels
    from convatlas.training.recipe import Recipe

    part = source.parts.get("train") or next(iter(source.parts.values()))
    chosen = np.random.default_rng(options.seed).permutation(len(part))[: options.batch_size].tolist()
    few = replace(
        part, images=[part.images[i] for i in chosen], labels=[part.labels[i] for i in chosen],
        names=[part.names[i] for i in chosen],
    )  # fmt: skip
    pixels = decode(few, classes=classes, size=size, fit=prepared.fit if prepared else "crop")
    if not len(pixels):
        raise InputError(f"{source.name}: none of {len(chosen)} images can be read")
    if prepared is None:
        recipe = Recipe(model=options.model) if ":" not in options.model else Recipe()
        mean, std = pixels.moments()
        prepared = Preparation(
            size=size, mean=over_channels(recipe.mean or mean, size[0]), std=over_channels(recipe.std or std, size[0])
        )
    return prepared.normalize(pixels.images), pixels.labels


def drawing(explained: "Explanation", options: ExplainOptions) -> str:
    """The explanation as a text of `--format`."""
    if options.format == "html":
        from convatlas.data.images import read

        return explained.to_html(picture=read(options.picture) if options.picture else None)
    if options.format == "svg":
        return explained.to_svg(part=options.part or "", depth=options.depth)
    from convatlas.explanation.text import to_dot, to_mermaid

    draw: Callable[..., str] = to_mermaid if options.format == "mermaid" else to_dot
    return draw(explained, depth=options.depth or 1)


def deliver(text: str, file: Path | None) -> None:
    """Write to the file, or else print."""
    if file is None:
        print(text, end="")
        return
    from convatlas.files import write_text

    write_text(file, text)
    complain(f"wrote {file}", 0)


def show(
    explained: "Explanation", probed: "Probe | None", verified: "Verification | None", options: ExplainOptions
) -> None:
    """Print the table, and what was found beside it; or write it to `--output`."""
    import io

    from rich.console import Console

    from convatlas.explanation.table import probed_table, table

    written = io.StringIO()
    console = Console(highlight=False) if options.output is None else Console(file=written, width=140, highlight=False)
    # A terminal that is narrower than the figures breaks their lines, and cuts none off.
    depth = options.depth or 1
    console.print(table(explained, depth=depth, width=console.width), crop=False, overflow="ignore")
    if probed:
        console.print()
        console.print(probed_table(probed, depth=depth))
    if verified:
        console.print()
        say_verified(console, verified)
    if options.output:
        deliver(written.getvalue(), options.output)


def checked(verified: "Verification") -> int:
    """How many layers were held against gradients; those to which no path from the image leads were not."""
    return sum(bool(check.units) for check in verified.checks)


def say_verified(console: "Console", verified: "Verification") -> None:
    """Print what gradients say of the receptive fields."""
    wrong = [each for each in verified.checks if not each.holds]
    if count := checked(verified):
        agree = f", of which {len(wrong)} disagree" if wrong else ", and all agree"
        console.print(f"held against gradients: {some(count, 'layer')}{agree}")
    else:
        console.print("nothing was held against gradients: no layer could be", style="red")
    for each in wrong:
        console.print(f"  {each}", style="red", markup=False)
    for name, why in verified.left_out.items():
        console.print(f"not held against gradients: {name}: {why}", markup=False)


def as_dict(verified: "Verification") -> dict[str, Any]:
    """What gradients say, as JSON has it."""
    from dataclasses import asdict

    return {"holds": verified.holds and checked(verified) > 0} | asdict(verified)


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """Set networks side by side: where their weights sit, what they cost, how far they see, how often they err."""

    models: Annotated[Positional[tuple[str, ...]], arg(metavar="MODEL")]
    """Networks of the atlas, folders of runs, or package.module:name."""
    input: Annotated[tuple[int, int, int] | None, arg(metavar="C H W")] = None
    """The channels, height and width of the images; if not given, as each network has it."""
    chart: Annotated[Path | None, arg(metavar="FILE")] = None
    """Draw the published errors against the cost, as a .png, .svg or .pdf."""
    json: bool = False
    """Print JSON."""


def compare(words: list[str]) -> int:
    """Set networks side by side: weights, cost, depth, what they see, and published errors."""
    options = parse(CompareOptions, "compare", words)
    if not options.models:
        raise InputError("compare needs the names of networks, such as: convatlas compare alexnet vgg16 resnet50")
    if options.chart and options.chart.suffix not in (".png", ".svg", ".pdf"):
        raise InputError(f"--chart draws a .png, .svg or .pdf, and not {options.chart.name}")
    from rich.console import Console

    from convatlas.explanation.compare import as_json, chart, charted, compared_table, row
    from convatlas.explanation.explain import explain

    rows = []
    for name in options.models:
        asked = ExplainOptions(model=name, input=options.input)
        check(asked)
        subject = subject_of(asked)
        size = options.input or (subject.prepared.size if subject.prepared else None)
        rows.append(row(explain(subject.model, size)))
    if options.chart:
        from convatlas.files import writing

        figure = chart(rows)
        with writing(options.chart) as path:
            figure.savefig(path, format=options.chart.suffix[1:])
        _, drawn = charted(rows)
        absent = [one.name for one in rows if one not in drawn]
        complain(
            f"wrote {options.chart}" + (f", without {', '.join(absent)}: no error is printed" if absent else ""), 0
        )
    if options.json:
        print_json(as_json(rows))
    else:
        console = Console(highlight=False)
        console.print(compared_table(rows, width=console.width))
    return 0
