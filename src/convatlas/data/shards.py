"""A data set in shards, Parquet files or tars of a WebDataset, that is read on and on and not held."""

import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import fsspec
import numpy as np

from convatlas.data.decoding import OnImages
from convatlas.data.held import Index
from convatlas.data.images import Raw
from convatlas.data.source import ALIASES, Part, PartName
from convatlas.data.tables import (
    HUB,
    KEY,
    TARS,
    as_stored,
    class_of,
    columns,
    files_under,
    from_parquet,
    from_tars,
    in_parts,
    in_short,
    is_on_hub,
    is_pattern,
    matching,
    whole,
)  # fmt: skip
from convatlas.errors import InputError
from convatlas.wording import some

Kind = Literal["parquet", "webdataset"]
Row = tuple[Raw, str]
"""An image as it is stored, and its class."""
ENDINGS: Mapping[Kind, tuple[str, ...]] = {"parquet": (".parquet",), "webdataset": TARS}
PARTS: Mapping[str, PartName] = {**ALIASES, "all": "all"}
TRAINED: Sequence[PartName] = ("train", "all")
BLOCK = 1024
"""How many rows are read at once."""
READERS = 8
"""How many shards are read at once."""


class Units(NamedTuple):
    """What can be opened by itself, a row group of a Parquet file or a tar, in the order of the data set."""

    file: Index
    group: Index
    """Which row group of its file."""
    groups: Index
    """Of how many."""
    row: Index
    """Its first row, counted in its file."""
    rows: Index


