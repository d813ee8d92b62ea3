"""The networks, one file per paper, in the order of history. Importing this room fills the registry."""

from convatlas.models import lenet, googlenet, bn_inception, resnet  # isort: skip
from convatlas.registry import build, list_models, model_card

__all__ = ["bn_inception", "build", "googlenet", "lenet", "list_models", "model_card", "resnet"]
