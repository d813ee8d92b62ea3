"""The networks, one file per paper, in the order of history. Importing this room fills the registry."""

# isort: off
from convatlas.models import (
    lenet,
    resnet,
    densenet,
    shufflenet_v1,
    shufflenet_v2,
    vit,
)

# isort: on
from convatlas.registry import build, list_models, model_card

__all__ = [
    "build",
    "densenet",
    "lenet",
    "list_models",
    "model_card",
    "resnet",
    "shufflenet_v1",
    "shufflenet_v2",
    "vit",
]
