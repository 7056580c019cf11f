"""Small tables of results, stored as CSV with floats in full precision, so that equal results are equal bytes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prefront.system.checks import nearest_names
from prefront.system.files import DamagedFileError, read_checked, write_atomically

_INTEGER = re.compile(r"[+-]?\d+")
_CELL = re.compile(r'(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|\Z)')
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|inf)")


@dataclasses.dataclass(frozen=True)
class Table:
    """Named columns of equal length: bool, int64, float64 (missing is NaN) or str (missing is "").

    A column with a string is text, whatever the string looks like; its cells are quoted in the CSV file where they
    would be read as something else. So a table read from disk equals the one that was written.

    Attributes:
        columns: One array of shape (rows,) by column name.
    """

    columns: dict[str, np.ndarray]

    def __post_init__(self) -> None:
        lengths = {name: len(column) for name, column in self.columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"The columns differ in length: {lengths}.")

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, Any]]) -> Table:
        """Makes a table of rows; a row may lack columns that others have.

        Raises:
            TypeError: A cell is no number, string, truth value or None.
            ValueError: A string holds a NUL character.
        """
        rows = list(rows)
        names = list(dict.fromkeys(name for row in rows for name in row))
        return cls({name: _column([row.get(name) for row in rows]) for name in names})

    @classmethod
    def concatenate(cls, tables: Sequence[Table]) -> Table:
        """Puts tables below each other; the columns are those that any of them has."""
        return cls.from_rows(row for table in tables for row in table.rows())

    def __len__(self) -> int:
        """Returns the number of rows."""
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def __getitem__(self, name: str) -> np.ndarray:
        """Returns one column.

        Raises:
            KeyError: The table has no such column; the message names the nearest ones.
        """
        if name not in self.columns:
            raise KeyError(f"The table has no column {name!r}. {nearest_names(name, list(self.columns))}")
        return self.columns[name]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yields the rows as dicts of Python values."""
        lists = [column.tolist() for column in self.columns.values()]
        for values in zip(*lists, strict=True):
            yield dict(zip(self.columns, values, strict=True))

    def where(self, **equal: Any) -> Table:
        """Returns the rows whose columns equal the given values."""
        mask = np.ones(len(self), bool)
        for name, value in equal.items():
            mask &= self[name] == value
        return self.at(mask)

    def at(self, index: np.ndarray) -> Table:
        """Returns the rows at a boolean mask or an array of row numbers."""
        return Table({name: column[index] for name, column in self.columns.items()})

    def unique(self, name: str) -> list[Any]:
        """Returns the values of a column, each once, in the order of their first appearance."""
        return list(dict.fromkeys(self[name].tolist()))

    def groups(self, *names: str) -> Iterator[tuple[tuple[Any, ...], Table]]:
        """Yields the rows that agree in some columns after their values there (None for a number that is missing)."""
        places: dict[tuple[Any, ...], list[int]] = {}
        for row, values in enumerate(zip(*(self[name].tolist() for name in names), strict=True)):
            places.setdefault(tuple(one if one == one else None for one in values), []).append(row)
        for key, rows in places.items():
            yield key, self.at(np.array(rows))

    def to_csv(self) -> str:
        """Returns the table as CSV text with a header line."""
        columns = [[_cell(value) for value in column.tolist()] for column in self.columns.values()]
        columns = [
            [_quoted(cell) if text and _typed(cells).dtype.kind != "U" else _escaped(cell) for cell in cells]
            for cells, text in zip(columns, (one.dtype.kind == "U" for one in self.columns.values()), strict=True)
        ]
        lines = [map(_escaped, self.columns), *zip(*columns, strict=True)] if columns else [("",)]
        return "".join(f"{','.join(line)}\n" for line in lines)

    @classmethod
    def from_csv(cls, text: str) -> Table:
        """Reads what `to_csv` wrote.

        Raises:
            ValueError: A line has another number of cells than the header; the message names the line.
        """
        if text in ("", "\n"):
            return cls({})
        header, *body = _lines(text)
        for number, line in enumerate(body, start=2):
            if len(line) != len(header):
                raise ValueError(f"line {number} has {len(line)} cells, the header has {len(header)}")
        columns: dict[str, np.ndarray] = {}
        for (name, _), column in zip(header, zip(*body, strict=True) if body else [()] * len(header), strict=True):
            if name in columns:
                raise ValueError(f"two columns have the name {name!r}")
            cells = [cell for cell, _ in column]
            columns[name] = np.array(cells, np.str_) if any(quoted for _, quoted in column) else _typed(cells)
        return cls(columns)

    def to_markdown(self) -> str:
        """Returns the table in Markdown, with numbers rounded to five digits."""
        lines = [
            list(self.columns),
            ["---:" if column.dtype.kind in "if" else "---" for column in self.columns.values()],
        ]
        lines += [[_rounded(value).replace("|", "\\|") for value in row.values()] for row in self.rows()]
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)

    def to_latex(self) -> str:
        """Returns the table as a LaTeX tabular with rules of the booktabs package, numbers rounded to five digits."""
        alignment = "".join("r" if column.dtype.kind in "if" else "l" for column in self.columns.values())
        body = [[_latex(_rounded(value)) for value in row.values()] for row in self.rows()]
        head, *rest = [" & ".join(line) + r" \\" for line in [[_latex(name) for name in self.columns], *body]]
        lines = [rf"\begin{{tabular}}{{{alignment}}}", r"\toprule", head, r"\midrule", *rest, r"\bottomrule"]
        return "\n".join([*lines, r"\end{tabular}"]) + "\n"

    def write(self, path: str | Path) -> None:
        """Writes the table as a CSV file, atomically; the file does not hold its checksum."""
        write_atomically(path, self.to_csv())

    @classmethod
    def read(cls, path: str | Path, checksum: str | None = None) -> Table:
        """Reads a CSV file.

        Args:
            path: The file.
            checksum: Its SHA-256 checksum; the file is refused where it has another.

        Raises:
            DamagedFileError: The file is missing, has another checksum, or is no table; the message names it and the
                line.
        """
        content = read_checked(path, checksum)
        try:
            return cls.from_csv(content.decode())
        except ValueError as error:
            raise DamagedFileError(f"{path} is damaged: {error}.") from error


