"""What a run was asked for, and where it is: configs of run folders, and run folders by name."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from prefront.system.checks import nearest_names
from prefront.system.files import read_json


class RunError(Exception):
    """A run folder cannot be used as asked; the message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class Config:
    """What a run was asked for.

    Attributes:
        experiment: The experiment's name, module or file; a run folder stores a file's name without its path.
        preset: The preset that the settings started from.
        settings: The settings as JSON stores them.
        seeds: Number of seeds; the run has `first_seed` and those that follow it.
        device: "cpu" or "gpu".
        study: SHA-256 checksum of the experiment's module, where it is no study of ours.
        first_seed: The first seed.
    """

    experiment: str
    preset: str
    settings: dict[str, Any]
    seeds: int
    device: str = "cpu"
    study: str | None = None
    first_seed: int = 0

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ValueError(f"A run has at least 1 seed, got {self.seeds}.")
        if self.first_seed < 0:
            raise ValueError(f"Seeds are numbers from 0, got first_seed = {self.first_seed}.")

    @property
    def every_seed(self) -> range:
        """All seeds of the run."""
        return range(self.first_seed, self.first_seed + self.seeds)

    @property
    def identity(self) -> str:
        """A checksum of all that the result of one seed depends on."""
        fields = {
            name: value for name, value in dataclasses.asdict(self).items() if name not in ("seeds", "first_seed")
        }
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()

    def differences(self, other: Config) -> list[str]:
        """Names each field in which the config that is asked for, `other`, differs from this one of a folder."""
        mine, theirs = _flatten(dataclasses.asdict(self)), _flatten(dataclasses.asdict(other))
        return [
            f"{name}: {mine.get(name, 'absent')!r} in the folder, {theirs.get(name, 'absent')!r} asked for"
            for name in sorted(mine.keys() | theirs.keys())
            if mine.get(name, ...) != theirs.get(name, ...)
        ]


def read_config(folder: str | Path) -> Config:
    """Reads the config of a run folder.

    Raises:
        RunError: The folder holds no run.
        DamagedFileError: The config is damaged.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise RunError(f"{folder} holds no run (it has no config.json).")
    config: Config = read_json(path, Config)
    return config


def find_runs(root: str | Path) -> list[Path]:
    """Returns the run folders below a folder, by name."""
    return sorted(path.parent for path in Path(root).glob("*/config.json"))


def find_run(name: str, root: str | Path) -> Path:
    """Returns the run folder that a user names, by its path or by its name below `root`.

    Raises:
        RunError: There is none; the message names the nearest ones.
    """
    for folder in (Path(name), Path(root) / name):
        if (folder / "config.json").is_file():
            return folder
        if folder.is_dir():
            raise RunError(f"{folder} holds no run (it has no config.json).")
    known = [folder.name for folder in find_runs(root)]
    hint = nearest_names(Path(name).name, known) if known else f"There are no runs in {root}."
    raise RunError(f"No run {name!r}. {hint}")


def _flatten(fields: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        flat.update(_flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value})
    return flat
