"""Image files in folders: a folder for each class, or a CSV table that says which class each file is of."""

import csv
from collections.abc import Iterator
from pathlib import Path

from convatlas.data.images import SUFFIXES, Raw
from convatlas.data.source import ALIASES, Part, PartName, Source, natural
from convatlas.errors import InputError


def from_folder(path: Path, _: str | None) -> Source | None:
    """A folder for each class, under folders for the splits or without them. InputError for an empty class."""
    # A split holds folders; a class that happens to be called "test" holds images.
    splits = {
        p.name: p
        for p in visible(path)
        if p.is_dir() and p.name.lower() in ALIASES and any(inner.is_dir() for inner in visible(p))
    }
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
            files = list(walk(folder))
            if not files and part in ("train", "all"):
                raise InputError(f"{folder} is empty; put the images of the class there, or remove the folder")
            for file in files:
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
                if not row["label"].isprintable():  # as bytes that are no UTF-8 are
                    raise InputError(f"{path}, line {reader.line_num}: the label is no text in UTF-8; save it as such")
                images.append((path.parent / row["file_name"]).absolute())
                labels.append(row["label"].strip())
                names.append(str(images[-1]))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a CSV table: {error}") from error
    if "all" in parts and len(parts) > 1:
        raise InputError(f"{path}: the split is empty in some rows; fill it in everywhere or nowhere")
    read = {part: Part(*columns) for part, columns in parts.items()}
    return Source(name=path.stem if path.stem != "metadata" else path.parent.name, layout="a CSV table", parts=read)


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


def is_image(path: Path) -> bool:
    """Whether a file's name says that it is an image."""
    return path.suffix.lower() in SUFFIXES
