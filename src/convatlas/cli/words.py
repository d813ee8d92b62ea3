"""What the verbs share: reading the words of a command line, and saying things."""

import contextlib
import dataclasses
import io
import json
import os
import re
import sys
import typing
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import tyro

from convatlas.errors import InputError
from convatlas.wording import nearest

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import RenderableType

Options = TypeVar("Options")
Device = Literal["auto", "cpu", "cuda", "mps"]


def parse(kind: type[Options], verb: str, words: list[str], *, default: Options | None = None) -> Options:
    """The verb's options. Raises InputError with one sentence, which names what could not be understood."""
    if words.count("--changes") > 1:
        raise InputError("--changes is there twice; give all changes after one: --changes activation relu pool max")
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
        known = [f"--{name.replace('_', '-')}" for name in names(kind)]
        raise InputError(f"{complaint(said.getvalue(), known, words)}; see convatlas {verb} --help") from None


def names(kind: type) -> list[str]:
    """The fields of a dataclass, and of those which are dataclasses themselves."""
    found = []
    for name, type_ in typing.get_type_hints(kind).items():
        found += names(type_) if isinstance(type_, type) and dataclasses.is_dataclass(type_) else [name]
    return found


SAYINGS = (
    # what tyro says                                                 what we say
    (r"Missing from convatlas ([\w-]+): (\S+) (.*?)\.? \(required\)", r"\1 needs \2: \3"),
    (r"Missing value for argument '(\S+)'. Expected ([2-9]) values.*",   r"\1 takes \2 values"),
    (r"Missing value for argument '(\S+)'.*",                        r"\1 needs a value"),
    (r"Error parsing (\S+): no type matching (.+) could.*\['(.*)'\]", r"\1 takes \2, and not '\3'"),
    (r"Error parsing (\S+): (?=three )",                              r"\1 takes "),
    (r"Error parsing (\S+): Failed to parse key-value pairs!",       r"\1 takes names and values in pairs"),
    (r"Error parsing (\S+): Could not find valid parse.*\['(.*)'\]", r"\1 cannot be '\2'"),
    (r"Error parsing training: ",                                    r""),  # what a recipe says of its fields
    (r"Error parsing (\S+): could not convert .* to float: ",        r"\1 takes FLOAT, and not "),
    (r"Error parsing (\S+): invalid literal for int\(\).*: (?=')",   r"\1 takes INT, and not "),
    (r"\{None\}\||\{(?=\[)|(?<=\])\}",                               r""),
    (r" takes INT, ",                                                r" takes a whole number, "),
    (r" takes FLOAT, ",                                              r" takes a number, "),
    (r" takes \[FLOAT .*\], ",                                       r" takes numbers, "),
)  # fmt: skip


def complaint(box: str, known: list[str], words: list[str]) -> str:
    """What tyro's box of an error says above its first rule, in one line; `known` are the verb's options."""
    from rich.text import Text

    lines = [Text.from_ansi(line).plain.strip("│ ") for line in box.splitlines()]
    body = [line for line in lines if not line.startswith("╭")]
    end = next((i for i, line in enumerate(body) if set(line) <= set("─╰╯")), len(body))
    said = " ".join(body[:end]).rstrip(". ")
    if found := re.fullmatch(r"Unrecognized options: ([^\s,]+).*", said):
        word = found[1]
        if word[0] == "-":
            return f"there is no option {word} (nearest: {nearest(word, known)})"
        late = any(other.startswith("--") for other in words[: words.index(word)])
        rule = "what belongs to no option stands before them" if late else (
            "every value but the first follows the name of its option"
        )  # fmt: skip
        return f"there is no place for {word!r}: {rule}"
    if found := re.fullmatch(r"invalid choice '(.*)' for argument '(\S+)'. Expected one of \((.*)\)", said):
        word, option, choices = found.groups()
        allowed = sorted(set(re.findall(r"'([^']*)'", choices)) - {"None"})  # as a set, tyro has them in any order
        return f"{option} takes {', '.join(allowed[:-1])} or {allowed[-1]}, and not {word!r}"
    for theirs, ours in SAYINGS:
        said = re.sub(theirs, ours, said)
    return said


def complain(message: object, status: int) -> int:
    """Print one sentence on stderr, and return the status."""
    print(f"convatlas: {message}", file=sys.stderr)
    return status


@contextlib.contextmanager
def warnings_said() -> Iterator[None]:
    """What the work warns of is said in a sentence each."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", RuntimeWarning)
        warnings.showwarning = lambda message, *_, **__: print(f"convatlas: {message}", file=sys.stderr)
        yield


def print_json(content: Any) -> None:
    """Print the content as JSON."""
    print(json.dumps(content, indent=2, ensure_ascii=False))


def print_table(table: "RenderableType") -> None:
    """Print a table. A terminal that is narrower than it breaks its lines, and cuts none off."""
    from rich.console import Console
    from rich.measure import Measurement

    console = Console(highlight=False)
    needed = Measurement.get(console, console.options.update(max_width=10_000), table).maximum
    console.width = max(console.width, needed)
    console.print(table)


def check_plot(path: Path | None) -> None:
    """Raise InputError where a plot is asked for that could not be written: looked at before the work that it shows."""
    if path is None:
        return
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise InputError(f"--plot draws a .png, .svg or .pdf, and not {path.name}")
    if path.is_dir():
        raise InputError(f"--plot: {path} is a folder; name a file")
    if not path.parent.is_dir():
        raise InputError(f"--plot: there is no folder {path.parent}; make it, or name another")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"--plot: nothing may be written into {path.parent}; name another folder")


def write_plot(figure: "Figure", path: Path) -> None:
    """Write the figure to a file, in the format that its name says."""
    from convatlas.files import writing
    from convatlas.training.drawings import drawing

    with writing(path) as temporary, drawing():
        figure.savefig(temporary, format=path.suffix[1:])
    complain(f"wrote {path}", 0)


def scored(scores: Mapping[str, Any]) -> str:
    """`932 of 1,017 right, accuracy 91.64 %, error 8.36 %`."""
    return (
        f"{scores['right']:,} of {scores['total']:,} right, "
        f"accuracy {scores['accuracy']:.2f} %, error {scores['error']:.2f} %"
    )
