"""Summary tables: one row for each combination of some columns' values, each cell a function of the rows behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from prefront.reports.statistics import iqm
from prefront.system.tables import Table

Cell = Callable[[Table], Any]


def summarise(
    rows: Table, keys: Mapping[str, str], cells: Mapping[str, Cell], names: Mapping[Any, str] | None = None
) -> Table:
    """Returns one row for each combination of values, in the order of their first appearance.

    Args:
        rows: Stored rows.
        keys: Headings of the first columns, each with the column whose values distinguish the rows.
        cells: Headings of further columns, each with the function of the rows that its cells are.
        names: What values are called in the first columns, where they are called otherwise.
    """
    called = names or {}
    lines = []
    for values in dict.fromkeys(zip(*(rows[column].tolist() for column in keys.values()), strict=True)):
        own = rows.where(**dict(zip(keys.values(), values, strict=True)))
        heads = {heading: called.get(value, value) for heading, value in zip(keys, values, strict=True)}
        lines.append(heads | {heading: cell(own) for heading, cell in cells.items()})
    return Table.from_rows(lines)


def median_of(column: str) -> Cell:
    """Returns the cell that is the median of a column."""
    return lambda rows: float(np.median(rows[column]))


def iqm_of(column: str) -> Cell:
    """Returns the cell that is the interquartile mean of a column."""
    return lambda rows: float(iqm(rows[column]))


def by_level(rows: Table, level: str, cell: Cell, heading: str = "{:,}") -> dict[str, Cell]:
    """Returns a cell for each level, empty where there are no such rows.

    Args:
        rows: Rows that have all levels.
        level: Their column.
        cell: A function of the rows of one level.
        heading: Format of the level in the heading.
    """

    def at(one: Any) -> Cell:
        def found(own: Table) -> Any:
            there = own.where(**{level: one})
            return cell(there) if len(there) else ""

        return found

    return {heading.format(one): at(one) for one in sorted(rows.unique(level))}
