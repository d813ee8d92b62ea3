"""What Hugging Face `datasets` reads: Parquet and WebDataset files, data sets that it saved, names on the Hub."""

import re
from collections.abc import Mapping, Sequence
from glob import glob
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from convatlas.data.images import Raw
from convatlas.data.source import ALIASES, Part, PartName, Source
from convatlas.errors import InputError

HUB = {
    "mnist": "ylecun/mnist",
    "fashion_mnist": "zalando-datasets/fashion_mnist",
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
    "imagenet": "ILSVRC/imagenet-1k",
}
TARS = (".tar", ".tar.gz", ".tgz")
LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "category", "target", "cls", "txt")
IMAGE_COLUMNS = ("image", "img", "images", "picture", "photo", "pixels")
KEY = "__key__"
"""The column in which a WebDataset has the name of a sample in its tar: `dog/0001`, of the class dog."""


def from_saved(path: Path, label_column: str | None) -> Source | None:
    """What `datasets` saved with `save_to_disk`."""
    if not any((path / file).is_file() for file in ("dataset_dict.json", "state.json")):
        return None
    import datasets

    try:
        loaded = datasets.load_from_disk(str(path))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} looks like a saved data set and cannot be read as one: {error}") from error
    return from_datasets(path.name, "a data set saved by datasets", loaded, label_column)


def from_parquet_folder(path: Path, label_column: str | None) -> Source | None:
    """Parquet files as the Hub has them: `train-00000-of-00001.parquet`, or folders `train/` and so on."""
    parts = in_parts(files_under(path, (".parquet",)), path)
    return from_parquet(path.name, parts, label_column) if parts else None


def from_tar_folder(path: Path, label_column: str | None) -> Source | None:
    """Shards of a WebDataset: `train-000.tar`, or folders `train/` and so on."""
    parts = in_parts(files_under(path, TARS), path)
    return from_tars(path.name, parts, label_column) if parts else None


def is_pattern(data: str) -> bool:
    """Whether a name is a pattern such as `shards/*.tar`."""
    return any(sign in data for sign in "*?[")


def matching(pattern: str) -> list[Path]:
    """The files that a pattern such as `shards/*.tar` names. Raises InputError where there are none."""
    files = sorted(path for path in map(Path, glob(pattern, recursive=True)) if path.is_file())
    if not files:
        raise InputError(f"no file matches {pattern}; look at the folder that it begins with")
    return files


def files_under(path: Path, endings: tuple[str, ...]) -> list[Path]:
    """The files under a folder whose names end so, without hidden ones."""
    return sorted(p for p in path.rglob("*") if p.name.endswith(endings) and not hidden(p.relative_to(path)))


def in_parts(files: Sequence[Path], where: object) -> Mapping[PartName, Sequence[Path]]:
    """The files by what they are for, as their names or folders say. Raises InputError where some do not say it."""
    parts: dict[PartName, list[Path]] = {}
    for file in files:
        words = [*re.split(r"[-_.]", file.name.lower()), file.parent.name.lower()]
        part: PartName = next((ALIASES[word] for word in words if word in ALIASES), "all")
        parts.setdefault(part, []).append(file)
    if "all" in parts and len(parts) > 1:
        raise InputError(f"{where}: it cannot be told whether {parts['all'][0].name} is for training or testing")
    return whole(parts)


def from_parquet(name: str, parts: Mapping[PartName, Sequence[str | Path]], label_column: str | None) -> Source:
    """Parquet files, of which `datasets` keeps a memory-mapped copy in its cache."""
    import datasets

    datasets.disable_progress_bars()
    loaded = {}
    for part, files in parts.items():
        try:
            loaded[part] = datasets.Dataset.from_parquet([str(f) for f in files])
        except Exception as error:
            # datasets wraps whatever pyarrow raises in errors of its own
            raise InputError(f"{files[0]} cannot be read as Parquet: {in_short(error)}") from error
    return from_datasets(name, "Parquet files", loaded, label_column)


def from_tars(name: str, parts: Mapping[PartName, Sequence[str | Path]], label_column: str | None) -> Source:
    """Shards of a WebDataset, of which `datasets` keeps a memory-mapped copy in its cache."""
    import datasets

    datasets.disable_progress_bars()
    loaded = {}
    for part, files in parts.items():
        try:
            named = {"data": [str(f) for f in files]}
            loaded[part] = datasets.load_dataset("webdataset", data_files=named, split="data")
        except Exception as error:
            raise InputError(f"{files[0]} cannot be read as a WebDataset: {in_short(error)}") from error
    return from_datasets(name, "shards of a WebDataset", loaded, label_column)


def is_on_hub(name: str) -> bool:
    """Whether a name is one of the Hub's: a short one, or `org/name`, where there is no folder `org` here."""
    path = Path(name).expanduser()
    return name in HUB or bool(re.fullmatch(r"\w[\w.-]*/[\w.-]+(:[\w.-]+)?", name) and not path.parent.is_dir())


