"""Lists of checksums: what a folder holds and whose it is, so that damaged, lost and swapped files are refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from prefront.system.files import DamagedFileError, read_checked, read_json, sha256, signed_json, write_atomically

LIST = "checksums.json"


@dataclasses.dataclass(frozen=True)
class Checksums:
    """A folder's list.

    Attributes:
        owner: Whose files they are, such as a config, a seed and a part.
        files: SHA-256 checksum by path, relative to the folder, with "/" between its parts.
    """

    owner: dict[str, Any]
    files: dict[str, str]

    def __post_init__(self) -> None:
        for name in self.files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                raise ValueError(f"{name!r} lies outside the folder.")

    @classmethod
    def of(cls, folder: Path, paths: Iterable[Path], owner: Mapping[str, Any]) -> Checksums:
        """Takes the checksums of files of a folder."""
        return cls(dict(owner), {path.relative_to(folder).as_posix(): sha256(path) for path in sorted(paths)})

    def write(self, folder: Path) -> None:
        """Writes the list into its folder, atomically; equal lists give equal bytes."""
        write_atomically(folder / LIST, signed_json(dataclasses.asdict(self)))


def read_checksums(folder: Path, owner: Mapping[str, Any] | None = None) -> Checksums:
    """Reads a folder's list.

    Args:
        folder: The folder.
        owner: Whose files they must be; anybody's by default.

    Raises:
        DamagedFileError: The list is missing, damaged, or another owner's.
    """
    path = folder / LIST
    listed: Checksums = read_json(path, Checksums)
    if owner is not None and listed.owner != owner:
        raise DamagedFileError(f"{path} belongs to {listed.owner}, not to {dict(owner)}.")
    return listed


def check_files(folder: Path, listed: Checksums, wanted: Callable[[str], bool] = lambda name: True) -> None:
    """Refuses a folder one of whose listed files is missing or was altered.

    Args:
        folder: The folder.
        listed: Its list.
        wanted: Which of the files to look at, by path; all by default.

    Raises:
        DamagedFileError: A file is missing or was altered; the message names the first.
    """
    for name, checksum in listed.files.items():
        if wanted(name):
            read_checked(folder / name, checksum)
