"""The stored state of a run of training, from which the same call goes on as if it had not been interrupted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from prefront.system.files import DamagedFileError, load_arrays, remove_leftovers, save_arrays
from prefront.tasks.identity import differences

FILE = "state.safetensors"
OWNER, FACTS = "owner", "facts"


class Checkpoint:
    """One file of a folder, replaced whole, that holds the last stored state of one run.

    Args:
        folder: Where it lies; what killed writers left there is removed. Without a folder nothing is ever stored.
        owner: What tells the run from others, such as task, seed and settings; JSON values.
    """

    def __init__(self, folder: str | Path | None, owner: Mapping[str, Any] | None = None) -> None:
        self._path = None if folder is None else Path(folder) / FILE
        self._owner = _as_json(owner or {})
        if folder is not None:
            remove_leftovers(folder)

    @property
    def stored(self) -> Path | None:
        """The file with the last stored state; None where there is none."""
        return self._path if self._path is not None and self._path.exists() else None

    def save(self, tree: Mapping[str, Any], facts: Mapping[str, Any]) -> Path | None:
        """Stores a state in place of the one before.

        Args:
            tree: Pytrees of arrays by name. Dicts are stored by their keys; of other containers, such as named tuples,
                only the leaves are stored, in order.
            facts: JSON values.

        Returns:
            The file; None without a folder.
        """
        if self._path is not None:
            save_arrays(self._path, _numbered(tree), {OWNER: self._owner, FACTS: _as_json(facts)})
        return self._path

    def restore(self, like: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Returns the state that was stored last; None where there is none.

        Args:
            like: Pytrees by name whose structure, shapes and types the stored ones have. What it does not name is
                returned as it is stored: nested dicts of arrays.

        Returns:
            The pytrees, with NumPy arrays as leaves, and the facts.

        Raises:
            DamagedFileError: The file is damaged, or its arrays do not have the shapes of `like`.
            ValueError: It belongs to another run; the message names what differs.
        """
        path = self.stored
        if path is None:
            return None
        arrays, content = load_arrays(path)
        if differing := differences(content.get(OWNER, {}), self._owner):
            raise ValueError(f"The checkpoint {path} belongs to another run than this one. {differing}.")
        try:
            for name, tree in like.items():
                arrays[name] = _restored(name, arrays[name], tree)
            return arrays, content[FACTS]
        except KeyError as error:
            raise DamagedFileError(f"{path} holds no {error}.") from error
        except ValueError as error:
            raise DamagedFileError(f"{path} holds another state: {error}.") from error


def _numbered(tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {name: _numbered(part) for name, part in tree.items()}
    leaves = jax.tree.leaves(tree)
    return tree if leaves and leaves[0] is tree else {f"{i:04d}": leaf for i, leaf in enumerate(leaves)}


def _restored(name: str, stored: Any, like: Any) -> Any:
    if isinstance(like, Mapping):
        return {key: _restored(f"{name}/{key}", stored[key], part) for key, part in like.items()}
    wanted, structure = jax.tree.flatten(like)
    leaves = [stored[key] for key in sorted(stored)] if isinstance(stored, dict) else [stored]
    shapes = [[(np.shape(leaf), leaf.dtype) for leaf in one] for one in (leaves, wanted)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"{name} has the shapes and types {shapes[0]} in place of {shapes[1]}")
    return jax.tree.unflatten(structure, leaves)


def _as_json(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Returns facts as JSON gives them back: tuples as lists."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(facts)))
    return plain
