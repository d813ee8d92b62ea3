"""Every row of the published table that has exact figures: ours has the same parameters and operations.

The table itself is in `models.csv` beside this file: what the papers print, and what their networks come to.
"""

import csv
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from convatlas.models import build, list_models, model_card

ROWS = {
    row["model"]: row
    for row in csv.DictReader(Path(__file__).with_name("models.csv").read_text(encoding="utf-8").splitlines())
    if row["params_exact"]
}

OURS: dict[str, tuple[str, Mapping[str, Any]]] = {
    # row                          ours         changes
    "lenet5-1998":                 ("lenet5",   {}),
    "lenet5-1998-distortions":     ("lenet5",   {}),
    "lenet-d2l":                   ("lenet",    {}),
    # ResNet
    "plain-18":                    ("plain18",   {}),
    "plain-34":                    ("plain34",   {}),
    "resnet-18-A":                 ("resnet18",  {"shortcut": "A"}),
    "resnet-34-A":                 ("resnet34",  {"shortcut": "A"}),
    "resnet-34-B":                 ("resnet34",  {}),
    "resnet-34-C":                 ("resnet34",  {"shortcut": "C"}),
    "resnet-50":                   ("resnet50",  {}),
    "resnet-101":                  ("resnet101", {}),
    "resnet-152":                  ("resnet152", {}),
    "resnet18-torchvision-v1":     ("resnet18",  {}),
    "resnet34-torchvision-v1":     ("resnet34",  {}),
    "resnet50-torchvision-v1":     ("resnet50_v1_5",  {}),
    "resnet101-torchvision-v1":    ("resnet101_v1_5", {}),
    "resnet152-torchvision-v1":    ("resnet152_v1_5", {}),
    "resnet18-d2l":                ("resnet18_d2l",   {}),
    "resnet18-cifar-standard":     ("resnet18",       {"stem": "small"}),
    "mosaic-resnet50-mild":        ("resnet50_v1_5",  {}),
    "resnet50-rsb-a1":             ("resnet50_v1_5",  {}),
    "resnet50-rsb-a2":             ("resnet50_v1_5",  {}),
    "resnet50-rsb-a3":             ("resnet50_v1_5",  {}),
    "resnet50-torchvision-v2":     ("resnet50_v1_5",  {}),
    "resnet101-torchvision-v2":    ("resnet101_v1_5", {}),
    "resnet152-torchvision-v2":    ("resnet152_v1_5", {}),
    # with BlurPool, whose weights are fixed, and which is in neither count
    "ffcv-rn18-16ep":              ("resnet18",  {}),
    "ffcv-rn18-88ep":              ("resnet18",  {}),
    "ffcv-rn50-16ep":              ("resnet50_v1_5",  {}),
    "ffcv-rn50-24ep":              ("resnet50_v1_5",  {}),
    "ffcv-rn50-32ep":              ("resnet50_v1_5",  {}),
    "ffcv-rn50-40ep":              ("resnet50_v1_5",  {}),
    "ffcv-rn50-56ep":              ("resnet50_v1_5",  {}),
    "ffcv-rn50-88ep":              ("resnet50_v1_5",  {}),
    # ResNet-CIFAR
    "resnet-20-cifar":             ("resnet20",   {}),
    "resnet-32-cifar":             ("resnet32",   {}),
    "resnet-44-cifar":             ("resnet44",   {}),
    "resnet-56-cifar":             ("resnet56",   {}),
    "resnet-110-cifar":            ("resnet110",  {}),
    "resnet-1202-cifar":           ("resnet1202", {}),
    "plain-20-cifar":              ("plain20",    {}),
    "plain-32-cifar":              ("plain32",    {}),
    "plain-44-cifar":              ("plain44",    {}),
    "plain-56-cifar":              ("plain56",    {}),
    "plain-110-cifar":             ("plain110",   {}),
    "resnet-20-cifar/li2018":      ("resnet20",   {"shortcut": "B"}),
    "plain-20-cifar/li2018":       ("plain20",    {}),
    "resnet-56-cifar/li2018":      ("resnet56",   {"shortcut": "B"}),
    "plain-56-cifar/li2018":       ("plain56",    {}),
    "resnet-110-cifar/li2018":     ("resnet110",  {"shortcut": "B"}),
    "plain-110-cifar/li2018":      ("plain110",   {}),
    # PreActResNet
    "resnet-110-cifar/original":             ("preresnet110",  {"order": "original"}),
    "resnet-110-cifar/bn-after-addition":    ("preresnet110",  {"order": "bn_after_addition"}),
    "resnet-110-cifar/relu-before-addition": ("preresnet110",  {"order": "relu_before_addition"}),
    "resnet-110-cifar/relu-only-preact":     ("preresnet110",  {"order": "relu_only_preact"}),
    "resnet-110-cifar/full-preact":          ("preresnet110",  {}),
    "resnet-164-cifar/original":             ("preresnet164",  {"order": "original"}),
    "resnet-164-cifar/full-preact":          ("preresnet164",  {}),
    "resnet-1001-cifar/original":            ("preresnet1001", {"order": "original"}),
    "resnet-1001-cifar/full-preact":         ("preresnet1001", {}),
    "resnet-164-cifar100/original":          ("preresnet164",  {"order": "original"}),
    "resnet-164-cifar100/full-preact":       ("preresnet164",  {}),
    "resnet-1001-cifar100/original":         ("preresnet1001", {"order": "original"}),
    "resnet-1001-cifar100/full-preact":      ("preresnet1001", {}),
    "resnet-152@320/original":               ("resnet152",     {}),
    "resnet-152@320/full-preact":            ("preresnet152",  {}),
    "resnet-200@320/original":               ("resnet200",     {}),
    "resnet-200@320/full-preact":            ("preresnet200",  {}),
    # StochasticDepth
    "resnet-110-cifar/constant-depth":       ("resnet110",      {}),
    "resnet-110-cifar/stochastic-depth":     ("resnet110_sd",   {}),
    "resnet-110-cifar100/constant-depth":    ("resnet110",      {}),
    "resnet-110-cifar100/stochastic-depth":  ("resnet110_sd",   {}),
    "resnet-152-svhn/constant-depth":        ("resnet110",      {"n": 25}),
    "resnet-152-svhn/stochastic-depth":      ("resnet110_sd",   {"n": 25}),
    "resnet-152/stochastic-depth":           ("resnet152_sd",   {}),
    "resnet-1202-cifar/constant-depth":      ("resnet1202",     {}),
    "resnet-1202-cifar/stochastic-depth":    ("resnet1202_sd",  {}),
    # WideResNet
    "wrn-40-1":                    ("wrn_40_1",  {}),
    "wrn-40-2":                    ("wrn_40_2",  {}),
    "wrn-40-4":                    ("wrn_40_4",  {}),
    "wrn-40-8":                    ("wrn_40_8",  {}),
    "wrn-28-10":                   ("wrn_28_10", {}),
    "wrn-28-10-dropout0.3":        ("wrn_28_10", {"dropout": 0.3}),
    "wrn-28-10-cifar100":          ("wrn_28_10", {}),
    "wrn-28-12":                   ("wrn_28_12", {}),
    "wrn-22-8":                    ("wrn_22_8",  {}),
    "wrn-22-10":                   ("wrn_22_10", {}),
    "wrn-16-8":                    ("wrn_16_8",  {}),
    "wrn-16-10":                   ("wrn_16_10", {}),
    "wrn-50-2-bottleneck":         ("wide_resnet50_2", {}),
    "wide_resnet50_2-torchvision-v2":  ("wide_resnet50_2", {}),
    # ResNeXt
    "resnet-50-1x64d":             ("resnet50_v1_5",    {}),
    "resnext-50-2x40d":            ("resnext50_2x40d",  {}),
    "resnext-50-4x24d":            ("resnext50_4x24d",  {}),
    "resnext-50-8x14d":            ("resnext50_8x14d",  {}),
    "resnext-50-32x4d":            ("resnext50_32x4d",  {}),
    "resnet-101-1x64d":            ("resnet101_v1_5",   {}),
    "resnext-101-2x40d":           ("resnext101_2x40d", {}),
    "resnext-101-4x24d":           ("resnext101_4x24d", {}),
    "resnext-101-8x14d":           ("resnext101_8x14d", {}),
    "resnext-101-32x4d":           ("resnext101_32x4d", {}),
    "resnet-200-1x64d":            ("preresnet200",     {"stride_in": "3x3"}),
    "resnet-101-1x100d":           ("resnet101_1x100d", {}),
    "resnext-101-2x64d":           ("resnext101_2x64d", {}),
    "resnext-101-64x4d":           ("resnext101_64x4d", {}),
    "resnext-29-8x64d-cifar":      ("resnext29_8x64d",  {}),
    "resnext-29-8x64d-cifar100":   ("resnext29_8x64d",  {}),
    "resnext-29-16x64d-cifar":     ("resnext29_16x64d", {}),
    "resnext-29-16x64d-cifar100":  ("resnext29_16x64d", {}),
    "resnext50_32x4d-torchvision-v2":  ("resnext50_32x4d",  {}),
    "resnext101_64x4d-torchvision-v2": ("resnext101_64x4d", {}),
    # SENet on residual networks
    "se-resnet-50":                ("seresnet50",         {}),
    "se-resnet-101":               ("seresnet101",        {}),
    "se-resnet-152":               ("seresnet152",        {}),
    "se-resnext-50-32x4d":         ("seresnext50_32x4d",  {}),
    "se-resnext-101-32x4d":        ("seresnext101_32x4d", {}),
    "se-resnet-50/r2":             ("seresnet50", {"reduction": 2}),
    "se-resnet-50/r4":             ("seresnet50", {"reduction": 4}),
    "se-resnet-50/r8":             ("seresnet50", {"reduction": 8}),
    "se-resnet-50/r16":            ("seresnet50", {"reduction": 16}),
    "se-resnet-50/r32":            ("seresnet50", {"reduction": 32}),
    "se-resnet-50/relu-gate":      ("seresnet50", {"gate": "relu"}),
    "se-resnet-50/max-squeeze":    ("seresnet50", {"squeeze": "max"}),
    "senet-154":                   ("senet154",   {}),
    "senet-154@320":               ("senet154",   {}),
    # DenseNet
    "densenet-40-12":                 ("densenet_40_12",           {}),
    "densenet-40-12-cifar100":        ("densenet_40_12",           {}),
    "densenet-100-12":                ("densenet_100_12",          {}),
    "densenet-100-12-cifar100":       ("densenet_100_12",          {}),
    "densenet-100-24":                ("densenet_100_24",          {}),
    "densenet-100-24-cifar100":       ("densenet_100_24",          {}),
    "densenet-bc-100-12":             ("densenet_bc_100_12",       {}),
    "densenet-bc-100-12-cifar100":    ("densenet_bc_100_12",       {}),
    "densenet-bc-250-24":             ("densenet_bc_250_24",       {}),
    "densenet-bc-250-24-cifar100":    ("densenet_bc_250_24",       {}),
    "densenet-bc-190-40":             ("densenet_bc_190_40",       {}),
    "densenet-bc-190-40-cifar100":    ("densenet_bc_190_40",       {}),
    "densenet-121":                   ("densenet121",              {}),
    "densenet-169":                   ("densenet169",              {}),
    "densenet-201":                   ("densenet201",              {}),
    "densenet-264":                   ("densenet264",              {}),
    "densenet-161":                   ("densenet161",              {}),
    "densenet-d2l":                   ("densenet_d2l",             {}),
    # ShuffleNet
    "shufflenet-1x-g1":               ("shufflenet_v1_x1_0_g1",    {}),
    "shufflenet-1x-g2":               ("shufflenet_v1_x1_0_g2",    {}),
    "shufflenet-1x-g3":               ("shufflenet_v1_x1_0_g3",    {}),
    "shufflenet-1x-g4":               ("shufflenet_v1_x1_0_g4",    {}),
    "shufflenet-1x-g8":               ("shufflenet_v1_x1_0_g8",    {}),
    "shufflenet-0.5x-g1":             ("shufflenet_v1_x0_5_g1",    {}),
    "shufflenet-0.5x-g3":             ("shufflenet_v1_x0_5_g3",    {}),
    "shufflenet-0.5x-g8":             ("shufflenet_v1_x0_5_g8",    {}),
    "shufflenet-0.25x-g1":            ("shufflenet_v1_x0_25_g1",   {}),
    "shufflenet-0.25x-g3":            ("shufflenet_v1_x0_25_g3",   {}),
    "shufflenet-0.25x-g8":            ("shufflenet_v1_x0_25_g8",   {}),
    "shufflenet-1x-g3-noshuffle":     ("shufflenet_v1_x1_0_g3",    {"shuffle": False}),
    "shufflenet-1x-g8-noshuffle":     ("shufflenet_v1_x1_0_g8",    {"shuffle": False}),
    "shufflenet-0.5x-g3-noshuffle":   ("shufflenet_v1_x0_5_g3",    {"shuffle": False}),
    "shufflenet-0.5x-g8-noshuffle":   ("shufflenet_v1_x0_5_g8",    {"shuffle": False}),
    "shufflenet-0.25x-g3-noshuffle":  ("shufflenet_v1_x0_25_g3",   {"shuffle": False}),
    "shufflenet-0.25x-g8-noshuffle":  ("shufflenet_v1_x0_25_g8",   {"shuffle": False}),
    "shufflenet-1.5x-g3":             ("shufflenet_v1_x1_5_g3",    {}),
    "shufflenet-2x-g3":               ("shufflenet_v1_x2_0_g3",    {}),
    "shufflenet-2x-g3-se":            ("shufflenet_v1_x2_0_g3_se", {}),
    "se-shufflenet-1x-g3":            ("shufflenet_v1_x1_0_g3",    {"reduction": 16}),
    # LeNet, AlexNet, VGG, NiN, the MNIST network of batch normalisation
    "lenet-d2l-bn":            ("lenet_bn",             {}),
    "alexnet-2012":            ("alexnet",              {}),
    "alexnet-2012-ilsvrc2010": ("alexnet",              {}),
    "alexnet-ungrouped":       ("alexnet",              {"groups": 1}),
    "alexnet-owt-footnote":    ("alexnet_owt_footnote", {}),
    "alexnet-owt-torchvision": ("alexnet_owt",          {}),
    "alexnet-caffe":           ("alexnet_caffe",        {}),
    "caffenet":                ("caffenet",             {}),
    "alexnet-d2l":             ("alexnet_d2l",          {}),
    "vgg-A":                   ("vgg11",                {}),
    "vgg-A-LRN":               ("vgg11_lrn",            {}),
    "vgg-B":                   ("vgg13",                {}),
    "vgg-B-shallow-5x5":       ("vgg13_5x5",            {}),
    "vgg-C":                   ("vgg16_c",              {}),
    "vgg-D":                   ("vgg16",                {}),
    "vgg-E":                   ("vgg19",                {}),
    "vgg11-torchvision":       ("vgg11",                {}),
    "vgg13-torchvision":       ("vgg13",                {}),
    "vgg16-torchvision":       ("vgg16",                {}),
    "vgg19-torchvision":       ("vgg19",                {}),
    "vgg11_bn-torchvision":    ("vgg11_bn",             {}),
    "vgg16_bn-torchvision":    ("vgg16_bn",             {}),
    "vgg11-d2l":               ("vgg11_d2l",            {}),
    "vgg11-d2l-quarter":       ("vgg11_d2l",            {"width": 0.25}),
    "nin-cifar10":             ("nin_cifar",            {}),
    "nin-cifar10-aug":         ("nin_cifar",            {}),
    "nin-cifar100":            ("nin_cifar",            {}),
    "nin-svhn":                ("nin_cifar",            {}),
    "nin-imagenet":            ("nin_imagenet",         {}),
    "nin-d2l":                 ("nin_d2l",              {}),
    # GoogLeNet and BatchNorm
    "googlenet":                   ("googlenet",       {}),
    "googlenet-separable-stem":    ("googlenet",       {"stem": "separable"}),
    "googlenet-aux":               ("googlenet",       {"auxiliary": True}),
    "googlenet-caffe":             ("googlenet",       {}),
    "googlenet-torchvision":       ("googlenet_tv",    {}),
    "googlenet-d2l":               ("googlenet_d2l",   {}),
    "bn-inception":                ("bn_inception",    {}),
    "bn-inception/bn-baseline":    ("bn_inception",    {"dropout": 0.4}),
    "bn-inception/bn-x5":          ("bn_inception",    {}),
    "bn-inception/bn-x30":         ("bn_inception",    {}),
    "bn-inception/bn-x5-sigmoid":  ("bn_inception",    {"activation": "sigmoid"}),
    "bn-mnist-mlp":                ("bn_mlp",          {"norm": "none"}),
    "se-bn-inception":             ("se_bn_inception", {}),
    # airbench
    "airbench94-muon":             ("airbench94",      {}),
    "airbench94-legacy":           ("airbench94",      {}),
}  # fmt: skip

