"""A source of images: `digits`, a path whose layout is recognised, or a name on the Hugging Face Hub."""

import csv
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from convatlas.data import arrays
from convatlas.data.images import SUFFIXES, Raw
from convatlas.errors import InputError, nearest

PartName = Literal["train", "val", "test", "all"]
ALIASES: Mapping[str, PartName] = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
HUB = {
    "mnist": "ylecun/mnist",
    "fashion_mnist": "zalando-datasets/fashion_mnist",
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
    "imagenet": "ILSVRC/imagenet-1k",
}
LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "category", "target")
IMAGE_COLUMNS = ("image", "img", "images", "picture", "photo", "pixels")


@dataclass(frozen=True, slots=True)
class Part:
    """A split before it is decoded: the images, which class each is of, and what each is called."""

    images: Sequence[Raw] | NDArray[np.uint8]
    labels: Sequence[str]
    """A class name each."""
    names: Sequence[str]
    """The whole path of a file; what tells an image apart where it is none."""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A data set as it was found: parts by name, of which `all` stands for one that has no splits."""

    name: str
    layout: str
    """What it was recognised as, in words."""
    parts: Mapping[PartName, Part]
    classes: Sequence[str] | None = None
    """The classes that the data set declares, in its own order; None: they are read off the training part."""
    ignored: Sequence[str] = field(default_factory=tuple)
    """Files and folders that were passed over: no images, or in no class, or beside the splits."""
    handwriting: bool = False
    """Whether its images mean something else when they are mirrored."""

    def class_list(self) -> tuple[str, ...]:
        """The classes that the source declares, or else those of its training part, in natural order."""
        if self.classes is not None:
            return tuple(self.classes)
        part = next(self.parts[name] for name in ("train", "all", "val", "test") if name in self.parts)
        return tuple(sorted(set(part.labels), key=natural))


def open_source(data: str | os.PathLike[str], *, label_column: str | None = None) -> Source:
    """Recognise `data`. Raises InputError where it is not there, is empty or is nothing that is known."""
    name = os.fspath(data)
    path = Path(name).expanduser()
    if path.exists():
        source = open_path(path, label_column)
    elif name == "digits":
        source = digits()
    elif name in HUB or re.fullmatch(r"[\w.-]+/[\w.-]+(:[\w.-]+)?", name):
        source = from_hub(name, label_column)
    else:
        raise InputError(
            f"there is no data {name!r}: it is no path here, and no name that is known "
            f"(nearest: {nearest(name, ('digits', *HUB))}; any other data set of the Hub as org/name)"
        )
    parts = {part: images for part, images in source.parts.items() if len(images)}
    if not parts:
        raise InputError(f"{name} holds no images; name a folder with a folder of images for each class")
    return Source(
        name=source.name, layout=source.layout, parts=parts, classes=source.classes,
        ignored=source.ignored, handwriting=source.handwriting,
    )  # fmt: skip


def open_path(path: Path, label_column: str | None) -> Source:
    """The source in a folder or a file."""
    if path.is_file():
        if path.suffix == ".csv":
            return from_csv(path)
        if path.suffix == ".parquet":
            return from_parquet(path.name, {"all": [path]}, label_column)
        raise InputError(f"{path} is a file, and of files only .csv and .parquet hold data sets; name its folder")
    for recognise in LAYOUTS:
        source = recognise(path, label_column)
        if source is not None:
            return source
    inner = [p for p in visible(path) if p.is_dir()]
    if len(inner) == 1 and inner[0].name in ("cifar-10-batches-py", "cifar-100-python", "MNIST", "raw", "data"):
        return open_path(inner[0], label_column)
    if not any(visible(path)):
        raise InputError(f"{path} is empty; name a folder with a folder of images for each class")
    if any(is_image(p) for p in visible(path)):
        raise InputError(
            f"{path} holds images but no folder for each class; sort them into folders named after their "
            "classes, or add a metadata.csv with the columns file_name,label"
        )
    raise InputError(
        f"{path} holds nothing that is known: not class folders with images, IDX or CIFAR files, Parquet, "
        "a saved data set, or a metadata.csv"
    )


# --------------------------------------------------------------------------- one function a layout


def digits() -> Source:
    """scikit-learn's 1,797 scans of handwritten digits, 8×8 with 17 levels of grey, without splits."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    return from_arrays("digits", "scikit-learn's digits", {"all": (images, bunch.target)}, handwriting=True)


