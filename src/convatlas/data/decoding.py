"""Decoding: all images once, to see which can be read, and then some steps ahead of their turn, in other processes."""

import hashlib
import os
import signal
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from convatlas.data.held import Index
from convatlas.data.images import Fit, Raw, UnreadableImageError, picture, reason
from convatlas.data.source import Part, Skipped
from convatlas.data.windows import Windows
from convatlas.devices import cores
from convatlas.errors import InputError

Job = TypeVar("Job")
Result = TypeVar("Result")
OnImages = Callable[[int, int], None]
"""Told (decoded, of how many) as decoding goes on."""

BLOCK = 4096
"""How many encoded images are held at once while they are looked through."""
AHEAD = 2
"""How many jobs a process has waiting for it."""


class Looked(NamedTuple):
    """What a part is made of."""

    kept: Index
    """Of its images, those that can be read."""
    digests: NDArray[np.uint64]
    """(N, 2): their hashes."""
    skipped: Sequence[Skipped]


def look_through(
    part: Part,
    *,
    make: Callable[[Raw], NDArray[np.uint8]],
    keep: Callable[[int, NDArray[np.uint8], NDArray[np.uint64]], None] | None,
    strict: bool,
    on_images: OnImages | None,
) -> Looked:
    """Read, hash and `make` pixels of every image of a part, which are handed to `keep`: number, pixels and hash.

    Several threads do so. Raises InputError with `strict` for an image that cannot be read.
    """
    digests = np.empty((len(part), 2), np.uint64)
    skipped: dict[int, Skipped] = {}

    def one(job: tuple[int, Raw]) -> None:
        index, raw = job
        try:
            stored = stored_bytes(raw)
            pixels = make(stored if isinstance(raw, str | Path) else raw)
        except (UnreadableImageError, OSError) as error:
            skipped[index] = Skipped(part.names[index], reason(error))
            return
        digests[index] = digest(stored)
        if keep is not None:
            keep(index, pixels, digests[index])

    with warnings.catch_warnings(), ThreadPoolExecutor(cores()) as pool:
        warnings.simplefilter("ignore")  # of odd EXIF and large images, which are read all the same
        for start in range(0, len(part), BLOCK):
            jobs = [(i, part.images[i]) for i in range(start, min(start + BLOCK, len(part)))]
            for _ in pool.map(one, jobs):
                pass
            if on_images is not None:
                on_images(start + len(jobs), len(part))
            if strict and skipped:
                raise strictly(skipped[min(skipped)])
    kept = np.setdiff1d(np.arange(len(part)), np.fromiter(skipped, np.int64, len(skipped)))
    return Looked(kept, digests[kept], [skipped[i] for i in sorted(skipped)])


def strictly(image: Skipped) -> InputError:
    """What to say of an unreadable image where none is to be passed over."""
    return InputError(
        f"{image.name} cannot be read as an image: {image.reason}; leave out --strict to pass over such files"
    )


def stored_bytes(raw: Raw) -> bytes:
    """An image's bytes as it was stored: the file's, or the array's. Raises UnreadableImageError of an empty one."""
    if isinstance(raw, str | Path):
        raw = Path(raw).read_bytes()
    stored = raw if isinstance(raw, bytes) else np.asarray(raw).tobytes()
    if not stored:
        raise UnreadableImageError("the file is empty")
    return stored


def digest(stored: bytes) -> NDArray[np.uint64]:
    """(2,): two words of a hash."""
    return np.frombuffer(hashlib.blake2b(stored, digest_size=16).digest(), np.uint64)


# --------------------------------------------------------------------------- ahead of their turn


class Decoded(NamedTuple):
    """Images that were decoded together."""

    images: Tensor
    """uint8 (N, C, H, W), the channels last in memory; those that cannot be read are black."""
    unread: Sequence[tuple[int, str]]
    """Which those are, and why."""


def decode_all(stored: Sequence[Raw], size: tuple[int, int, int], fit: Fit, windows: Windows | None = None) -> Decoded:
    """All these images, or a window of each, one after another."""
    channels, height, width = size
    images, unread = np.empty((len(stored), height, width, channels), np.uint8), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i, raw in enumerate(stored):
            try:
                images[i] = picture(raw, size, fit, None if windows is None else windows[i])
            except (UnreadableImageError, OSError) as error:
                images[i] = 0
                unread.append((i, reason(error)))
    return Decoded(torch.from_numpy(images).permute(0, 3, 1, 2), unread)


def one_a_core(workers: int | None) -> int:
    """So many processes as were asked for, or one for each core of this process's share of the machine."""
    if workers is not None:
        return workers
    return max(1, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def in_processes(
    work: Callable[[Job], Result], jobs: Iterable[Job], *, workers: int, device: torch.device
) -> Iterator[Result]:
    """What `work` makes of each job, in their order, by so many processes (0: by this one) and ahead of need.

    Tensors come in shared memory, page-locked where they are meant for a GPU. The processes end when the iterator
    does, and when this process dies. Raises InputError where one of them dies.
    """
    with warnings.catch_warnings():
        # Of more processes than cores, and of threads in a process that forks, of which none waits for ours.
        warnings.simplefilter("ignore")
        loader = DataLoader(
            _Work(work), batch_size=None, sampler=jobs, num_workers=workers, collate_fn=_as_it_is,
            prefetch_factor=AHEAD if workers else None, pin_memory=device.type == "cuda",
            worker_init_fn=_undisturbed, generator=torch.Generator(),  # or else torch's own would be drawn from
        )  # fmt: skip
        results = iter(loader)
    try:
        yield from results
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise InputError(
            f"a process that decodes images has died ({' '.join(str(error).split())}), for want of memory, or since "
            "a file was cut short while it was read; choose fewer --workers, and go on with convatlas resume"
        ) from error


def made_ahead(items: Iterator[Result], count: int) -> Generator[Result]:
    """The same items, of which the next few are made by a thread while the last one is used."""
    end = object()
    with ThreadPoolExecutor(1) as pool:
        pending = deque(pool.submit(next, items, end) for _ in range(count))
        try:
            while (item := pending.popleft().result()) is not end:
                pending.append(pool.submit(next, items, end))
                yield item  # type: ignore[misc]
        finally:
            pool.shutdown(cancel_futures=True)


class _Work(Dataset[Any]):
    def __init__(self, work: Callable[[Any], Any]) -> None:
        self.work = work

    def __getitem__(self, job: Any) -> Any:
        return self.work(job)


def _as_it_is(result: Any) -> Any:
    return result


def _undisturbed(_: int) -> None:
    """Leave an interrupt, which a terminal sends to all processes, to the one that trains: it ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
