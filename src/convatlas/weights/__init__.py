"""Where weights come from: files, runs, the Hub; and the bundle in which they travel."""

from typing import Any

from convatlas import models
from convatlas.network import Network
from convatlas.weights.bundle import Bundle
from convatlas.weights.load import Source, load_weights, read_state

__all__ = ["Bundle", "Source", "create_model", "load_weights", "read_state"]


def create_model(
    name: str,
    num_classes: int | None = None,
    in_channels: int | None = None,
    weights: Source | None = None,
    *,
    new_head: bool = False,
    adapt_input: bool = False,
    **changes: Any,
) -> Network:
    """The network of that name, as its paper has it, with weights drawn as the paper says or read from `weights`.

    `num_classes` and `in_channels` are the paper's where they are not given; `changes` are fields of the
    network's spec, such as `shortcut="B"`. `new_head` and `adapt_input` are for weights of another number of
    classes or channels (`load_weights`). Raises InputError for an unknown name or field, and for weights
    that do not fit.
    """
    network = models.build(name, num_classes=num_classes, in_channels=in_channels, **changes)
    if weights is not None:
        load_weights(network, weights, new_head=new_head, adapt_input=adapt_input)
    return network