UNSEEN = {"lenet5-1998": 36 * 100 * 25, "lenet5-1998-distortions": 36 * 100 * 25}
"""Multiplications by the zeros that C3 lays between the 60 kernels of Table I: a counter sees them, the paper not."""


WITHOUT = {"airbench94-muon", "airbench94-legacy"}
"""The rows for which there is no network of ours."""


def test_every_row_with_exact_figures_has_a_network_of_ours() -> None:
    assert OURS.keys() <= ROWS.keys()
    assert ROWS.keys() - OURS.keys() <= WITHOUT


def printed(name: str) -> dict[str, set[str | float]]:
    """What the rows of a network say that its paper prints: several figures where it was trained in several ways."""
    card = model_card(name)
    here = (card.paper.identifier, "x".join(map(str, card.input_size)), str(card.num_classes))
    rows = [
        row
        for key, row in ROWS.items()
        if OURS.get(key) == (name, {}) and (row["arxiv_or_doi"], row["input"], row["num_classes"]) == here
    ]
    return {
        "params": {row["params_published"] for row in rows},
        "macs": {row["macs_published"].removeprefix("~") for row in rows},
        "top1_error": {float(row["top1_error"]) for row in rows if row["top1_error"]},
        "top5_error": {float(row["top5_error"]) for row in rows if row["top5_error"]},
    }


