"""Fronts on disk: one safetensors file, which says what the front is, holds its arrays, and checks itself.

The file is replaced in one step, so that a reader finds the old front or the new one, whole, however many writers there
are and however they end.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax

from prefront.learning.networks import PolicyNetwork
from prefront.system.files import DamagedFileError, load_arrays, pack_arrays, write_atomically
from prefront.system.shapes import restored
from prefront.tasks.task import Conditions

FORMAT = "prefront front 2"
FILE = "front.safetensors"
FIRST_FORMAT_FILE = "front.json"

Made = TypeVar("Made")


@dataclasses.dataclass(frozen=True)
class Description:
    """What a front is, beside its arrays; see `prefront.policies.front.Front`."""

    network: PolicyNetwork
    conditions: Conditions
    policies: int
    environment_steps: int
    evaluation_steps: int
    seed: int | None
    format: str = FORMAT


def write(folder: str | Path, described: Description, arrays: Mapping[str, Any]) -> None:
    """Writes a front to a folder, in place of a front that is there; equal fronts give equal bytes.

    Args:
        folder: Where it goes; made where missing.
        described: What the front is.
        arrays: `parameters` and `returns`.
    """
    write_atomically(Path(folder) / FILE, pack_arrays(arrays, dataclasses.asdict(described)))


def read(folder: str | Path, make: Callable[..., Made]) -> Made:
    """Reads what `write` wrote; nothing is unpickled, imported or called by a name that the file holds.

    Args:
        folder: Where it is.
        make: Makes the front, called with the fields of `Description` by name, `parameters` and `returns`.

    Raises:
        DamagedFileError: The file is missing, truncated or altered, or holds no front; the message names it and, where
            its checksum differs, both checksums.
    """
    path = Path(folder) / FILE
    if not path.is_file() and (first := path.with_name(FIRST_FORMAT_FILE)).is_file():
        raise DamagedFileError(
            f"{first} is a front of the format 'prefront front 1'; this version reads {FORMAT!r} only: train it again."
        )
    if not path.is_file():
        raise DamagedFileError(f"{path} is missing; {path.parent} holds no front.")
    arrays, content = load_arrays(path)
    if content.get("format") != FORMAT:
        raise DamagedFileError(f"{path} has format {content.get('format')!r}; this version reads {FORMAT!r}.")
    try:
        described: Description = restored(content, Description)
        parameters, returns = arrays["parameters"], arrays["returns"]
        _check_parameters(described.network, parameters)
        if described.policies != len(returns):
            raise ValueError(f"{described.policies} policies, but {len(returns)} return vectors")
        fields = {name: value for name, value in vars(described).items() if name not in ("format", "policies")}
        return make(parameters=parameters, returns=returns, **fields)
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedFileError(f"{path} holds no front: {error}") from error


def _check_parameters(network: PolicyNetwork, parameters: Any) -> None:
    """Refuses parameters that are not those of the network, stacked along a leading axis."""
    entries = sum(math.prod(leaf.shape[1:]) for leaf in jax.tree.leaves(parameters))
    try:
        hidden = () if network.encoder.kind in ("tabular", "factored") else network.body.hidden
        widest = max(network.body.outputs, network.encoder.features, *hidden)
        if widest > entries:  # Before anything of this size is made.
            raise ValueError(f"a width of {widest} with {entries} parameters")
        expected = jax.eval_shape(network.init, jax.random.key(0))
    except Exception as error:  # Numbers that make no network fail in many ways.
        raise ValueError(f"the network {network} cannot be built: {error}") from error
    stacked = jax.tree.map(lambda leaf: tuple(leaf.shape), expected)
    found = jax.tree.map(lambda leaf: tuple(leaf.shape[1:]), parameters)
    if stacked != found:
        raise ValueError(f"the parameters of {network} have shapes {stacked}, but the file has {found}")