def from_idx(path: Path, _: str | None) -> Source | None:
    """MNIST's four files, gzipped or plain."""
    files: dict[PartName, tuple[Path, Path]] = {}
    for prefix, part in (("train", "train"), ("t10k", "test"), ("test", "test")):
        found = [arrays.find_idx(path, prefix, kind) for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")]
        if found[0] is not None and found[1] is not None:
            files[ALIASES[part]] = (found[0], found[1])
    if not files:
        return None
    parts = {part: (arrays.read_idx(images), arrays.read_idx(labels)) for part, (images, labels) in files.items()}
    return from_arrays(path.name, "IDX files, as MNIST ships them", parts, handwriting=True)


def from_cifar(path: Path, _: str | None) -> Source | None:
    """CIFAR-10's or CIFAR-100's python batches."""
    found = arrays.read_cifar(path)
    if found is None:
        return None
    names, parts = found
    return from_arrays(path.name, "CIFAR python batches", parts, names=names)


def from_arrays(
    name: str,
    layout: str,
    parts: Mapping[PartName, tuple[NDArray[np.uint8], NDArray[Any]]],
    *,
    names: Sequence[str] | None = None,
    handwriting: bool = False,
) -> Source:
    """A source of decoded images with numbers for labels; `names` are the classes' names by number."""
    top = max(int(labels.max(initial=0)) for _, labels in parts.values())
    if names is not None and top >= len(names):
        raise InputError(f"{name} has the label {top}, and names for the classes 0 to {len(names) - 1} alone")
    known = list(names) if names is not None else [str(i) for i in range(top + 1)]
    for part, (images, labels) in parts.items():
        if len(images) != len(labels):
            raise InputError(f"{name} has {len(images)} images and {len(labels)} labels in its {part} part")
    return Source(
        name=name,
        layout=layout,
        parts={
            part: Part(images, [known[i] for i in labels.tolist()], [f"{part}/{i}" for i in range(len(labels))])
            for part, (images, labels) in parts.items()
        },
        classes=names,
        handwriting=handwriting,
    )


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
    """Parquet files, read in place."""
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
        splits = {"all": next(iter(splits.values()))}
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
            labels = [classes[i] for i in numbers.tolist()] if classes else []
        else:
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


def from_folder(path: Path, _: str | None) -> Source | None:
    """A folder for each class, under folders for the splits or without them."""
    splits = {p.name: p for p in visible(path) if p.is_dir() and p.name.lower() in ALIASES}
    holders: dict[PartName, Path] = {ALIASES[name.lower()]: folder for name, folder in splits.items()}
    if len(holders) < len(splits):
        raise InputError(f"{path} has {' and '.join(splits)}, which mean the same split; keep one of them")
    if "train" not in holders and "test" not in holders:
        holders = {"all": path}
    parts: dict[PartName, Part] = {}
    ignored = [str(p) for p in visible(path) if p.is_file() or ("all" not in holders and p not in holders.values())]
    for part, holder in holders.items():
        if holder != path:
            ignored += [str(p) for p in visible(holder) if p.is_file()]
        images: list[Path] = []
        labels: list[str] = []
        for folder in sorted((p for p in visible(holder) if p.is_dir()), key=lambda p: natural(p.name)):
            for file in walk(folder):
                if is_image(file):
                    images.append(file)
                    labels.append(folder.name)
                else:
                    ignored.append(str(file))
        parts[part] = Part(images, labels, [str(file.absolute()) for file in images])
    if not any(len(part) for part in parts.values()):
        return None
    layout = "an image folder" + ("" if "all" in parts else f" with {', '.join(splits)}")
    return Source(name=path.name, layout=layout, parts=parts, ignored=ignored)


def from_metadata(path: Path, _: str | None) -> Source | None:
    """A folder with a metadata.csv beside its images."""
    return from_csv(path / "metadata.csv") if (path / "metadata.csv").is_file() else None


def from_csv(path: Path) -> Source:
    """A table `file_name,label[,split]`; file names are relative to the table, or absolute."""
    parts: dict[PartName, tuple[list[Raw], list[str], list[str]]] = {}
    known: dict[str, PartName] = {**ALIASES, "all": "all"}
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            reader = csv.DictReader(file)
            heads = [head.strip() for head in reader.fieldnames or []]
            reader.fieldnames = heads
            if "file_name" not in heads or "label" not in heads:
                raise InputError(
                    f"{path} needs the columns file_name,label and may have split; it has {','.join(heads)}"
                )
            for row in reader:
                split = (row.get("split") or "all").strip().lower()
                if split not in known:
                    raise InputError(
                        f"{path}, line {reader.line_num}: the split is train, val or test, and not {split!r}"
                    )
                if not row["file_name"] or not row["label"]:
                    raise InputError(f"{path}, line {reader.line_num}: file_name or label is empty")
                images, labels, names = parts.setdefault(known[split], ([], [], []))
                images.append((path.parent / row["file_name"]).absolute())
                labels.append(row["label"].strip())
                names.append(str(images[-1]))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a CSV table: {error}") from error
    if "all" in parts and len(parts) > 1:
        raise InputError(f"{path}: the split is empty in some rows; fill it in everywhere or nowhere")
    read = {part: Part(*columns) for part, columns in parts.items()}
    return Source(name=path.stem if path.stem != "metadata" else path.parent.name, layout="a CSV table", parts=read)


LAYOUTS: tuple[Callable[[Path, str | None], Source | None], ...] = (
    from_saved, from_metadata, from_idx, from_cifar, from_parquet_folder, from_folder,
)  # fmt: skip


def visible(path: Path) -> Iterator[Path]:
    """What lies in a folder, in natural order, without hidden files. Raises InputError where it may not be read."""
    try:
        yield from sorted((p for p in path.iterdir() if not p.name.startswith(".")), key=lambda p: natural(p.name))
    except PermissionError as error:
        raise InputError(f"{path} may not be read: {error.strerror}") from error


def walk(folder: Path) -> Iterator[Path]:
    """The files under a folder, in natural order."""
    for entry in visible(folder):
        if entry.is_dir():
            yield from walk(entry)
        else:
            yield entry


def hidden(path: Path) -> bool:
    """Whether the path leads through a hidden folder."""
    return any(word.startswith(".") for word in path.parts)


def is_image(path: Path) -> bool:
    """Whether a file's name says that it is an image."""
    return path.suffix.lower() in SUFFIXES


def natural(word: str) -> list[tuple[int, int, str]]:
    """A key by which `class2` comes before `class10`, and numbers before words."""
    return [(0, int(w), "") if w.isdecimal() else (1, 0, w.casefold()) for w in re.split(r"(\d+)", word) if w]
