"""Where images come from, and how batches reach the device."""

from convatlas.data.images import Fit, Preparation
from convatlas.data.pixels import Pixels, Splits, load_part, load_splits
from convatlas.data.source import Source
from convatlas.data.sources import open_source

__all__ = ["Fit", "Pixels", "Preparation", "Source", "Splits", "load_part", "load_splits", "open_source"]
