"""Memory for time: what is cheap is computed again in the backward pass, and not kept for it.

Chen, Xu, Zhang, Guestrin 2016, "Training deep nets with sublinear memory cost"; for DenseNet, whose normalised
concatenations are what fills the memory, Pleiss et al. 2017, "Memory-efficient implementation of DenseNets".
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import Function
from torch.utils.checkpoint import checkpoint


class Scratch:
    """Memory that the layers of a network write into, one after another: what none of them keeps.

    To allocate that anew for each layer, every time somewhat more of it, would leave holes between what is kept.
    """

    def __init__(self) -> None:
        self.buffers: dict[tuple[str, torch.dtype], Tensor] = {}
        self.most = 0
        """How many numbers the next layers write at most."""

    def __reduce__(self) -> tuple[type["Scratch"], tuple[()]]:
        return Scratch, ()  # a copy of the network has its own

    def like(self, x: Tensor, channels: int, *, use: str) -> Tensor:
        """(N, channels, H, W) for that use, of the type and layout of `x`; what was in it is lost."""
        count, _, height, width = x.shape
        numel = count * channels * height * width
        buffer = self.buffers.get((use, x.dtype))
        if buffer is None or len(buffer) < numel:
            self.buffers.pop((use, x.dtype), None)
            buffer = self.buffers[use, x.dtype] = x.new_empty(max(numel, self.most))
        view = buffer[:numel].view(count, channels, height, width)
        if not x.is_contiguous():
            view = buffer[:numel].view(count, height, width, channels).permute(0, 3, 1, 2)
        # As a tensor of its own: autograd would have a view of the buffer mean the buffer.
        return x.new_empty(0).set_(view.untyped_storage(), 0, view.shape, view.stride())


def composite(
    norm: nn.BatchNorm2d, relu: nn.ReLU, convolution: nn.Conv2d, *pieces: Tensor, scratch: Scratch | None
) -> Tensor:
    """The pieces (N, C, H, W) side by side, normalised, rectified and convolved: (N, out_channels, H', W').

    With scratch memory nothing is kept of what comes before the convolution: the backward pass computes it again. The
    norm's running statistics see each batch once all the same, and no number is another. Without gradients there is
    nothing to keep, and torch.compile plans its memory by itself.
    """

    def whole(*pieces: Tensor) -> Tensor:
        return convolution(relu(norm(side_by_side(pieces, scratch if lean else None))))  # type: ignore[no-any-return]

    saving = scratch is not None and torch.is_grad_enabled() and not torch.compiler.is_compiling()
    # A GPU's memory is not cut up by what comes and goes, and cuDNN is quick at statistics.
    plain = type(norm) is nn.BatchNorm2d and norm.track_running_stats and norm.momentum is not None
    lean = saving and plain and norm.training and pieces[0].device.type == "cpu"
    if not saving:
        return whole(*pieces)
    statistics: list[Tensor] = []

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        if scratch is not None and lean:
            return leanly(norm, relu, scratch, statistics), leanly(norm, relu, scratch, statistics)
        return nullcontext(), still(norm)

    return checkpoint(whole, *pieces, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)  # type: ignore[no-any-return]


def side_by_side(pieces: tuple[Tensor, ...], scratch: Scratch | None) -> Tensor:
    """The pieces (N, C, H, W) as one, (N, the sum of C, H, W), in scratch memory if that is given."""
    if len(pieces) == 1:
        return pieces[0]
    return torch.cat(pieces, dim=1) if scratch is None else Concatenated.apply(scratch, *pieces)  # type: ignore[no-untyped-call]


@contextmanager
def leanly(norm: nn.BatchNorm2d, relu: nn.ReLU, scratch: Scratch, statistics: list[Tensor]) -> Iterator[None]:
    """Within it norm and ReLU write to scratch memory; a batch's mean and deviation are found once, for the list."""

    def forward(x: Tensor) -> Tensor:
        return Normalized.apply(x, norm.weight, norm.bias, norm, scratch, statistics)  # type: ignore[no-any-return, no-untyped-call]

    norm.forward, relu.inplace = forward, True  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        del norm.forward
        relu.inplace = False


class Concatenated(Function):
    """Pieces (N, C, H, W) side by side, in scratch memory."""

    @staticmethod
    def forward(ctx: Any, scratch: Scratch, *pieces: Tensor) -> Tensor:
        """(N, the sum of C, H, W)."""
        ctx.channels = [piece.shape[1] for piece in pieces]
        return torch.cat(pieces, dim=1, out=scratch.like(pieces[0], sum(ctx.channels), use="pieces"))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Each piece has its part."""
        once_only()
        return (None, *torch.split(gradient, ctx.channels, dim=1))


class Normalized(Function):
    """Batch normalisation on a processor, to the bit as torch has it, whose statistics need not be found twice."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        norm: nn.BatchNorm2d,
        scratch: Scratch,
        statistics: list[Tensor],
    ) -> Tensor:
        """(N, C, H, W), of mean `bias` and deviation `weight`; the list has the batch's mean and 1 / deviation, or
        gets them.
        """
        y = scratch.like(x, x.shape[1], use="normalised")
        if statistics:
            mean, scale = statistics
            one, empty = torch.ones_like(scale), scale.new_empty(0)
            # With a deviation of one, torch multiplies by weight · scale as it did before.
            torch.native_batch_norm(x, weight * scale, bias, mean, one, False, 0.0, 0.0, out=(y, empty, empty))
        else:
            assert norm.num_batches_tracked is not None
            assert norm.momentum is not None
            norm.num_batches_tracked += 1
            average = (norm.running_mean, norm.running_var)
            mean, scale = torch.empty_like(bias), torch.empty_like(bias)
            torch.native_batch_norm(x, weight, bias, *average, True, norm.momentum, norm.eps, out=(y, mean, scale))
            statistics += [mean, scale]
        ctx.eps = norm.eps
        ctx.save_for_backward(x, weight, mean, scale)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of x, weight and bias, as torch has them."""
        once_only()
        x, weight, mean, scale = ctx.saved_tensors
        wanted = list(ctx.needs_input_grad[:3])
        gradients = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, None, None, mean, scale, True, ctx.eps, wanted
        )
        return (*gradients, None, None, None)


def once_only() -> None:
    """Raise RuntimeError where gradients are to be differentiated again, for which scratch memory would be kept."""
    if torch.is_grad_enabled():
        raise RuntimeError("the gradients of a network that saves memory have none; make it without saving")


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
