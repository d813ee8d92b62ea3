"""`Network`: a chain of named stages, and the walk through them."""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Level(NamedTuple):
    """A level of a pyramid: a stage, and what a feature map of it is beside the image."""

    stage: str
    channels: int
    stride: int
    """How many pixels of the image one of its units stands for, in each direction."""


class Answers(NamedTuple):
    """What a network answers in training, `(N, num_classes)` each."""

    logits: Tensor
    auxiliary: tuple[Tensor, ...]


class Network(nn.Module):
    """A classifier that is a chain: its children, in the order of their registration, are its stages.

    The stages carry the paper's names; the last is the classifier. A subclass builds its stages and says
    what it can take; everything else about a network is read off that chain. A child called `auxiliary` is no
    stage: it holds classifiers that hang on the stages they are named after, and help in training alone.
    """

    fixed_size: bool = False
    """Whether a dense layer fixes the size of the image."""
    least_size: int = 1
    """The least height and width, in pixels."""

    spec: Any
    name: str = "network"
    num_classes: int
    in_channels: int
    auxiliary: nn.ModuleDict | None

    def __init__(self, *, num_classes: int, in_channels: int) -> None:
        super().__init__()
        check_count("num_classes", num_classes)
        check_count("in_channels", in_channels)
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.auxiliary = None

    def walk(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Each stage's name and output, from the first to the classifier: the last output is the logits.

        Raises ValueError for images of another shape than the network can take.
        """
        self.check_batch(x)
        for name, stage in self.chain():
            x = stage(x)
            yield name, x

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, H, W) -> (N, num_classes)`: the logits.

        Raises ValueError for images of another shape than the network can take.
        """
        self.check_batch(x)
        for _, stage in self.chain():
            x = stage(x)
        return x

    def heads(self, x: Tensor) -> Answers:
        """`(N, C, H, W)` to the logits, and those of the auxiliary classifiers, `(N, num_classes)` each.

        Raises ValueError for images of another shape than the network can take.
        """
        classifiers: Mapping[str, nn.Module] = {} if self.auxiliary is None else dict(self.auxiliary.items())
        answers = []
        for name, output in self.walk(x):
            if name in classifiers:
                answers.append(classifiers[name](output))
        return Answers(output, tuple(answers))

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        """The pyramid that the network is as a backbone, from the finest level to the coarsest.

        Of the stages whose maps have one size, the last is the level; a stage of 1×1 maps is none.
        """
        # Two images on the meta device say the strides exactly: without padding, maps are smaller than image / stride.
        side = self.least_size if self.fixed_size else max(224, self.least_size)
        more = 192  # a multiple of every product of strides there is
        with torch.device("meta"):
            make: Callable[..., Network] = type(self)  # a subclass takes its spec first
            twin = make(self.spec, num_classes=self.num_classes, in_channels=self.in_channels).eval()
            maps = {name: y for name, y in twin.walk(torch.empty(1, self.in_channels, side, side)) if y.ndim == 4}
            last = {y.shape[2]: name for name, y in maps.items() if y.shape[2] > 1}
            x = torch.empty(1, self.in_channels, side + more, side + more)
            found = []
            for name, stage in islice(twin.chain(), len(maps)):  # further on, a dense layer may fix the size
                x = stage(x)
                if name in last.values():
                    found.append(Level(name, x.shape[1], more // (x.shape[2] - maps[name].shape[2])))
        return tuple(found)

    def pyramid(self, x: Tensor) -> dict[str, Tensor]:
        """`(N, C, H, W)` to the outputs of the stages in `levels`: `(N, channels, ~H/stride, ~W/stride)` each.

        Raises ValueError for images of another shape than the network can take.
        """
        names = {level.stage for level in self.levels}
        return {name: output for name, output in self.walk(x) if name in names}

    def check_batch(self, x: Tensor) -> None:
        """Raise ValueError unless `x` is a batch of images (N, C, H, W) that fit the network."""
        if x.ndim != 4:
            raise ValueError(f"{self.name} takes a batch of images (N, C, H, W), and got the shape {tuple(x.shape)}")
        self.check_input(tuple(x.shape[1:]))

    def check_input(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError where images of `shape` (C, H, W) do not fit the network."""
        channels, *size = shape
        if channels != self.in_channels:
            raise ValueError(
                f"{self.name} takes images of {self.in_channels} channel{'s' * (self.in_channels > 1)}, "
                f"and got the shape {shape}"
            )
        if self.fixed_size and size != [self.least_size, self.least_size]:
            raise ValueError(
                f"{self.name} takes {self.least_size}×{self.least_size} images, for which it is made, "
                f"and got {size[0]}×{size[1]}"
            )
        if min(size) < self.least_size:
            raise ValueError(
                f"{self.name} needs images of at least {self.least_size}×{self.least_size} pixels, "
                f"and got {size[0]}×{size[1]}"
            )

    def chain(self) -> Iterator[tuple[str, nn.Module]]:
        """The stages under their names, in order."""
        return ((name, stage) for name, stage in self.named_children() if name != "auxiliary")

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the stages, in order."""
        return tuple(name for name, _ in self.chain())

    def initialize(self) -> None:
        """Draw the weights as the paper does, from torch's global generator."""
        raise NotImplementedError

    def classifier(self) -> nn.Module:
        """A new, freshly drawn classifier for `num_classes` classes: the last stage."""
        raise NotImplementedError

    def auxiliary_classifiers(self) -> nn.ModuleDict | None:
        """New, freshly drawn auxiliary classifiers, under the names of the stages that they hang on, or none."""
        return None

    def reset_head(self, num_classes: int) -> None:
        """Put new classifiers for `num_classes` classes in the place of the old; the other stages stay as they are.

        Raises ValueError unless there is at least one class.
        """
        check_count("num_classes", num_classes)
        self.num_classes = num_classes
        like = next(self.parameters())
        setattr(self, self.stages[-1], self.classifier().to(like).train(self.training))
        if self.auxiliary is not None:
            auxiliary = self.auxiliary_classifiers()
            assert auxiliary is not None
            self.auxiliary = auxiliary.to(like).train(self.training)


def check_count(name: str, value: int) -> None:
    """Raise ValueError unless `value` is a whole number of at least 1."""
    if type(value) is not int or value < 1:
        raise ValueError(f"{name} is a whole number of at least 1, and not {value!r}")
