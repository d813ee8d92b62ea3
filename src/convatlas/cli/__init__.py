"""The command line: verbs, each a few lines that call a room.

A room is imported by the verb that needs it, so that help and errors answer at once. Results go to stdout,
progress to stderr. Exit status: 0 done, 1 the work failed, 2 the request or its input was wrong, 130
interrupted after saving.
"""

import errno
import io
import os
import sys
from collections.abc import Sequence

from convatlas import __version__
from convatlas.cli.benching import bench
from convatlas.cli.comparing import compare
from convatlas.cli.evaluating import evaluate
from convatlas.cli.examining import doctor
from convatlas.cli.explaining import explain
from convatlas.cli.finetuning import finetune
from convatlas.cli.listing import compare_runs, runs
from convatlas.cli.looking import data, models
from convatlas.cli.predicting import predict
from convatlas.cli.training import resume, train
from convatlas.cli.trying import find_lr
from convatlas.cli.words import complain
from convatlas.errors import InputError, WorkError
from convatlas.wording import nearest

VERBS = {
    "train": train,
    "resume": resume,
    "finetune": finetune,
    "evaluate": evaluate,
    "predict": predict,
    "bench": bench,
    "find-lr": find_lr,
    "runs": runs,
    "compare-runs": compare_runs,
    "doctor": doctor,
    "data": data,
    "models": models,
    "explain": explain,
    "compare": compare,
}

DISK = {
    errno.ENOSPC: "there is no space left on the disk",
    errno.EDQUOT: "the quota of the disk is used up",
    errno.EFBIG: "the file would be larger than is allowed here",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "it may not be written or read",
    errno.EPERM: "it may not be written or read",
    errno.ENOTDIR: "a part of the path is a file",
    errno.EEXIST: "a part of the path is a file",
    errno.EISDIR: "it is a folder",
    errno.ENOENT: "it is not there, and cannot be made",
    errno.ENAMETOOLONG: "its name is too long",
}
"""What goes wrong with files and is no fault of ours, in words."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line, and return its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # the names of files may be any bytes
    try:
        status = dispatch([word for word in words if word != "--debug"])
        sys.stdout.flush()
        return status
    except KeyboardInterrupt as interrupt:
        return complain(str(interrupt) or "interrupted", 130)
    except BrokenPipeError:  # whoever read our results has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (InputError, WorkError, OSError) as error:
        if debug:
            raise
        if isinstance(error, OSError):
            why = DISK.get(error.errno or 0) or error.strerror or str(error)
            return complain(f"{error.filename or 'a file'} cannot be used: {why}", 2)
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
