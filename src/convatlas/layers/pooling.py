"""Global average pooling: Lin, Chen, Yan 2013 (ICLR 2014), Sec. 3.2."""

from torch import Tensor, nn


class GlobalAveragePool(nn.Module):
    """`(N, C, H, W) -> (N, C)`: the mean of each map, whatever its size.

    It has "no parameter to optimize", and a network that ends in it takes images of more than one size. In NiN a map
    stands for a class, and its mean is the logit; later networks have a dense layer behind the means.
    """

    def forward(self, x: Tensor) -> Tensor:
        """z_c = Σ x_c / (H W)."""
        return x.mean((2, 3))
