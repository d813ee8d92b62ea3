"""What training and evaluation ask of a part's images, however they are held: decoded, as stored, or in shards."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import ClassVar, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convatlas.data.chance import order
from convatlas.data.source import Skipped
from convatlas.data.windows import Cut

Index = NDArray[np.int64]
CPU = torch.device("cpu")
SAMPLE = 4096
"""How many images stand for all, where measuring all would mean decoding all."""


class Wanted(NamedTuple):
    """Images that are asked for."""

    which: Index
    """(N,): of the part's images."""
    cut: Cut | None = None
    """What windows of them are wanted; None: they themselves."""


class Fetched(NamedTuple):
    """Images whose turn has come."""

    which: Index
    """(N,): of the part's images."""
    images: Tensor
    """uint8 (N, C, H, W)."""
    labels: Tensor
    """int64 (N,)."""


class Components(NamedTuple):
    """Along what the colours of images differ: what is left of their covariance in its own axes."""

    values: tuple[float, ...]
    """The eigenvalues, the largest first, of pixels scaled to 0…1."""
    vectors: tuple[tuple[float, ...], ...]
    """The eigenvector of each, of length 1: a number for each channel."""


class Held(ABC):
    """The images of a part and their classes."""

    __slots__ = ()
    sampled: ClassVar[str] = ""
    """Which images `sample` gives where there are many; empty: all."""
    skipped: Sequence[Skipped]
    """Images of the part that cannot be read, and are none of these."""

    @property
    @abstractmethod
    def size(self) -> tuple[int, int, int]:
        """C, H, W."""

    @abstractmethod
    def __len__(self) -> int:
        """How many images there are."""

    @abstractmethod
    def to(self, device: torch.device) -> Self:
        """The same, whose images come on `device`."""

    @abstractmethod
    def steps(self, seed: int, epoch: int, count: int) -> Callable[[int], Index]:
        """What finds the images of each of an epoch's `count` steps: all of them once, as (seed, epoch) says."""

    @abstractmethod
    def fetches(self, wanted: Iterable[Wanted]) -> Generator[Fetched]:
        """All that is wanted, in turn. It is asked for some steps ahead."""

    @abstractmethod
    def sample(self) -> Iterator[Tensor]:
        """`uint8 (N, C, H, W)`, several times: the images by which all are judged."""

    @abstractmethod
    def counts(self, num_classes: int) -> Tensor:
        """`int64 (K,)`: how many images each class has."""

    @abstractmethod
    def fingerprint(self) -> bytes:
        """What other images or labels have another of."""

    def gathered(self, index: Index) -> Index:
        """The images of a step in an order in which several processes had best share them, each some in a row."""
        return index

    def grey(self) -> bool:
        """Whether the images of the sample have no colours, though they may come in three channels."""
        return all(
            bool((some == some[:, :1]).all()) for images in self.sample() for some in torch.split(images, SAMPLE)
        )

    def moments(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation of each channel over the sample, of pixels scaled to 0…1, to four digits."""
        # A histogram of the 256 values is exact, and takes no float copy of the images.
        counts = torch.zeros(self.size[0], 256, dtype=torch.float64)
        for images in self.sample():
            for channel, count in enumerate(counts):
                count += torch.bincount(images[:, channel].flatten(), minlength=256).cpu()
        values, share = torch.arange(256, dtype=torch.float64) / 255, counts / counts.sum(1, keepdim=True)
        means = share @ values
        variances = (share * (values - means[:, None]) ** 2).sum(1)
        # Of images of one grey, the deviation is 0, by which nothing can be divided.
        deviations = variances.sqrt().clamp(min=0.01)
        return tuple(round(m, 4) for m in means.tolist()), tuple(round(d, 4) for d in deviations.tolist())

    def components(self) -> Components:
        """The principal components of the channels over the sample, to six digits."""
        pixels, (channels, *_) = 0, self.size
        sums, products = np.zeros(channels), np.zeros((channels, channels))
        for images in self.sample():
            for some in torch.split(images, max(1, 2**20 // images[0, 0].numel())):
                values = some.transpose(0, 1).flatten(1).double().cpu().numpy()
                # Of whole numbers below 2⁵³, so exact in any order.
                sums, products = sums + values.sum(1), products + values @ values.T
                pixels += values.shape[1]
        mean, square = sums / pixels, products / pixels
        eigenvalues, eigenvectors = np.linalg.eigh((square - np.outer(mean, mean)) / 255**2)
        vectors = eigenvectors.T[::-1]
        vectors = vectors * np.sign(vectors[np.arange(len(vectors)), np.abs(vectors).argmax(1)])[:, None]
        return Components(
            tuple(eigenvalues[::-1].clip(0).round(6).tolist()), tuple(map(tuple, vectors.round(6).tolist()))
        )


class Indexed(Held):
    """Images that can be had in any order, of which each has a name and a hash."""

    __slots__ = ()
    labels: Tensor
    """int64 (N,)."""
    names: Sequence[str]
    digests: NDArray[np.uint64]
    """(N, 2): a hash of each image as it was stored, by which splits are cut."""

    @abstractmethod
    def take(self, index: Index) -> Self:
        """The images at `index`, in its order."""

    @abstractmethod
    def at(self, index: Index) -> Tensor:
        """`uint8 (N, C, H, W)`: the images at `index`, here and now."""

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.labels)

    def steps(self, seed: int, epoch: int, count: int) -> Callable[[int], Index]:
        """What finds the images of each of an epoch's `count` steps, which differ in size by at most one."""
        return np.array_split(order(seed, epoch, len(self)), count).__getitem__

    def counts(self, num_classes: int) -> Tensor:
        """`int64 (K,)`: how many images each class has."""
        return self.labels.bincount(minlength=num_classes)

    def fingerprint(self) -> bytes:
        """The hashes and labels of all images, in their order."""
        return np.ascontiguousarray(self.digests).tobytes() + self.labels.numpy().tobytes()
