"""`convatlas explain`."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg
from tyro.constructors import PrimitiveConstructorSpec

from convatlas.cli.words import complain, parse
from convatlas.errors import InputError
from convatlas.wording import some

if TYPE_CHECKING:
    from rich.console import Console
    from torch import nn

    from convatlas.data import Fit, Pixels, Source
    from convatlas.explanation.explain import Explanation, Model
    from convatlas.explanation.probe import Probe
    from convatlas.explanation.verify import Verification

Format = Literal["table", "html", "svg", "mermaid", "dot"]
Form = Literal[Format, "json"]
ENDINGS: dict[str, Form] = {
    ".html": "html", ".svg": "svg", ".dot": "dot", ".gv": "dot", ".mmd": "mermaid", ".json": "json",
}  # fmt: skip
"""What a file holds, by the end of its name."""
TEXTS = ("", ".txt", ".md")
"""The ends of names that say nothing of it: a table, or what --format asks for."""


def image_size(words: list[str]) -> tuple[int, int, int]:
    """The sides that three words say. Raises ValueError, as tyro wants it, where they say none."""
    if not all(word.isdecimal() and int(word) for word in words):
        raise ValueError(f"three whole numbers, the channels, height and width, and not {' '.join(words)}")
    channels, height, width = map(int, words)
    return channels, height, width


IMAGE_SIZE = PrimitiveConstructorSpec[tuple[int, int, int] | None](
    nargs=3,
    metavar="C H W",
    instance_from_str=image_size,
    is_instance=lambda value: value is None or isinstance(value, tuple),
    str_from_instance=lambda size: [str(size)],
)
"""Three numbers and no more, so that names can follow them."""


@dataclass(frozen=True, kw_only=True)
class ExplainOptions:
    """Say what a network is made of, layer by layer, with the arithmetic: shapes, weights, costs, what a unit sees.

    Nothing is trained or computed: the network is followed without allocating its weights.
    """

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    """A network of the atlas, the folder of a run, or package.module:name, which is or returns a module of your own."""
    input: Annotated[tuple[int, int, int] | None, IMAGE_SIZE] = None
    """The channels, height and width of the images; if not given, as the network has it."""
    changes: Annotated[dict[str, bool | int | float | str], arg(metavar="NAME VALUE …")] = field(default_factory=dict)
    """Changes of the spec of a network of the atlas, such as: shortcut B."""
    depth: Annotated[int | None, arg(metavar="N")] = None
    """How far it is opened: 1 shows the stages, more their parts; if not given, 1, or what a drawing has room for."""
    part: Annotated[str | None, arg(metavar="NAME")] = None
    """For --format svg: draw one module opened, such as inception_4a; --depth counts from there on."""
    picture: Annotated[Path | None, arg(metavar="FILE")] = None
    """For --format html: the photograph on which receptive fields are shown."""
    real: bool = False
    """Compute with weights on the processor, from an image of zeros, for a module that looks at what it computes."""
    verify: bool = False
    """Hold the receptive fields against gradients; the exit status is 1 where they disagree, or none can be."""
    probe: Annotated[str | None, arg(metavar="DATA")] = None
    """Push a batch of images, named as for train, through the network, and add signals and gradients."""
    weights: Annotated[str | None, arg(metavar="FILE")] = None
    """For --probe, the weights of a network of the atlas; if not given, new ones."""
    batch_size: int = 32
    """For --probe: how many images."""
    lr: float = 0.1
    """For --probe: the learning rate, on which the size of an update depends."""
    seed: int = 0
    """For --probe: of new weights, of dropout, and of which images are taken."""
    format: Annotated[Format | None, arg(metavar="table|html|svg|mermaid|dot")] = None
    """How to show it: html and svg stand alone, mermaid and dot are texts that these tools draw; if not given, as
    --output ends, or a table."""
    json: bool = False
    """Print all of it as JSON."""
    output: Annotated[Path | None, arg(metavar="FILE")] = None
    """Write to a file, and not to the terminal."""


def explain(words: list[str]) -> int:
    """Say what a network is made of, layer by layer, with the arithmetic."""
    options = parse(ExplainOptions, "explain", words)
    form = form_of(options)
    check(options, form)
    from convatlas.explanation.explain import explain

    changes: dict[str, Any] = dict(options.changes)
    verified = None
    with as_typed():
        model = subject_of(options.model)
        explained = explain(model, options.input, real=options.real, **changes)
        probed = probe_of(options, model, explained) if options.probe else None
        if options.verify:
            from convatlas.explanation.verify import verify

            verified = verify(model, options.input, real=options.real, **changes)
    if form == "json":
        import json

        content = explained.to_dict()
        content |= {"probe": probed.to_dict()} if probed else {}
        content |= {"verified": as_dict(verified)} if verified else {}
        deliver(json.dumps(content, indent=2, ensure_ascii=False) + "\n", options.output)
    elif form == "table":
        show(explained, probed, verified, options)
    else:
        deliver(drawing(explained, probed, form, options), options.output)
    return 0 if verified is None or (verified.holds and checked(verified)) else 1


def form_of(options: ExplainOptions) -> Form:
    """As what it is shown. Raises InputError where options contradict each other."""
    if options.json and options.format:
        raise InputError(f"explain shows --json or --format {options.format}, and not both")
    asked: Form | None = "json" if options.json else options.format
    ending = ENDINGS.get(options.output.suffix.lower()) if options.output else None
    if asked and ending and asked != ending:
        raise InputError(f"{options.output} is named as {ending}, and {asked} is asked for: change one of the two")
    if options.output and not ending and options.output.suffix.lower() not in TEXTS:
        endings = ", ".join((*TEXTS[1:], *ENDINGS))
        raise InputError(f"explain writes files that end in {endings}, and not {options.output}")
    return asked or ending or "table"


def check(options: ExplainOptions, form: Form) -> None:
    """Raise InputError for options that do not go together."""
    for name in ("input_size", "real", "layers"):  # what `explain` and `verify` ask beside changes
        if name in options.changes:
            raise InputError(f"{options.model} has no {name!r} to change")
    if options.depth is not None and options.depth < 1:
        raise InputError(f"--depth is at least 1, and not {options.depth}")
    if options.depth and form in ("html", "json"):
        raise InputError(f"--depth is not for {form}, which has every layer")
    if options.verify and form not in ("table", "json"):
        raise InputError("what --verify finds is shown in the table and with --json alone")
    if options.probe and form not in ("table", "json", "html"):
        raise InputError("what --probe finds is shown in the table, with --json and with --format html alone")
    if options.part is not None and form != "svg":
        raise InputError("--part is for --format svg, which draws one module opened")
    if options.picture and form != "html":
        raise InputError("--picture is for --format html, which shows on it what units see")
    if not options.probe:
        for name in ("weights", "batch_size", "lr", "seed"):
            if getattr(options, name) != getattr(ExplainOptions, name, None):
                raise InputError(f"--{name.replace('_', '-')} is for --probe, which is not asked for")
    if options.batch_size < 1 or options.lr <= 0:
        raise InputError("--batch-size is at least 1, and --lr above 0")


@contextmanager
def as_typed() -> Iterator[None]:
    """What is advised is said as the command line has it."""
    typed = {"real=True": "--real", "input_size, such as (3, 224, 224)": "--input C H W, such as --input 3 224 224"}
    try:
        yield
    except InputError as error:
        words = str(error)
        for python, ours in typed.items():
            words = words.replace(python, ours)
        raise InputError(words) from error


def subject_of(name: str) -> "Model":
    """What MODEL means: of `package.module:name` the module, and else what `explain` takes as it is."""
    return own(name) if ":" in name and not Path(name).expanduser().exists() else name


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
        raise InputError(
            f"{name}() has to return a torch.nn.Module, and what it returns is of type {type(made).__name__}"
        )
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


def probe_of(options: ExplainOptions, model: "Model", explained: "Explanation") -> "Probe":
    """What a batch of `--probe` is in the network: new, of `--weights`, or of a run."""
    import torch
    from torch import nn

    from convatlas.data import open_source
    from convatlas.explanation.explain import folder_of
    from convatlas.explanation.probe import probe
    from convatlas.training.recipe import Recipe
    from convatlas.weights import create_model
    from convatlas.weights.bundle import load_trained

    assert options.probe
    if options.weights and (isinstance(model, nn.Module) or folder_of(model)):
        raise InputError(f"--weights are for networks of the atlas, by name, and {options.model} has its own")
    source = open_source(options.probe)
    images, recipe = None, Recipe()
    torch.manual_seed(options.seed)
    network: nn.Module
    if isinstance(model, nn.Module):
        network, classes = model, source.class_list()
    elif folder := folder_of(model):
        bundle, network = load_trained(folder)
        classes, images = bundle.classes, bundle.images
    else:
        recipe, classes = Recipe(model=str(model)), source.class_list()
        changes: dict[str, Any] = {"num_classes": len(classes), "in_channels": explained.input_size[0]}
        network = create_model(str(model), weights=options.weights, **(changes | options.changes))
    pixels = batch(source, classes, explained.input_size, images.fit if images else "crop", options)
    if images is None:
        from convatlas.data import Preparation
        from convatlas.training.job import over_channels

        size, (mean, std) = explained.input_size, pixels.moments()
        images = Preparation(
            size=size, mean=over_channels(recipe.mean or mean, size[0]), std=over_channels(recipe.std or std, size[0])
        )
    return probe(network, images.normalize(pixels.images), pixels.labels, lr=options.lr, seed=options.seed)


def batch(
    source: "Source", classes: tuple[str, ...], size: tuple[int, int, int], fit: "Fit", options: ExplainOptions
) -> "Pixels":
    """Images drawn from those to train on, and their classes."""
    from dataclasses import replace

    import numpy as np

    from convatlas.data.pixels import decode

    part = source.parts.get("train") or next(iter(source.parts.values()))
    chosen = np.random.default_rng(options.seed).permutation(len(part))[: options.batch_size].tolist()
    few = replace(
        part, images=[part.images[i] for i in chosen], labels=[part.labels[i] for i in chosen],
        names=[part.names[i] for i in chosen],
    )  # fmt: skip
    pixels = decode(few, classes=classes, size=size, fit=fit)
    if not len(pixels):
        raise InputError(f"{source.name}: none of {len(chosen)} images can be read")
    return pixels


def drawing(explained: "Explanation", probed: "Probe | None", form: Form, options: ExplainOptions) -> str:
    """The explanation as a page, a drawing or a text that other tools draw."""
    if form == "html":
        from convatlas.data.images import read

        return explained.to_html(picture=read(options.picture) if options.picture else None, probe=probed)
    if form == "svg":
        return explained.to_svg(part=options.part or "", depth=options.depth)
    from convatlas.explanation.text import to_dot, to_mermaid

    draw: Callable[..., str] = to_mermaid if form == "mermaid" else to_dot
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

    from convatlas.explanation.table import probed_table, show_table

    written = io.StringIO()
    console = Console(highlight=False) if options.output is None else Console(file=written, width=140, highlight=False)
    depth = options.depth or 1
    show_table(console, explained, depth=depth)
    if probed:
        console.print()
        console.print(probed_table(probed, depth=depth, width=console.width))
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
        disagree = "disagrees" if len(wrong) == 1 else "disagree"
        agree = f", of which {len(wrong)} {disagree}" if wrong else ", and all agree"
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
