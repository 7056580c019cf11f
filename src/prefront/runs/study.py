"""The experiment contract: settings with presets, `run`, `claims` and `plot`, in one module.

A module is an experiment when it has

- a docstring, whose first line says what is studied;
- `Settings`, a frozen dataclass of numbers, strings, truth values, tuples of them, and further such dataclasses; its
  `Attributes:` docstring section becomes the help of the command's options. Before there is a run folder its values are
  held against its type hints (`prefront.system.checks.check_types`), and its method `check()`, where it or a dataclass
  in it has one, builds what the settings stand for, to refuse what only the parts of a job would refuse;
- `PRESETS`, settings by name: at least "smoke" (seconds, for tests), and "paper" for the whole study, or "tuned" and
  "published" where agents have settings of ours and of their authors; the first is the default;
- `run(settings, seed, job)`, which returns rows by table name and is a function of its settings, the seed and
  `job.part` alone;
- `claims(results)`, which returns a list of `Claim` (`prefront.reports.claim_forms` makes them), and
  `plot(results, folder)`, which writes figures into the folder and returns their paths; both see the stored tables
  only. The runner corrects all tested claims of a run together.

It may have

- `SEEDS`, the seeds by preset, such as `range(1000, 1010)`, or their number, counted from 0; 5 by default;
- `parts(settings)`, the names of the pieces into which the work of one seed falls, such as one per environment and
  method; each piece is run, resumed and timed by itself;
- `summary(results)`, a `Table` of what a paper would print, stored as Markdown and LaTeX; it may show seconds.

A module imports jax inside its functions only, so that `--help` is quick and each worker process chooses its own
threads.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import re
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prefront.reports.claims import Claim, correct
from prefront.runs.catalogue import EXPERIMENTS
from prefront.system.checks import check_types, nearest_names
from prefront.system.files import sha256
from prefront.system.tables import Table

Rows = Sequence[Mapping[str, Any]]
ONLY_PART = "all"
DEFAULT_SEEDS = 5
MOST_PARTS = 10_000
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.,=+-]*")


def _ignore(done: float, total: float, **figures: float) -> None:
    pass


@dataclasses.dataclass(frozen=True)
class Job:
    """One piece of an experiment's work, as `run` sees it.

    Attributes:
        part: Which piece, one of the experiment's `parts(settings)`.
        folder: Whatever is written here is kept beside the tables, for example trained fronts. Every attempt begins
            with an empty folder, so that nothing half-written is kept.
        checkpoint: A file or folder of the job's own that outlives a killed process; None keeps no checkpoint.
        report: Tells the progress: steps done, steps in all, and figures by name (such as `hypervolume`).
    """

    part: str = ONLY_PART
    folder: Path = dataclasses.field(default_factory=Path)
    checkpoint: Path | None = None
    report: Callable[..., None] = _ignore


@dataclasses.dataclass(frozen=True)
class Results:
    """The stored results of a run, as `claims` and `plot` see them.

    Attributes:
        settings: The experiment's settings.
        tables: Every table with the rows of all seeds and parts, and the columns `seed` and `part` in front.
        timing: Columns `seed`, `part`, `wall_seconds`, `cpu_seconds`, `peak_memory_mb` (10**6 bytes; NaN where the
            system does not say) and `attempts`; kept apart because two runs never agree in it.
    """

    settings: Any
    tables: dict[str, Table]
    timing: Table = dataclasses.field(default_factory=lambda: Table({}))

    def __getitem__(self, name: str) -> Table:
        """Returns one table.

        Raises:
            KeyError: The experiment wrote no such table; the message names those it wrote.
        """
        if name not in self.tables:
            raise KeyError(f"These results have no table {name!r}. {nearest_names(name, list(self.tables))}")
        return self.tables[name]

    @property
    def seeds(self) -> int:
        """The number of seeds."""
        return len({seed for table in self.tables.values() for seed in table.columns.get("seed", ())})

    def under(self, prefix: str, settings: Any) -> Results:
        """Returns the results of the parts named `prefix.PART`, as results of an experiment of their own."""

        def cut(table: Table) -> Table:
            start = f"{prefix}."
            rows = (row for row in table.rows() if row["part"].startswith(start))
            return Table.from_rows({**row, "part": row["part"].removeprefix(start)} for row in rows)

        tables = {name: cut(table) for name, table in self.tables.items()}
        return Results(settings, {name: table for name, table in tables.items() if len(table)}, cut(self.timing))


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A module that satisfies the contract, and how it was asked for.

    Attributes:
        spec: What finds it again in another process: a name of `EXPERIMENTS`, a dotted module, or the path of a file.
        name: Its short name, which names run folders.
        module: The module.
        checksum: SHA-256 of the module's file, where it is no study of ours, whose version a run records.
    """

    spec: str
    name: str
    module: types.ModuleType
    checksum: str | None = None

    @property
    def stored_spec(self) -> str:
        """What a run stores: a name, a dotted module, or a file's name without its folder."""
        return Path(self.spec).name if self.spec.endswith(".py") else self.spec

    @property
    def title(self) -> str:
        """The first line of the module's docstring."""
        return (self.module.__doc__ or "").strip().partition("\n")[0]

    @property
    def presets(self) -> dict[str, Any]:
        """Settings by preset name."""
        presets: dict[str, Any] = self.module.PRESETS
        return presets

    @property
    def default_preset(self) -> str:
        """The name of the first preset."""
        return next(iter(self.presets))

    def preset(self, name: str) -> Any:
        """Returns the settings of a preset.

        Raises:
            KeyError: There is no such preset; the message names the nearest ones.
        """
        if name not in self.presets:
            raise KeyError(f"{self.name} has no preset {name!r}. {nearest_names(name, list(self.presets))}")
        return self.presets[name]

    def seeds(self, preset: str) -> range:
        """Returns the seeds of a preset.

        Raises:
            TypeError: They are neither a number nor a range of consecutive ones.
        """
        seeds = getattr(self.module, "SEEDS", {}).get(preset, DEFAULT_SEEDS)
        if isinstance(seeds, int):
            return range(seeds)
        if not isinstance(seeds, range) or seeds.step != 1:
            raise TypeError(f"The seeds of a preset are a number or a range of consecutive ones, got {seeds!r}.")
        return seeds

    def check(self, settings: Any) -> None:
        """Refuses settings that could not be carried out, by their types and by what they build.

        Raises:
            ValueError: A setting is refused; the message names it, its value and what is allowed.
        """
        for field in dataclasses.fields(settings):
            value = getattr(settings, field.name)
            if dataclasses.is_dataclass(value):
                self.check(value)
        check_types(settings)
        check = getattr(type(settings), "check", None)
        if callable(check):
            check(settings)

    def parts(self, settings: Any) -> tuple[str, ...]:
        """Returns the names of the pieces of one seed's work.

        Raises:
            ValueError: A name could not name a folder, or occurs twice, or there are more than `MOST_PARTS`.
        """
        names = tuple(self.module.parts(settings)) if hasattr(self.module, "parts") else (ONLY_PART,)
        if len(names) > MOST_PARTS:
            raise ValueError(f"The work of a seed falls into at most {MOST_PARTS:,} parts, got {len(names):,}.")
        for name in names:
            if not _PART.fullmatch(name):
                raise ValueError(f"A part's name must match {_PART.pattern}, got {name!r}.")
        if not names or len(set(names)) < len(names):
            raise ValueError(f"Parts must be one or more distinct names, got {names}.")
        return names

    def run(self, settings: Any, seed: int, job: Job) -> Mapping[str, Rows]:
        """Does one piece of the work; returns rows by table name."""
        rows: Mapping[str, Rows] = self.module.run(settings, seed, job)
        return rows

    def claims(self, results: Results) -> list[Claim]:
        """Returns the claims that the results decide, corrected for their number."""
        return correct(list(self.module.claims(results)))

    def summary(self, results: Results) -> Table | None:
        """Returns the table that a paper would print, where the experiment has one."""
        return self.module.summary(results) if hasattr(self.module, "summary") else None

    def plot(self, results: Results, folder: Path) -> list[Path]:
        """Draws the figures into the folder; returns their paths."""
        return [Path(path) for path in self.module.plot(results, folder)]


