"""A data set cut into what a network is trained on, chosen by and tested on, and held where there is room for it."""

import hashlib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from convatlas.data.decoding import OnImages, one_a_core
from convatlas.data.held import Held, Indexed
from convatlas.data.holding import Loading, encoded, holding
from convatlas.data.images import Fit
from convatlas.data.mapped import Mapped
from convatlas.data.shards import TRAINED, Shards, open_shards
from convatlas.data.source import Part, PartName, Skipped, Source, natural
from convatlas.data.sources import open_source
from convatlas.data.streamed import Streamed, cut_into_blocks, heads_of
from convatlas.errors import InputError
from convatlas.wording import some

TEST_SHARE = 0.2
"""How much of a data set without splits is kept for the test."""
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
    cache: Path | None = None,
    on_images: OnImages | None = None,
) -> Splits:
    """Bring a source to `size` (C, H, W) and cut it: by the splits that it has, and by hash where it has none.

    The classes are those that the source declares, or else those of the training part in natural order. Where the
    images are not decoded in memory, each is decoded once all the same, to see which can be read; only what is
    streamed is not. Where `windows` of them are to be trained on, encoded images are not held decoded unless that is
    asked for: so windows are cut from whole images, with much memory as with little. In the folder `cache` encoded
    images are kept decoded, for this run and the next. Raises InputError for fewer than
    two classes, labels that training does not have, images that do not fit into memory and have to, and with `strict`
    for an image that cannot be read.
    """
    if not 0 < validation < 1:
        raise InputError(f"validation is a share between 0 and 1, and not {validation}")
    if isinstance(source, Shards):
        if cache is not None:
            raise InputError("what is streamed is not kept decoded; leave out --cache or --loading stream")
        return stream_splits(
            source, size=size, fit=fit, validation=validation, strict=strict, workers=workers, on_images=on_images
        )
    training = source.parts.get("train") or source.parts.get("all")
    if training is None:
        raise InputError(f"{source.name} has the parts {', '.join(source.parts)}, and nothing to train on")
    check_classes(set(training.labels), source.name)
    classes = source.class_list()

    uncached = ""
    if cache is not None and not encoded(training):
        cache, uncached = None, f"; in arrays is nothing to decode, and nothing is kept in {cache}"
    way = holding(
        sum(len(part) for part in source.parts.values()), size=size, fit=fit, strict=strict, loading=loading,
        workers=workers, on_images=on_images, cache=cache,
    )  # fmt: skip
    trained = replace(way, mapped=way.mapped or (windows and loading == "auto" and encoded(training)))
    parts = {
        name: trained.hold(source.name, name, part, classes, windows=windows) if part is training
        else way.hold(source.name, name, part, classes)
        for name, part in source.parts.items()
    }  # fmt: skip
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
    if windows and encoded(training) and isinstance(train, Mapped) and (cache is not None or not way.mapped):
        # Whole images are for windows; what was cut off, to be looked at as it is, is held as that.
        if isinstance(val, Mapped) and "val" not in parts:
            val = way.hold(source.name, "val", val.part(classes), classes)
        if isinstance(test, Mapped) and "test" not in parts:
            test = way.hold(source.name, "test", test.part(classes), classes)
    held = f"{trained.words}{uncached}"
    return Splits(train=train, val=val, test=test, classes=classes, how=how, skipped=skipped, held=held)


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
    held = {part: way.hold(shards.name, part, images, classes) for part, images in parts.items()}
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
    images = way.hold(source.name, name, part, classes)
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
