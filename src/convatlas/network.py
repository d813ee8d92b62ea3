"""`Network`: a chain of named stages, and the walk through them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Level(NamedTuple):
    """A level of a pyramid: the last stage whose maps have this size."""

    stage: str
    channels: int
    stride: int
    """How many pixels of the image one of its units stands for, in each direction."""


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
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.auxiliary = None

    def walk(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Each stage's name and output, from the first to the classifier: the last output is the logits."""
        for name, stage in self.chain():
            x = stage(x)
            yield name, x

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, H, W) -> (N, num_classes)`: the logits.

        Raises ValueError for images of another shape than the network can take.
        """
        self.check_input(tuple(x.shape[1:]))
        for _, stage in self.chain():
            x = stage(x)
        return x

    def heads(self, x: Tensor) -> list[Tensor]:
        """`(N, C, H, W) -> [(N, num_classes), …]`: the logits, and after them those of each auxiliary classifier."""
        self.check_input(tuple(x.shape[1:]))
        auxiliary: Mapping[str, nn.Module] = {} if self.auxiliary is None else dict(self.auxiliary.items())
        answers = []
        for name, output in self.walk(x):
            if name in auxiliary:
                answers.append(auxiliary[name](output))
        return [output, *answers]

    def levels(self, size: tuple[int, int] | None = None) -> list[Level]:
        """The pyramid that the network is as a backbone, from the finest level to the coarsest.

        Found by a pass on the meta device, on images of `size` (height, width), or 224 or the least that it takes.
        """
        side = self.least_size if self.fixed_size else max(224, self.least_size)
        height, width = size or (side, side)
        with torch.device("meta"):
            make: Callable[..., Network] = type(self)  # a subclass takes its spec first
            twin = make(self.spec, num_classes=self.num_classes, in_channels=self.in_channels).eval()
            outputs = twin.pyramid(torch.empty(1, self.in_channels, height, width))
        return [Level(name, output.shape[1], round(height / output.shape[2])) for name, output in outputs.items()]

    def pyramid(self, x: Tensor) -> dict[str, Tensor]:
        """The outputs of the stages that `levels` names: `(N, channels, H/stride, W/stride)` each."""
        self.check_input(tuple(x.shape[1:]))
        found = {output.shape[2]: (name, output) for name, output in self.walk(x) if output.ndim == 4}
        return dict(level for height, level in found.items() if height > 1)

    def check_input(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError where images of `shape` (C, H, W) do not fit the network."""
        channels, size = shape[0], shape[1:]
        if len(size) != 2 or channels != self.in_channels:
            raise ValueError(
                f"{self.name} takes images of {self.in_channels} channel{'s' * (self.in_channels > 1)}, "
                f"and got the shape {shape}"
            )
        if self.fixed_size and size != (self.least_size, self.least_size):
            raise ValueError(
                f"{self.name} takes {self.least_size}×{self.least_size} images, for which its dense layers "
                f"are made, and got {size[0]}×{size[1]}"
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

    def reset_head(self, num_classes: int) -> None:
        """Put a new classifier for `num_classes` classes in the place of the old; the other stages stay as they are."""
        self.num_classes = num_classes
        device = next(self.parameters()).device
        setattr(self, self.stages[-1], self.classifier().to(device))
