"""Residual networks of stochastic depth: Huang, Sun, Liu, Sedra, Weinberger 2016."""

from typing import Any

from convatlas.registry import derive

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    # Sec. 4            base          p_L = 0.5 throughout
    "resnet110_sd":  ("resnet110",  {"survival": 0.5}),
    "resnet1202_sd": ("resnet1202", {"survival": 0.5}),
    "resnet152_sd":  ("resnet152",  {"survival": 0.5, "stride_in": "3x3"}),  # fb.resnet.torch's ResNet-152
}  # fmt: skip

TABLE_1: dict[str, dict[str, str | float]] = {
    #                  params             error (%)            the same network, all of its depth
    "resnet110_sd":  {"params": "1.7M",  "top1_error": 5.25,  "data": "CIFAR-10, flip and padded crop"},  # 6.41
    "resnet1202_sd": {"params": "19.4M", "top1_error": 4.91,  "data": "CIFAR-10, flip and padded crop"},  # 6.67
    "resnet152_sd":  {"top1_error": 21.98, "data": "ImageNet"},                                           # 21.78
}  # fmt: skip

derive(VARIANTS, family="StochasticDepth", paper="huang2016", table="Sec. 4, Table 1", published=TABLE_1)