def load_experiment(spec: str) -> Experiment:
    """Imports an experiment, which runs its module: `spec` comes from a user, never from a file.

    Args:
        spec: A name of `EXPERIMENTS`, a dotted module name, or the path of a Python file.

    Returns:
        The experiment.

    Raises:
        KeyError: Nothing has this name; the message names the nearest experiments.
        ImportError: It cannot be imported; the message says why.
        TypeError: The module does not satisfy the contract; the message names what is missing.
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
    missing = [part for part in ("Settings", "PRESETS", "run", "claims", "plot") if not hasattr(module, part)]
    if not (module.__doc__ or "").strip():
        missing.append("a docstring")
    if missing:
        raise TypeError(f"{spec} is no experiment: it lacks {', '.join(missing)}; see prefront.runs.study.")
    file = None if spec in EXPERIMENTS else module.__file__
    experiment = Experiment(spec, name, module, sha256(file) if file else None)
    for preset, settings in experiment.presets.items():
        if settings_from_dict(module.Settings, settings_to_dict(settings)) != settings:
            raise TypeError(f"The preset {preset!r} of {spec} does not survive JSON; see prefront.runs.study.")
    return experiment


def settings_to_dict(settings: Any) -> dict[str, Any]:
    """Turns settings into nested dicts, lists and plain values, as JSON stores them."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        if isinstance(value, tuple | list):
            return [plain(one) for one in value]
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise TypeError(f"Settings hold numbers, strings, truth values, tuples and dataclasses, got {value!r}.")

    stored: dict[str, Any] = plain(settings)
    return stored


def settings_from_dict(kind: type, stored: Mapping[str, Any]) -> Any:
    """Turns what `settings_to_dict` made into settings of the given dataclass.

    Raises:
        TypeError: The fields differ from the dataclass's; the message names them.
    """
    hints = typing.get_type_hints(kind)
    names = {field.name for field in dataclasses.fields(kind)}
    if names != set(stored):
        raise TypeError(f"The stored settings and {kind.__qualname__} differ in {sorted(names ^ set(stored))}.")
    return kind(**{name: _restore(hints[name], value) for name, value in stored.items()})


def _restore(hint: Any, value: Any) -> Any:
    if isinstance(value, Mapping):
        kinds = [
            one for one in (hint, *typing.get_args(hint)) if isinstance(one, type) and dataclasses.is_dataclass(one)
        ]
        return settings_from_dict(kinds[0], value) if kinds else value
    if isinstance(value, list):
        inner = [one for one in typing.get_args(hint) if one is not Ellipsis]
        hints = inner if len(inner) == len(value) else (inner[:1] or [Any]) * len(value)
        return tuple(_restore(one, part) for one, part in zip(hints, value, strict=True))
    return value


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
