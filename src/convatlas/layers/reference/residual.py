"""The residual block x + F(x): He, Zhang, Ren, Sun 2015, "Deep residual learning", Eq. 1.

F is any function to its input's shape, as two convolutions with a ReLU between them are.
"""

from collections.abc import Callable

from torch import Tensor

Branch = Callable[[Tensor], Tensor]


def residual(x: Tensor, branch: Branch) -> Tensor:
    """`(…) -> (…)`: x + F(x). Raises ValueError where F changes the shape."""
    return x + same(x, branch(x))


def residual_backward(gradient: Tensor, branch_backward: Branch) -> Tensor:
    """`(…) -> (…)`: ∂L/∂a = ∂L/∂z · (1 + F'(a)): lecture, "Backpropagation through residual blocks".

    `branch_backward` takes ∂L/∂z back through F alone: ∂L/∂z · F'(a). The 1 carries the gradient past F unchanged,
    so that it does not vanish however small F' is. Raises ValueError where F changes the shape.
    """
    return gradient + same(gradient, branch_backward(gradient))


def same(x: Tensor, of_branch: Tensor) -> Tensor:
    """What came from the branch. Raises ValueError unless it has the shape of `x`."""
    if of_branch.shape != x.shape:
        raise ValueError(f"the branch made {tuple(of_branch.shape)} of {tuple(x.shape)}, and cannot be added to it")
    return of_branch
