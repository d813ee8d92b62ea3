"""Networks of the peers' families that have no fixture: what the peers call their tensors, by rule, is all ours.

The rules are proved on the fixtures that there are, by name and shape.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from convatlas.models import build
from convatlas.weights.names import to_ours

Shapes = dict[str, tuple[int, ...]]


def conv(key: str, out: int, inputs: int, size: int, *, bias: bool = False) -> Shapes:
    return {f"{key}.weight": (out, inputs, size, size)} | ({f"{key}.bias": (out,)} if bias else {})


def dense(key: str, out: int, inputs: int) -> Shapes:
    return {f"{key}.weight": (out, inputs), f"{key}.bias": (out,)}


def norm(key: str, channels: int) -> Shapes:
    vectors = ("weight", "bias", "running_mean", "running_var")
    return {f"{key}.{name}": (channels,) for name in vectors} | {f"{key}.num_batches_tracked": ()}


def residual(layers: tuple[int, ...], *, basic: bool = False, groups: int = 1, base: int = 64, se: str = "") -> Shapes:
    """torchvision's ResNets, and timm's with squeeze-and-excitation; `se_module` is that of the older ones."""
    old, channels = se == "se_module", 64
    stem = "layer0." if old else ""
    shapes = conv(f"{stem}conv1", 64, 3, 7) | norm(f"{stem}bn1", 64)
    for stage, blocks in enumerate(layers, start=1):
        planes = 32 * 2**stage
        width, out = (planes, planes) if basic else (planes * base // 64 * groups, 4 * planes)
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            if basic:
                shapes |= conv(f"{name}.conv1", width, channels, 3) | conv(f"{name}.conv2", width, width, 3)
            else:
                shapes |= conv(f"{name}.conv1", width, channels, 1) | conv(f"{name}.conv2", width, width // groups, 3)
                shapes |= conv(f"{name}.conv3", out, width, 1) | norm(f"{name}.bn3", out)
            shapes |= norm(f"{name}.bn1", width) | norm(f"{name}.bn2", width)
            if se:
                shapes |= conv(f"{name}.{se}.fc1", out // 16, out, 1, bias=True)
                shapes |= conv(f"{name}.{se}.fc2", out, out // 16, 1, bias=True)
            if channels != out:
                shapes |= conv(f"{name}.downsample.0", out, channels, 1) | norm(f"{name}.downsample.1", out)
            channels = out
    return shapes | dense("last_linear" if old else "fc", 1000, channels)


def senet154() -> Shapes:
    """timm's, which is the authors': half of the filters in a block's first convolution, 3×3 shortcuts, three stems."""
    shapes: Shapes = {}
    channels = 3
    for i, out in enumerate((64, 64, 128), start=1):
        shapes |= conv(f"layer0.conv{i}", out, channels, 3) | norm(f"layer0.bn{i}", out)
        channels = out
    for stage, blocks in enumerate((3, 8, 36, 3), start=1):
        planes = 32 * 2**stage
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            shapes |= conv(f"{name}.conv1", 2 * planes, channels, 1) | norm(f"{name}.bn1", 2 * planes)
            shapes |= conv(f"{name}.conv2", 4 * planes, 2 * planes // 64, 3) | norm(f"{name}.bn2", 4 * planes)
            shapes |= conv(f"{name}.conv3", 4 * planes, 4 * planes, 1) | norm(f"{name}.bn3", 4 * planes)
            shapes |= conv(f"{name}.se_module.fc1", planes // 4, 4 * planes, 1, bias=True)
            shapes |= conv(f"{name}.se_module.fc2", 4 * planes, planes // 4, 1, bias=True)
            if block == 0:
                shapes |= conv(f"{name}.downsample.0", 4 * planes, channels, 1 if stage == 1 else 3)
                shapes |= norm(f"{name}.downsample.1", 4 * planes)
            channels = 4 * planes
    return shapes | dense("last_linear", 1000, channels)


def vgg(column: tuple[int, ...], *, batch: bool = False) -> Shapes:
    """torchvision's, which numbers all layers of `features`."""
    shapes: Shapes = {}
    index, channels = 0, 3
    for convolutions, out in zip(column, (64, 128, 256, 512, 512), strict=True):
        for _ in range(convolutions):
            shapes |= conv(f"features.{index}", out, channels, 3, bias=True)
            if batch:
                shapes |= norm(f"features.{index + 1}", out)
            index += 3 if batch else 2
            channels = out
        index += 1
    wide = dense("classifier.0", 4096, 512 * 7 * 7) | dense("classifier.3", 4096, 4096)
    return shapes | wide | dense("classifier.6", 1000, 4096)


def densenet(layers: tuple[int, ...], k: int) -> Shapes:
    """torchvision's, which are timm's."""
    channels = 2 * k
    shapes = conv("features.conv0", channels, 3, 7) | norm("features.norm0", channels)
    for block, count in enumerate(layers, start=1):
        for layer in range(1, count + 1):
            name = f"features.denseblock{block}.denselayer{layer}"
            shapes |= norm(f"{name}.norm1", channels) | conv(f"{name}.conv1", 4 * k, channels, 1)
            shapes |= norm(f"{name}.norm2", 4 * k) | conv(f"{name}.conv2", k, 4 * k, 3)
            channels += k
        if block < len(layers):
            name = f"features.transition{block}"
            shapes |= norm(f"{name}.norm", channels) | conv(f"{name}.conv", channels // 2, channels, 1)
            channels //= 2
    return shapes | norm("features.norm5", channels) | dense("classifier", 1000, channels)


def shufflenet(widths: tuple[int, ...], last: int) -> Shapes:
    """torchvision's ShuffleNet V2."""
    shapes, channels = conv("conv1.0", 24, 3, 3) | norm("conv1.1", 24), 24
    for stage, (out, units) in enumerate(zip(widths, (4, 8, 4), strict=True), start=2):
        half = out // 2
        for unit in range(units):
            name, inputs = f"stage{stage}.{unit}", channels if unit == 0 else half
            if unit == 0:
                shapes |= conv(f"{name}.branch1.0", channels, 1, 3) | norm(f"{name}.branch1.1", channels)
                shapes |= conv(f"{name}.branch1.2", half, channels, 1) | norm(f"{name}.branch1.3", half)
            shapes |= conv(f"{name}.branch2.0", half, inputs, 1) | norm(f"{name}.branch2.1", half)
            shapes |= conv(f"{name}.branch2.3", half, 1, 3) | norm(f"{name}.branch2.4", half)
            shapes |= conv(f"{name}.branch2.5", half, half, 1) | norm(f"{name}.branch2.6", half)
        channels = out
    return shapes | conv("conv5.0", last, channels, 1) | norm("conv5.1", last) | dense("fc", 1000, last)


def vit(dim: int) -> Shapes:
    """timm's."""
    shapes: Shapes = {"cls_token": (1, 1, dim), "pos_embed": (1, 197, dim)}
    shapes |= conv("patch_embed.proj", dim, 3, 16, bias=True)
    for block in range(12):
        name = f"blocks.{block}"
        shapes |= {f"{name}.{layer}.{part}": (dim,) for layer in ("norm1", "norm2") for part in ("weight", "bias")}
        shapes |= dense(f"{name}.attn.qkv", 3 * dim, dim) | dense(f"{name}.attn.proj", dim, dim)
        shapes |= dense(f"{name}.mlp.fc1", 4 * dim, dim) | dense(f"{name}.mlp.fc2", dim, 4 * dim)
    return shapes | {"norm.weight": (dim,), "norm.bias": (dim,)} | dense("head", 1000, dim)


BY_RULE = {
    # the peer's                          what its rule gives                                     ours
    "torchvision/vgg11":                 (vgg((1, 1, 2, 2, 2)),                                  "vgg11"),
    "torchvision/vgg13":                 (vgg((2, 2, 2, 2, 2)),                                  "vgg13"),
    "torchvision/vgg13_bn":              (vgg((2, 2, 2, 2, 2), batch=True),                      "vgg13_bn"),
    "torchvision/vgg19_bn":              (vgg((2, 2, 4, 4, 4), batch=True),                      "vgg19_bn"),
    "torchvision/resnet34":              (residual((3, 4, 6, 3), basic=True),                    "resnet34"),
    "torchvision/resnet50":              (residual((3, 4, 6, 3)),                                "resnet50_v1_5"),
    "torchvision/resnet152":             (residual((3, 8, 36, 3)),                               "resnet152_v1_5"),
    "torchvision/wide_resnet50_2":       (residual((3, 4, 6, 3), base=128),                      "wide_resnet50_2"),
    "torchvision/wide_resnet101_2":      (residual((3, 4, 23, 3), base=128),                     "wide_resnet101_2"),
    "torchvision/resnext50_32x4d":       (residual((3, 4, 6, 3), groups=32, base=4),             "resnext50_32x4d"),
    "torchvision/resnext101_64x4d":      (residual((3, 4, 23, 3), groups=64, base=4),            "resnext101_64x4d"),
    "timm/resnext101_32x4d":             (residual((3, 4, 23, 3), groups=32, base=4),            "resnext101_32x4d"),
    "timm/seresnet50":                   (residual((3, 4, 6, 3), se="se"),                       "seresnet50_v1_5"),
    "timm/seresnet101":                  (residual((3, 4, 23, 3), se="se"),                      "seresnet101_v1_5"),
    "timm/seresnext50_32x4d":            (residual((3, 4, 6, 3), groups=32, base=4, se="se"),    "seresnext50_32x4d"),
    "timm/seresnext101_32x4d":           (residual((3, 4, 23, 3), groups=32, base=4, se="se"),   "seresnext101_32x4d"),
    "timm/seresnext101_32x8d":           (residual((3, 4, 23, 3), groups=32, base=8, se="se"),   "seresnext101_32x8d"),
    "timm/legacy_seresnet18":            (residual((2, 2, 2, 2), basic=True, se="se_module"),    "legacy_seresnet18"),
    "timm/legacy_seresnet50":            (residual((3, 4, 6, 3), se="se_module"),                "legacy_seresnet50"),
    "timm/legacy_seresnet101":           (residual((3, 4, 23, 3), se="se_module"),               "legacy_seresnet101"),
    "timm/legacy_seresnet152":           (residual((3, 8, 36, 3), se="se_module"),               "legacy_seresnet152"),
    "timm/legacy_seresnext101_32x4d":    (residual((3, 4, 23, 3), groups=32, base=4, se="se_module"),
                                                                                        "legacy_seresnext101_32x4d"),
    "timm/legacy_senet154":              (senet154(),                                            "senet154"),
    "torchvision/densenet121":           (densenet((6, 12, 24, 16), 32),                         "densenet121"),
    "torchvision/densenet161":           (densenet((6, 12, 36, 24), 48),                         "densenet161"),
    "torchvision/densenet201":           (densenet((6, 12, 48, 32), 32),                         "densenet201"),
    "timm/densenet264":                  (densenet((6, 12, 64, 48), 32),                         "densenet264"),
    "torchvision/shufflenet_v2_x1_0":    (shufflenet((116, 232, 464), 1024),                     "shufflenet_v2_x1_0"),
    "torchvision/shufflenet_v2_x1_5":    (shufflenet((176, 352, 704), 1024),                     "shufflenet_v2_x1_5"),
    "torchvision/shufflenet_v2_x2_0":    (shufflenet((244, 488, 976), 2048),                     "shufflenet_v2_x2_0"),
    "timm/vit_small_patch16_224":        (vit(384),                                           "vit_small_patch16_224"),
    "timm/vit_base_patch16_224":         (vit(768),                                              "vit_b_16"),
}  # fmt: skip


def proved(folder: Path) -> Iterator[str]:
    """The peers by rule that have a fixture."""
    return (peer for peer in BY_RULE if (folder / f"{peer}.json").is_file())


def test_the_rules_give_what_the_fixtures_have(shared_peers: Path) -> None:
    peers = list(proved(shared_peers))
    assert len(peers) >= 10
    for peer in peers:
        fixture = json.loads((shared_peers / f"{peer}.json").read_text(encoding="utf-8"))
        assert BY_RULE[peer][0] == {key: tuple(shape) for key, shape in fixture["state"]}, peer


@pytest.mark.parametrize("peer", BY_RULE)
def test_every_tensor_of_the_peer_has_a_place_in_ours(peer: str) -> None:
    shapes, name = BY_RULE[peer]
    with torch.device("meta"):
        network = build(name)
        renamed = to_ours({key: torch.empty(shape) for key, shape in shapes.items()}, network)
    expected = {key: value.shape for key, value in network.state_dict().items()}
    assert {key: value.shape for key, value in renamed.items()} == expected
