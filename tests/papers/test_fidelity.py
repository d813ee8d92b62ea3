"""The page of fidelity is what its script makes of the table."""

import runpy
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "make_fidelity.py"))


def test_a_row_of_the_page_has_the_printed_figure_the_exact_ones_and_our_network(script: dict[str, Any]) -> None:
    row = {
        "model": "net", "family": "Nets", "input": "3x32x32", "num_classes": "10",
        "params_published": "", "params_exact": "1234567",
        "macs_published": "2G", "macs_exact": "2000000001", "arxiv_or_doi": "arXiv:1", "table_in_paper": "Table 1",
        "note": "[A] 7*7*3",
    }  # fmt: skip
    text = script["page"]({"net": row, "other": row | {"model": "other"}}, {"net": ("ours", {"norm": "none", "n": 3})})
    assert "1 of 2 rows have a network here." in text
    assert text.count("## Nets") == 1
    assert (
        "| net | `ours` with `norm='none', n=3` | 3×32×32 | 10 | – | 1,234,567 | 2G | 2,000,000,001 | arXiv:1, Table 1 "
        "| [A] 7\\*7\\*3 |\n| other | none yet |"
    ) in text


def test_the_page_is_what_its_script_makes(script: dict[str, Any]) -> None:
    assert script["PAGE"].read_text(encoding="utf-8") == script["made"](), "run python docs/make_fidelity.py"
