"""Peaks and functional forms of gold curves, against curves that were made from known coefficients."""

import numpy as np
import pytest

from prefront.reports.overoptimization import find_peak, fit_form

KL = np.linspace(0, 30, 40)
D = np.sqrt(KL)


@pytest.mark.parametrize(("a", "b"), [(1.2, 0.3), (0.4, -0.1)])
def test_forms_recover_their_own_coefficients(a, b):
    quadratic = fit_form(KL, D * (a - b * D), "quadratic")
    assert (quadratic.a, quadratic.b) == pytest.approx((a, b))
    logs = np.log(np.where(D > 0, D, 1))
    logarithmic = fit_form(KL, D * (a - b * logs), "logarithmic")
    assert (logarithmic.a, logarithmic.b) == pytest.approx((a, b))
    assert quadratic.r_squared == pytest.approx(1)
    assert logarithmic.r_squared == pytest.approx(1)
    assert np.allclose(quadratic(D), D * (a - b * D))
    assert fit_form(KL, D * (a - b * D), "logarithmic").r_squared < 1


def test_r_squared_counts_explained_variance():
    rng = np.random.default_rng(0)
    gold = D * (1 - 0.2 * D) + rng.normal(0, 0.3, len(D))
    fit = fit_form(KL, gold, "quadratic")
    assert fit.r_squared == pytest.approx(1 - np.sum((fit(D) - gold) ** 2) / np.sum((gold - gold.mean()) ** 2))
    # Least squares: no other coefficients leave less.
    for change in (0.01, -0.01):
        other = D * (fit.a + change - fit.b * D)
        assert np.sum((other - gold) ** 2) > np.sum((fit(D) - gold) ** 2)


def test_peaks():
    peak = find_peak([0.0, 0.5, 1.5, 0.25])
    assert (peak.index, peak.gold, peak.fall, peak.inside) == (2, 1.5, 1.25, True)
    assert not find_peak([0.0, 1.0, 2.0]).inside
    assert find_peak([0.0, 1.0, 2.0]).fall == 0


def test_bad_curves_are_refused():
    with pytest.raises(ValueError, match="at least 3 points"):
        fit_form([0.0, 1.0], [0.0, 1.0], "quadratic")
    with pytest.raises(ValueError, match="cubic"):
        fit_form(KL, D, "cubic")
    with pytest.raises(ValueError, match="does not vary"):
        fit_form(KL, np.ones_like(KL), "quadratic")
    with pytest.raises(ValueError, match="finite"):
        fit_form(KL, np.full_like(KL, np.nan), "quadratic")
    with pytest.raises(ValueError, match="at least 2"):
        find_peak([1.0])
