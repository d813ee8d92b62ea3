"""ResNeXt, residual networks by cardinality: Xie, Girshick, Dollár, Tu, He 2017.

C×d: the 3×3 convolution of a bottleneck has C groups of d channels in conv2_x. A stage halves its maps in the
3×3 convolution of its first block (Sec. 4).
"""

from convatlas.registry import derive

VARIANTS = {
    # Tables 3, 4        depth     C   d
    "resnext50_2x40d":  ("resnet50",  2,  40),
    "resnext50_4x24d":  ("resnet50",  4,  24),
    "resnext50_8x14d":  ("resnet50",  8,  14),
    "resnext50_32x4d":  ("resnet50",  32, 4),
    "resnext101_2x40d": ("resnet101", 2,  40),
    "resnext101_4x24d": ("resnet101", 4,  24),
    "resnext101_8x14d": ("resnet101", 8,  14),
    "resnext101_32x4d": ("resnet101", 32, 4),
    "resnet101_1x100d": ("resnet101", 1,  100),
    "resnext101_2x64d": ("resnet101", 2,  64),
    "resnext101_64x4d": ("resnet101", 64, 4),
    "resnext101_32x8d": ("resnet101", 32, 8),  # torchvision's
}  # fmt: skip

PUBLISHED: dict[str, dict[str, str | float]] = {
    # Table 3                params            multiply-adds    error (%)
    "resnext50_2x40d":  {                                      "top1_error": 23.0},
    "resnext50_4x24d":  {                                      "top1_error": 22.6},
    "resnext50_8x14d":  {                                      "top1_error": 22.3},
    "resnext50_32x4d":  {"params": "25.0M", "macs": "4.2G",    "top1_error": 22.2},
    "resnext101_2x40d": {                                      "top1_error": 21.7},
    "resnext101_4x24d": {                                      "top1_error": 21.4},
    "resnext101_8x14d": {                                      "top1_error": 21.3},
    "resnext101_32x4d": {                                      "top1_error": 21.2, "top5_error": 5.6},
    # Table 4
    "resnet101_1x100d": {                                      "top1_error": 21.3, "top5_error": 5.7},
    "resnext101_2x64d": {                                      "top1_error": 20.7, "top5_error": 5.5},
    "resnext101_64x4d": {                   "macs": "15.6G",   "top1_error": 20.4, "top5_error": 5.3},
}  # fmt: skip

CIFAR = {
    # Sec. 5.3                   base
    "resnext29_8x64d":  ("resnet20", {"cardinality": 8}),
    "resnext29_16x64d": ("resnet20", {"cardinality": 16}),
}  # fmt: skip
SEC_5_3 = {"n": 3, "block": "bottleneck", "width": 64, "base_width": 64, "shortcut": "B", "stride_in": "3x3"}

TABLE_7: dict[str, dict[str, str | float]] = {
    #                     params             error (%), average of 10 runs
    "resnext29_8x64d":  {"params": "34.4M", "top1_error": 3.65, "data": "CIFAR-10, flip and padded crop"},
    "resnext29_16x64d": {"params": "68.1M", "top1_error": 3.58, "data": "CIFAR-10, flip and padded crop"},
}  # fmt: skip

derive(
    {
        name: (base, {"stride_in": "3x3", "cardinality": cardinality, "base_width": width})
        for name, (base, cardinality, width) in VARIANTS.items()
    },
    family="ResNeXt",
    paper="xie2017",
    table="Tables 1, 3 and 4",
    published={name: row | {"data": "ImageNet, 1-crop"} for name, row in PUBLISHED.items()},
    deviations={"resnext101_32x8d": ("torchvision's: a cardinality and width that the paper does not have",)},
)
derive(
    {name: (base, SEC_5_3 | changes) for name, (base, changes) in CIFAR.items()},
    family="ResNeXt-CIFAR",
    paper="xie2017",
    table="Sec. 5.3, Table 7",
    published=TABLE_7,
    deviations=("the blocks are those of the released code; the paper's runs had pre-activated ones",),
)
