"""Fronts on disk: one safetensors file, which says what the front is, holds its arrays, and checks itself.

The file is replaced in one step, so that a reader finds the old front or the new one, whole, however many writers there
are and however they end.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import jax

from prefront.learning.networks import PolicyNetwork
from prefront.policies.front import Conditions, Front
from prefront.system.files import DamagedFileError, load_arrays, pack_arrays, write_atomically
from prefront.system.shapes import restored

FORMAT = "prefront front 2"
FILE = "front.safetensors"
FIRST_FORMAT_FILE = "front.json"


@dataclasses.dataclass(frozen=True)
class _Description:
    format: str
    network: PolicyNetwork
    conditions: Conditions
    policies: int
    environment_steps: int
    evaluation_steps: int
    seed: int | None


def save(front: Front, folder: str | Path) -> None:
    """Writes a front to a folder, in place of a front that is there; equal fronts give equal bytes.

    Args:
        front: The front.
        folder: Where it goes; made where missing.
    """
    described = _Description(
        FORMAT,
        front.network,
        front.conditions,
        len(front),
        front.environment_steps,
        front.evaluation_steps,
        front.seed,
    )
    arrays = {"parameters": front.parameters, "returns": front.returns}
    write_atomically(Path(folder) / FILE, pack_arrays(arrays, dataclasses.asdict(described)))


def load(folder: str | Path) -> Front:
    """Reads a front that `save` wrote; nothing is unpickled, imported or called by a name that the file holds.

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
        described: _Description = restored(content, _Description)
        _check_parameters(described.network, arrays["parameters"])
        if described.policies != len(arrays["returns"]):
            raise ValueError(f"{described.policies} policies, but {len(arrays['returns'])} return vectors")
        return Front(
            network=described.network,
            parameters=arrays["parameters"],
            returns=arrays["returns"],
            conditions=described.conditions,
            environment_steps=described.environment_steps,
            evaluation_steps=described.evaluation_steps,
            seed=described.seed,
        )
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
