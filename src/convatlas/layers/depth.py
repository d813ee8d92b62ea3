"""Stochastic depth: Huang, Sun, Liu, Sedra, Weinberger 2016, Sec. 3."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class StochasticDepth(nn.Module):
    """A residual branch that is passed through with probability `survival`, a draw a batch, and else is 0.

    In training `b · f(x)` (Eq. 2), and where b = 0 the branch is not computed at all, which is where the paper's
    quarter of the training time is saved; in evaluation `survival · f(x)` (Eq. 5), so that the two agree on average.
    In a compiled graph, which cannot depend on a draw, the branch is always computed and multiplied by b: its
    gradients are then 0 instead of none, and its batch norms see the batches that it is dropped for.
    """

    generator: torch.Generator | None = None
    """What draws, where it is not torch's own: so that processes which share a step drop the same branches."""

    def __init__(self, survival: float) -> None:
        super().__init__()
        self.survival = survival

    def forward(self, branch: Callable[[Tensor], Tensor], x: Tensor) -> Tensor | None:
        """What the branch adds to the shortcut, or None where it is dropped."""
        if not self.training:
            return self.survival * branch(x)
        if torch.compiler.is_compiling():
            return branch(x) * (torch.rand((), device=x.device) < self.survival)
        return branch(x) if torch.rand((), generator=self.generator).item() < self.survival else None

    def extra_repr(self) -> str:
        """The probability."""
        return f"survival={self.survival:.4g}"


def linear_rule(blocks: int, last: float) -> list[float]:
    """p_l = 1 − l / L · (1 − p_L) for l = 1 … L: early blocks nearly always survive (Eq. 4)."""
    return [1 - block / blocks * (1 - last) for block in range(1, blocks + 1)]
