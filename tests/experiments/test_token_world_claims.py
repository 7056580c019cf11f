"""Claims about bounds and pairs: verdicts follow from where the interval lies."""

import numpy as np
import pytest

from prefront.experiments.token_world_claims import below, larger, standard_error

SPREAD = np.linspace(-0.1, 0.1, 10)


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
    for verdict, both in ((one_side, False), (either_side, True)):
        claim = below("It is small.", "", middle + SPREAD, 0.5, "%", scale=100.0, either_side=both)
        assert claim.verdict == verdict
        assert claim.measured == pytest.approx(100 * middle)
        assert claim.interval[0] < 100 * middle < claim.interval[1]


def test_larger_needs_all_pairs_and_fails_where_all_are_equal():
    base = np.arange(8.0)
    verdicts = [larger("It is larger.", "", base + gap, base, "more").verdict for gap in (1.0, -1.0, 0.0)]
    assert verdicts == ["holds", "fails", "fails"]
    assert larger("It is larger.", "", base + SPREAD[1:9], base, "more").verdict == "undecided"
    assert (
        larger("It is larger.", "", base, base, "more", what="mean R2").test
        == "equal in every seed; mean R2 3.500 and 3.500"
    )


def test_a_single_seed_has_no_standard_error():
    assert standard_error(np.array([1.0, 3.0])) == pytest.approx(1.0)
    assert standard_error(np.array([1.0])) is None