def from_hub(name: str, label_column: str | None) -> Source:
    """A data set of the Hub, `org/name` or `org/name:configuration`, cached by `datasets`."""
    import datasets

    repository, _, configuration = HUB.get(name, name).partition(":")
    try:
        loaded = datasets.load_dataset(repository, configuration or None)
    except Exception as error:
        # the network, the Hub, gated access, a missing name: datasets has an error for each
        raise InputError(f"{name} is no path here, and could not be had from the Hub: {in_short(error)}") from error
    return from_datasets(name, f"{repository} of the Hub", loaded, label_column, handwriting="mnist" in repository)


def from_datasets(
    name: str, layout: str, loaded: Any, label_column: str | None, *, handwriting: bool = False
) -> Source:
    """A source from a `Dataset` or a mapping of them."""
    import datasets

    splits = whole(loaded if isinstance(loaded, Mapping) else {"all": loaded})
    parts: dict[PartName, Part] = {}
    classes: Sequence[str] | None = None
    for split, data in splits.items():
        part: PartName | None = "all" if split == "all" else ALIASES.get(str(split).lower())
        if part is None:
            continue  # extra splits, such as "unsupervised"
        image, label = columns(name, data.features, label_column)
        numbers = data.with_format("numpy")[label][:] if isinstance(data.features[label], datasets.ClassLabel) else None
        if numbers is not None:
            classes = data.features[label].names
            if (numbers < 0).all():
                continue  # the Hub's way to keep test labels secret
            if (numbers < 0).any():
                raise InputError(
                    f"{name}: {(numbers < 0).sum()} images of its {split} part have no label; leave them out"
                )
            if numbers.max(initial=0) >= len(classes):
                raise InputError(f"{name} has the label {numbers.max()}, outside the classes 0 to {len(classes) - 1}")
            labels = [classes[i] for i in numbers.tolist()]
        else:
            labels = ["" if value is None else class_of(value, label) for value in data[label]]
            if "" in labels:
                missing = "cls, no txt and no folder" if label == KEY else label
                raise InputError(f"{name}: images of its {split} part have no {missing}; leave them out")
        encoded = data.cast_column(image, datasets.Image(decode=False)).select_columns([image])
        parts[part] = Part(Rows(encoded, image), labels, [f"{split}/{i}" for i in range(len(labels))])
    if not parts:
        raise InputError(f"{name} has the splits {', '.join(map(str, splits))}, and none for training or testing")
    return Source(name=name, layout=layout, parts=parts, classes=classes, handwriting=handwriting)


def whole(splits: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """The splits; one alone is often called train, and means the whole data set, but a test part remains one."""
    if len(splits) != 1:
        return splits
    (only,) = splits
    return {only if ALIASES.get(str(only).lower()) in ("val", "test") else "all": splits[only]}


def class_of(value: Any, column: str) -> str:
    """The name of the class that a cell of the label column stands for; of a sample's name it is the folder."""
    return str(value).rpartition("/")[0].rpartition("/")[2] if column == KEY else str(value).strip()


def in_short(error: Exception) -> str:
    """What an error of a library says, or else what it is, cut to what fits into a sentence."""
    return (" ".join(str(error).split()) or type(error).__name__)[:200]


def columns(name: str, features: Mapping[str, Any], label_column: str | None) -> tuple[str, str]:
    """The columns of the images and of the labels. Raises InputError where they cannot be told."""
    import datasets

    images = [c for c, f in features.items() if isinstance(f, datasets.Image)]
    images = images or [c for c in IMAGE_COLUMNS if c in features]
    labels = [c for c in LABEL_COLUMNS if c in features]
    labels = labels or [c for c, f in features.items() if isinstance(f, datasets.ClassLabel)]
    labels = labels or [c for c in features if c == KEY]
    if label_column is not None:
        if label_column not in features:
            raise InputError(f"{name} has no column {label_column!r}; it has {', '.join(features)}")
        labels = [label_column]
    if not images or not labels:
        missing = "images" if not images else "labels; name it with --label-column"
        raise InputError(f"{name} has the columns {', '.join(features)}, and none is known to hold {missing}")
    return images[0], labels[0]


class Rows(Sequence[Raw]):
    """The encoded images of a `datasets` column, fetched in blocks: a row at a time is slow."""

    BLOCK = 1000

    def __init__(self, data: Any, column: str) -> None:
        self.data, self.column = data, column
        self.block = -1
        self.rows: list[Any] = []

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: Any) -> Any:
        block, offset = divmod(index, self.BLOCK)
        if block != self.block:
            self.rows = self.data[block * self.BLOCK : (block + 1) * self.BLOCK][self.column]
            self.block = block
        return as_stored(self.rows[offset])

    def select(self, index: NDArray[np.int64]) -> "Rows":
        """The images at `index`, unread yet."""
        return Rows(self.data.select(index), self.column)

    def take(self, index: NDArray[np.int64]) -> list[Raw]:
        """The images at `index`, which may lie anywhere."""
        return [as_stored(row) for row in self.data[index.tolist()][self.column]]


def as_stored(cell: Any) -> Raw:
    """The image in a cell of an image column: its bytes, or else the path of its file."""
    if cell is None:
        return b""  # which reads as an empty file
    if isinstance(cell, Mapping):
        return cell["bytes"] if cell["bytes"] is not None else cell["path"] or b""
    return cast(bytes, cell)


def hidden(path: Path) -> bool:
    """Whether the path leads through a hidden folder."""
    return any(word.startswith(".") for word in path.parts)
