"""Writes `fidelity.md`: what the papers print, beside what their networks come to and the networks of ours.

    python docs/make_fidelity.py

The rows are those of `tests/papers/models.csv`, and the networks those that `tests/papers/test_models_csv.py` builds
and counts for them: the page states nothing that is not a test.
"""

import runpy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
TEST = DOCS.parent / "tests" / "papers" / "test_models_csv.py"
PAGE = DOCS / "fidelity.md"

HEAD = """# Fidelity: the printed figures, and the exact ones

Every row that names one of ours is a test: that network, built for these classes with the changes that stand beside it,
has exactly these parameters and multiply-accumulates (`tests/papers/test_models_csv.py`). Where what a paper prints
differs, the note says why, as far as it can be told. This page is made by `docs/make_fidelity.py`.

Parameters are trainable scalars: weights, biases, scales and shifts of normalisation, and no running statistics. MACs
are of convolutions and dense layers, for one image of the size that stands in the row. A note begins with where its
printed figures were seen: [V] seen again when the table was made, [M] from memory, [V/M] in part, [A] arithmetic alone.
"""
COLUMNS = (
    "row", "ours", "image", "classes", "params, printed", "params", "MACs, printed", "MACs", "printed in", "note",
)  # fmt: skip
RIGHT = {"classes", "params, printed", "params", "MACs, printed", "MACs"}


def page(rows: Mapping[str, Mapping[str, str]], ours: Mapping[str, tuple[str, Mapping[str, Any]]]) -> str:
    """The page, in Markdown: a table for each family, in the order of the rows."""
    covered = sum(name in ours for name in rows)
    parts = [HEAD, f"{covered} of {len(rows)} rows have a network here.\n"]
    families = dict.fromkeys(row["family"] for row in rows.values())
    for family in families:
        lines = [line(row, ours.get(name)) for name, row in rows.items() if row["family"] == family]
        rule = ("--:" if column in RIGHT else "---" for column in COLUMNS)
        parts.append("\n".join((f"## {family}\n", table_line(COLUMNS), table_line(rule), *lines)) + "\n")
    return "\n".join(parts)


def line(row: Mapping[str, str], built: tuple[str, Mapping[str, Any]] | None) -> str:
    """A row of the page."""
    return table_line(
        (
            row["model"],
            "none yet" if built is None else network(*built),
            row["input"].replace("x", "×"),
            row["num_classes"],
            row["params_published"] or "–",
            f"{int(row['params_exact']):,}",
            row["macs_published"] or "–",
            f"{int(row['macs_exact']):,}",
            ", ".join(filter(None, (row["arxiv_or_doi"], row["table_in_paper"]))),
            row["note"].replace("*", r"\*"),
        )
    )


def network(name: str, changes: Mapping[str, Any]) -> str:
    """`` `googlenet` with `auxiliary=True` ``."""
    return f"`{name}`" + (f" with `{', '.join(f'{k}={v!r}' for k, v in changes.items())}`" if changes else "")


def table_line(cells: Iterable[str]) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def made() -> str:
    """The page of the table and the tests as they are."""
    tests = runpy.run_path(str(TEST))
    return page(tests["ROWS"], tests["OURS"])


if __name__ == "__main__":
    PAGE.write_text(made(), encoding="utf-8")
