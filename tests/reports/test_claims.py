"""The ledger of claims: what is written is what is read, and nothing impossible gets in."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scipy import stats

from prefront.reports.claims import (
    Claim,
    claim_of,
    correct,
    read_claims,
    summary,
    to_markdown,
    to_table,
    write_claims,
)
from prefront.reports.evidence import Mean
from prefront.reports.hypotheses import holm
from prefront.reports.share_evidence import Share
from prefront.system.files import DamagedFileError

finite = st.floats(-1e300, 1e300)
claims = st.builds(
    Claim,
    sentence=st.text(max_size=40),
    paper=st.text(max_size=20),
    stated=st.text(max_size=10),
    measured=finite,
    quantity=st.text(max_size=10),
    seeds=st.integers(1, 1000),
    verdict=st.sampled_from(["holds", "fails", "undecided", "at the ceiling"]),
    interval=st.none() | st.tuples(finite, finite).map(lambda ends: tuple(sorted(ends))),
    p_value=st.none() | st.floats(0, 1),
    test=st.text(max_size=10),
    conditions=st.text(max_size=10),
    corrected=st.none() | st.floats(0, 1),
    family=st.integers(0, 100),
    confidence=st.floats(0.5, 0.999),
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
        ({"corrected": -0.5}, "-0.5"),
        ({"family": -1}, "-1"),
        ({"confidence": 95}, "95"),
    ],
)
def test_impossible_claims_are_refused(fields, named):
    with pytest.raises(ValueError, match=named):
        claim(**fields)


def holm_by_hand(p_values, level=0.05):
    """Rejects in order of size while p <= level / (number of those left), as Holm (1979) words it."""
    rejected = set()
    for place, number in enumerate(sorted(range(len(p_values)), key=lambda number: p_values[number])):
        if p_values[number] > level / (len(p_values) - place):
            break
        rejected.add(number)
    return rejected


@given(st.lists(st.floats(0, 0.2) | st.floats(0, 0.01), max_size=8))
def test_corrected_p_values_reject_what_holm_rejects(p_values):
    found = holm(p_values)
    assert {number for number in range(len(p_values)) if found.decides(number)} == holm_by_hand(p_values)
    assert all(one >= p_value for one, p_value in zip(found.p_values, p_values, strict=True))


def test_corrected_p_values_of_a_known_example():
    assert holm([0.01, 0.04, 0.03, 0.005]).p_values == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.01, 0.04, 0.03, 0.005]).confidence == pytest.approx(1 - 0.05 / 2)
    assert holm([0.01, float("nan")]).p_values == pytest.approx((0.02, 1.0))
    assert holm([]).p_values == ()


shifted = st.tuples(st.floats(-2, 2), st.integers(3, 12), st.integers(0, 2**16))


@given(st.lists(shifted, min_size=1, max_size=6))
def test_verdicts_are_those_of_the_printed_intervals(drawn):
    """One standard: corrected p, verdict and interval never disagree, whatever the family."""
    every = [Mean.of(np.random.default_rng(seed).normal(shift, 0.5, runs)) for shift, runs, seed in drawn]
    ledger = correct([claim_of(one, "above", 0.0, sentence="Positive.", quantity="mean") for one in every])
    for claim in ledger:
        assert claim.family == len(ledger)
        expected = "holds" if claim.interval[0] > 0 else "fails" if claim.interval[1] < 0 else "undecided"
        assert claim.verdict == expected
        assert (claim.corrected <= 0.05) == (expected != "undecided")
        assert claim.corrected >= claim.p_value
        assert claim.confidence == ledger[0].confidence


def test_studies_of_nothing_seldom_decide_anything():
    """Of 150 studies of six claims without any effect, 5 % may decide one; four standard errors are allowed."""
    drawn = np.random.default_rng(5).normal(size=(150, 6, 10))
    words = {"sentence": "Positive.", "quantity": "mean"}
    studies = [correct([claim_of(Mean.of(runs), "above", 0.0, **words) for runs in study]) for study in drawn]
    decided = [any(claim.verdict != "undecided" for claim in study) for study in studies]
    bound = 0.05 + 4 * np.sqrt(0.05 * 0.95 / len(studies))
    assert np.mean(decided) < bound
    # What comes of no correction.
    assert np.mean([any(claim.p_value <= 0.05 for claim in study) for study in studies]) > bound


def test_a_claim_that_holds_alone_may_not_hold_among_many():
    alone = claim_of(Share(9, 10), "above", 0.5, sentence="Mostly.", quantity="share")
    assert (alone.verdict, alone.p_value) == ("holds", pytest.approx(2 * 11 / 1024))
    among = correct([alone] * 5)
    assert {claim.verdict for claim in among} == {"undecided"}
    assert among[0].corrected == pytest.approx(5 * alone.p_value)
    assert among[0].interval[0] < 0.5 < alone.interval[0]
    assert "99 % interval" in among[0].test and "Holm over 5 claims" in among[0].test
    assert correct(among[:1])[0] == alone  # The family is what it is decided in.


def test_p_values_without_their_hypothesis_are_corrected_too():
    ledger = correct([claim(p_value=0.03), claim(p_value=0.001, verdict="fails"), claim()])
    assert [(one.verdict, one.corrected, one.family) for one in ledger] == [
        ("holds", 0.03, 2),
        ("fails", 0.002, 2),
        ("holds", None, 0),
    ]
    assert [one.verdict for one in correct([claim(p_value=0.03)] * 2)] == ["undecided"] * 2


def test_a_paired_comparison_decides_a_claim():
    ours, theirs = [3.0, 4, 5, 6, 7, 8], [1.0, 1, 1, 1, 1, 1]
    fields = {"sentence": "Ours are larger.", "quantity": "more"}
    for pair, verdict, sign in (((ours, theirs), "holds", 1), ((theirs, ours), "fails", -1)):
        found = claim_of(Mean.of_pairs(*pair), "above", 0.0, **fields)
        assert (found.verdict, found.measured, found.seeds) == (verdict, sign * 4.5, 6)
        assert found.p_value == pytest.approx(stats.ttest_rel(*pair).pvalue)  # Symmetric, so that nothing is adjusted.
        assert found.interval[0] < found.measured < found.interval[1]


def test_both_renderings_show_everything():
    ledger = [
        claim(interval=(0.9, 1.0), p_value=0.00001, corrected=0.0002, confidence=0.995, test="a test"),
        claim(sentence="Fire | is cold.", verdict="fails", p_value=0.5, seeds=7),
    ]
    assert summary(ledger) == "1 hold, 1 fail, 0 undecided"
    assert summary([*ledger, claim(verdict="at the ceiling")]).endswith("0 undecided, 1 at the ceiling")
    screen = io.StringIO()
    Console(file=screen, width=120).print(to_table(ledger, "Elements"))
    page = to_markdown(ledger)
    for text in (
        "Water is wet.",
        "Thales (-585)",
        "0.98765",
        "99.5 % [0.9, 1]",
        "p < 0.0001",
        "Holm p = 0.0002",
        "holds",
        "fails",
        "a test",
    ):
        assert text in screen.getvalue()
        assert text in page
    assert "n = 7" in screen.getvalue()
    assert "Elements" in screen.getvalue()
    assert r"Fire \| is cold." in page
    assert len({line.replace(r"\|", "").count("|") for line in page.splitlines()}) == 1
