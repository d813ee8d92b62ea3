"""Local response normalisation: Krizhevsky, Sutskever, Hinton 2012, Sec. 3.3."""

import torch
from torch import Tensor, nn


class LocalResponseNorm(nn.LocalResponseNorm):
    """`(N, C, H, W) -> (N, C, H, W)`: b = a / (k + α Σ a²)^β, where the sum is over `size` neighbouring channels.

    α multiplies the plain sum, as in the paper; torch and Caffe multiply the mean, which is `size` times less.
    """

    def __init__(self, size: int = 5, *, k: float = 2.0, alpha: float = 1e-4, beta: float = 0.75) -> None:
        super().__init__(size, alpha=alpha * size, beta=beta, k=k)

    def forward(self, x: Tensor) -> Tensor:
        """In single precision at least: the square of what is above 255 is more than a float16 holds."""
        wide = torch.promote_types(x.dtype, torch.float32)
        return super().forward(x.to(wide)).to(x.dtype)
