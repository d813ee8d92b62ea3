"""How weights begin: the rules of Glorot and Bengio (2010) and He et al. (2015), and those before them."""

import math

from torch import nn


def xavier_(module: nn.Module) -> None:
    """Draw every convolution and dense layer from U(−b, b), b = √(6 / (fan_in + fan_out)); biases 0.

    The variance 2 / (fan_in + fan_out) keeps signals and gradients of linear layers at their scale
    (Glorot and Bengio 2010, Eq. 16).
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            zero_bias_(layer)


def he_(module: nn.Module) -> None:
    """Draw every convolution and dense layer from N(0, 2 / fan_in); biases 0.

    A ReLU halves the second moment of what it passes, and the 2 makes up for it (He et al. 2015,
    "Delving deep into rectifiers", Eq. 10, the forward form). The classifier has no ReLU behind it and is
    drawn like the rest, as the paper's are.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
            zero_bias_(layer)


def lecun_(module: nn.Module) -> None:
    """Draw weights and biases from U(−2.4 / fan_in, 2.4 / fan_in) (LeCun et al. 1998, Appendix A)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            bound = 2.4 / math.prod(layer.weight.shape[1:])
            nn.init.uniform_(layer.weight, -bound, bound)
            if layer.bias is not None:
                nn.init.uniform_(layer.bias, -bound, bound)


def gaussian_(module: nn.Module, std: float) -> None:
    """Draw every convolution and dense layer from N(0, std²); biases 0 (Krizhevsky et al. 2012, Sec. 5)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.normal_(layer.weight, std=std)
            zero_bias_(layer)


def zero_bias_(layer: nn.Conv2d | nn.Linear) -> None:
    """Set the layer's bias to 0, where it has one."""
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
