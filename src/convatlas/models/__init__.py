"""The networks, one file per paper, in the order of history. Importing this room fills the registry."""

# isort: off
from convatlas.models import (
    lenet,
    alexnet,
    nin,
    vgg,
    googlenet,
    bn_inception,
    resnet,
    preresnet,
    stochastic_depth,
    wide_resnet,
    resnext,
    densenet,
    senet,
    shufflenet_v1,
    shufflenet_v2,
    vit,
    airbench,
)

# isort: on
from convatlas.registry import build, list_models, model_card

__all__ = [
    "airbench",
    "alexnet",
    "bn_inception",
    "build",
    "densenet",
    "googlenet",
    "lenet",
    "list_models",
    "model_card",
    "nin",
    "preresnet",
    "resnet",
    "resnext",
    "senet",
    "shufflenet_v1",
    "shufflenet_v2",
    "stochastic_depth",
    "vgg",
    "vit",
    "wide_resnet",
]
