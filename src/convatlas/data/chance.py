"""Random numbers that are a function of where they are used: (seed, epoch, index, draw).

No generator is carried along, so the same image gets the same crop in the same epoch whichever process
reads it and however often the run was stopped in between.
"""

import zlib

import numpy as np
import torch
from numpy.typing import NDArray

Words = NDArray[np.uint64]


def mix(*keys: int | str | Words) -> Words:
    """64 well-mixed bits for the keys, elementwise where a key is an array.

    Each key is added to the state and stirred by SplitMix64's finaliser (Steele, Lea, Flood 2014).
    """
    state = np.zeros(1, dtype=np.uint64)
    for key in keys:
        if isinstance(key, str):
            key = zlib.crc32(key.encode())
        word = key if isinstance(key, np.ndarray) else np.array([key & (2**64 - 1)], dtype=np.uint64)
        state = (state ^ word) + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    return state


def uniform(seed: int, epoch: int, index: NDArray[np.int64], draw: str) -> NDArray[np.float64]:
    """`(N,) -> (N,)`: a number in [0, 1) for each index; `draw` names what it is for."""
    bits = mix(seed, epoch, draw, index.astype(np.uint64))
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def whole(
    seed: int, epoch: int, index: NDArray[np.int64], draw: str, *, below: int | NDArray[np.int64]
) -> NDArray[np.int64]:
    """`(N,) -> (N,)`: a whole number in [0, below) for each index."""
    return (uniform(seed, epoch, index, draw) * below).astype(np.int64)


def normal(seed: int, epoch: int, index: NDArray[np.int64], draw: str) -> NDArray[np.float64]:
    """`(N,) -> (N,)`: a number from the standard normal distribution for each index."""
    from scipy.special import ndtri

    drawn: NDArray[np.float64] = ndtri(uniform(seed, epoch, index, draw) + 2.0**-55)  # at 0 it has no value
    return drawn


def beta(seed: int, epoch: int, index: NDArray[np.int64], draw: str, *, alpha: float) -> NDArray[np.float64]:
    """`(N,) -> (N,)`: a number from Beta(alpha, alpha), which is in [0, 1], for each index."""
    from scipy.special import betaincinv

    drawn: NDArray[np.float64] = betaincinv(alpha, alpha, uniform(seed, epoch, index, draw))
    return drawn


def order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """A permutation of `count` indices for the epoch: sorted by their random words."""
    return np.argsort(mix(seed, epoch, "order", np.arange(count, dtype=np.uint64)), kind="stable")


def seed_torch(*keys: int | str) -> None:
    """Set torch's generators, from which initial weights and dropout are drawn, by the keys."""
    seed = int(mix(*keys)[0] >> np.uint64(1))
    # torch.manual_seed takes a millisecond where no GPU is in use: it keeps a traceback for each, in case one will be.
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(seed)
