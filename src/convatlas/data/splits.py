"""A data set cut into what a network is trained on, chosen by and tested on, and held where there is room for it."""

import hashlib
import os
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np
import psutil
import torch

from convatlas.data.decoding import OnImages, one_a_core
from convatlas.data.held import Held, Indexed
from convatlas.data.images import Fit
from convatlas.data.mapped import keep_stored
from convatlas.data.pixels import decode
from convatlas.data.shards import TRAINED, Shards, open_shards
from convatlas.data.source import Part, PartName, Skipped, Source, natural
from convatlas.data.sources import open_source
from convatlas.data.streamed import Streamed, cut_into_blocks, heads_of
from convatlas.errors import InputError
from convatlas.wording import some

TEST_SHARE = 0.2
"""How much of a data set without splits is kept for the test."""
Loading = Literal["auto", "memory", "mapped", "stream"]
HELD_OUT: Sequence[PartName] = ("val", "test")
Some = TypeVar("Some", bound=Indexed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """What a network is trained on, chosen by, and tested on."""

    train: Held
    val: Indexed
    test: Indexed | None
    classes: tuple[str, ...]
    how: str
    """How the parts came about, in words."""
    skipped: Sequence[Skipped]
    held: str = "decoded, in memory"
    """Where the images are, in words."""

    def fingerprint(self) -> str:
        """A hash of all images and labels, in their order: other data have another."""
        words = hashlib.blake2b(digest_size=16)
        for images in (self.train, self.val, self.test):
            if images is not None:
                words.update(images.fingerprint())
        return words.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """How images are held, and what they are brought to."""

    size: tuple[int, int, int]
    fit: Fit
    strict: bool
    workers: int
    on_images: OnImages | None
    mapped: bool
    room: str = ""
    """What there is to say where memory is too small."""

    @property
    def words(self) -> str:
        """Where the images are."""
        if not self.mapped:
            return "decoded, in memory"
        processes = some(self.workers, "process", "processes")
        return f"as they are stored, and decoded by {processes} when their turn comes{self.room}"

    def hold(self, source: Source | Shards, name: PartName, part: Part, classes: tuple[str, ...]) -> Indexed:
        """The images of a part that can be read. Raises InputError where there are none."""
        held: Indexed
        if self.mapped:
            held = keep_stored(
                part, classes=classes, size=self.size, fit=self.fit, workers=self.workers, strict=self.strict,
                on_images=self.on_images,
            )  # fmt: skip
        else:
            held = decode(
                part, classes=classes, size=self.size, fit=self.fit, strict=self.strict, on_images=self.on_images
            )
        if not len(held):
            raise InputError(f"{source.name}: none of the {len(part)} images of its {name} part can be read")
        return held


def holding(
    count: int,
    *,
    size: tuple[int, int, int],
    fit: Fit,
    strict: bool,
    loading: Loading,
    workers: int | None,
    on_images: OnImages | None,
) -> Holding:
    """How so many images are held: in memory if they fit. Raises InputError where they have to and do not."""
    # Of the processes on this machine each holds all; and cutting off the parts holds them twice.
    needed, free = count * int(np.prod(size)) * int(os.environ.get("LOCAL_WORLD_SIZE", "1")), free_memory()
    fits = needed <= 0.4 * free
    room = f"{needed / 2**30:.1f} GB, and {free / 2**30:.1f} GB of memory are free"
    if loading == "memory" and not fits:
        raise InputError(
            f"{count:,} images of {size[0]}×{size[1]}×{size[2]} take {room}; leave out --loading memory, or choose a "
            "smaller --size"
        )
    return Holding(
        size=size, fit=fit, strict=strict, workers=one_a_core(workers), on_images=on_images,
        mapped=loading == "mapped" or not fits, room="" if fits else f": decoded, they would take {room}",
    )  # fmt: skip


def free_memory() -> int:
    """Bytes that could still be taken."""
    return int(psutil.virtual_memory().available)


def open_data(data: str, *, label_column: str | None, loading: Loading) -> Source | Shards:
    """The data set, to be held or, where that is asked for, to be streamed. Raises InputError like `open_source`."""
    if loading == "stream":
        return open_shards(data, label_column=label_column)
    return open_source(data, label_column=label_column)


def load_splits(
    source: Source | Shards,
    *,
    size: tuple[int, int, int],
    fit: Fit,
    validation: float,
    strict: bool = False,
    loading: Loading = "auto",
    workers: int | None = None,
    windows: bool = False,
    on_images: OnImages | None = None,
) -> Splits:
    """Bring a source to `size` (C, H, W) and cut it: by the splits that it has, and by hash where it has none.

    The classes are those that the source declares, or else those of the training part in natural order. Where the
    images are not decoded in memory, each is decoded once all the same, to see which can be read; only what is
    streamed is not. Where `windows` of them are to be trained on, encoded images are not held decoded unless that is
    asked for: so windows are cut from whole images, with much memory as with little. Raises InputError for fewer than
    two classes, labels that training does not have, images that do not fit into memory and have to, and with `strict`
    for an image that cannot be read.
    """
    if not 0 < validation < 1:
        raise InputError(f"validation is a share between 0 and 1, and not {validation}")
    if isinstance(source, Shards):
        return stream_splits(
            source, size=size, fit=fit, validation=validation, strict=strict, workers=workers, on_images=on_images
        )
    training = source.parts.get("train") or source.parts.get("all")
    if training is None:
        raise InputError(f"{source.name} has the parts {', '.join(source.parts)}, and nothing to train on")
    check_classes(set(training.labels), source.name)
    classes = source.class_list()

    way = holding(
        sum(len(part) for part in source.parts.values()), size=size, fit=fit, strict=strict, loading=loading,
        workers=workers, on_images=on_images,
    )  # fmt: skip
    encoded = windows and loading == "auto" and not isinstance(training.images, np.ndarray)
    ways = {name: replace(way, mapped=True) if encoded and name in TRAINED else way for name in source.parts}
    parts = {name: ways[name].hold(source, name, part, classes) for name, part in source.parts.items()}
    skipped = [image for images in parts.values() for image in images.skipped]

    test = parts.get("test")
    if "all" in parts:
        rest, test = cut(parts["all"], TEST_SHARE, column=0)
        train, val = cut(rest, validation, column=1)
        how = f"cut by the hash of each image: {TEST_SHARE:.0%} test, {validation:.0%} of the rest validation"
    elif "val" in parts:
        train, val = parts["train"], parts["val"]
        how = "as the data set has them"
    else:
        train, val = cut(parts["train"], validation, column=1)
        how = f"{validation:.0%} of the training part cut for validation by the hash of each image"
    words = ways["train" if "train" in ways else "all"].words
    return Splits(train=train, val=val, test=test, classes=classes, how=how, skipped=skipped, held=words)


def stream_splits(
    shards: Shards,
    *,
    size: tuple[int, int, int],
    fit: Fit,
    validation: float,
    strict: bool,
    workers: int | None,
    on_images: OnImages | None,
) -> Splits:
    """Images to train on that are streamed, and the others held.

    The validation part is the data set's own, or else the heads of some units of the training part.
    """
    name = next(part for part in TRAINED if part in shards.files)
    units, labels = shards.count(name, on_images)
    check_classes(labels, shards.name)
    classes = tuple(shards.classes or sorted(labels, key=natural))
    reader = shards.open(name, units)
    parts: dict[PartName, Part] = {part: shards.part(part) for part in HELD_OUT if part in shards.files}
    heads, how = np.zeros_like(units.rows), "as the data set has them"
    if "val" not in parts:
        heads = heads_of(units.rows, validation)
        parts["val"] = reader.heads(heads)
        where = some(int(np.count_nonzero(heads)), "row group" if shards.kind == "parquet" else "tar")
        how = f"the first rows of {where} for validation"
    way = holding(
        sum(map(len, parts.values())), size=size, fit=fit, strict=strict, loading="auto", workers=workers,
        on_images=on_images,
    )  # fmt: skip
    held = {part: way.hold(shards, part, images, classes) for part, images in parts.items()}
    if heads.any():
        labels = labels - Counter(parts["val"].labels)
    train = Streamed(
        reader=reader, blocks=cut_into_blocks(units.rows, heads), classes=classes,
        labels=torch.tensor([labels[name] for name in classes]), size=size, fit=fit, workers=one_a_core(workers),
        strict=strict, skipped=[image for images in held.values() for image in images.skipped],
    )  # fmt: skip
    if not len(train):
        raise InputError(f"{shards.name}: {some(int(heads.sum()), 'row')} are too few to keep some for validation")
    words = f"streamed, and decoded by {some(train.workers, 'process', 'processes')}; those held out {way.words}"
    return Splits(
        train=train, val=held["val"], test=held.get("test"), classes=classes, how=how, skipped=train.skipped, held=words
    )


def check_classes(labels: Collection[str], name: str) -> None:
    """Raise InputError where there is nothing to tell apart."""
    if len(labels) < 2:
        raise InputError(f"{name} has the class {next(iter(labels))!r} alone; a classifier needs two or more")


def load_part(
    source: Source | Shards,
    *,
    classes: tuple[str, ...],
    size: tuple[int, int, int],
    fit: Fit,
    strict: bool = False,
    held_out: float | None = None,
    on_images: OnImages | None = None,
) -> tuple[PartName, Indexed]:
    """The part of a source to evaluate on, and its name: test, or else val, or else all there is.

    With `held_out`, the share `validation` that `load_splits` was given, of a source that a network was trained on only
    what it has not learned from is taken. Raises InputError like `load_splits`.
    """
    order: tuple[PartName, ...] = ("test", "val", "all", "train")
    part: Part
    if isinstance(source, Shards):
        name = next(part for part in order if part in source.files)
        if held_out is not None and name in TRAINED:
            units, _ = source.count(name, on_images)
            name, part, held_out = "val", source.open(name, units).heads(heads_of(units.rows, held_out)), None
        else:
            part = source.part(name)
    else:
        name = next(part for part in order if part in source.parts)
        part = source.parts[name]
    way = holding(
        len(part), size=size, fit=fit, strict=strict, loading="auto", workers=None, on_images=on_images
    )  # fmt: skip
    images = way.hold(source, name, part, classes)
    if held_out is not None and name == "all":
        return "test", cut(images, TEST_SHARE, column=0)[1]
    if held_out is not None and name == "train":
        return "val", cut(images, held_out, column=1)[1]
    return name, images


def cut(images: Some, share: float, *, column: int) -> tuple[Some, Some]:
    """(what stays, what is cut off): an image is cut off where its hash, as a number in 0…1, is below `share`.

    So an image keeps its side when others come or go, and equal files are on one side. Where the share
    would leave a class nothing to train on, its images with the highest hash stay; where nothing would
    be cut off, the image with the lowest hash is, if its class has others.
    """
    place = images.digests[:, column].astype(np.float64) / 2.0**64
    off = place < share
    labels = images.labels.numpy()
    for label in np.unique(labels):
        mine = labels == label
        if off[mine].all():
            off &= ~(mine & (place == place[mine].max()))
    if not off.any():
        counts = np.bincount(labels)
        spare = np.flatnonzero(counts[labels] > 1)
        if len(spare):
            off[spare] = place[spare] == place[spare].min()
    if not off.any():
        raise InputError(f"{len(images)} images are too few to keep some for validation and testing")
    return images.take(np.flatnonzero(~off)), images.take(np.flatnonzero(off))
