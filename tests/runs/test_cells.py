"""Names of cells: as different as the cells are, and fit to be folders."""

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefront.runs.cells import MOST_BYTES, Whole, cell_name


@dataclasses.dataclass(frozen=True)
class Inner:
    name: str | None
    other: str | None = None


@dataclasses.dataclass(frozen=True)
class Cell:
    text: str
    inner: Inner
    number: int = 0
    share: float = 0.5
    flag: bool = False
    last: str | None = None


# What separates and escapes is tried more often than by chance.
TEXT = st.text(st.one_of(st.sampled_from(".%/-_~ 0eén"), st.characters(codec="utf-8")), max_size=4)
CELLS = st.builds(
    Cell,
    TEXT,
    st.builds(Inner, TEXT | st.none(), TEXT | st.none()),
    st.integers(-3, 12),
    st.sampled_from([0, 1, -1, 0.0, -0.0, 0.5, 1e-9, 1.5]),
    st.booleans(),
    TEXT | st.none(),
)


@given(CELLS, CELLS)
def test_cells_are_equal_where_their_names_are(one, other):
    assert (cell_name(one) == cell_name(other)) == (one == other)


@given(TEXT | st.none(), TEXT | st.none(), TEXT | st.none(), TEXT | st.none())
def test_texts_that_hold_separators_never_run_into_each_other(first, second, third, fourth):
    assert (cell_name(Inner(first, second)) == cell_name(Inner(third, fourth))) == ((first, second) == (third, fourth))


@given(CELLS)
def test_a_name_is_a_plain_folder_of_every_file_system(cell):
    name = cell_name(cell)
    assert re.fullmatch(r"[A-Za-z0-9_+~%-]+(\.[A-Za-z0-9_+~%-]+)*", name)
    assert len(name.encode()) <= MOST_BYTES


def test_plain_names_stay_as_they_are():
    assert cell_name(Inner("FruitTree", "C-MORL")) == "FruitTree.C-MORL"
    assert cell_name(Inner("exact")) == "exact"
    assert cell_name(Whole()) == "all"


@pytest.mark.parametrize(
    ("cell", "error", "message"),
    [
        ("maze", TypeError, "frozen dataclass, got 'maze'"),
        (Inner, TypeError, "frozen dataclass"),
        (dataclasses.make_dataclass("Loose", [("name", str)])("a"), TypeError, "not frozen"),
        (dataclasses.make_dataclass("Listed", [("names", tuple)], frozen=True)(("a",)), TypeError, "names = ."),
        (Inner(3), ValueError, "name must be text or None, got 3"),
        (Inner("a" * 300), ValueError, "at most 200 bytes, got 300"),
    ],
)
def test_what_names_no_cell_is_said(cell, error, message):
    with pytest.raises(error, match=message):
        cell_name(cell)
