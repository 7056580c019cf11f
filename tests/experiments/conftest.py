"""A study's results as its claims see them, without a run folder."""

import pytest

from prefront.runs.study import Job, Results
from prefront.system.tables import Table


def carry_out(study, settings=None, seed=0):
    settings = study.presets["smoke"] if settings is None else settings
    tables = {}
    for cell_name, cell in study.named_cells(settings).items():
        for name, rows in study.run(settings, seed, Job(cell)).items():
            tables.setdefault(name, []).extend({"seed": seed, "cell": cell_name, **row} for row in rows)
    return Results(settings, {name: Table.from_rows(rows) for name, rows in tables.items()})


@pytest.fixture(scope="session", name="carry_out")
def carried_out():
    """The function that does all cells of a study for one seed."""
    return carry_out
