"""Where images come from, and how batches reach the device."""

from convatlas.data.held import Held, Indexed
from convatlas.data.images import Fit, Preparation
from convatlas.data.pixels import Pixels
from convatlas.data.source import Source
from convatlas.data.sources import open_source
from convatlas.data.splits import Splits, load_part, load_splits, open_data

__all__ = [
    "Fit", "Held", "Indexed", "Pixels", "Preparation", "Source", "Splits", "load_part", "load_splits", "open_data",
    "open_source",
]  # fmt: skip
