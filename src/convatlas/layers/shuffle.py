"""Channel shuffle: Zhang, Zhou, Lin, Sun 2018 (ShuffleNet), Sec. 3.1."""

from torch import Tensor, nn


class ChannelShuffle(nn.Module):
    """`(N, g·n, H, W) -> (N, n·g, H, W)`: channel j of group i becomes channel i of group j.

    Reshape to (g, n), transpose, flatten: so each group of the next convolution gets channels of every group
    of the one before. Its inverse is the shuffle with n groups.
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """The same channels in another order."""
        n, c, h, w = x.shape
        return x.reshape(n, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(n, c, h, w)

    def extra_repr(self) -> str:
        """The groups."""
        return f"groups={self.groups}"
