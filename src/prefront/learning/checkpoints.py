"""The state of a run as one file: any pytree of arrays, whose structure the reader knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np

from prefront.files import load_arrays, save_arrays


def save_state(path: Path, state: Any, facts: dict[str, Any]) -> None:
    """Writes a pytree's leaves and some JSON facts, atomically."""
    leaves = {f"{i:04d}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
    save_arrays(path, leaves, facts)


def load_leaves(path: Path) -> tuple[list[np.ndarray], dict[str, Any]]:
    """Reads the leaves and the facts of `save_state`."""
    leaves, facts = load_arrays(path)
    return [leaves[name] for name in sorted(leaves)], facts


def rebuild(like: Any, leaves: list[np.ndarray]) -> Any:
    """Puts leaves into the structure of `like`.

    Raises:
        ValueError: Number, shapes or types differ, so that the file belongs to another configuration.
    """
    expected, structure = jax.tree.flatten(like)
    have = [(leaf.shape, leaf.dtype) for leaf in leaves]
    want = [(np.shape(leaf), np.asarray(leaf).dtype) for leaf in expected]
    if have != want:
        raise ValueError("The stored state belongs to another configuration or version.")
    return jax.tree.unflatten(structure, leaves)
