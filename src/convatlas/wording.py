"""Counts, lists and names as the sentences and tables of every room have them."""

from collections.abc import Sequence


def some(count: int, one: str, many: str | None = None) -> str:
    """`1 image`, `2,000 images`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def shown(names: Sequence[str], count: int = 8) -> str:
    """The first few names, and how many more there are."""
    return ", ".join(names[:count]) + (f" and {len(names) - count:,} more" if len(names) > count else "")


def nearest(word: str, known: Sequence[str], *, count: int = 3) -> str:
    """`"a, b or c"`: the known words that look most like `word`, or the first few where none does."""
    from difflib import get_close_matches

    close = get_close_matches(word, known, n=count, cutoff=0.5) or list(known)[:count]
    return " or ".join(filter(None, [", ".join(close[:-1]), close[-1]])) if close else "none"


def printable(words: str) -> str:
    """The words, with a ? for each byte that is no UTF-8: the names of files may be any bytes."""
    return words.encode(errors="replace").decode()
