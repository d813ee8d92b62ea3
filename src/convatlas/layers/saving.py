"""Memory for time: what is cheap is computed again in the backward pass, and not kept for it.

Chen, Xu, Zhang, Guestrin 2016, "Training deep nets with sublinear memory cost"; for DenseNet, whose normalised
concatenations are what fills the memory, Pleiss et al. 2017, "Memory-efficient implementation of DenseNets".
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def recomputed(function: Callable[..., Tensor], *inputs: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    """`function(*inputs)`, of whose inner results none is kept; nothing in it may be random.

    It runs again in the backward pass, and there only as far as a gradient needs: a convolution that ends it
    is not repeated. `norm` is the batch norm in it, whose running statistics see each batch once all the same.
    Without gradients, or under torch.compile, which plans its memory by itself, it is a plain call.
    """
    if not torch.is_grad_enabled() or torch.compiler.is_compiling():
        return function(*inputs)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), still(norm)

    return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)  # type: ignore[no-any-return]


@contextmanager
def still(norm: nn.BatchNorm2d) -> Iterator[None]:
    """Within it the norm's running statistics stay as they are."""
    momentum, batches = norm.momentum, norm.num_batches_tracked
    # A momentum of 0 keeps mean and variance. To tell it to track nothing would save other tensors than in
    # the forward pass, which a checkpoint refuses.
    norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        norm.momentum, norm.num_batches_tracked = momentum, batches
