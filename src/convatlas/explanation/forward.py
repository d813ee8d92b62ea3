"""The forward pass of a module on the meta device, where nothing is allocated; or, in a sentence, why there is none."""

import re
import traceback
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from convatlas.errors import InputError
from convatlas.explanation.operators import PADDING, POOLINGS
from convatlas.explanation.trace import Recorder, Size, Trace, attempt
from convatlas.network import Network

WINDOWED = ("convolution", *POOLINGS, *PADDING)
"""Operations that images can be too small for."""
SIZED = (RuntimeError, ValueError, AssertionError, ArithmeticError, IndexError)
"""What images of a wrong size can raise: a name that is not defined is so for images of every size."""
LARGEST = 1024
"""The side of the largest images that are tried."""
NEAR = 32
"""So many sides are tried one by one, in each direction."""


def trace(module: nn.Module, size: Size, *, device: str = "meta") -> Trace:
    """What `module` computes on one image of `size` (C, H, W), in evaluation, with its weights left as they are.

    Raises InputError where the module cannot be run so, with the module at which it stops.
    """
    recorder, error = attempt(module, size, device)
    if error is not None:
        raise InputError(refusal(module, size, device, recorder, error)) from error
    parameters = {name: parameter.numel() for name, parameter in module.named_parameters()}
    leaves = {path: part for path, part in module.named_modules() if not any(part.children())}
    return Trace((1, *size), recorder.operations, parameters, leaves, recorder.answers)


def refusal(module: nn.Module, size: Size, device: str, recorder: Recorder, error: Exception) -> str:
    """Why the pass ended, in a sentence: where, what came there and what is needed, and which images would do."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, ValueError) and not recorder.operations:  # the module's own check of its images
        if not isinstance(module, Network):
            return str(error)
        with unchecked(module):
            recorder, failure = attempt(module, size, device)
        return f"{error}: {stop(module, size, recorder, failure)}" if failure else str(error)
    if device == "meta" and re.search(r"(\b|_)meta\b", str(error), re.IGNORECASE):
        what = f"{recorder.name.strip('_')} in " if error is recorder.broken else ""
        where = f"{place(module, recorder, error)}{line(module, recorder, error)}"
        return f"{what}{where} needs numbers, and here none are computed; give real=True"
    said = stop(module, size, recorder, error)
    fits = fitting(module, size, recorder, error) if isinstance(error, SIZED) else ""
    return f"{said}; {fits}" if fits else said


def stop(module: nn.Module, size: Size, recorder: Recorder, error: Exception) -> str:
    """Where the pass ended, and by what."""
    where, images = place(module, recorder, error), "×".join(map(str, size))
    if error is recorder.broken and (mismatch := recorder.mismatch()):
        what, came, needed = mismatch
        return f"{where} takes {needed} {what}, and of images of {images} it gets {came}"
    words = " ".join(str(error).split()) or type(error).__name__
    return f"images of {images} get as far as {where}{line(module, recorder, error) or ','} which says: {words}"


def innermost(recorder: Recorder, error: Exception) -> str:
    """The path of the innermost module that was open when the error rose."""
    return recorder.where if error is recorder.error else ""


def place(module: nn.Module, recorder: Recorder, error: Exception) -> str:
    """That module, as messages call it."""
    path = innermost(recorder, error)
    return f"{path} ({type(module.get_submodule(path)).__name__})" if path else "the network itself"


def line(module: nn.Module, recorder: Recorder, error: Exception) -> str:
    """Where in that module's code the error rose, as `, at line 12 of net.py,`; of one of torch's own, nothing."""
    part = module.get_submodule(innermost(recorder, error))
    folders = [Path(torch.__file__).parent, Path(__file__).parent]
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not any(Path(frame.filename).is_relative_to(folder) for folder in folders)
    ]
    if type(part).__module__.startswith("torch.") or not frames:
        return ""
    return f", at line {frames[-1].lineno} of {Path(frames[-1].filename).name},"


@contextmanager
def unchecked(network: Network) -> Iterator[None]:
    """A network that takes the images as far as it can, without asking whether they fit."""
    network.check_input = lambda _: None  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        del network.check_input


def fitting(module: nn.Module, size: Size, recorder: Recorder, error: Exception) -> str:
    """Which square images the module takes, found by trying, in words; "" where none were found.

    Where a layer gets too little or too much, all smaller or all larger images fail too, and each try tells of half of
    the sizes that are left. Any other failure says nothing of other sizes: then the nearest ones are tried.
    """
    sides, uneven = range(1, LARGEST + 1), verdict(recorder, error) is None

    def too_large(side: int) -> int:
        """−1 where the image is too small, 0 where it fits, 1 where it is too large."""
        nonlocal uneven
        recorder, error = attempt(module, (size[0], side, side), "meta")
        told = 0 if error is None else verdict(recorder, error)
        uneven = uneven or told is None
        return told or 0

    if not uneven:
        least = bisect_left(sides, 0, key=too_large)
        most = bisect_right(sides, 0, lo=least, key=too_large) - 1
        if not uneven:
            return between(size[0], sides[least], sides[most]) if least <= most else ""
    below, above = (next((side for side in near if fits(module, (size[0], side, side))), None) for near in nearby(size))
    found = [f"{size[0]}×{side}×{side}" for side in dict.fromkeys((below, above)) if side]
    return f"images of {' and '.join(found)} fit" if found else ""


def verdict(recorder: Recorder, error: Exception) -> int | None:
    """−1 where a layer got too little, 1 where more came to one than it takes; None where an error tells neither."""
    if error is not recorder.broken:
        return None
    if mismatch := recorder.mismatch():
        _, came, needed = mismatch
        return 1 if came > needed else -1
    return -1 if recorder.name in WINDOWED else None


def between(channels: int, least: int, most: int) -> str:
    """`images of 3×99×99 to 3×114×114 fit`; up to the largest that were tried, all of which fit, `and more`."""
    ends = [f"{channels}×{side}×{side}" for side in (least, most)]
    more = "" if least == most else " and more" if most == LARGEST else f" to {ends[1]}"
    return f"images of {ends[0]}{more} fit"


def nearby(size: Size) -> tuple[list[int], list[int]]:
    """Sides below, and from there on: first all that are near those of `size`, then the multiples of 32."""
    small, large = min(size[1:]), max(size[1:])
    below = [*range(small, max(small - NEAR, 0), -1), *range((small - NEAR) // 32 * 32, 0, -32)]
    above = [*range(small + 1, large + NEAR), *range(-(-(large + NEAR) // 32) * 32, LARGEST + 1, 32)]
    return below, above


def fits(module: nn.Module, size: Size) -> bool:
    """Whether the module takes images of that size."""
    return attempt(module, size, "meta")[1] is None
