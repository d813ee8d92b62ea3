"""Images that are arrays already: scikit-learn's digits, MNIST's IDX files and CIFAR's python batches.

The files are read without executing anything, though a pickle may ask for it.
"""

import gzip
import io
import math
import pickle
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convatlas.data.source import Part, PartName, Source
from convatlas.errors import InputError

Arrays = tuple[NDArray[np.uint8], NDArray[Any]]


def digits() -> Source:
    """scikit-learn's 1,797 scans of handwritten digits, 8×8 with 17 levels of grey, without splits."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    return from_arrays("digits", "scikit-learn's digits", {"all": (images, bunch.target)}, handwriting=True)


def from_idx(path: Path, _: str | None) -> Source | None:
    """MNIST's four files, gzipped or plain."""
    prefixes: Mapping[str, PartName] = {"train": "train", "t10k": "test", "test": "test"}
    files: dict[PartName, tuple[Path, Path]] = {}
    for prefix, part in prefixes.items():
        found = [find_idx(path, prefix, kind) for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")]
        if found[0] is not None and found[1] is not None:
            files[part] = (found[0], found[1])
    if not files:
        return None
    parts = {part: (read_idx(images), read_idx(labels)) for part, (images, labels) in files.items()}
    return from_arrays(path.name, "IDX files, as MNIST ships them", parts, handwriting=True)


def from_cifar(path: Path, _: str | None) -> Source | None:
    """CIFAR-10's or CIFAR-100's python batches."""
    found = read_cifar(path)
    if found is None:
        return None
    names, parts = found
    return from_arrays(path.name, "CIFAR python batches", parts, names=names)


def from_arrays(
    name: str,
    layout: str,
    parts: Mapping[PartName, Arrays],
    *,
    names: Sequence[str] | None = None,
    handwriting: bool = False,
) -> Source:
    """A source of decoded images with numbers for labels; `names` are the classes' names by number."""
    top = max(int(labels.max(initial=0)) for _, labels in parts.values())
    least = min(int(labels.min(initial=0)) for _, labels in parts.values())
    if least < 0 or (names is not None and top >= len(names)):
        last = top if names is None else len(names) - 1
        raise InputError(f"{name} has the label {least if least < 0 else top}, outside the classes 0 to {last}")
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


def find_idx(folder: Path, prefix: str, kind: str) -> Path | None:
    """`train-images-idx3-ubyte`, with `.gz` or without, and with the dot that some copies have for a dash."""
    for name in (f"{prefix}-{kind}", f"{prefix}-{kind.replace('-idx', '.idx')}"):
        for suffix in ("", ".gz"):
            if (folder / (name + suffix)).is_file():
                return folder / (name + suffix)
    return None


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array in an IDX file of unsigned bytes. Raises InputError where it is not one or is cut short."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be unpacked: {error}") from error
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise InputError(f"{path} is not an IDX file of bytes: it does not begin with 00 00 08")
    rank = content[3]
    header = 4 + 4 * rank
    if len(content) < header:
        raise InputError(f"{path} is cut short")
    sizes = struct.unpack(f">{rank}I", content[4:header])
    if len(content) != header + math.prod(sizes):
        raise InputError(
            f"{path} should hold {math.prod(sizes):,} bytes after its head, and holds {len(content) - header:,}"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(sizes)


def read_cifar(folder: Path) -> tuple[Sequence[str] | None, Mapping[PartName, Arrays]] | None:
    """The class names, where they are there, and the parts of CIFAR's python batches; None where there are none."""
    if (folder / "data_batch_1").is_file():
        train, test, meta, key, names = (
            sorted(folder.glob("data_batch_?")), "test_batch", "batches.meta", b"labels", b"label_names",
        )  # fmt: skip
    elif (folder / "train").is_file() and (folder / "meta").is_file():
        train, test, meta, key, names = [folder / "train"], "test", "meta", b"fine_labels", b"fine_label_names"
    else:
        return None
    parts: dict[PartName, Arrays] = {}
    batches = [read_batch(path, key) for path in train]
    parts["train"] = (np.concatenate([b[0] for b in batches]), np.concatenate([b[1] for b in batches]))
    if (folder / test).is_file():
        parts["test"] = read_batch(folder / test, key)
    classes = None
    if (folder / meta).is_file():
        classes = [str(name, "utf-8") for name in unpickle(folder / meta)[names]]
    return classes, parts


def read_batch(path: Path, key: bytes) -> Arrays:
    """`uint8 (N, 32, 32, 3)` and the labels."""
    batch = unpickle(path)
    try:
        images = np.asarray(batch[b"data"], np.uint8).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(images), np.asarray(batch[key], np.int64)
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path} is not a CIFAR batch: {error}") from error


class ArrayUnpickler(pickle.Unpickler):
    """Lets through what arrays are made of, and refuses everything else, since a pickle may run any code."""

    SAFE = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("numpy.core.multiarray", "scalar"),
            ("numpy._core.multiarray", "scalar"),
            ("numpy.core.numeric", "_frombuffer"),
            ("numpy._core.numeric", "_frombuffer"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        """The named object, if it is one that arrays need."""
        if (module, name) not in self.SAFE:
            raise pickle.UnpicklingError(f"it would run {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def unpickle(path: Path) -> dict[bytes, Any]:
    """The dictionary of a CIFAR batch. Raises InputError for a pickle that asks for more than arrays."""
    try:
        content = ArrayUnpickler(io.BytesIO(path.read_bytes()), encoding="bytes").load()
    except pickle.UnpicklingError as error:
        raise InputError(f"{path} is refused: {error}; a CIFAR batch holds arrays alone") from error
    except (EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError, ImportError) as error:
        raise InputError(f"{path} is not a CIFAR batch or is damaged: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is not a CIFAR batch: it holds no dictionary")
    return content