class Contents(NamedTuple):
    """What a pass over the labels of a part tells."""

    units: Units
    labels: Counter[str]
    """How many rows each class has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shards:
    """A data set in shards as it was found: files by part, and which columns are read."""

    name: str
    layout: str
    kind: Kind
    files: Mapping[PartName, Sequence[str]]
    """Paths, or addresses on the Hub."""
    image: str = ""
    label: str = ""
    """The columns that are read."""
    classes: Sequence[str] | None = None
    """The classes that the data set declares, by number; None: they are counted."""
    handwriting: bool = False
    ignored: Sequence[str] = ()

    def part(self, part: PartName) -> Part:
        """A part that is not read on and on, but held: `datasets` keeps a memory-mapped copy of it in its cache."""
        read = from_parquet if self.kind == "parquet" else from_tars
        source = read(self.name, {part: self.files[part]}, None if self.label == KEY else self.label)
        return next(iter(source.parts.values()))

    def open(self, part: PartName, units: Units) -> "Reader":
        """What reads a part on and on: the two columns of it, images as they are stored."""
        import datasets

        datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # what cannot be read is told by us
        only = {"columns": [self.image, self.label], "batch_size": BLOCK} if self.kind == "parquet" else {}
        named = {"data": list(self.files[part])}
        stream = datasets.load_dataset(self.kind, data_files=named, split="data", streaming=True, **only)
        stream = stream.select_columns([self.image, self.label]).cast_column(self.image, datasets.Image(decode=False))
        return Reader(self, self.files[part], units, stream)

    def class_name(self, value: Any) -> str:
        """The class that a value of the label column stands for; empty where it has none."""
        if value is None or (self.classes is not None and value < 0):
            return ""
        if self.classes is None:
            return class_of(value, self.label)
        if value >= len(self.classes):
            raise InputError(f"{self.name} has the label {value}, outside the classes 0 to {len(self.classes) - 1}")
        return str(self.classes[value])

    def count(self, part: PartName, on_images: OnImages | None) -> Contents:
        """How many rows a part has, and of which classes, from the labels and the files' own tables of contents.

        Of Parquet files little else is read; tars are gone through from header to header, and those on the Hub are
        read whole. Raises InputError for a shard that is damaged and for rows without a label.
        """
        files, labels = self.files[part], Counter[str]()
        units: list[tuple[int, int, int, int, int]] = []
        count: Callable[[str], Counted] = self.count_parquet if self.kind == "parquet" else self.count_tar
        with ThreadPoolExecutor(READERS) as pool:
            for i, counted in enumerate(pool.map(count, files)):
                if counted.labels[""]:
                    missing = some(counted.labels[""], "row")
                    what = "cls, txt or folder" if self.label == KEY else self.label
                    raise InputError(f"{files[i]} has {missing} without a {what}; leave them out")
                labels.update(+counted.labels)
                row = 0
                for group, rows in enumerate(counted.rows):
                    if rows:
                        units.append((i, group, len(counted.rows), row, rows))
                    row += rows
                if on_images is not None:
                    on_images(i + 1, len(files))
        if not units:
            raise InputError(f"{self.name}: the shards of its {part} part hold no rows")
        return Contents(Units(*np.array(units, np.int64).T), labels)

    def count_parquet(self, file: str) -> "Counted":
        """The rows of each row group, and their labels."""
        from pyarrow import parquet

        labels = Counter[str]()
        try:
            with fsspec.open(file, "rb") as opened:
                table = parquet.ParquetFile(opened)
                rows = [table.metadata.row_group(i).num_rows for i in range(table.num_row_groups)]
                for batch in table.iter_batches(columns=[self.label]):
                    for pair in batch.column(0).value_counts().to_pylist():
                        labels[self.class_name(pair["values"])] += pair["counts"]
        except InputError:
            raise
        except Exception as error:
            raise damaged(file, error) from error
        return Counted(rows, labels)

    def count_tar(self, file: str) -> "Counted":
        """The samples of a tar, told as `datasets` tells them, and their labels."""
        from datasets.packaged_modules.webdataset.webdataset import DECODERS, base_plus_ext

        labels, rows, last = Counter[str](), 0, None
        decode = DECODERS.get(self.label.rpartition(".")[2].lower(), bytes.decode)
        try:
            with fsspec.open(file, "rb") as opened, tarfile.open(fileobj=opened) as tar:
                while (member := tar.next()) is not None:
                    tar.members.clear()  # type: ignore[attr-defined]  # or else it would keep them all
                    key, field = base_plus_ext(member.name)
                    if not member.isreg() or key is None or Path(member.name).name.startswith((".", "__")):
                        continue
                    if key != last:
                        last, rows = key, rows + 1
                        if self.label == KEY:
                            labels[self.class_name(key)] += 1
                    if field == self.label and (content := tar.extractfile(member)) is not None:
                        labels[self.class_name(decode(content.read()))] += 1
        except InputError:
            raise
        except Exception as error:
            raise damaged(file, error) from error
        labels[""] += rows - labels.total()
        return Counted([rows], labels)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads the units of a part, each from any row on."""

    shards: Shards
    files: Sequence[str]
    units: Units
    stream: Any
    """An `IterableDataset` over the files."""

    def rows(self, unit: int, start: int) -> Iterator[list[Row]]:
        """The rows of a unit from `start` on, a block at a time. Raises InputError where it is damaged."""
        file, group, groups = (int(column[unit]) for column in self.units[:3])
        one = self.stream.shard(len(self.files), file)
        try:
            if groups > 1:
                one = one.reshard().shard(groups, group)
            for batch in one.skip(start).iter(BLOCK):
                labels = [self.shards.class_name(value) for value in batch[self.shards.label]]
                yield list(zip(map(as_stored, batch[self.shards.image]), labels, strict=True))
        except InputError:
            raise
        except Exception as error:
            # pyarrow, tarfile, zlib and the Hub have errors of their own, and datasets wraps them in some more
            raise damaged(self.files[file], error) from error

    def heads(self, counts: Index) -> Part:
        """So many rows at the head of each unit, encoded and in memory."""

        def head(unit: int) -> list[Row]:
            return list(islice(chain.from_iterable(self.rows(unit, 0)), int(counts[unit])))

        units = np.flatnonzero(counts).tolist()
        with ThreadPoolExecutor(READERS) as pool:
            rows = list(chain.from_iterable(pool.map(head, units)))
        names = [self.name(unit, row) for unit in units for row in range(counts[unit])]
        return Part([stored for stored, _ in rows], [label for _, label in rows], names)

    def name(self, unit: int, row: int) -> str:
        """What a row of a unit is called."""
        return f"{self.files[self.units.file[unit]]}, row {self.units.row[unit] + row}"


