"""Files that are whole or refused: atomic writes, checksums, JSON of a known shape, and pytrees as safetensors.

Every file that this module writes as JSON or as arrays carries the SHA-256 checksum of its own content, taken while the
checksum's place is empty. Folders of other files have a list of their checksums, see `prefront.system.checksums`. A
checksum finds accidents; whoever can write a file can write its checksum too.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors_numpy

from prefront.system.shapes import ShapeError, restored

SEPARATOR = "/"
METADATA_KEY = "json"
EMPTY_DIGEST = "0" * 64
# Far beyond what is ever written, and far below what Python can follow.
DEEPEST_JSON = 64
_DIGEST = re.compile(r"[0-9a-f]{64}")
# How every safetensors file of ours begins, after the eight bytes of the header's length; the checksum follows.
_HEADER_START = f'{{"__metadata__":{{"{METADATA_KEY}":"'.encode()
_DIGEST_PLACE = slice(8 + len(_HEADER_START), 8 + len(_HEADER_START) + len(EMPTY_DIGEST))


class DamagedFileError(ValueError):
    """A stored file is missing, truncated or altered; the message names it."""

    def __str__(self) -> str:
        """Returns the message, in which nothing that a file holds can steer a terminal."""
        return printable(super().__str__())


def printable(text: str) -> str:
    """Returns a text with control characters shown as escapes, and line ends kept: what files hold may be shown so."""
    return "".join(
        one if one == "\n" or unicodedata.category(one) not in ("Cc", "Cf", "Cs", "Zl", "Zp") else repr(one)[1:-1]
        for one in text
    )


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


def remove_leftovers(folder: str | Path) -> None:
    """Removes what killed writers left in a folder and below it; nobody may be writing there."""
    for leftover in Path(folder).glob("**/.*.tmp"):
        leftover.unlink(missing_ok=True)


def sha256(path: str | Path) -> str:
    """Returns the SHA-256 checksum of a file, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_checked(path: str | Path, expected: str | None = None) -> bytes:
    """Returns the content of a file, and refuses one whose SHA-256 checksum is not `expected`, where it is given.

    Raises:
        DamagedFileError: The file is missing or its checksum differs.
    """
    if not Path(path).is_file():
        known = "" if expected is None else f"; a file with SHA-256 {expected} was expected"
        raise DamagedFileError(f"{path} is missing{known}.")
    content = Path(path).read_bytes()
    if expected is not None:
        _compare(path, expected, hashlib.sha256(content).hexdigest())
    return content


def signed_json(content: Mapping[str, Any], *, allow_nan: bool = False) -> str:
    """Returns JSON text that holds the checksum of its own text as "sha256"; equal content gives equal text."""
    text = json.dumps({"sha256": EMPTY_DIGEST, **content}, indent=1, allow_nan=allow_nan) + "\n"
    return text.replace(EMPTY_DIGEST, hashlib.sha256(text.encode()).hexdigest(), 1)


def read_json(path: str | Path, shape: Any) -> Any:
    """Reads what `signed_json` made.

    Args:
        path: The file.
        shape: What it must hold, as a type: see `prefront.system.shapes.restored`.

    Raises:
        DamagedFileError: The file is missing, was altered, or holds something else; the message names it.
    """
    content = read_checked(path)
    fields = _json(path, content)
    stored = fields.pop("sha256", None) if isinstance(fields, dict) else None
    if not isinstance(stored, str) or not _DIGEST.fullmatch(stored):
        raise DamagedFileError(f"{path} has no checksum: it is damaged, or another version of Prefront wrote it.")
    _compare(path, stored, hashlib.sha256(content.replace(stored.encode(), EMPTY_DIGEST.encode(), 1)).hexdigest())
    return _shaped(path, fields, shape)


def read_plain_json(path: str | Path, shape: Any, expected: str | None = None) -> Any:
    """Reads JSON of a shape from a file that does not hold its own checksum, see `read_json` and `read_checked`."""
    return _shaped(path, _json(path, read_checked(path, expected)), shape)


def save_arrays(path: str | Path, tree: Mapping[str, Any], metadata: Mapping[str, Any] | None = None) -> str:
    """Writes a nested dict of arrays as one safetensors file, atomically and with the same bytes for the same content.

    Args:
        path: Where the file goes.
        tree: Nested dicts with string keys whose leaves are NumPy or JAX arrays or numbers.
        metadata: JSON-serialisable facts stored in the file's header, beside a checksum of the whole file.

    Returns:
        The SHA-256 checksum of the file, in hexadecimal.

    Raises:
        ValueError: A key is not a string, is empty or contains "/", or a dict is empty.
    """
    return write_atomically(path, pack_arrays(tree, metadata))


def pack_arrays(tree: Mapping[str, Any], metadata: Mapping[str, Any] | None = None) -> bytes:
    """Returns the bytes that `save_arrays` writes."""
    header = {METADATA_KEY: EMPTY_DIGEST + json.dumps(dict(metadata or {}), sort_keys=True)}
    # One header entry only: safetensors writes several in random order, and equal content must give equal bytes.
    packed = bytearray(safetensors_numpy.save(flatten(tree), metadata=header))
    assert packed[_DIGEST_PLACE] == EMPTY_DIGEST.encode()
    packed[_DIGEST_PLACE] = hashlib.sha256(packed).hexdigest().encode()
    return bytes(packed)


def load_arrays(path: str | Path, checksum: str | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads what `save_arrays` wrote, and compares it with the checksum that it holds.

    Args:
        path: The file.
        checksum: The checksum that `save_arrays` returned; a file that is whole but another one is refused too.

    Returns:
        The nested dict of NumPy arrays, and the metadata.

    Raises:
        DamagedFileError: The file is missing, is no whole file of `save_arrays`, or has another checksum.
    """
    content = bytearray(read_checked(path, checksum))
    stored = bytes(content[_DIGEST_PLACE])
    if content[8 : _DIGEST_PLACE.start] != _HEADER_START or not _DIGEST.fullmatch(stored.decode("latin-1")):
        raise DamagedFileError(
            f"{path} is truncated, or no safetensors file that holds its checksum: another version of Prefront may "
            "have written it."
        )
    content[_DIGEST_PLACE] = EMPTY_DIGEST.encode()
    _compare(path, stored.decode(), hashlib.sha256(content).hexdigest())
    try:
        arrays = safetensors_numpy.load(bytes(content))
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        facts = _json(path, header["__metadata__"][METADATA_KEY].removeprefix(EMPTY_DIGEST))
        return unflatten(arrays), _shaped(path, facts, dict[str, Any])
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedFileError(f"{path} holds no arrays of ours: {error}") from error


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


def _compare(path: str | Path, expected: str, actual: str) -> None:
    if actual != expected:
        raise DamagedFileError(f"{path} is damaged: expected SHA-256 {expected}, but the file has {actual}.")


def _json(path: str | Path, content: bytes | str) -> Any:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{path} is damaged: it is truncated or no JSON ({error}).") from error
    level = [value]
    for _ in range(DEEPEST_JSON):
        level = [one for outer in level for one in _parts(outer)]
        if not level:
            return value
    raise DamagedFileError(f"{path} is damaged: it is nested more than {DEEPEST_JSON} deep.")


def _parts(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _shaped(path: str | Path, value: Any, shape: Any) -> Any:
    try:
        return restored(value, shape)
    except ShapeError as error:
        raise DamagedFileError(f"{path} is damaged: {error}") from error


def _sync_folder(folder: Path) -> None:
    # Windows cannot open folders; elsewhere the rename itself must reach the disk too.
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
