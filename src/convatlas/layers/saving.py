"""Memory for time: what is cheap is computed again in the backward pass, and not kept for it.

Chen, Xu, Zhang, Guestrin 2016, "Training deep nets with sublinear memory cost"; for DenseNet, whose normalised
concatenations are what fills the memory, Pleiss et al. 2017, "Memory-efficient implementation of DenseNets".
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import Function
from torch.utils.checkpoint import checkpoint


def recomputed(function: Callable[..., Tensor], *inputs: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    """`function(*inputs)`, of whose inner results none is kept; nothing in it may be random.

    It runs again in the backward pass, and there only as far as a gradient needs: a convolution that ends it
    is not repeated. `norm` is the batch norm in it, whose running statistics see each batch once all the same.
    Without gradients, or under torch.compile, which plans its memory by itself, it is a plain call.
    """
    if not torch.is_grad_enabled() or torch.compiler.is_compiling():
        return function(*inputs)
    # On a processor the statistics of a batch take longer than all else that is computed again; cuDNN is quick at them.
    remembers = type(norm) is nn.BatchNorm2d and norm.training and inputs[0].device.type == "cpu"
    statistics: list[Tensor] = []

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        if remembers:
            return remembering(norm, statistics), remembering(norm, statistics)
        return nullcontext(), still(norm)

    return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)  # type: ignore[no-any-return]


@contextmanager
def remembering(norm: nn.BatchNorm2d, statistics: list[Tensor]) -> Iterator[None]:
    """Within it the norm leaves a batch's mean and deviation in the list, or takes them from there if it has them."""

    def forward(x: Tensor) -> Tensor:
        return Normalized.apply(x, norm.weight, norm.bias, norm, statistics)  # type: ignore[no-any-return, no-untyped-call]

    norm.forward = forward  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        del norm.forward


class Normalized(Function):
    """Batch normalisation on a processor, to the bit as torch has it, whose statistics need not be found twice."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, norm: nn.BatchNorm2d, statistics: list[Tensor]
    ) -> Tensor:
        """(N, C, H, W), of mean `bias` and deviation `weight`; the list has the batch's mean and 1 / deviation, or
        gets them.
        """
        if statistics:
            mean, scale = statistics
            one = torch.ones_like(scale)  # as deviation, so that torch multiplies by weight · scale as it did before
            y, *_ = torch.native_batch_norm(x, weight * scale, bias, mean, one, False, 0.0, 0.0)
        else:
            assert norm.num_batches_tracked is not None
            assert norm.momentum is not None
            norm.num_batches_tracked += 1
            average = (norm.running_mean, norm.running_var)
            y, mean, scale = torch.native_batch_norm(x, weight, bias, *average, True, norm.momentum, norm.eps)
            statistics += [mean, scale]
        ctx.eps = norm.eps
        ctx.save_for_backward(x, weight, mean, scale)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of x, weight and bias, as torch has them."""
        x, weight, mean, scale = ctx.saved_tensors
        wanted = list(ctx.needs_input_grad[:3])
        gradients = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, None, None, mean, scale, True, ctx.eps, wanted
        )
        return (*gradients, None, None)


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
