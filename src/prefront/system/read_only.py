"""Arrays of frozen things, which nobody may change from outside."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np


def read_only(arrays: Any) -> Any:
    """Copies a pytree of arrays to NumPy arrays that refuse to be written to."""

    def copy(leaf: Any) -> np.ndarray:
        array = np.array(leaf)
        array.flags.writeable = False
        return array

    return jax.tree.map(copy, arrays)