@pytest.mark.parametrize("name", [name for name in list_models() if model_card(name).published])
def test_the_figures_on_a_card_are_those_that_the_rows_say_are_printed(name: str) -> None:
    for key, figures in printed(name).items():
        if key in model_card(name).published and figures - {""}:
            assert model_card(name).published[key] in figures


LONG = ("resnet-1001", "resnet-1202", "resnet-152@", "resnet-200@", "resnet-164-cifar100", "resnet-152-svhn")


@pytest.mark.parametrize(
    "row", [pytest.param(row, marks=pytest.mark.slow) if row.startswith(LONG) else row for row in OURS]
)
def test_ours_has_the_parameters_and_operations_of_the_row(row: str) -> None:
    name, changes = OURS[row]
    size = tuple(map(int, ROWS[row]["input"].split("x")))
    params, operations = counted(name, tuple(changes.items()), int(ROWS[row]["num_classes"]), size)
    assert params == int(ROWS[row]["params_exact"])
    assert operations - UNSEEN.get(row, 0) == int(ROWS[row]["macs_exact"])


OTHERS = {
    # what is not in models.csv, as torchvision and timm count it
    "vgg13_bn":                  133_053_736,
    "vgg19_bn":                  143_678_248,
    "bn_mlp":                    100_010,  # 99,710 without normalisation; with it 600 more, and 300 biases fewer
    "resnetv2_50":               25_549_352,
    "wide_resnet101_2":          126_886_696,
    "resnext101_32x8d":          88_791_336,
    "seresnext101_32x8d":        93_569_048,
    "seresnet50_v1_5":           28_088_024,
    "seresnet101_v1_5":          49_326_872,
    "seresnet152_v1_5":          66_821_848,
    "legacy_seresnet18":         11_778_592,
    "legacy_seresnet34":         21_958_868,
    "legacy_seresnet50":         28_088_024,
    "legacy_seresnet101":        49_326_872,
    "legacy_seresnet152":        66_821_848,
    "legacy_seresnext50_32x4d":  27_559_896,
    "legacy_seresnext101_32x4d": 48_955_416,
    "shufflenet_v2_x0_5":        1_366_792,
    "shufflenet_v2_x1_0":        2_278_604,
    "shufflenet_v2_x1_5":        3_503_624,
    "shufflenet_v2_x2_0":        7_393_996,
    "vit_small_patch16_224":     22_050_664,
    "vit_b_16":                  86_567_656,
    "vit_cifar":                 2_693_578,  # ours alone: no one else has it
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_ours_has_the_parameters_of_the_peers(name: str) -> None:
    assert counted(name, (), model_card(name).num_classes, model_card(name).input_size)[0] == OTHERS[name]


def test_every_name_stands_in_one_of_the_two_tables() -> None:
    assert {name for name, changes in OURS.values() if not changes} | set(OTHERS) == set(list_models())


@cache
def counted(
    name: str, changes: tuple[tuple[str, Any], ...], num_classes: int, size: tuple[int, ...]
) -> tuple[int, int]:
    """Parameters and multiply-accumulates. Many rows are one network, trained by another recipe."""
    with torch.device("meta"):
        network = build(name, num_classes=num_classes, in_channels=size[0], **dict(changes)).eval()
        with FlopCounterMode(display=False) as counter:
            network.heads(torch.empty(1, *size))
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops() // 2
