"""Files that are whole or absent: atomic writes, checksums, and pytrees of arrays as safetensors."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors import numpy as safetensors_numpy

SEPARATOR = "/"
METADATA_KEY = "json"


class DamagedFileError(ValueError):
    """A stored file is missing, truncated or altered; the message names it."""


def write_atomically(path: str | Path, data: bytes | str) -> str:
    """Writes a file so that a reader finds the old content or the new, never a part, even after a crash.

    Args:
        path: Where the file goes; missing folders are created.
        data: Its content; text is encoded as UTF-8.

    Returns:
        The SHA-256 checksum of the content, in hexadecimal.
    """
    path = Path(path)
    content = data.encode() if isinstance(data, str) else data
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)
    return hashlib.sha256(content).hexdigest()


def sha256(path: str | Path) -> str:
    """Returns the SHA-256 checksum of a file, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_file(path: str | Path, expected: str) -> None:
    """Refuses a file whose SHA-256 checksum is not `expected`.

    Raises:
        DamagedFileError: The file is missing or its checksum differs.
    """
    if not Path(path).is_file():
        raise DamagedFileError(f"{path} is missing; a file with SHA-256 {expected} was expected.")
    actual = sha256(path)
    if actual != expected:
        raise DamagedFileError(f"{path} is damaged: expected SHA-256 {expected}, but the file has {actual}.")


def save_arrays(path: str | Path, tree: Mapping[str, Any], metadata: Mapping[str, Any] | None = None) -> str:
    """Writes a nested dict of arrays as one safetensors file, atomically and with the same bytes for the same content.

    Args:
        path: Where the file goes.
        tree: Nested dicts with string keys whose leaves are NumPy or JAX arrays or numbers.
        metadata: JSON-serialisable facts stored in the file's header.

    Returns:
        The SHA-256 checksum of the file, in hexadecimal.

    Raises:
        ValueError: A key is not a string, is empty or contains "/", or a dict is empty.
    """
    return write_atomically(path, pack_arrays(tree, metadata))


def pack_arrays(tree: Mapping[str, Any], metadata: Mapping[str, Any] | None = None) -> bytes:
    """Returns the bytes that `save_arrays` writes."""
    header = {METADATA_KEY: json.dumps(dict(metadata or {}), sort_keys=True)}
    # One header entry only: safetensors writes several in random order, and equal content must give equal bytes.
    return safetensors_numpy.save(flatten(tree), metadata=header)


def load_arrays(path: str | Path, checksum: str | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads what `save_arrays` wrote.

    Args:
        path: The file.
        checksum: Its SHA-256 checksum; the file is refused where it has another.

    Returns:
        The nested dict of NumPy arrays, and the metadata.

    Raises:
        DamagedFileError: The file is missing, is no whole safetensors file, or has another checksum.
    """
    if checksum is not None:
        check_file(path, checksum)
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            header = file.metadata() or {}
        return unflatten(arrays), json.loads(header.get(METADATA_KEY, "{}"))
    except FileNotFoundError as error:
        raise DamagedFileError(f"{path} is missing.") from error
    except (SafetensorError, json.JSONDecodeError) as error:
        raise DamagedFileError(f"{path} is truncated or no safetensors file: {error}") from error


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    """Turns nested dicts of arrays into one dict whose keys are the paths, joined by "/"."""
    if not tree:
        raise ValueError(f"An empty dict cannot be stored (at {prefix or 'the top'!r}).")
    flat: dict[str, np.ndarray] = {}
    for key, value in tree.items():
        if not isinstance(key, str) or not key or SEPARATOR in key:
            raise ValueError(f"Keys must be non-empty strings without {SEPARATOR!r}, got {key!r}.")
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}{SEPARATOR}"))
        else:
            flat[prefix + key] = np.asarray(value, order="C")
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Turns a dict whose keys are paths joined by "/" into nested dicts."""
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *folders, name = path.split(SEPARATOR)
        branch = tree
        for folder in folders:
            branch = branch.setdefault(folder, {})
        branch[name] = value
    return tree


def _sync_folder(folder: Path) -> None:
    # Windows cannot open folders; elsewhere the rename itself must reach the disk too.
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
