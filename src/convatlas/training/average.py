"""A moving average of the weights: Polyak and Juditsky 1992."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def averaged(network: nn.Module, decay: float) -> AveragedModel:
    """A copy of the network that follows it: at each update it keeps `decay` of itself, and takes the rest.

    Averages of batch normalisation are followed too. In the first steps it keeps less, (1 + n) / (10 + n) at step n, so
    that it does not hold on to weights that were drawn.
    """

    def follow(average: Any, now: Any, updates: Tensor | int) -> None:
        kept = min(decay, (1 + int(updates)) / (10 + int(updates)))
        if torch.is_floating_point(average[0]):
            torch._foreach_lerp_(average, now, 1 - kept)
        else:
            torch._foreach_copy_(average, now)  # a count of batches

    return AveragedModel(network, multi_avg_fn=torch.no_grad()(follow), use_buffers=True)
