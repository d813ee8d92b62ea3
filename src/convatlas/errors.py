"""What a user is told when a request or its input is wrong."""


class InputError(ValueError):
    """A request, or what it was given, is wrong: one sentence that names it and says what to do.

    The command line prints the sentence and exits with status 2; Python code may catch it as a `ValueError`.
    """


class WorkError(RuntimeError):
    """The work itself failed, though the request was right: one sentence that says how, and what may help.

    The command line prints the sentence and exits with status 1.
    """


def nearest(word: str, known: "list[str] | tuple[str, ...]", *, count: int = 3) -> str:
    """`"a, b or c"`: the known words that look most like `word`, or the first few where none does."""
    from difflib import get_close_matches

    close = get_close_matches(word, known, n=count, cutoff=0.5) or list(known)[:count]
    return " or ".join(filter(None, [", ".join(close[:-1]), close[-1]])) if close else "none"
