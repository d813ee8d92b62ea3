"""The networks, one file per paper, in the order of history. Importing this room fills the registry."""

from convatlas.models import lenet, alexnet, nin, vgg, batchnorm, resnet  # isort: skip
from convatlas.registry import build, list_models, model_card

__all__ = ["alexnet", "batchnorm", "build", "lenet", "list_models", "model_card", "nin", "resnet", "vgg"]
