"""The form of a study: one object, `STUDY = Study(...)`, in a module whose docstring's first line says what is studied.

The runner, the catalogue and the tests read this object and nothing else of the module. The module imports jax inside
its functions only, so that `--help` is quick and each worker process chooses its own threads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prefront.reports.claims import Claim, correct
from prefront.runs.cells import WHOLE, cell_name
from prefront.system.checks import check_types, nearest_names
from prefront.system.tables import Table

Rows = Sequence[Mapping[str, Any]]
DEFAULT_SEEDS = 5
MOST_CELLS = 10_000


def _ignore(done: float, total: float, **figures: float) -> None:
    pass


@dataclasses.dataclass(frozen=True)
class Job:
    """One cell of a study for one seed, as `run` sees it.

    Attributes:
        cell: Which piece of the work, one of the study's `cells(settings)`.
        folder: Whatever is written here is kept beside the tables, for example trained fronts. Every attempt begins
            with an empty folder, so that nothing half-written is kept.
        checkpoint: A file or folder of the job's own that outlives a killed process; None keeps no checkpoint.
        report: Tells the progress: steps done, steps in all, and figures by name (such as `hypervolume`).
    """

    cell: Any = WHOLE
    folder: Path = dataclasses.field(default_factory=Path)
    checkpoint: Path | None = None
    report: Callable[..., None] = _ignore


@dataclasses.dataclass(frozen=True)
class Results:
    """The stored results of a run, as claims, figures and summaries see them.

    Attributes:
        settings: The study's settings.
        tables: Every table with the rows of all seeds and cells, and in front the columns `seed` and, where the study
            has several cells, `cell`: its name, see `cell_name`.
        timing: Columns `seed`, `cell`, `wall_seconds`, `cpu_seconds`, `peak_memory_mb` (10**6 bytes; NaN where the
            system does not say) and `attempts`; kept apart because two runs never agree in it.
    """

    settings: Any
    tables: dict[str, Table]
    timing: Table = dataclasses.field(default_factory=lambda: Table({}))

    def __getitem__(self, name: str) -> Table:
        """Returns one table.

        Raises:
            KeyError: The study wrote no such table; the message names those it wrote.
        """
        if name not in self.tables:
            raise KeyError(f"These results have no table {name!r}. {nearest_names(name, list(self.tables))}")
        return self.tables[name]

    @property
    def seeds(self) -> int:
        """The number of seeds."""
        return len({seed for table in self.tables.values() for seed in table.columns.get("seed", ())})

    def of_cells(self, cells: Mapping[Any, Any], settings: Any) -> Results:
        """Returns the results of some cells as those of a study of their own.

        Args:
            cells: Which cells, each with the cell that it is in the other study.
            settings: The settings of the other study.
        """
        names = {cell_name(own): cell_name(other) for own, other in cells.items()}

        def cut(table: Table) -> Table:
            return Table.from_rows({**row, "cell": names[row["cell"]]} for row in table.rows() if row["cell"] in names)

        tables = {name: cut(table) for name, table in self.tables.items()}
        return Results(settings, {name: table for name, table in tables.items() if len(table)}, cut(self.timing))


def _whole(settings: Any) -> list[Any]:
    return [WHOLE]


@dataclasses.dataclass(frozen=True)
class Study:
    """What a study is: its settings, its work and what follows from its stored tables.

    Attributes:
        presets: Settings by name: at least "smoke" (seconds, for tests), and "paper" for the whole study, or "tuned"
            and "published" where agents have settings of ours and of their authors; the first is the default. Settings
            are a frozen dataclass of numbers, texts, truth values, tuples of them and further such dataclasses; its
            `Attributes:` section is the help of the command's options. Their method `check()`, where they or a
            dataclass in them have one, builds what they stand for, to refuse what only a job would refuse.
        run: Does one cell for one seed: takes settings, seed and job, and returns rows by table name. It is a function
            of the settings, the seed and `job.cell` alone.
        claims: Functions of the results, each of which returns claims (`prefront.reports.claim_forms` makes them). All
            tested claims of a study are corrected together.
        figures: Functions of the results and a folder, each of which draws figures there and returns their paths.
        cells: The pieces of one seed's work by settings, frozen dataclasses; each is run, resumed and timed by itself.
            By default there is one piece.
        seeds: The seeds by preset, such as `range(1000, 1010)`, or their number, counted from 0; 5 by default.
        summary: The table that a paper would print, stored as Markdown and LaTeX; it may show seconds.

    Raises:
        ValueError: There are no presets, or `seeds` names a preset that there is not.
        TypeError: The seeds of a preset are neither a number nor a range of consecutive ones.
    """

    presets: Mapping[str, Any]
    run: Callable[[Any, int, Job], Mapping[str, Rows]]
    claims: Sequence[Callable[[Results], Iterable[Claim]]]
    figures: Sequence[Callable[[Results, Path], Iterable[Path]]]
    cells: Callable[[Any], Iterable[Any]] = _whole
    seeds: Mapping[str, int | range] = dataclasses.field(default_factory=dict)
    summary: Callable[[Results], Table] | None = None

    def __post_init__(self) -> None:
        if not self.presets:
            raise ValueError("A study has one or more presets, got none.")
        for name, seeds in self.seeds.items():
            self.preset(name)
            if not isinstance(seeds, int) and (not isinstance(seeds, range) or seeds.step != 1):
                raise TypeError(f"The seeds of a preset are a number or a range of consecutive ones, got {seeds!r}.")

    @property
    def settings_type(self) -> type:
        """The class of the settings."""
        return type(self.presets[self.default_preset])

    @property
    def default_preset(self) -> str:
        """The name of the first preset."""
        return next(iter(self.presets))

    def preset(self, name: str) -> Any:
        """Returns the settings of a preset.

        Raises:
            ValueError: There is no such preset; the message names the nearest ones.
        """
        if name not in self.presets:
            raise ValueError(f"No preset {name!r}. {nearest_names(name, list(self.presets))}")
        return self.presets[name]

    def preset_seeds(self, preset: str) -> range:
        """Returns the seeds of a preset."""
        seeds = self.seeds.get(preset, DEFAULT_SEEDS)
        return range(seeds) if isinstance(seeds, int) else seeds

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

    def named_cells(self, settings: Any) -> dict[str, Any]:
        """Returns the cells by name.

        Raises:
            ValueError: There are none, or more than `MOST_CELLS`, or two have one name.
        """
        cells = list(self.cells(settings))
        if not 1 <= len(cells) <= MOST_CELLS:
            raise ValueError(f"The work of a seed falls into 1 to {MOST_CELLS:,} cells, got {len(cells):,}.")
        named = {cell_name(cell): cell for cell in cells}
        if len(named) < len(cells):
            raise ValueError(f"The cells of a study have different names, got {[cell_name(cell) for cell in cells]}.")
        return named

    def decide(self, results: Results) -> list[Claim]:
        """Returns the claims that the results decide, corrected for their number."""
        return correct([claim for claims in self.claims for claim in claims(results)])

    def draw(self, results: Results, folder: Path) -> list[Path]:
        """Draws the figures into the folder; returns their paths."""
        return [Path(path) for figure in self.figures for path in figure(results, folder)]
