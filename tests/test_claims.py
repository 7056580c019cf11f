"""The ledger of claims: what is written is what is read, and nothing impossible gets in."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from prefront.claims import Claim, claim_of_pairs, judge, read_claims, summary, to_markdown, to_table, write_claims
from prefront.files import DamagedFileError
from prefront.statistics import compare_pairs

finite = st.floats(-1e300, 1e300)
claims = st.builds(
    Claim,
    sentence=st.text(max_size=40),
    paper=st.text(max_size=20),
    stated=st.text(max_size=10),
    measured=finite,
    quantity=st.text(max_size=10),
    seeds=st.integers(1, 1000),
    verdict=st.sampled_from(["holds", "fails", "undecided"]),
    interval=st.none() | st.tuples(finite, finite).map(lambda ends: tuple(sorted(ends))),
    p_value=st.none() | st.floats(0, 1),
    test=st.text(max_size=10),
    conditions=st.text(max_size=10),
)


def claim(**fields):
    made = {
        "sentence": "Water is wet.",
        "paper": "Thales (-585)",
        "stated": "1",
        "measured": 0.98765432,
        "quantity": "wet",
    }
    return Claim(**{**made, "seeds": 5, "verdict": "holds", **fields})


@given(st.lists(claims, max_size=4))
def test_what_is_written_is_what_is_read(tmp_path_factory, ledger):
    path = tmp_path_factory.mktemp("ledger") / "claims.json"
    write_claims(path, ledger)
    assert read_claims(path) == ledger


def test_a_figure_that_is_no_number_stays_none(tmp_path):
    write_claims(tmp_path / "claims.json", [claim(measured=float("nan"))])
    assert "NaN" not in (tmp_path / "claims.json").read_text()
    (read,) = read_claims(tmp_path / "claims.json")
    assert read.measured != read.measured


@pytest.mark.parametrize("content", ["", "[", '{"a": 1}', '[{"sentence": "half"}]', "[3]"])
def test_damaged_ledgers_are_named(tmp_path, content):
    (tmp_path / "claims.json").write_text(content)
    with pytest.raises(DamagedFileError, match=r"claims\.json"):
        read_claims(tmp_path / "claims.json")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"verdict": "maybe"}, "maybe"),
        ({"seeds": 0}, "0"),
        ({"interval": (2.0, 1.0)}, r"\(2\.0, 1\.0\)"),
        ({"interval": (float("nan"), 1.0)}, "nan"),
        ({"p_value": 1.5}, "1.5"),
    ],
)
def test_impossible_claims_are_refused(fields, named):
    with pytest.raises(ValueError, match=named):
        claim(**fields)


def test_verdicts_follow_from_both_one_sided_tests():
    assert judge(0.01, 0.99) == "holds"
    assert judge(0.99, 0.01) == "fails"
    assert judge(0.4, 0.6) == "undecided"
    assert judge(float("nan"), float("nan")) == "undecided"
    assert judge(0.03, 0.97, level=0.01) == "undecided"


def test_a_paired_comparison_decides_a_claim():
    ours, theirs = [3.0, 4, 5, 6, 7, 8], [1.0, 1, 1, 1, 1, 1]
    fields = {"sentence": "Ours are larger.", "paper": "", "stated": "", "quantity": "more"}
    for pair, verdict, sign in (((ours, theirs), "holds", 1), ((theirs, ours), "fails", -1)):
        found = claim_of_pairs(compare_pairs(*pair), **fields)
        assert (found.verdict, found.measured, found.seeds) == (verdict, sign * 4.5, 6)
        assert found.p_value == (1 / 64 if verdict == "holds" else 1.0)
        assert found.interval[0] < found.measured < found.interval[1]
    assert claim_of_pairs(compare_pairs(ours, ours), **fields).verdict == "undecided"
    assert claim_of_pairs(compare_pairs(ours, ours), verdict="fails", **fields).verdict == "fails"


def test_both_renderings_show_everything():
    ledger = [
        claim(interval=(0.9, 1.0), p_value=0.00001, test="a test", conditions="discount 0.99"),
        claim(sentence="Fire | is cold.", verdict="fails", p_value=0.5, seeds=7),
    ]
    assert summary(ledger) == "1 hold, 1 fail, 0 undecided"
    screen = io.StringIO()
    Console(file=screen, width=120).print(to_table(ledger, "Elements"))
    page = to_markdown(ledger)
    for text in ("Water is wet.", "Thales (-585)", "0.98765", "[0.9, 1]", "p < 0.0001", "holds", "fails", "a test"):
        assert text in screen.getvalue()
        assert text in page
    assert "n = 7" in screen.getvalue()
    assert "Elements" in screen.getvalue()
    assert r"Fire \| is cold." in page
    assert len({line.replace(r"\|", "").count("|") for line in page.splitlines()}) == 1
