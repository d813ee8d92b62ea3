"""What the verbs share: reading the words of a command line, and saying things."""

import contextlib
import io
import json
import sys
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import tyro

from convatlas.errors import InputError

Options = TypeVar("Options")
Device = Literal["auto", "cpu", "cuda", "mps"]


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


def complain(message: object, status: int) -> int:
    """Print one sentence on stderr, and return the status."""
    print(f"convatlas: {message}", file=sys.stderr)
    return status


def print_json(content: Any) -> None:
    """Print the content as JSON."""
    print(json.dumps(content, indent=2, ensure_ascii=False))


def scored(scores: Mapping[str, Any]) -> str:
    """`932 of 1,017 right, accuracy 91.64 %, error 8.36 %`."""
    return (
        f"{scores['right']:,} of {scores['total']:,} right, "
        f"accuracy {scores['accuracy']:.2f} %, error {scores['error']:.2f} %"
    )
