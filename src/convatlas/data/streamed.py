"""Training images that are read on and on, in an order that is a function of (seed, epoch), and held a window long."""

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from convatlas.data.chance import mix, order
from convatlas.data.decoding import Decoded, decode_all, in_processes, made_ahead, strictly
from convatlas.data.held import CPU, SAMPLE, Fetched, Held, Index, Wanted
from convatlas.data.images import Fit, Raw
from convatlas.data.shards import BLOCK, READERS, Reader, Row
from convatlas.data.source import Skipped
from convatlas.data.windows import Cut
from convatlas.errors import InputError

WINDOW = 4096
"""Rows among which the order is a random one; they are held, encoded."""
OPEN = 32
"""Units that stay open, of which a part is read; one that is opened again is read from a window before."""
MOST = 10_000
"""Rows that are kept for validation at most,"""
SPREAD = 16
"""from so many units at least, where there are so many: a data set may be sorted by class."""


class Blocks(NamedTuple):
    """The rows that are trained on, in the order of the data set, cut into what is read at once."""

    unit: Index
    start: Index
    """The first row, counted in its unit."""
    rows: Index
    first: Index
    """The first row, counted over all that are trained on: the index that order and augmentation are drawn by."""


def cut_into_blocks(rows: Index, heads: Index) -> Blocks:
    """The blocks of units with so many rows each, of which so many at the head are left out."""
    counts = -(-(rows - heads) // BLOCK)
    unit = np.repeat(np.arange(len(rows)), counts)
    nth = np.arange(len(unit)) - np.repeat(np.cumsum(counts) - counts, counts)
    start = heads[unit] + nth * BLOCK
    length = np.minimum(BLOCK, rows[unit] - start)
    return Blocks(unit, start, length, np.cumsum(length) - length)


class Job(NamedTuple):
    """What a process decodes at once."""

    which: Index
    labels: Index
    stored: Sequence[Raw]
    cut: Cut | None


def decode_job(job: Job, *, size: tuple[int, int, int], fit: Fit) -> tuple[Index, Index, Decoded]:
    """The images of a job, or windows of them, as a process hands them back."""
    return job.which, job.labels, decode_all(job.stored, size, fit, None if job.cut is None else job.cut(job.which))


@dataclass(frozen=True, slots=True, kw_only=True)
class Streamed(Held):
    """Images in shards, and their classes. The memory that they take does not grow with their number.

    The units of the data set, row groups or tars, come in an order that (seed, epoch) says, and in each window of some
    thousand rows so does every row. An epoch begins at any step: rows are found by their numbers, and no place has to
    be kept; at most one unit is read in vain. Of several processes each reads the units in which its rows of a step
    are, which of row groups are mostly its own, and of tars may be all.
    """

    sampled: ClassVar[str] = "from some of the shards"
    reader: Reader
    blocks: Blocks
    classes: Sequence[str]
    labels: Tensor
    """int64 (K,): how many images each class has."""
    size: tuple[int, int, int]
    fit: Fit
    workers: int
    strict: bool
    device: torch.device = CPU
    skipped: list[Skipped] = field(default_factory=list)
    """Grows, since what cannot be read is found when its turn comes; its neighbour is then shown in its place."""

    def __len__(self) -> int:
        """How many images there are."""
        return int(self.blocks.rows.sum())

    def to(self, device: torch.device) -> "Streamed":
        """The same, whose images come on `device`."""
        return replace(self, device=device)

    def steps(self, seed: int, epoch: int, count: int) -> Callable[[int], Index]:
        """What finds the images of each of an epoch's `count` steps, without the order of all."""
        return Walk(self.blocks, seed, epoch, count)

    def gathered(self, index: Index) -> Index:
        """The images of a step with neighbours together, which are read together."""
        return np.sort(index)

    def fetches(self, wanted: Iterable[Wanted]) -> Generator[Fetched]:
        """All that is wanted, in turn. Threads read and processes decode it ahead of that."""
        work = partial(decode_job, size=self.size, fit=self.fit)
        with closing(made_ahead(self.jobs(wanted), 4)) as jobs:
            for index, labels, decoded in in_processes(work, jobs, workers=self.workers, device=self.device):
                if decoded.unread:
                    index, labels = self.stand_in(index, labels, decoded)
                images = decoded.images.to(self.device, non_blocking=True)
                yield Fetched(index, images, torch.from_numpy(labels))

    def jobs(self, wanted: Iterable[Wanted]) -> Iterator[Job]:
        """The rows of all that is wanted, encoded."""
        number = {name: i for i, name in enumerate(self.classes)}
        with ThreadPoolExecutor(READERS) as pool:
            shelf = Shelf(self.reader, self.blocks, pool)
            for index, cut in wanted:
                rows = shelf.take(index)
                try:
                    labels = np.array([number[label] for _, label in rows], np.int64)
                except KeyError as error:
                    raise InputError(f"{self.name(int(index[0]))}: the rows have other labels than at first") from error
                yield Job(index, labels, [stored for stored, _ in rows], cut)

    def stand_in(self, index: Index, labels: Index, decoded: Decoded) -> tuple[Index, Index]:
        """The images in which those that cannot be read are replaced by a neighbour, so that a step stays whole.

        Raises InputError where there is none, and where none is to be passed over.
        """
        bad = np.array([i for i, _ in decoded.unread])
        good = np.setdiff1d(np.arange(len(index)), bad)
        known = {image.name for image in self.skipped}
        for i, reason in decoded.unread:
            image = Skipped(self.name(int(index[i])), reason)
            if self.strict:
                raise strictly(image)
            if image.name not in known:
                self.skipped.append(image)
        if not len(good):
            raise InputError(f"none of {len(bad)} images in a row can be read; the last: {image.name} ({image.reason})")
        source = np.arange(len(index))
        source[bad] = good[np.searchsorted(good, bad) % len(good)]
        decoded.images[torch.from_numpy(bad)] = decoded.images[torch.from_numpy(source[bad])]
        return index[source], labels[source]

    def name(self, row: int) -> str:
        """What a row is called."""
        block = int(np.searchsorted(self.blocks.first, row, side="right")) - 1
        offset = row - int(self.blocks.first[block])
        return self.reader.name(int(self.blocks.unit[block]), int(self.blocks.start[block]) + offset)

    def sample(self) -> Iterator[Tensor]:
        """The first window of an order."""
        window = Walk(self.blocks, 0, 0, 1).window(0)[:SAMPLE]
        for fetched in self.fetches([Wanted(part) for part in np.array_split(window, -(-len(window) // 64))]):
            yield fetched.images

    def counts(self, num_classes: int) -> Tensor:
        """`int64 (K,)`: how many images each class has."""
        assert len(self.labels) == num_classes
        return self.labels

    def fingerprint(self) -> bytes:
        """The shards' names, and their rows and classes."""
        words = hashlib.blake2b("/".join(Path(file).name for file in self.reader.files).encode(errors="replace"))
        for numbers in (*self.reader.units, *self.blocks, self.labels.numpy()):
            words.update(np.ascontiguousarray(numbers).tobytes())
        return words.digest()


class Walk:
    """The rows of an epoch's steps, worked out a window at a time."""

    def __init__(self, blocks: Blocks, seed: int, epoch: int, count: int) -> None:
        self.blocks, self.seed, self.epoch, self.count = blocks, seed, epoch, count
        self.total = int(blocks.rows.sum())
        turn = np.argsort(order(seed, epoch, int(blocks.unit.max()) + 1))
        self.sequence = np.lexsort((blocks.start, turn[blocks.unit]))
        starts = np.cumsum(blocks.rows[self.sequence]) - blocks.rows[self.sequence]
        self.heads = np.flatnonzero(np.diff(starts // WINDOW, prepend=-1))
        """Which block each window begins with,"""
        self.starts = starts[self.heads]
        """and at which place in the epoch."""
        self.window = lru_cache(maxsize=4)(self.rows_of)

    def __call__(self, step: int) -> Index:
        """The rows of a step; steps differ in size by at most one."""
        each, more = divmod(self.total, self.count)
        start = step * each + min(step, more)
        stop = start + each + (step < more)
        first = int(np.searchsorted(self.starts, start, side="right")) - 1
        last = int(np.searchsorted(self.starts, stop, side="left"))
        return np.concatenate(
            [self.window(w)[max(0, start - self.starts[w]) : stop - self.starts[w]] for w in range(first, last)]
        )

    def rows_of(self, window: int) -> Index:
        """The rows of a window in their order: as their random words have it, which are those of a set in memory."""
        stop = self.heads[window + 1] if window + 1 < len(self.heads) else None
        chosen = self.sequence[self.heads[window] : stop]
        blocks = zip(self.blocks.first[chosen], self.blocks.rows[chosen], strict=True)
        rows = np.sort(np.concatenate([np.arange(first, first + count) for first, count in blocks]))
        return rows[np.argsort(mix(self.seed, self.epoch, "order", rows.astype(np.uint64)), kind="stable")]


class Shelf:
    """Rows that are at hand, in blocks; those that have not been asked for longest make room for new ones."""

    def __init__(self, reader: Reader, blocks: Blocks, pool: ThreadPoolExecutor) -> None:
        self.reader, self.blocks, self.pool = reader, blocks, pool
        self.held: dict[int, list[Row]] = {}
        """The last asked for last."""
        self.opened: dict[int, tuple[int, Iterator[list[Row]]]] = {}
        """Units that are read from one end to the other: the next block of each, and what reads it."""

    def take(self, index: Index) -> list[Row]:
        """The rows at `index`."""
        blocks = np.searchsorted(self.blocks.first, index, side="right") - 1
        needed = np.unique(blocks)
        missing = needed[[block not in self.held for block in needed.tolist()]]
        units = np.unique(self.blocks.unit[missing])
        for read in self.pool.map(self.read, [missing[self.blocks.unit[missing] == unit] for unit in units]):
            self.held |= read
        for block in needed.tolist():
            self.held[block] = self.held.pop(block)
        while len(self.opened) > OPEN:
            self.opened.pop(next(iter(self.opened)))
        spare = sum(map(len, self.held.values())) - int(self.blocks.rows[needed].sum())
        while spare > WINDOW + BLOCK:
            spare -= len(self.held.pop(next(iter(self.held))))
        offsets = index - self.blocks.first[blocks]
        return [self.held[block][offset] for block, offset in zip(blocks.tolist(), offsets.tolist(), strict=True)]

    def read(self, missing: Index) -> dict[int, list[Row]]:
        """These blocks of a unit, and those that lie on the way."""
        unit, first, last = int(self.blocks.unit[missing[0]]), int(missing[0]), int(missing[-1])
        block, reading = self.opened.pop(unit, (last + 1, iter(())))
        if block > first:
            # From a window before it, since other steps of its window may want those.
            block = max(int(np.searchsorted(self.blocks.unit, unit)), first - WINDOW // BLOCK)
            reading = self.reader.rows(unit, int(self.blocks.start[block]))
        found = {}
        for number in range(block, last + 1):
            found[number] = next(reading, [])
            if len(found[number]) != self.blocks.rows[number]:
                raise InputError(f"{self.reader.name(unit, 0)}: its shard is not what it was when the run began")
        if last + 1 < len(self.blocks.unit) and self.blocks.unit[last + 1] == unit:
            self.opened[unit] = last + 1, reading
        return found


def heads_of(rows: Index, share: float) -> Index:
    """How many rows at the head of each unit, which have so many, are kept for validation."""
    wanted = min(max(1, round(share * int(rows.sum()))), MOST)
    spread = min(len(rows), wanted, max(SPREAD, -(-wanted // max(1, int(rows.mean())))))
    chosen = np.linspace(0, len(rows) - 1, spread).astype(np.int64)
    heads = np.zeros_like(rows)
    heads[chosen] = np.minimum(rows[chosen], [len(part) for part in np.array_split(np.arange(wanted), spread)])
    return heads
