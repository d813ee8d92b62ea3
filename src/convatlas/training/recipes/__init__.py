"""The recipes that come with the atlas, a YAML file each.

`modern/` has what a network is trained by when nothing else is asked for: quick, and of today. `paper/` has what the
papers did, under names of the network and the data set; `finetuning/`, how a trained network learns on. A file is a
whole recipe: it can be copied, changed and run.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from convatlas.errors import InputError
from convatlas.wording import nearest

KINDS = ("modern", "paper", "finetuning")
NOTES = ("for", "versions")
"""What a file says beside the fields of a recipe: which networks it is for, and by which versions it was run."""

PLAIN: dict[str, Any] = {
    "fit": "crop", "crop": 0, "warmup": 0.0, "label_smoothing": 0.0, "rubbish": 0.0, "clip": 0.0,
    "precision": "auto", "compile": True,
}  # fmt: skip
"""What a network's modern recipe need not say."""

WITHOUT_PAPER = {
    "vit_cifar": "no paper has a ViT of this size",
}
"""Why a network has no recipe of its paper's."""

MOST = 10
"""Times its own number of epochs a model trains at most, where the images are few."""
STEPS = 2000
"""It trains more epochs than its own number until there are as many steps."""


@dataclass(frozen=True, slots=True)
class File:
    """A recipe that comes with the atlas."""

    path: Path
    values: Mapping[str, Any]

    @property
    def name(self) -> str:
        """`resnet-cifar`."""
        return self.path.stem

    def fits(self, model: str) -> int:
        """How exactly the file names `model`: the length of the pattern that does, or 0."""
        return max((len(pattern) for pattern in self.values["for"] if fnmatchcase(model, pattern)), default=0)

    def suits(self, data: str) -> bool:
        """Whether `data` is called as the file's name ends: `cifar10` as `resnet-cifar`."""
        _, hyphen, end = self.name.rpartition("-")
        return bool(hyphen) and end in Path(data).name.lower()


@cache
def files(kind: str) -> tuple[File, ...]:
    """All recipes of a kind, by name."""
    paths = sorted((Path(__file__).parent / kind).glob("*.yaml"))
    return tuple(File(path, yaml.safe_load(path.read_text(encoding="utf-8"))) for path in paths)


def find(kind: str, model: str, *, data: str = "") -> File | None:
    """The recipe of a kind for `model`: the one that suits the data, or else names the model most exactly; or None."""
    fitting = [file for file in files(kind) if file.fits(model)]
    return max(fitting, key=lambda file: (file.suits(data), file.fits(model)), default=None)


def locate(name: str, *, model: str, data: str = "") -> Path:
    """The file of a recipe: `modern`, `paper` or `finetuning`, which are the model's own, a paper's by name, or a path.

    Raises InputError where there is none.
    """
    if name in KINDS:
        file = find(name, model, data=data)
        if file is None:
            raise InputError(no_paper(model))
        return file.path
    path = Path(name).expanduser()
    own = {file.name: file.path for file in files("paper")}
    if name in own or path.suffix in (".yaml", ".yml") or path.exists():
        return own.get(name, path)
    raise InputError(
        f"no recipe is called {name!r} (nearest: {nearest(name, [*KINDS, *own])}); there are modern and paper, the "
        f"network's own, and by name {', '.join(own)}; or give the path of a YAML file"
    )


def no_paper(model: str) -> str:
    """Why there is no recipe of the paper of `model`, in a sentence."""
    from convatlas.models import model_card

    model_card(model)  # a name that is none is answered with those there are
    return f"{model} has no recipe of a paper's: {WITHOUT_PAPER[model]}; leave --recipe out"


def text(name: str, *, model: str, data: str = "") -> str:
    """A recipe's file as it is, with its comments, to be copied and changed; one that is the model's own names it.

    Raises InputError where there is none.
    """
    written = locate(name, model=model, data=data).read_text(encoding="utf-8")
    return re.sub("^model: .*", f"model: {model}", written, flags=re.MULTILINE) if name in KINDS else written


def own(model: str) -> dict[str, Any]:
    """The values of the modern recipe of `model`."""
    file = find("modern", model)
    assert file is not None  # one is for all that the others are not for
    return PLAIN | {name: value for name, value in file.values.items() if name not in NOTES}


def own_epochs(model: str, *, images: int, batch_size: int) -> int:
    """How many epochs `model` trains on that many images: its own number, or more where they are few."""
    epochs = int(own(model)["epochs"])
    steps = -(-images // batch_size)
    return min(MOST * epochs, max(epochs, -(-STEPS // steps)))
