"""A source of images: `digits`, a path whose layout is recognised, or a name on the Hugging Face Hub."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from convatlas.data.arrays import digits, from_cifar, from_idx
from convatlas.data.folders import from_csv, from_folder, from_metadata, is_image, visible
from convatlas.data.source import Source
from convatlas.data.tables import (
    HUB,
    TARS,
    from_hub,
    from_parquet,
    from_parquet_folder,
    from_saved,
    from_tar_folder,
    from_tars,
    in_parts,
    is_on_hub,
    is_pattern,
    matching,
)  # fmt: skip
from convatlas.errors import InputError
from convatlas.wording import nearest

LAYOUTS: tuple[Callable[[Path, str | None], Source | None], ...] = (
    from_saved, from_metadata, from_idx, from_cifar, from_parquet_folder, from_folder, from_tar_folder,
)  # fmt: skip


def open_source(data: str | os.PathLike[str], *, label_column: str | None = None) -> Source:
    """Recognise `data`. Raises InputError where it is not there, is empty or is nothing that is known."""
    name = os.fspath(data)
    path = Path(name).expanduser()
    if path.exists():
        source = open_path(path, label_column)
    elif name == "digits":
        source = digits()
    elif is_on_hub(name):
        source = from_hub(name, label_column)
    elif is_pattern(name):
        source = from_files(matching(str(path)), name, label_column)
    else:
        raise InputError(
            f"there is no data {name!r}: it is no path here, and no name that is known "
            f"(nearest: {nearest(name, ('digits', *HUB))}; any other data set of the Hub as org/name)"
        )
    parts = {part: images for part, images in source.parts.items() if len(images)}
    if not parts:
        raise InputError(f"{name} holds no images; name a folder with a folder of images for each class")
    return replace(source, parts=parts)


def from_files(files: Sequence[Path], pattern: str, label_column: str | None) -> Source:
    """The source in the files that a pattern names."""
    parts, name = in_parts(files, pattern), files[0].parent.name
    if all(file.suffix == ".parquet" for file in files):
        return from_parquet(name, parts, label_column)
    if all(file.name.endswith(TARS) for file in files):
        return from_tars(name, parts, label_column)
    raise InputError(f"{pattern} names files that are not all Parquet or all .tar; name the folder that holds them")


def open_path(path: Path, label_column: str | None) -> Source:
    """The source in a folder or a file."""
    if path.is_file():
        if path.suffix == ".csv":
            return from_csv(path)
        if path.suffix == ".parquet":
            return from_parquet(path.name, {"all": [path]}, label_column)
        if path.name.endswith(TARS):
            return from_tars(path.name, {"all": [path]}, label_column)
        raise InputError(f"{path} is a file, and of files only .csv, .parquet and .tar hold data sets; name its folder")
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
        "WebDataset shards, a saved data set, or a metadata.csv"
    )
