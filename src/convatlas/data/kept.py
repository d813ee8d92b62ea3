"""Decoded images on disk: each is decoded once, and from then on read from memory-mapped Arrow."""

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from convatlas.data.decoding import Looked, OnImages, look_through, strictly
from convatlas.data.held import Index
from convatlas.data.images import ROOM, Fit, Raw, UnreadableImageError, picture, roomy
from convatlas.data.source import Part, Skipped
from convatlas.data.tables import Rows
from convatlas.errors import InputError
from convatlas.files import writing

FORMAT = 1
"""Of the files of a shelf; another where they are written otherwise."""
TOGETHER = 64
"""How many images are written at once."""


class Shelf(NamedTuple):
    """Where decoded images are kept, and as what."""

    folder: Path
    roomy: bool
    """Whether whole images, somewhat larger than the network's, of which windows are cut; else what it is shown."""


class Kept(Sequence[Raw]):
    """The decoded images of a part, `uint8 (H, W, C)` each, of which only what is asked for is read."""

    def __init__(self, file: Path) -> None:
        import pyarrow as pa

        self.file = file
        table = pa.ipc.open_file(pa.memory_map(str(file))).read_all()
        columns = {name: table.column(name).to_numpy() for name in ("image", "height", "width", "first", "second")}
        self.images = columns["image"]
        self.order = np.argsort(self.images, kind="stable")
        """Where each image is: they were written as they became ready."""
        self.height, self.width = columns["height"], columns["width"]
        self.digests = np.stack((columns["first"], columns["second"]), 1)[self.order]
        self.chunks = table.column("pixels").chunks
        self.unread = {i: why for i, why in enumerate(table.column("unread").to_pylist()) if why is not None}

    def __reduce__(self) -> tuple[type["Kept"], tuple[Path]]:
        return Kept, (self.file,)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, image: Any) -> Any:
        row = int(self.order[image])
        chunk, offset = divmod(row, TOGETHER)
        pixels = np.frombuffer(self.chunks[chunk][offset].as_buffer(), np.uint8)
        return pixels.reshape(self.height[row], self.width[row], -1)

    def looked(self, names: Sequence[str]) -> Looked:
        """What a look through the part found, when the images were decoded."""
        unread = np.isin(self.order, list(self.unread))
        skipped = [Skipped(names[i], self.unread[int(self.order[i])]) for i in np.flatnonzero(unread).tolist()]
        kept = np.flatnonzero(~unread)
        return Looked(kept, self.digests[kept], skipped)


def keep_decoded(
    part: Part, shelf: Shelf, *, size: tuple[int, int, int], fit: Fit, strict: bool, on_images: OnImages | None
) -> tuple[Kept, Looked]:
    """The decoded images of a part, from the shelf, and what can be read of it; what is not there is decoded first.

    A file of the shelf is known by the images that it was made of, by their names, sizes and times, and by what they
    were brought to. Raises InputError where there is no room for it, and like `look_through`.
    """
    form = (FORMAT, TOGETHER, ROOM, size, fit, shelf.roomy, version("pillow"))
    key = hashlib.blake2b(repr(form).encode(), digest_size=8)
    for stated in identities(part.images):
        key.update(stated)
    file = shelf.folder / f"{key.hexdigest()}.arrow"
    make = partial(roomy if shelf.roomy else picture, size=size, fit=fit)
    kept = opened(file, part, make)
    if kept is None:
        try:
            shelf.folder.mkdir(parents=True, exist_ok=True)
            with writing(file) as temporary, Writer(temporary) as writer:
                looked = look_through(part, make=make, keep=writer.put, strict=strict, on_images=on_images)
                writer.leave_out(np.setdiff1d(np.arange(len(part)), looked.kept), looked.skipped)
        except OSError as error:
            raise InputError(
                f"decoded images cannot be kept in {shelf.folder} ({error.strerror}); name another --cache"
            ) from error
        kept = Kept(file)
    looked = kept.looked(part.names)
    if strict and looked.skipped:
        raise strictly(looked.skipped[0])
    return kept, looked


def opened(file: Path, part: Part, make: Callable[[Raw], NDArray[np.uint8]]) -> Kept | None:
    """What is kept in a file, or None where there is none, it is damaged, or more of the part can be read by now."""
    import pyarrow as pa

    try:
        kept = Kept(file)
    except (OSError, pa.ArrowException, KeyError, ValueError):
        return None
    if len(kept) != len(part) or (np.sort(kept.images) != np.arange(len(part))).any():
        return None
    for row in kept.unread:
        with suppress(UnreadableImageError, OSError):
            make(part.images[int(kept.images[row])])
            return None
    return kept


def identities(images: Sequence[Raw] | NDArray[np.uint8]) -> Sequence[bytes]:
    """What changes when these images do: a file's name, size and time, or what `datasets` tells a table by."""
    if isinstance(images, Rows) and not isinstance(images[0], str):
        return [f"{images.data._fingerprint} {images.column}".encode()]
    return [stated(images[i]) for i in range(len(images))]


def stated(image: Raw) -> bytes:
    """What changes when an image does."""
    if not isinstance(image, str | Path):
        return image if isinstance(image, bytes) else np.asarray(image).tobytes()
    try:
        found = Path(image).stat()
    except OSError:
        return f"{image} is missing".encode(errors="surrogateescape")
    return f"{os.path.abspath(image)} {found.st_size} {found.st_mtime_ns} ".encode(errors="surrogateescape")


class Writer:
    """Writes images, by whatever threads decode them, in batches of Arrow."""

    def __init__(self, file: Path) -> None:
        import pyarrow as pa

        numbers = [("image", pa.int64()), ("height", pa.int32()), ("width", pa.int32())]
        hashes = [("first", pa.uint64()), ("second", pa.uint64())]
        self.schema = pa.schema([*numbers, *hashes, ("pixels", pa.large_binary()), ("unread", pa.string())])
        self.file, self.lock, self.rows = file, threading.Lock(), list[tuple[Any, ...]]()

    def __enter__(self) -> "Writer":
        import pyarrow as pa

        self.sink = pa.OSFile(str(self.file), "wb")
        self.writer = pa.ipc.new_file(self.sink, self.schema)
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None:
            self.flush()
            self.writer.close()
        self.sink.close()

    def put(self, image: int, pixels: NDArray[np.uint8], digest: NDArray[np.uint64]) -> None:
        """Write an image."""
        self.add((image, *pixels.shape[:2], *digest.tolist(), pixels.tobytes(), None))

    def leave_out(self, images: Index, skipped: Sequence[Skipped]) -> None:
        """Write which images cannot be read, and why."""
        for image, (_, reason) in zip(images.tolist(), skipped, strict=True):
            self.add((image, 0, 0, 0, 0, None, reason))

    def add(self, row: tuple[Any, ...]) -> None:
        """Write a row, when there are enough."""
        with self.lock:
            self.rows.append(row)
            if len(self.rows) == TOGETHER:
                self.flush()

    def flush(self) -> None:
        """Write what there is."""
        import pyarrow as pa

        if self.rows:
            columns = zip(*self.rows, strict=True)
            arrays = [pa.array(list(column), field.type) for column, field in zip(columns, self.schema, strict=True)]
            self.writer.write_batch(pa.record_batch(arrays, schema=self.schema))
            self.rows.clear()
