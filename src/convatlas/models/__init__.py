"""The networks, one file per paper, in the order of history. Importing this room fills the registry."""

# isort: off
from convatlas.models import lenet
from convatlas.models import resnet
from convatlas.models import preresnet
from convatlas.models import stochastic_depth
from convatlas.models import wide_resnet
from convatlas.models import resnext
from convatlas.models import senet

# isort: on
from convatlas.registry import build, list_models, model_card

__all__ = [
    "build",
    "lenet",
    "list_models",
    "model_card",
    "preresnet",
    "resnet",
    "resnext",
    "senet",
    "stochastic_depth",
    "wide_resnet",
]
