"""Peaks and functional forms of gold curves, against curves that were made from known coefficients."""

import numpy as np
import pytest

from prefront.reports.overoptimization import averages, drops, find_peak, fit_form, fitted_forms, late, peaks
from prefront.system.tables import Table

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


def curves(*ends):
    gold = {end: D * (end - 0.3 * D) for end in ends}
    return Table.from_rows(
        {"seed": seed, "level": end, "kl": kl, "gold": g, "proxy": kl, "iteration": i}
        for seed in range(2)
        for end in ends
        for i, (kl, g) in enumerate(zip(KL, gold[end], strict=True))
    )


def test_every_curve_of_a_table_is_described():
    found = peaks(curves(1.2, 0.9), "level")
    assert found["seed"].tolist() == [0, 0, 1, 1] and found["level"].tolist() == [1.2, 0.9] * 2
    gold = D * (1.2 - 0.3 * D)
    assert found["gold"][0] == gold.max() and found["fall"][0] == gold.max() - gold[-1]
    assert found["kl"][0] == KL[gold.argmax()] and found["rise"][0] == 30 - KL[gold.argmax()]
    assert found["quadratic"] == pytest.approx(1)
    fitted = fitted_forms(curves(1.2))
    assert next(iter(fitted)) == "d (a - b d), R2 = 1.00"
    assert np.allclose(fitted["d (a - b d), R2 = 1.00"]["gold"], gold)


def test_summaries_are_means_over_seeds():
    row = averages(Table({"a": np.array([1.0, 3.0]), "b": np.array([0.0, 1.0])}), {"a": "A", "b": "B", "c": "C"})
    assert row == {"A": 2.0, "s.e.": pytest.approx(1.0), "B": 0.5, "seeds": 2}
    assert late(curves(1.0), 20, 0.25)["iteration"].tolist() == [16, 17, 18, 19, 20] * 2


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


def test_drops_are_measured_from_the_peak_so_far():
    rows = [
        {"seed": 0, "iteration": i, "gold": g, "test_gold": g - 0.5, "kl": float(i)}
        for i, g in enumerate((0.0, 3.0, 2.0, 4.0, 1.0))
    ]
    found = drops(Table.from_rows(rows), {1: 2, 2: 4}, 0.25)
    assert (found["drop_1"][0], found["drop_2"][0]) == (1.0, 3.0)
    assert (found["gold_1"][0], found["kl_2"][0]) == (1.5, 4.0)
