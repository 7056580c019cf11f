"""Nelder-Mead against functions whose top is known."""

import numpy as np
import pytest

from prefront.learning.nelder_mead import nelder_mead


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_nelder_mead_finds_the_top_of_a_quadratic_and_never_asks_twice(dimensions):
    top = np.array([0.3, -1.2, 2.0])[:dimensions]
    curvature = np.diag([1.0, 4.0, 0.5][:dimensions]) + 0.2
    asked = []

    def objective(point):
        asked.append(tuple(point))
        return 5.0 - (point - top) @ curvature @ (point - top)

    simplex = np.vstack([np.zeros(dimensions), np.eye(dimensions)])
    found = nelder_mead(objective, simplex, evaluations=400, tolerance=1e-4)
    np.testing.assert_allclose(found.best, top, atol=2e-3)
    np.testing.assert_allclose(found.value, 5.0, atol=1e-4)
    assert len(asked) == len(set(asked)) == len(found.values) < 400
    short = nelder_mead(objective, simplex, evaluations=dimensions + 3)
    assert len(short.values) == dimensions + 3
    assert short.value == short.values.max()


def test_nelder_mead_leaves_points_that_are_not_feasible():
    found = nelder_mead(lambda p: p.sum() if p.max() <= 1 else -np.inf, [[0, 0], [0.5, 0], [0, 0.5]], 100)
    assert found.best.max() <= 1 and found.value > 1.5
    with pytest.raises(ValueError, match="flat"):
        nelder_mead(lambda p: 0.0, [[0, 0], [1, 1], [2, 2]], 10)
    with pytest.raises(ValueError, match=r"K \+ 1 points"):
        nelder_mead(lambda p: 0.0, [[0, 0], [1, 1]], 10)
