"""convatlas: an atlas of the landmark convolutional networks, from LeNet to ShuffleNet.

The names here are the public face. They are imported when they are first used, so that `import convatlas`
loads neither torch nor anything else that is heavy.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convatlas.deploy.classifier import Classifier, load
    from convatlas.errors import InputError
    from convatlas.explanation.compare import compare
    from convatlas.explanation.explain import Explanation, explain
    from convatlas.registry import list_models, model_card
    from convatlas.training.loop import resume, train
    from convatlas.training.range_test import find_learning_rate
    from convatlas.training.recipe import Recipe
    from convatlas.training.run import Run
    from convatlas.weights import create_model, load_weights

__version__ = "0.1.0"

_HOMES = {
    "create_model": "convatlas.weights",
    "list_models": "convatlas.models",
    "model_card": "convatlas.models",
    "load_weights": "convatlas.weights",
    "Recipe": "convatlas.training.recipe",
    "train": "convatlas.training.loop",
    "resume": "convatlas.training.loop",
    "find_learning_rate": "convatlas.training.range_test",
    "Run": "convatlas.training.run",
    "load": "convatlas.deploy.classifier",
    "Classifier": "convatlas.deploy.classifier",
    "InputError": "convatlas.errors",
    "compare": "convatlas.explanation.compare",
    "explain": "convatlas.explanation.explain",
    "Explanation": "convatlas.explanation.explain",
}

__all__ = [
    "Classifier",
    "Explanation",
    "InputError",
    "Recipe",
    "Run",
    "compare",
    "create_model",
    "explain",
    "find_learning_rate",
    "list_models",
    "load",
    "load_weights",
    "model_card",
    "resume",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its room."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
