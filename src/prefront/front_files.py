"""Fronts on disk: `front.json` says what they are, and names and checks the safetensors file with their arrays.

The arrays' file is named by its content and written first; `front.json` is then replaced in one step, so that a reader
finds the old front or the new one, whole, however the writer ends.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from prefront.files import DamagedFileError, load_arrays, pack_arrays, write_atomically
from prefront.front import Conditions, Front
from prefront.learning.networks import PolicyNetwork

FORMAT = "prefront front 1"
DESCRIPTION = "front.json"


def save(front: Front, folder: str | Path) -> None:
    """Writes a front to a folder, in place of a front that is there; equal fronts give equal bytes.

    Args:
        front: The front.
        folder: Where it goes; made where missing.
    """
    folder = Path(folder)
    arrays = pack_arrays({"parameters": front.parameters, "returns": front.returns})
    checksum = hashlib.sha256(arrays).hexdigest()
    name = f"front-{checksum[:16]}.safetensors"
    write_atomically(folder / name, arrays)
    content = {
        "format": FORMAT,
        "arrays": {"file": name, "sha256": checksum},
        "network": front.network.to_dict(),
        "conditions": dataclasses.asdict(front.conditions),
        "policies": len(front),
        "environment_steps": front.environment_steps,
        "evaluation_steps": front.evaluation_steps,
        "seed": front.seed,
    }
    write_atomically(folder / DESCRIPTION, _signed(content))
    for other in folder.glob("front-*.safetensors"):
        if other.name != name:
            other.unlink()


def load(folder: str | Path) -> Front:
    """Reads a front that `save` wrote; nothing is unpickled.

    Raises:
        DamagedFileError: A file is missing, truncated or altered; the message names it and, where its checksum
            differs, both checksums.
    """
    path = Path(folder) / DESCRIPTION
    content = _checked(path)
    if content.get("format") != FORMAT:
        raise DamagedFileError(f"{path} has format {content.get('format')!r}; this version reads {FORMAT!r}.")
    try:
        arrays, _ = load_arrays(path.with_name(content["arrays"]["file"]), content["arrays"]["sha256"])
    except DamagedFileError:
        if _checked(path) == content:
            raise
        # Another process has put a newer front in place meanwhile, and removed the arrays of the old one.
        return load(folder)
    return Front(
        network=PolicyNetwork.from_dict(content["network"]),
        parameters=arrays["parameters"],
        returns=arrays["returns"],
        conditions=Conditions(**content["conditions"]),
        environment_steps=content["environment_steps"],
        evaluation_steps=content["evaluation_steps"],
        seed=content["seed"],
    )


def _signed(content: dict[str, Any]) -> str:
    """Writes JSON that holds the checksum of its own text, taken while the checksum's place is empty."""
    text = json.dumps({"sha256": "", **content}, indent=2, allow_nan=False) + "\n"
    return text.replace('"sha256": ""', f'"sha256": "{_digest(text)}"', 1)


def _checked(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DamagedFileError(f"{path} is missing; {path.parent} holds no front.")
    try:
        text = path.read_bytes().decode()
        content = json.loads(text)
        expected = content["sha256"]
        actual = _digest(text.replace(f'"sha256": "{expected}"', '"sha256": ""', 1))
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise DamagedFileError(f"{path} is truncated or altered: {error!r}") from error
    if actual != expected:
        raise DamagedFileError(f"{path} is damaged: expected SHA-256 {expected}, but the file has {actual}.")
    return dict(content)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
