"""Forms of claims: verdicts follow from where the interval lies, and what is no test is marked so."""

import numpy as np
import pytest

from prefront.reports.claim_forms import at_every, at_the_ceiling, bounded, in_every, larger, share, trend
from prefront.reports.claims import correct
from prefront.reports.evidence import Mean
from prefront.reports.share_evidence import SharesApart

SPREAD = np.linspace(-0.1, 0.1, 10)
WORDS = {"sentence": "It is so.", "quantity": "more"}


@pytest.mark.parametrize(
    ("middle", "one_side", "either_side"),
    [
        (0.0, "holds", "holds"),
        (0.5, "undecided", "undecided"),
        (2.0, "fails", "fails"),
        (-0.5, "holds", "undecided"),
        (-2.0, "holds", "fails"),
    ],
)
def test_a_bound_holds_on_one_side_or_on_both(middle, one_side, either_side):
    for verdict, relation in ((one_side, "below"), (either_side, "within")):
        claim = bounded(middle + SPREAD, relation, 0.5, scale=100.0, **WORDS)
        assert claim.verdict == verdict
        assert claim.measured == pytest.approx(100 * middle)
        assert claim.interval[0] < 100 * middle < claim.interval[1]


def test_larger_needs_all_pairs_and_fails_where_all_are_equal():
    base = np.arange(8.0)
    verdicts = [larger(base + gap, base, **WORDS).verdict for gap in (1.0, -1.0, 0.0)]
    assert verdicts == ["holds", "fails", "fails"]  # Equal is not larger.
    assert larger(base + SPREAD[1:9], base, **WORDS).verdict == "undecided"
    assert "means 3.5 and 3.5" in larger(base, base, **WORDS).test
    # Three equal differences are three signs, which no level allows to decide anything.
    assert larger([800.0] * 3, [400.0] * 3, **WORDS).verdict == "undecided"


def test_equal_figures_are_at_least_and_not_above():
    full = [1.0] * 8
    verdicts = {relation: bounded(full, relation, 1.0, **WORDS).verdict for relation in ("above", "at least", "below")}
    assert verdicts == {"above": "fails", "at least": "holds", "below": "fails"}
    assert bounded(full, "at most", 1.0, **WORDS).verdict == "holds"


def test_a_share_holds_by_its_exact_interval_alone():
    claim = share([True] * 9 + [False], "above", 0.8, **WORDS)
    assert (claim.verdict, claim.measured, claim.seeds) == ("undecided", 90.0, 10)
    assert claim.interval == pytest.approx((55.498, 99.747), abs=1e-3)
    assert share([True] * 10, "above", 0.5, **WORDS).verdict == "holds"
    assert share([False] * 10, "above", 0.5, **WORDS).verdict == "fails"
    assert claim.quantity == "% more"
    # Ten seeds can never show so much.
    assert "the smallest p that n = 10 can reach is 0.21" in claim.test
    assert "0.21, 0.43 at Holm's first step" in correct([claim] * 2)[0].test


def test_a_trend_prints_the_correlation_that_it_tests():
    table = np.arange(4.0) + np.array([[0.0], [5.0], [1.0], [2.0], [9.0], [4.0]])
    rising = trend(table, "rises", sentence="It rises.")
    assert (rising.verdict, rising.measured, rising.interval) == ("holds", 1.0, (1.0, 1.0))
    assert trend(table, "falls", sentence="It falls.").verdict == "fails"
    mixed = trend(table * np.array([[1], [-1]] * 3), "rises", sentence="It rises.")
    assert (mixed.verdict, mixed.measured) == ("undecided", 0.0)
    assert mixed.interval[0] < 0 < mixed.interval[1]


def test_at_every_level_the_worst_one_decides():
    good, bad = Mean.of(1 + SPREAD), Mean.of(0.05 + SPREAD)
    assert at_every({1: good, 2: good}, "above", 0.0, **WORDS).verdict == "holds"
    mixed = at_every({1: good, 2: bad}, "above", 0.0, **WORDS)
    assert (mixed.verdict, mixed.measured) == ("holds", pytest.approx(0.05))
    # 1 point of 200 tasks, between 5 less and 7 more, is no gain.
    uncertain = at_every({3: SharesApart(60, 20, 200), 6: SharesApart(19, 17, 200)}, "above", 0.0, scale=100.0, **WORDS)
    assert (uncertain.verdict, uncertain.measured) == ("undecided", 1.0)
    assert uncertain.interval[0] < 0 < uncertain.interval[1]
    assert "least of 2 levels" in uncertain.test
    assert at_every({1: good, 2: Mean.of(SPREAD - 1)}, "above", 0.0, **WORDS).verdict == "fails"


def test_what_is_no_test_says_so_and_stays_out_of_the_family():
    every = in_every([True, True, False], **WORDS)
    assert (every.verdict, every.measured, every.tested) == ("fails", pytest.approx(200 / 3), False)
    assert "a count, no test: 2 of 3" in every.test
    assert in_every([True], **WORDS).verdict == "holds"
    full = at_the_ceiling(5, note="both have 100 %", **WORDS)
    assert (full.verdict, full.seeds) == ("at the ceiling", 5)
    one = larger(1 + SPREAD, SPREAD[::-1], **WORDS)
    ledger = correct([every, one, full])
    assert [claim.family for claim in ledger] == [0, 1, 0]
    assert ledger[0] == every


def test_one_seed_decides_nothing():
    for claim in (
        larger([1.0], [0.0], **WORDS),
        bounded([1.0], "below", 2.0, **WORDS),
        share([True], "above", 0, **WORDS),
    ):
        assert (claim.verdict, claim.interval, claim.p_value) == ("undecided", None, None)
        assert claim.test.startswith("a single run decides nothing")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bounded([1.0], "under", 1.0, **WORDS), "'under'"),
        (lambda: bounded([1.0], "below", np.nan, **WORDS), "finite"),
        (lambda: trend([[1.0]], "rises", sentence=""), "at least two levels"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
