"""`Network`: a chain of named stages, and the walk through them."""

from collections.abc import Iterator
from typing import Any, ClassVar

from torch import Tensor, nn


class Network(nn.Module):
    """A classifier that is a chain: its children, in the order of their registration, are its stages.

    The stages carry the paper's names; the last is the classifier. A subclass builds its stages and says
    what it can take; everything else about a network is read off that chain.
    """

    fixed_size: ClassVar[bool] = False
    """Whether a dense layer fixes the size of the image."""
    least_size: ClassVar[int] = 1
    """The least height and width, in pixels."""

    spec: Any
    name: str = "network"
    num_classes: int
    in_channels: int

    def __init__(self, *, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.in_channels = in_channels

    def walk(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Each stage's name and output, from the first to the classifier: the last output is the logits."""
        for name, stage in self.named_children():
            x = stage(x)
            yield name, x

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, H, W) -> (N, num_classes)`: the logits.

        Raises ValueError for images of another shape than the network can take.
        """
        self.check_input(tuple(x.shape[1:]))
        for stage in self.children():
            x = stage(x)
        return x

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

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the stages, in order."""
        return tuple(name for name, _ in self.named_children())

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
