"""The networks, one file per paper, in the order of history. Importing this room fills the registry."""

from convatlas.models import lenet, resnet
from convatlas.registry import build, list_models, model_card

__all__ = ["build", "lenet", "list_models", "model_card", "resnet"]