class Counted(NamedTuple):
    """Of one file."""

    rows: list[int]
    """In each of its units."""
    labels: Counter[str]


def damaged(file: str, error: Exception) -> InputError:
    """What to say of a shard that cannot be read."""
    return InputError(f"the shard {file} cannot be read: {in_short(error)}; take it out, or get it anew")


def open_shards(data: str, *, label_column: str | None = None) -> Shards:
    """The shards that `data` names: a file, a pattern such as `shards/*.tar`, a folder, or a name on the Hub.

    Raises InputError where there are none.
    """
    path, found = Path(data).expanduser(), list[Path]()
    if path.is_dir():
        found = next((there for ends in ENDINGS.values() if (there := files_under(path, ends))), [])
    elif path.is_file():
        found = [path]
    elif is_pattern(data):
        found = matching(str(path))
    elif is_on_hub(data):
        return on_hub(data, label_column)
    else:
        raise InputError(f"there is no data {data!r} in shards: it is no path here, and no org/name of the Hub")
    parts: Mapping[PartName, Sequence[Path]] = {"all": found} if path.is_file() else in_parts(found, data)
    files: Mapping[PartName, Sequence[str]] = {part: [str(file) for file in named] for part, named in parts.items()}
    name = path.name if path.exists() else path.parent.name
    return with_columns(Shards(name=name, layout="", kind=kind_of(data, files), files=files), label_column)


def on_hub(data: str, label_column: str | None) -> Shards:
    """The shards of a data set of the Hub, `org/name` or `org/name:configuration`."""
    import datasets

    repository, _, configuration = HUB.get(data, data).partition(":")
    try:
        found = datasets.load_dataset_builder(repository, configuration or None).config.data_files or {}
    except Exception as error:
        raise InputError(f"{data} is no path here, and could not be had from the Hub: {in_short(error)}") from error
    splits = whole({str(split).lower(): [str(file) for file in files] for split, files in found.items()})
    files = {part: splits[split] for split in splits if (part := PARTS.get(split))}
    shards = Shards(name=data, layout=f"{repository} of the Hub: ", kind=kind_of(data, files), files=files)
    return with_columns(replace(shards, handwriting="mnist" in repository), label_column)


def kind_of(data: str, files: Mapping[PartName, Sequence[str]]) -> Kind:
    """What the files are. Raises InputError where they are not all of one kind, with what to do."""
    every = [file for part in files.values() for file in part]
    kind = next((kind for kind, ends in ENDINGS.items() if every and all(f.endswith(ends) for f in every)), None)
    if kind is None:
        raise InputError(
            f"--loading stream reads Parquet files or WebDataset shards (.tar), and {data} is none of them; leave it "
            "out, and images that do not fit into memory are decoded when their turn comes"
        )
    return kind


def with_columns(shards: Shards, label_column: str | None) -> Shards:
    """The same, with the columns of its images and labels. Raises InputError where nothing can be trained on."""
    import datasets
    from pyarrow import parquet

    part: PartName | None = next((name for name in TRAINED if name in shards.files), None)
    if part is None:
        raise InputError(f"{shards.name} has the parts {', '.join(shards.files)}, and nothing to train on")
    first = shards.files[part][0]
    try:
        if shards.kind == "parquet":
            with fsspec.open(first, "rb") as opened:
                features = datasets.Features.from_arrow_schema(parquet.read_schema(opened))
        else:
            named = {"data": [first]}
            features = datasets.load_dataset("webdataset", data_files=named, split="data", streaming=True).features
    except Exception as error:
        raise damaged(first, error) from error
    image, label = columns(shards.name, features, label_column)
    classes = features[label].names if isinstance(features[label], datasets.ClassLabel) else None
    count = sum(map(len, shards.files.values()))
    words = some(count, "Parquet file") if shards.kind == "parquet" else some(count, "WebDataset shard")
    return replace(shards, layout=shards.layout + words, image=image, label=label, classes=classes)
