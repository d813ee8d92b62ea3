"""A run's folder: what is in it, and how it is written, whole or not at all."""

import csv
import hashlib
import io
import itertools
import json
import os
import pickle
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, cast

import torch
from filelock import FileLock, Timeout

from convatlas.data.held import Indexed
from convatlas.data.splits import Splits
from convatlas.errors import InputError, WorkError
from convatlas.files import sync_folder, write_text, writing
from convatlas.training.recipe import Recipe
from convatlas.wording import shown, some

Row = dict[str, int | float]
"""An epoch in `metrics.csv`."""
KEPT = 2
"""How many checkpoints are kept."""


class State(TypedDict):
    """A checkpoint: what is needed to go on after a step. Order and augmentation follow from the recipe."""

    recipe: dict[str, Any]
    """By which a changed one is told."""
    data: str
    """A hash of all images and labels, by which other data are told."""
    step: int
    """Steps made, over the whole run."""
    network: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    average: dict[str, torch.Tensor]
    """Of the weights, where one is kept."""
    best: dict[str, torch.Tensor]
    """The network's weights after the best epoch so far; empty before the first has ended."""
    rows: list[Row]
    sums: dict[str, float]
    """Of the epoch that is going on."""


@dataclass(frozen=True, slots=True)
class Run:
    """A training run in its folder.

    `recipe.yaml` (all that was chosen, resolved), `metrics.csv` (a row an epoch), `state/` (what resuming
    needs), `model.safetensors` with `config.json` (the best epoch), `results.json` (the scores and the
    machine), `split.csv` (which image was used for what), TensorBoard's events and `report.html`.
    """

    directory: Path

    @classmethod
    def create(cls, recipe: Recipe, output: str | Path | None) -> "Run":
        """A new folder: `output`, or `runs/MODEL-DATA-N`. Raises InputError where there is a run already."""
        if output is not None:
            cls.check_free(output)
            folder = Path(output).expanduser()
            folder.mkdir(parents=True, exist_ok=True)
            sync_folder(folder.parent)
            return cls(folder)
        for number in itertools.count(1):
            folder = Path("runs") / f"{cls.stem(recipe)}-{number}"
            try:
                folder.mkdir(parents=True)
            except FileExistsError:
                if not folder.parent.is_dir():
                    raise
            else:
                sync_folder(folder.parent)
                return cls(folder)
        raise AssertionError("numbers do not end")

    @staticmethod
    def stem(recipe: Recipe) -> str:
        """`MODEL-DATA`, by which the folder of a run is called."""
        path = Path(recipe.data)
        data = re.sub(r"[^\w.-]+", "-", (path.stem if path.is_file() else path.name) or recipe.data)
        return f"{recipe.model}-{data}"

    @staticmethod
    def check_free(output: str | Path) -> None:
        """Raise InputError where `output` is a file, or a folder with something in it."""
        folder = Path(output).expanduser()
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"{folder} is there already and is not empty; choose another --output")

    @property
    def weights(self) -> Path:
        """The file of the best weights."""
        return self.directory / "model.safetensors"

    @property
    def results(self) -> dict[str, Any]:
        """The scores and the machine. Raises InputError for a folder without them."""
        path = self.directory / "results.json"
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(
                f"{self.directory} is not a run that has ended: its results.json cannot be read"
            ) from error
        return content

    @property
    def metrics(self) -> list[Row]:
        """A row an epoch: `epoch` from 1, `lr`, `train_loss`, `val_accuracy` in per cent, and so on."""
        path = self.directory / "metrics.csv"
        if not path.is_file():
            return []  # interrupted in the first epoch
        with path.open(newline="", encoding="utf-8") as file:
            return [{k: int(v) if k == "epoch" else float(v) for k, v in row.items()} for row in csv.DictReader(file)]

    @contextmanager
    def held(self) -> Iterator[None]:
        """As long as a process trains in the folder. Raises InputError where another one does."""
        try:
            with FileLock(self.directory / ".lock", blocking=False):
                yield
        except Timeout as error:
            raise InputError(
                f"{self.directory} is being trained by another process; wait until it has ended"
            ) from error
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"interrupted; go on with convatlas resume {self.directory}") from None
        except WorkError as error:
            self.write_results({"status": "failed", "why": str(error)})
            raise

    @property
    def is_held(self) -> bool:
        """Whether a process trains in the folder now."""
        if not (self.directory / ".lock").is_file():
            return False
        try:
            with FileLock(self.directory / ".lock", blocking=False):
                return False
        except Timeout:
            return True
        except OSError:  # a folder that may be read alone
            return False

    def write_results(self, results: dict[str, Any]) -> None:
        """Write `results.json`."""
        write_text(self.directory / "results.json", json.dumps(results, indent=2, ensure_ascii=False) + "\n")

    def write_metrics(self, rows: list[Row]) -> None:
        """Write `metrics.csv`."""
        text = io.StringIO()
        table = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        write_text(self.directory / "metrics.csv", text.getvalue())

    def write_split(self, splits: Splits) -> None:
        """Write `split.csv`, which `--data` reads back where the names are files; streamed images are not in it."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(("file_name", "label", "split"))
        table.writerows(rows_of(splits))
        write_text(self.directory / "split.csv", text.getvalue())

    def images_that_changed(self, splits: Splits) -> str:
        """How the images differ from those of `split.csv`, in words; empty where none came or went."""
        path = self.directory / "split.csv"
        if not path.is_file():
            return ""
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            before = within({row["file_name"]: row["label"] for row in csv.DictReader(file)})
        now = within({name: label for name, label, _ in rows_of(splits)})
        found = {
            "gone": [name for name in before if name not in now],
            "new": [name for name in now if name not in before],
            "of another class": [name for name, label in now.items() if before.get(name, label) != label],
        }
        return ", ".join(
            f"{some(len(names), 'image')} {what}: {shown(names, 3)}" for what, names in found.items() if names
        )

    def save_state(self, state: State) -> None:
        """Keep a checkpoint of what is needed to go on after the last of its steps, and the one before it."""
        folder = self.directory / "state"
        if not folder.is_dir():
            folder.mkdir()
            sync_folder(self.directory)
        for left in folder.glob(".step-*.part"):  # by a process that was killed
            left.unlink(missing_ok=True)
        content = io.BytesIO()
        torch.save(state, content)  # to memory: on a full disk, torch's own writer fails in ways that cannot be told
        with writing(folder / f"step-{state['step']:09d}-{digest(content.getbuffer())}.pt") as path:
            path.write_bytes(content.getbuffer())
        for old in checkpoints(folder)[KEPT:]:
            old.unlink()

    def load_state(self, say: Callable[[str], object] = print) -> State | None:
        """The newest checkpoint that is whole, or None where there is none; of a damaged one it is said.

        Raises InputError where there are some and none is whole.
        """
        paths, damaged = checkpoints(self.directory / "state"), list[Path]()
        for path in paths:
            try:
                content = path.read_bytes()
                if path.stem.endswith(digest(content)):  # torch's reader takes changed bits without a word
                    state = cast(State, torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
                    for each in damaged:  # they would take the places of whole ones
                        with suppress(OSError):  # of several processes, another has done it
                            each.rename(each.with_suffix(".damaged"))
                    return state
            except (RuntimeError, EOFError, OSError, pickle.UnpicklingError):
                pass
            say(f"the checkpoint {path} is damaged" + ("; the one before it is taken" if path != paths[-1] else ""))
            damaged.append(path)
        if paths:
            raise InputError(f"none of the checkpoints in {self.directory / 'state'} can be read; train anew")
        return None


def rows_of(splits: Splits) -> Iterator[tuple[str, str, str]]:
    """The name, class and part of each image that has a name."""
    for part, pixels in (("train", splits.train), ("val", splits.val), ("test", splits.test)):
        if isinstance(pixels, Indexed):
            for name, label in zip(pixels.names, pixels.labels.tolist(), strict=True):
                yield name, splits.classes[label], part


def within(labels: Mapping[str, str]) -> dict[str, str]:
    """The same, with files named from the folder on that all of them are in: it may have moved."""
    if not all(map(os.path.isabs, labels)) or len(labels) < 2:
        return dict(labels)
    folder = os.path.commonpath(labels)
    return {os.path.relpath(name, folder): label for name, label in labels.items()}


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, the newest first."""
    return sorted(folder.glob("step-*.pt"), reverse=True)


def digest(content: bytes | memoryview) -> str:
    """By which changed bytes are told."""
    return hashlib.blake2b(content, digest_size=8).hexdigest()
