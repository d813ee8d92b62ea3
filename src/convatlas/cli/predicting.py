"""`convatlas predict`."""

import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from convatlas.cli.words import Device, complain, parse, print_json, warnings_said
from convatlas.errors import InputError
from convatlas.wording import some


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """Say what pictures show, by a trained network's opinion."""

    run: Annotated[Positional[str], arg(metavar="RUN")]
    """The folder of a run, or org/name on the Hub."""
    pictures: Annotated[Positional[tuple[Path, ...]], arg(metavar="PICTURE")]
    """Files, and folders of files."""
    top: int = 3
    """How many classes to name for each picture, the likeliest first."""
    device: Device = "auto"
    """Where to compute."""
    engine: Literal["auto", "eager", "compiled", "openvino", "int8", "onnxruntime"] = "auto"
    """What runs the network; auto: for as many pictures as fill a batch, what `bench` found to be the fastest here."""
    precision: Literal["32", "bf16"] = "32"
    """In which numbers an engine that is named computes; int8 has its own."""
    json: bool = False
    """Print JSON."""
    csv: bool = False
    """Print a CSV table."""


@warnings_said()
def predict(words: list[str]) -> int:
    """Say what pictures show, by a trained network's opinion."""
    options = parse(PredictOptions, "predict", words)
    if options.top < 1:
        raise InputError(f"--top is at least 1, and not {options.top}")
    if options.json and options.csv:
        raise InputError("predict prints --json or --csv, and not both")
    paths = list(pictures(options.pictures))

    from convatlas.data.images import UnreadableImageError
    from convatlas.deploy.classifier import load
    from convatlas.deploy.engines import WORDS

    engine = None if options.engine == "auto" else options.engine
    classifier = load(options.run, device=options.device, engine=engine, precision=options.precision)
    answers = zip(paths, classifier.stream(paths, top=options.top), strict=True)
    unread = 0
    table = csv.writer(sys.stdout, lineterminator="\n")
    if options.csv:
        ranks = range(1, min(options.top, len(classifier.classes)) + 1)
        table.writerow(["file_name", *(head for rank in ranks for head in (f"label_{rank}", f"probability_{rank}"))])
    listed: list[dict[str, Any]] = []
    for path, answer in answers:
        if isinstance(answer, UnreadableImageError):
            unread += 1
            complain(answer, 0)
            listed.append({"file_name": str(path), "error": str(answer)})
            continue
        pairs = list(zip(answer.labels, answer.probabilities, strict=True))
        listed.append({"file_name": str(path), "predictions": [{"label": c, "probability": p} for c, p in pairs]})
        if options.csv:
            table.writerow([path, *(value for label, p in pairs for value in (label, f"{p:.6f}"))])
        elif not options.json:
            print(f"{path}  " + "  ".join(f"{label} {100 * p:.1f} %" for label, p in pairs))
    if options.json:
        print_json(listed)
    if set(classifier.answered) - {("eager", "32")}:
        shares = (
            f"{name} in {WORDS[numbers]}, {some(count, 'picture')}"
            for (name, numbers), count in classifier.answered.items()
        )
        complain(f"answered by {'; '.join(shares)}", 0)
    if unread == len(paths):
        raise InputError("none of the pictures can be read")
    return 0


def pictures(paths: Sequence[Path]) -> Iterator[Path]:
    """The files, and the images in the folders. Raises InputError where there are none."""
    from convatlas.data.folders import is_image, walk

    if not paths:
        raise InputError("predict needs pictures too: files, or folders of files")
    for path in paths:
        if path.is_dir():
            inside = [file for file in walk(path) if is_image(file)]
            if not inside:
                raise InputError(f"the folder {path} holds no images")
            yield from inside
        elif path.exists():
            yield path
        else:
            raise InputError(f"there is no file {path}")