def _cell(value: Any) -> str:
    value = value.item() if isinstance(value, np.generic) or getattr(value, "ndim", None) == 0 else value
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and "\0" in value:
        raise ValueError(f"A cell must not hold a NUL character, which arrays of strings drop, got {value!r}.")
    if isinstance(value, int | float | str):
        return float.__repr__(value) if isinstance(value, float) else str(value)  # Subclasses print otherwise.
    raise TypeError(f"A cell must be a number, a string, a truth value or None, got {value!r}.")


def _column(values: list[Any]) -> np.ndarray:
    cells = [_cell(value) for value in values]
    texts = [value for value in values if isinstance(value, str)]
    # "" beside numbers is a number that is missing.
    text = any(texts) or (bool(texts) and not any(cells))
    return np.array(cells, np.str_) if text else _typed(cells)


def _escaped(cell: str) -> str:
    return _quoted(cell) if any(one in cell for one in ',"\r\n') else cell


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


def _lines(text: str) -> Iterator[list[tuple[str, bool]]]:
    """Yields the cells of each line of CSV, and whether each was quoted, which `csv.reader` does not say."""
    line: list[tuple[str, bool]] = []
    place = 0
    while place < len(text):
        found = _CELL.match(text, place)
        if found is None:
            raise ValueError(f"{text[place : place + 20]!r} is no cell")
        quoted = found[1] is not None
        line.append((found[1].replace('""', '"') if quoted else found[2], quoted))
        place = found.end()
        if found[3] != ",":
            yield line
            line = []
        elif place == len(text):
            line.append(("", False))
    if line:
        yield line


def _rounded(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) and value == value else _cell(value)


def _latex(text: str) -> str:
    return re.sub(r"([&%$#_{}])", r"\\\1", text)


def _typed(cells: list[str]) -> np.ndarray:
    if cells and all(cell in ("true", "false") for cell in cells):
        return np.array([cell == "true" for cell in cells])
    if cells and all(_INTEGER.fullmatch(cell) and abs(int(cell)) < 2**63 for cell in cells):
        return np.array([int(cell) for cell in cells], np.int64)
    if all(cell == "" or _NUMBER.fullmatch(cell) for cell in cells):
        return np.array([float(cell) if cell else np.nan for cell in cells], np.float64)
    return np.array(cells, dtype=np.str_)
