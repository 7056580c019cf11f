"""Tables: read back bit for bit, whatever they hold."""

import csv
import io
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prefront.pareto.indicators import Hypervolume
from prefront.system.files import DamagedFileError
from prefront.system.tables import Table

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8) | st.sampled_from(
    ["007", "12e5", "true", "false", "inf", "", "-1", '"', "1,2"]
)
cells = st.one_of(st.none(), st.booleans(), st.integers(-(2**62), 2**62), st.floats(), texts)
rows = st.lists(st.dictionaries(st.sampled_from(["a", "b", "c d", "é"]), cells, min_size=1), min_size=1, max_size=6)


def equal(first, second):
    return first.columns.keys() == second.columns.keys() and all(
        a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        for a, b in zip(first.columns.values(), second.columns.values(), strict=True)
    )


@given(rows)
@example([{"a": "\r"}, {"a": "0\r"}, {"a": "\r\n"}])
def test_what_is_written_is_what_is_read(rows):
    table = Table.from_rows(rows)
    text = table.to_csv()
    assert equal(Table.from_csv(text), table)
    assert Table.from_csv(text).to_csv() == text


def test_line_ends_in_cells_survive_the_disk(tmp_path):
    table = Table.from_rows([{"a": "\r", "b": "x\r\ny"}, {"a": "0\r", "b": "\n"}])
    table.write(tmp_path / "table.csv")
    assert equal(Table.read(tmp_path / "table.csv"), table)


@given(st.lists(st.floats(allow_nan=False), min_size=1))
def test_floats_keep_every_bit(values):
    values = [0.5, *values]
    read = Table.from_csv(Table.from_rows({"x": value} for value in values).to_csv())["x"]
    assert read.tobytes() == np.array(values).tobytes()


def test_types_follow_from_the_cells():
    table = Table.from_rows(
        [
            {"whole": 1, "real": 2, "text": "x", "true": True, "array": np.float32(0.1), "volume": Hypervolume(2.5)},
            {"whole": -7, "real": math.inf, "text": "", "true": np.bool_(False), "array": np.array(3.0)},
        ]
    )
    assert [column.dtype.kind for column in table.columns.values()] == list("ifUbff")
    assert table["array"][0] == np.float32(0.1)
    assert math.isnan(table["volume"][1])
    assert table["real"].tolist() == [2.0, math.inf]
    assert Table.from_rows([{"x": "1_000"}])["x"].tolist() == ["1_000"]


@given(st.lists(texts, min_size=1))
def test_text_comes_back_as_it_was_written(values):
    table = Table.from_rows({"x": value, "y": 1} for value in values)
    assert table["x"].tolist() == Table.from_csv(table.to_csv())["x"].tolist() == values
    assert Table.concatenate([table, table])["x"].tolist() == values * 2


def test_only_text_that_looks_otherwise_is_quoted():
    table = Table.from_rows([{"a": "007", "b": "x", "c": 7, "d": "a,b"}, {"a": "", "b": "1", "c": None, "d": "c"}])
    assert table.to_csv() == 'a,b,c,d\n"007",x,7.0,"a,b"\n"",1,,c\n'
    assert [column.dtype.kind for column in Table.from_csv(table.to_csv()).columns.values()] == list("UUfU")


def test_csv_is_what_the_standard_reader_expects():
    text = Table.from_rows([{"a": 0.1, "b": 'say "x", y\nz'}]).to_csv()
    assert list(csv.DictReader(io.StringIO(text))) == [{"a": "0.1", "b": 'say "x", y\nz'}]


def test_selection():
    table = Table.from_rows({"name": name, "x": x} for name, x in [("b", 1), ("a", 2), ("b", 3)])
    assert len(table) == 3
    assert table.unique("name") == ["b", "a"]
    assert table.where(name="b")["x"].tolist() == [1, 3]
    assert table.at(table["x"] > 1)["name"].tolist() == ["a", "b"]
    assert [(key, rows["x"].tolist()) for key, rows in table.groups("name")] == [(("b",), [1, 3]), (("a",), [2])]
    missing = Table({"x": np.array([np.nan, 1.0, np.nan])})
    assert [(key, len(rows)) for key, rows in missing.groups("x")] == [((None,), 2), ((1.0,), 1)]
    joined = Table.concatenate([table, Table.from_rows([{"x": 4, "y": 0.5}])])
    assert joined["name"].tolist() == ["b", "a", "b", ""]
    assert len(Table.from_rows([])) == 0
    with pytest.raises(KeyError, match="Did you mean name"):
        table["nam"]
    with pytest.raises(ValueError, match="differ in length"):
        Table({"a": np.zeros(2), "b": np.zeros(3)})
    with pytest.raises(TypeError, match="cell"):
        Table.from_rows([{"a": [1, 2]}])
    with pytest.raises(ValueError, match="NUL"):
        Table.from_rows([{"a": "x\0"}])


def test_damaged_files_are_named_with_the_line(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("a,b\n1,2\n3\n")
    with pytest.raises(DamagedFileError, match=r"metrics\.csv.*line 3 has 1 cells, the header has 2"):
        Table.read(path)


def test_papers_get_markdown_and_latex():
    table = Table.from_rows([{"50 % of": "a|b_c", "value": 1 / 3}, {"50 % of": "d", "value": None}])
    assert table.to_markdown() == "| 50 % of | value |\n| --- | ---: |\n| a\\|b_c | 0.33333 |\n| d |  |\n"
    latex = table.to_latex()
    assert r"\begin{tabular}{lr}" in latex
    assert r"50 \% of & value \\" in latex
    assert r"a|b\_c & 0.33333 \\" in latex
