"""The rooms import from top to bottom only, and the heavy libraries only where they are used."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "convatlas"
ROWS = (
    ("__main__",),
    ("cli", "atlas"),
    ("claims",),
    ("training", "deploy", "lens"),
    ("explanation",),
    ("weights",),
    ("counts", "data"),
    ("models",),
    ("registry",),
    ("network", "layers", "papers"),
    ("devices",),
    ("fields", "files"),
    ("errors", "wording"),
)
HEIGHT = {room: -i for i, row in enumerate(ROWS) for room in row}
FILES = sorted(path for path in SRC.rglob("*.py") if path != SRC / "__init__.py")


def room(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


def imported(path: Path) -> list[str]:
    """All that a file imports, at its head or where it is used: modules, and the names in them."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return names


def imported_rooms(path: Path) -> set[str]:
    names = imported(path)
    return {name.split(".")[1] for name in names if name.startswith("convatlas.")} & set(HEIGHT)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SRC)))
def test_a_room_imports_only_rooms_below_it(path: Path) -> None:
    own = room(path)
    assert own in HEIGHT, f"{own} has no place in the house"
    above = {other for other in imported_rooms(path) - {own} if HEIGHT[other] >= HEIGHT[own]}
    assert not above


def test_files_do_not_import_each_other_in_a_circle() -> None:
    modules = {
        ".".join(path.relative_to(SRC.parent).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES
    }
    graph = {
        module: {name.rpartition(".")[0] if name not in modules else name for name in imported(path)} & modules.keys()
        for module, path in modules.items()
    }
    TopologicalSorter({module: others - {module} for module, others in graph.items()}).prepare()  # or CycleError


def test_no_model_imports_another() -> None:
    for path in (SRC / "models").glob("[a-z]*.py"):
        assert "convatlas.models" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SRC)))
def test_the_core_imports_no_peer(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not any(f"import {peer}" in text or f"from {peer}" in text for peer in ("torchvision", "timm", "lightning"))


def loaded_after(code: str) -> set[str]:
    probe = f"import sys; {code}; print(*sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stderr.split()}


HEAVY = {"torch", "datasets", "sklearn", "matplotlib", "accelerate", "PIL", "pyarrow"}


@pytest.mark.parametrize(
    "code",
    [
        "import convatlas",
        "from convatlas import Recipe; Recipe()",
        "from convatlas.cli import main; main(['--help'])",
        "from convatlas.cli import main; assert main(['trian']) == 2",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_used(code: str) -> None:
    assert not loaded_after(code) & HEAVY


def test_every_public_name_can_be_imported() -> None:
    import convatlas

    for name in convatlas.__all__:
        assert getattr(convatlas, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        convatlas.nothing  # noqa: B018
