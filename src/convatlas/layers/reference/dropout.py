"""Dropout, in both conventions: Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov 2014.

`p` is the probability that a unit is dropped. (The paper's p is the probability that it is kept.)
"""

import torch
from torch import Tensor


def keep_mask(h: Tensor, p: float, generator: torch.Generator) -> Tensor:
    """1 for a unit that is kept and 0 for one that is dropped, drawn for each by itself; the shape of `h`.

    Raises ValueError unless 0 ≤ p < 1.
    """
    check_probability(p)
    return (torch.rand(h.shape, generator=generator, device=h.device) >= p).to(h.dtype)


def inverted_dropout(h: Tensor, mask: Tensor, p: float) -> Tensor:
    """In training: h' = 0 with probability p, else h / (1 − p), so that E[h'] = h (lecture, "Dropout").

    At test time there is nothing to do. The paper has this form in Sec. 10, and libraries use it. Its derivative
    by h is mask / (1 − p): the gradient goes backwards through the same function. Raises ValueError unless the mask
    is of h's shape and 0 ≤ p < 1.
    """
    check(h, mask)
    check_probability(p)
    return h * mask / (1 - p)


def original_dropout(h: Tensor, mask: Tensor) -> Tensor:
    """In training: h' = 0 with probability p, else h (Sec. 4, y~ = r ∗ y), so that E[h'] = (1 − p) h.

    Raises ValueError unless the mask is of h's shape.
    """
    check(h, mask)
    return h * mask


def original_dropout_at_test(h: Tensor, p: float) -> Tensor:
    """At test time every unit is there, and counts (1 − p) of itself: its mean in training (Sec. 4).

    Raises ValueError unless 0 ≤ p < 1.
    """
    check_probability(p)
    return h * (1 - p)


def check_probability(p: float) -> None:
    """Raise ValueError unless 0 ≤ p < 1."""
    if not 0 <= p < 1:
        raise ValueError(f"the probability to be dropped is at least 0 and less than 1, and got {p}")


def check(h: Tensor, mask: Tensor) -> None:
    """Raise ValueError unless there is a draw for each unit."""
    if mask.shape != h.shape:
        raise ValueError(f"units of shape {tuple(h.shape)} need a mask of that shape, and got {tuple(mask.shape)}")
