"""Solutions on disk: one safetensors file, which says what the solution is, holds its arrays, and checks itself.

The file is replaced in one step, so that a reader finds the old solution or the new one, whole, however many writers
there are and however they end.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax

from prefront.learning.networks import PolicyNetwork
from prefront.system.files import DamagedFileError, load_arrays, pack_arrays, write_atomically
from prefront.system.shapes import restored
from prefront.tasks.task import Conditions

FIRST_FORMAT_FILE = "front.json"

Made = TypeVar("Made")


class Form(NamedTuple):
    """How solutions of one kind are stored.

    Attributes:
        name: What one is, in words.
        file: Name of the file in its folder.
        format: Name and version of the format, which the file holds.
        arrays: Names of its arrays.
    """

    name: str
    file: str
    format: str
    arrays: tuple[str, ...]


FRONT = Form("front", "front.safetensors", "prefront front 2", ("parameters", "returns"))
CONDITIONED = Form(
    "conditioned policy", "conditioned_policy.safetensors", "prefront conditioned policy 1", ("parameters",)
)


@dataclasses.dataclass(frozen=True)
class Description:
    """What a solution is, beside its arrays; see `prefront.policies.front` and `prefront.policies.conditioned`.

    Attributes:
        network: The network whose parameters are stored.
        conditions: What return vectors depend on.
        policies: How many policies the parameters are stacked of; None where they are not stacked.
        environment_steps: Environment steps that training took.
        evaluation_steps: Environment steps that evaluation took.
        seed: Seed of the training run.
        format: Name and version of the format.
    """

    network: PolicyNetwork
    conditions: Conditions
    policies: int | None
    environment_steps: int
    evaluation_steps: int
    seed: int | None
    format: str


def write(form: Form, folder: str | Path, solution: Any, policies: int | None) -> None:
    """Writes a solution to a folder, in place of one that is there; equal solutions give equal bytes.

    Args:
        form: How it is stored.
        folder: Where it goes; made where missing.
        solution: Has the attributes of `Description` and the arrays of the form.
        policies: How many policies its parameters are stacked of; None where they are not stacked.
    """
    fields = [field.name for field in dataclasses.fields(Description) if field.name not in ("policies", "format")]
    taken: dict[str, Any] = {name: getattr(solution, name) for name in fields}
    described = Description(**taken, policies=policies, format=form.format)
    arrays = {name: getattr(solution, name) for name in form.arrays}
    write_atomically(Path(folder) / form.file, pack_arrays(arrays, dataclasses.asdict(described)))


def read(form: Form, folder: str | Path, make: Callable[..., Made]) -> Made:
    """Reads what `write` wrote; nothing is unpickled, imported or called by a name that the file holds.

    Args:
        form: How it is stored.
        folder: Where it is.
        make: Makes the solution, called by name with the arrays and all fields of `Description` but the last, and
            without `policies`.

    Raises:
        DamagedFileError: The file is missing, truncated or altered, or holds no such solution; the message names it
            and, where its checksum differs, both checksums.
    """
    path = Path(folder) / form.file
    if form is FRONT and not path.is_file() and (first := path.with_name(FIRST_FORMAT_FILE)).is_file():
        raise DamagedFileError(
            f"{first} is a front of the format 'prefront front 1'; this version reads {form.format!r} only: train it "
            "again."
        )
    if not path.is_file():
        raise DamagedFileError(f"{path} is missing; {path.parent} holds no {form.name}.")
    arrays, content = load_arrays(path)
    if content.get("format") != form.format:
        raise DamagedFileError(f"{path} has format {content.get('format')!r}; this version reads {form.format!r}.")
    try:
        described: Description = restored(content, Description)
        given = {name: arrays[name] for name in form.arrays}
        check_parameters(described.network, given["parameters"], described.policies)
        fields = {name: value for name, value in vars(described).items() if name not in ("format", "policies")}
        return make(**given, **fields)
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedFileError(f"{path} holds no {form.name}: {error}") from error


def check_parameters(network: PolicyNetwork, parameters: Mapping[str, Any], policies: int | None) -> None:
    """Refuses parameters that are not those of a network.

    Args:
        network: The network.
        parameters: The parameters.
        policies: Of how many policies they are stacked along a leading axis; None where they are not stacked.

    Raises:
        ValueError: The shapes differ, or the network cannot be built.
    """
    leading = () if policies is None else (policies,)
    entries = sum(math.prod(leaf.shape[len(leading) :]) for leaf in jax.tree.leaves(parameters))
    try:
        hidden = () if network.encoder.kind in ("tabular", "factored") else network.body.hidden
        widest = max(network.body.outputs, network.encoder.features, *hidden)
        if widest > entries:  # Before anything of this size is made.
            raise ValueError(f"a width of {widest} with {entries} parameters")
        expected = jax.eval_shape(network.init, jax.random.key(0))
    except Exception as error:  # Numbers that make no network fail in many ways.
        raise ValueError(f"the network {network} cannot be built: {error}") from error
    wanted = jax.tree.map(lambda leaf: (*leading, *leaf.shape), expected)
    found = jax.tree.map(lambda leaf: tuple(leaf.shape), parameters)
    if wanted != found:
        raise ValueError(f"the parameters of {network} have shapes {wanted}, got {found}")
