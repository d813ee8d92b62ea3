"""Streaming past memory: images a second and resident memory, for data sets of growing size; memory has to stay flat.

    python benchmarks/streaming_memory.py [--rows 10000 100000 1000000] [--images 100000] [--whole] [--json FILE]

Each data set is synthetic: a few thousand JPEG encodings of 32×32 pixels, in turn, in Parquet files of 10,000 rows. So
many images are streamed of each, in as many epochs as they take or in a part of one, as training does it, in batches
of 256 with flips and crops, in a process of its own. Resident memory is that of this process, with what its workers
have for themselves, looked at once a second; not in the time are the writing of the data set, and the counting of its
labels with the reading of its validation part.
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import chain, count
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
from PIL import Image
from pyarrow import parquet

from training_speed import machine

ENCODINGS = 4_000
ROWS = 10_000
"""Of a file."""
GROUP = 1_000
"""Of a row group."""
CLASSES = 10
FLAT = 1.25
"""Times the memory of the smallest data set that the largest may take. The same one, measured again, takes up to a
seventh more or less: in what pieces the C library keeps freed memory is a matter of chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Streaming:
    """How one data set was streamed; memory in MiB."""

    rows: int
    megabytes: int
    """On disk."""
    streamed: int
    """Images."""
    epochs: float
    seconds: float
    images_per_second: float
    first: float
    """Resident after a tenth of the way,"""
    last: float
    """at its end,"""
    most: float
    """and at most."""
    counting: float
    """Seconds that counting the labels took, with the validation part."""


def encodings() -> pa.Array:
    """Smooth noise of 32×32 pixels, as JPEG."""
    random, files = np.random.default_rng(0), []
    for _ in range(ENCODINGS):
        coarse = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        file = io.BytesIO()
        coarse.resize((32, 32), Image.Resampling.BICUBIC).save(file, "jpeg")
        files.append(file.getvalue())
    return pa.array(files, pa.binary())


def write_set(folder: Path, rows: int) -> None:
    """A data set of so many rows."""
    import datasets

    names = [f"class {i}" for i in range(CLASSES)]
    schema = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)}).arrow_schema
    pictures = encodings()
    for start in range(0, rows, ROWS):
        numbers = np.arange(start, min(start + ROWS, rows))
        stored = pictures.take(pa.array(numbers % ENCODINGS))
        paths = pa.array([f"{number}.jpg" for number in numbers])
        image = pa.StructArray.from_arrays([stored, paths], names=["bytes", "path"])
        table = pa.Table.from_arrays([image, pa.array(numbers % CLASSES, pa.int64())], schema=schema)
        parquet.write_table(
            table, folder / f"train-{start // ROWS:05d}.parquet", row_group_size=GROUP, use_dictionary=False
        )


def resident() -> float:
    """MiB of this process, and what its children have for themselves."""
    this = psutil.Process()
    children = 0
    for child in this.children(recursive=True):
        with suppress(psutil.Error):  # it has just ended
            children += child.memory_full_info().uss
    return (this.memory_info().rss + children) / 2**20


def stream(folder: Path, *, wanted: int, workers: int) -> Streaming:
    """Stream so many images as a training run would."""
    from convatlas.data import Preparation, load_splits, open_data
    from convatlas.data.batches import Augmentation, Batches
    from convatlas.training.machine import keep_freed_memory

    keep_freed_memory()
    began = time.perf_counter()
    size = (3, 32, 32)
    shards = open_data(str(folder), label_column=None, loading="stream")
    splits = load_splits(shards, size=size, fit="crop", validation=0.1, loading="stream", workers=workers)
    counting = time.perf_counter() - began
    batches = Batches(
        pixels=splits.train, preparation=Preparation(size=size, mean=(0.5,) * 3, std=(0.25,) * 3),
        augmentation=Augmentation(flip=True, crop=4), batch_size=256, seed=0, channels_last=True,
    )  # fmt: skip
    images, held = 0, []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(1):
            held.append((images, resident()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    for step in chain.from_iterable(map(batches.epoch, count())):
        images += step.images
        if images >= wanted:
            break
    seconds = time.perf_counter() - began
    held.append((images, resident()))
    ended.set()
    watcher.join()
    return Streaming(
        rows=len(splits.train) + len(splits.val),
        megabytes=sum(file.stat().st_size for file in folder.iterdir()) // 2**20,
        streamed=images,
        epochs=round(images / len(splits.train), 2),
        seconds=round(seconds, 1),
        images_per_second=round(images / seconds),
        first=round(next(memory for done, memory in held if done >= images / 10)),
        last=round(held[-1][1]),
        most=round(max(memory for _, memory in held)),
        counting=round(counting, 1),
    )


def main() -> int:
    """Measure and print; 1 where memory grows with the data set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--images", type=int, default=100_000, help="streamed of each")
    parser.add_argument("--whole", action="store_true", help="an epoch of each at least")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.folder:
        print(json.dumps(asdict(stream(args.folder, wanted=args.images, workers=args.workers))))
        return 0

    about = machine()
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    results = []
    for rows in args.rows:
        with tempfile.TemporaryDirectory() as folder:
            write_set(Path(folder), rows)
            images = max(args.images, rows if args.whole else 0)
            words = ["--folder", folder, "--images", str(images), "--workers", str(args.workers)]
            done = subprocess.run([sys.executable, __file__, *words], check=True, stdout=subprocess.PIPE, text=True)
        result = Streaming(**json.loads(done.stdout))
        results.append(result)
        print(
            f"{rows:>10,} rows, {result.megabytes:>5,} MB   {result.images_per_second:>6,} images/s   resident MiB: "
            f"{result.first:,.0f} at a tenth, {result.last:,.0f} at the end, {result.most:,.0f} at most   "
            f"({result.epochs} epochs; labels counted in {result.counting} s)",
            flush=True,
        )
    grown = results[-1].most / results[0].most
    print(f"from {args.rows[0]:,} to {args.rows[-1]:,} rows: {grown:.2f} times the memory")
    if args.json:
        record = {"machine": about, "workers": args.workers, "sets": [asdict(result) for result in results]}
        args.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return int(grown > FLAT)


if __name__ == "__main__":
    sys.exit(main())
