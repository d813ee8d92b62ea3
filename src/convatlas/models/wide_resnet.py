"""Wide residual networks: Zagoruyko, Komodakis 2016.

WRN-d-k has d = 6n + 4 layers and k times the filters of a pre-activated ResNet. The 4: the paper counts the first
convolution and the three projections, and not the classifier.
"""

from convatlas.registry import derive

VARIANTS = {
    # Table 1              n                     16k
    "wrn_40_1":  {"layers": (6, 6, 6), "width": 16},
    "wrn_40_2":  {"layers": (6, 6, 6), "width": 32},
    "wrn_40_4":  {"layers": (6, 6, 6), "width": 64},
    "wrn_40_8":  {"layers": (6, 6, 6), "width": 128},
    "wrn_28_10": {"layers": (4, 4, 4), "width": 160},
    "wrn_28_12": {"layers": (4, 4, 4), "width": 192},
    "wrn_22_8":  {"layers": (3, 3, 3), "width": 128},
    "wrn_22_10": {"layers": (3, 3, 3), "width": 160},
    "wrn_16_8":  {"layers": (2, 2, 2), "width": 128},
    "wrn_16_10": {"layers": (2, 2, 2), "width": 160},
}  # fmt: skip

PUBLISHED: dict[str, dict[str, str | float]] = {
    # Table 5       params             error (%)
    "wrn_40_4":  {"params": "8.9M",  "top1_error": 4.53, "data": "CIFAR-10, flip and reflected crop"},
    "wrn_16_8":  {"params": "11.0M", "top1_error": 4.27, "data": "CIFAR-10, flip and reflected crop"},
    "wrn_28_10": {"params": "36.5M", "top1_error": 4.00, "data": "CIFAR-10, flip and reflected crop"},  # dropout 3.89
    # Table 4
    "wrn_40_1":  {"params": "0.6M",  "top1_error": 6.85, "data": "CIFAR-10, whitened, flip and crop"},
    "wrn_40_2":  {"params": "2.2M",  "top1_error": 5.33, "data": "CIFAR-10, whitened, flip and crop"},
    "wrn_40_8":  {"params": "35.7M", "top1_error": 4.66, "data": "CIFAR-10, whitened, flip and crop"},
    "wrn_28_12": {"params": "52.5M", "top1_error": 4.33, "data": "CIFAR-10, whitened, flip and crop"},
    "wrn_22_8":  {"params": "17.2M", "top1_error": 4.38, "data": "CIFAR-10, whitened, flip and crop"},
    "wrn_22_10": {"params": "26.8M", "top1_error": 4.44, "data": "CIFAR-10, whitened, flip and crop"},
    "wrn_16_10": {"params": "17.1M", "top1_error": 4.56, "data": "CIFAR-10, whitened, flip and crop"},
    # Table 8
    "wide_resnet50_2": {"params": "68.9M", "top1_error": 21.9, "top5_error": 6.03, "data": "ImageNet, 1-crop"},
}  # fmt: skip

derive(
    {name: ("preresnet110", {"shortcut": "B", **changes}) for name, changes in VARIANTS.items()},
    family="WideResNet",
    paper="zagoruyko2016",
    table="Tables 1, 4 and 5",
    published=PUBLISHED,
)
derive(
    # Sec. 3, "WRN-50-2-bottleneck": the width of the inner convolutions doubled, in fb.resnet.torch's ResNet-50
    {
        "wide_resnet50_2": ("resnet50", {"stride_in": "3x3", "base_width": 128}),
        "wide_resnet101_2": ("resnet101", {"stride_in": "3x3", "base_width": 128}),
    },
    family="WideResNet",
    paper="zagoruyko2016",
    table="Table 8",
    published=PUBLISHED,
    deviations={"wide_resnet101_2": ("torchvision's: a depth that Table 8 does not have",)},
)
