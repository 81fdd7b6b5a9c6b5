"""Who is trained on, who is chosen on, who is only scored: one function a method, one audit for all of them.

A method takes the samples table, the class names and section ``split`` of params.yaml, and returns the part of every
row (train, val, test or unused). Groups, that is patients and identical images, never cross parts.
"""

from collections.abc import Callable

import pandas as pd

from pipeline.params import Split
from pipeline.splitting.errors import SplitError
from pipeline.splitting.grouped import grouped
from pipeline.splitting.official import official

METHODS: dict[str, Callable[[pd.DataFrame, list[str], Split], pd.Series]] = {"official": official, "grouped": grouped}

__all__ = ["METHODS", "SplitError", "grouped", "official"]
