"""What Hugging Face `datasets` reads: Parquet files, data sets that it saved, and names on the Hub."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "category", "target")
IMAGE_COLUMNS = ("image", "img", "images", "picture", "photo", "pixels")


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
    files = sorted(p for p in path.rglob("*.parquet") if not hidden(p.relative_to(path)))
    if not files:
        return None
    parts: dict[PartName, list[Path]] = {}
    for file in files:
        words = [*re.split(r"[-_.]", file.name.lower()), file.parent.name.lower()]
        part: PartName = next((ALIASES[word] for word in words if word in ALIASES), "all")
        parts.setdefault(part, []).append(file)
    if "all" in parts and len(parts) > 1:
        raise InputError(f"{path}: it cannot be told whether {parts['all'][0].name} is for training or testing")
    return from_parquet(path.name, parts, label_column)


def from_parquet(name: str, parts: Mapping[PartName, Sequence[Path]], label_column: str | None) -> Source:
    """Parquet files, read into memory as they are stored, still encoded."""
    import datasets

    datasets.disable_progress_bars()
    loaded = {}
    for part, files in parts.items():
        try:
            loaded[part] = datasets.Dataset.from_parquet([str(f) for f in files], keep_in_memory=True)
        except Exception as error:
            # datasets wraps whatever pyarrow raises in errors of its own
            raise InputError(f"{files[0]} cannot be read as Parquet: {' '.join(str(error).split())[:200]}") from error
    return from_datasets(name, "Parquet files", loaded, label_column)


def from_hub(name: str, label_column: str | None) -> Source:
    """A data set of the Hub, `org/name` or `org/name:configuration`, cached by `datasets`."""
    import datasets

    repository, _, configuration = HUB.get(name, name).partition(":")
    try:
        loaded = datasets.load_dataset(repository, configuration or None)
    except Exception as error:
        # the network, the Hub, gated access, a missing name: datasets has an error for each
        reason = (" ".join(str(error).split()) or type(error).__name__)[:200]
        raise InputError(f"{name} is no path here, and could not be had from the Hub: {reason}") from error
    return from_datasets(name, f"{repository} of the Hub", loaded, label_column, handwriting="mnist" in repository)


def from_datasets(
    name: str, layout: str, loaded: Any, label_column: str | None, *, handwriting: bool = False
) -> Source:
    """A source from a `Dataset` or a mapping of them."""
    import datasets

    splits = loaded if isinstance(loaded, Mapping) else {"all": loaded}
    if len(splits) == 1:
        # The only split is often called train, and means the whole data set; a test part alone remains one.
        (only,) = splits
        splits = {only if ALIASES.get(str(only).lower()) in ("val", "test") else "all": splits[only]}
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
            if any(value is None for value in data[label]):
                raise InputError(f"{name}: images of its {split} part have no {label}; leave them out")
            labels = [str(value) for value in data[label]]
        encoded = data.cast_column(image, datasets.Image(decode=False)).select_columns([image])
        parts[part] = Part(Rows(encoded, image), labels, [f"{split}/{i}" for i in range(len(labels))])
    if not parts:
        raise InputError(f"{name} has the splits {', '.join(map(str, splits))}, and none for training or testing")
    return Source(name=name, layout=layout, parts=parts, classes=classes, handwriting=handwriting)


def columns(name: str, features: Mapping[str, Any], label_column: str | None) -> tuple[str, str]:
    """The columns of the images and of the labels. Raises InputError where they cannot be told."""
    import datasets

    images = [c for c, f in features.items() if isinstance(f, datasets.Image)]
    images = images or [c for c in IMAGE_COLUMNS if c in features]
    labels = [c for c in LABEL_COLUMNS if c in features]
    labels = labels or [c for c, f in features.items() if isinstance(f, datasets.ClassLabel)]
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
        row = self.rows[offset]
        if row is None:
            return b""  # an empty cell, which reads as an empty file
        return row["bytes"] if row["bytes"] is not None else row["path"]


def hidden(path: Path) -> bool:
    """Whether the path leads through a hidden folder."""
    return any(word.startswith(".") for word in path.parts)
