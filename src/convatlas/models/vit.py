"""Vision Transformer, which does without convolutions: Dosovitskiy et al. 2021. A foil for the others."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.layers.checks import check_share
from convatlas.layers.init import xavier_
from convatlas.layers.parts import part
from convatlas.network import Network
from convatlas.registry import register


@dataclass(frozen=True)
class ViTSpec:
    """A row of Table 1, the patch, and the image for which there are positions."""

    layers: int
    dim: int  # "Hidden size D"
    mlp: int  # "MLP size"
    heads: int
    patch: int
    size: int = 224
    dropout: float = 0.0  # Table 3; 0.1 on ImageNet and ImageNet-21k, 0 on JFT-300M

    def __post_init__(self) -> None:
        for field in ("layers", "dim", "mlp", "heads", "patch", "size"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} is a whole number of at least 1, and not {getattr(self, field)}")
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} does not divide into {self.heads} heads")
        if self.size % self.patch:
            raise ValueError(f"an image of {self.size}×{self.size} does not divide into patches of {self.patch}")
        check_share("dropout", self.dropout)

    @property
    def patches(self) -> int:
        """N = HW / P²."""
        return (self.size // self.patch) ** 2


class PatchEmbedding(nn.Module):
    """`(N, C, H, W) -> (N, HW/P², D)`: E of Eq. 1, one linear map for each patch, which is a convolution."""

    def __init__(self, in_channels: int, dim: int, *, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, dim, kernel_size=patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        """The patches row by row."""
        return self.proj(x).flatten(2).transpose(1, 2)  # type: ignore[no-any-return]


class Tokens(nn.Module):
    """`(N, T, D) -> (N, T + 1, D)`: Eq. 1, the class token before the patches, and learned positions added."""

    def __init__(self, patches: int, dim: int, *, dropout: float) -> None:
        super().__init__()
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.position = nn.Parameter(torch.empty(1, patches + 1, dim))
        self.drop = nn.Dropout(dropout)  # "directly after adding positional- to patch embeddings", App. B.1

    def forward(self, x: Tensor) -> Tensor:
        """z₀."""
        tokens = torch.cat((self.class_token.expand(x.shape[0], -1, -1), x), dim=1)
        return self.drop(tokens + self.position)  # type: ignore[no-any-return]


class Attention(nn.Module):
    """`(N, T, D) -> (N, T, D)`: multi-head self-attention, App. A; queries, keys and values in one product."""

    def __init__(self, dim: int, heads: int, *, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.drop = nn.Dropout(dropout)  # after every dense layer but that of q, k and v: App. B.1

    def forward(self, x: Tensor) -> Tensor:
        """Eqs. 5 to 8."""
        n, t, d = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, d)
        return self.drop(self.proj(mixed))  # type: ignore[no-any-return]


class Block(nn.Module):
    """`(N, T, D) -> (N, T, D)`: Eqs. 2 and 3; layer norm before each part, and a shortcut around it."""

    def __init__(self, spec: ViTSpec) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(spec.dim, eps=EPS)
        self.attention = Attention(spec.dim, spec.heads, dropout=spec.dropout)
        self.norm2 = nn.LayerNorm(spec.dim, eps=EPS)
        self.mlp = part(
            fc1=nn.Linear(spec.dim, spec.mlp),
            act=nn.GELU(),
            drop1=nn.Dropout(spec.dropout),
            fc2=nn.Linear(spec.mlp, spec.dim),
            drop2=nn.Dropout(spec.dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        """z_l of z_{l−1}."""
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]


EPS = 1e-6  # of layer norm, in the authors' code and in those that load its weights


class ClassToken(nn.Module):
    """`(N, T, D) -> (N, D)`: the first token, of which alone the answer is made."""

    def forward(self, x: Tensor) -> Tensor:
        """z⁰."""
        return x[:, 0]


class ViT(Network):
    """Fig. 1 and Eqs. 1 to 4."""

    fixed_size = True
    least_size = 224

    def __init__(self, spec: ViTSpec, *, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes=num_classes, in_channels=in_channels)
        self.spec = spec
        self.least_size = spec.size  # the positions are of this many patches
        self.patch_embedding = PatchEmbedding(in_channels, spec.dim, patch=spec.patch)
        self.tokens = Tokens(spec.patches, spec.dim, dropout=spec.dropout)
        self.encoder = nn.Sequential(*(Block(spec) for _ in range(spec.layers)))
        self.norm = part(token=ClassToken(), norm=nn.LayerNorm(spec.dim, eps=EPS))  # Eq. 4
        self.head = self.classifier()
        self.initialize()

    def initialize(self) -> None:
        """As the authors' code, for the paper says nothing of it but of the head.

        Xavier's for the dense layers, of which queries, keys and values are three; LeCun's variance, 1 / fan_in,
        for the patches; N(0, 0.02²) for the positions; zero for the class token and the head.
        """
        xavier_(self)
        with torch.no_grad():
            for layer in self.modules():
                if isinstance(layer, Attention):
                    bound = math.sqrt(6 / (2 * self.spec.dim))
                    nn.init.uniform_(layer.qkv.weight, -bound, bound)
            fan_in = self.in_channels * self.spec.patch**2
            nn.init.normal_(self.patch_embedding.proj.weight, std=fan_in**-0.5)
            nn.init.normal_(self.tokens.position, std=0.02)
            nn.init.zeros_(self.tokens.class_token)
            nn.init.zeros_(self.head.weight)

    def classifier(self) -> nn.Linear:
        """The paper's "zero-initialized D × K feedforward layer", of fine-tuning (Sec. 3.2)."""
        dense = nn.Linear(self.spec.dim, self.num_classes)
        nn.init.zeros_(dense.weight)
        nn.init.zeros_(dense.bias)
        return dense


VARIANTS = {
    # Table 1                         layers   D         MLP       heads
    "vit_small_patch16_224": (ViTSpec(12, dim=384, mlp=1536, heads=6,  patch=16), 1000),
    "vit_b_16":              (ViTSpec(12, dim=768, mlp=3072, heads=12, patch=16), 1000),
    "vit_cifar":             (ViTSpec(6,  dim=192, mlp=768,  heads=3,  patch=4, size=32), 10),
}  # fmt: skip

for name, (spec, classes) in VARIANTS.items():
    register(
        ViT,
        {name: spec},
        family="ViT",
        paper="dosovitskiy2021",
        table="Table 1",
        input_size=(3, spec.size, spec.size),
        num_classes=classes,
        published={"vit_b_16": {"params": "86M"}},
        deviations={
            "vit_small_patch16_224": ("timm's: the size Small is not in the paper, but DeiT's",),
            "vit_cifar": ("a small size for 32×32 images, which is not in the paper",),
        },
    )
