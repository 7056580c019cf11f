"""Arrays of frozen things, which nobody may change from outside. Imports no jax."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def read_only(arrays: Any) -> Any:
    """Copies an array, or nested dicts of arrays, to NumPy arrays that refuse to be written to."""
    if isinstance(arrays, Mapping):
        return {name: read_only(part) for name, part in arrays.items()}
    array = np.array(arrays)
    array.flags.writeable = False
    return array
