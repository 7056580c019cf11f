"""Finds a study by its name, its module or its file, and imports it."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import sys
import types
from pathlib import Path

from prefront.runs.catalogue import EXPERIMENTS
from prefront.runs.stored_settings import settings_from_dict, settings_to_dict
from prefront.runs.study import Study
from prefront.system.checks import nearest_names
from prefront.system.files import sha256


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A study, and how it was asked for.

    Attributes:
        spec: What finds it again in another process: a name of `EXPERIMENTS`, a dotted module, or the path of a file.
        name: Its short name, which names run folders.
        page: The docstring of its module; the first line is its title.
        study: The study.
        checksum: SHA-256 of the module's file, where it is no study of ours, whose version a run records.
    """

    spec: str
    name: str
    page: str
    study: Study
    checksum: str | None = None

    @property
    def stored_spec(self) -> str:
        """What a run stores: a name, a dotted module, or a file's name without its folder."""
        return Path(self.spec).name if self.spec.endswith(".py") else self.spec

    @property
    def title(self) -> str:
        """The first line of the page."""
        return self.page.partition("\n")[0]


def load_experiment(spec: str) -> Experiment:
    """Imports a study, which runs its module: `spec` comes from a user, never from a file.

    Args:
        spec: A name of `EXPERIMENTS`, a dotted module name, or the path of a Python file.

    Returns:
        The study, with how it was asked for.

    Raises:
        KeyError: Nothing has this name; the message names the nearest experiments.
        ImportError: It cannot be imported; the message says why.
        TypeError: The module has no `STUDY` or no docstring, or settings that JSON cannot hold.
    """
    if spec in EXPERIMENTS:
        name, module = spec, importlib.import_module(EXPERIMENTS[spec].module)
    elif spec.endswith(".py"):
        name, module = Path(spec).stem, _import_file(Path(spec))
    elif "." in spec and _exists(spec):
        name = spec.rpartition(".")[2]
        try:
            module = importlib.import_module(spec)
        except (ImportError, SyntaxError) as error:
            raise ImportError(f"{spec} cannot be imported: {error}") from error
    else:
        raise KeyError(f"No experiment {spec!r}. {nearest_names(spec, list(EXPERIMENTS))}")
    study, page = getattr(module, "STUDY", None), (module.__doc__ or "").strip()
    if not isinstance(study, Study):
        raise TypeError(f"{spec} is no experiment: it lacks STUDY = Study(...); see prefront.runs.study.")
    if not page:
        raise TypeError(f"{spec} is no experiment: it lacks a docstring; see prefront.runs.study.")
    for preset, settings in study.presets.items():
        if settings_from_dict(study.settings_type, settings_to_dict(settings)) != settings:
            raise TypeError(f"The preset {preset!r} of {spec} does not survive JSON; see prefront.runs.study.")
    file = None if spec in EXPERIMENTS else module.__file__
    return Experiment(spec, name, page, study, sha256(file) if file else None)


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # Such as a name that begins with a dot.
        return False


def _import_file(path: Path) -> types.ModuleType:
    if "\0" in str(path) or not path.is_file():
        raise KeyError(f"No experiment file {str(path)!r}.")
    name = f"_experiment_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Dataclasses look their own module up.
    try:
        spec.loader.exec_module(module)
    except (ImportError, SyntaxError, UnicodeDecodeError) as error:
        raise ImportError(f"{path} cannot be imported: {error}") from error
    return module
