"""Curves of gold against optimisation: where they peak, how far they fall and end, and the forms that describe them.

Gao, Schulman and Hilton (2022), "Scaling laws for reward model overoptimization", Section 3: with d = sqrt(KL), gold
follows d (a - b d) for best-of-n sampling and d (a - b ln d) for reinforcement learning, where gold is measured from
its value at the reference policy. Everything here is NumPy on stored numbers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from prefront.reports.bands import on_grid
from prefront.system.tables import Table

Form = Literal["quadratic", "logarithmic"]
FORMS: tuple[Form, ...] = ("quadratic", "logarithmic")
TEXTS = {"quadratic": "d (a - b d)", "logarithmic": "d (a - b ln d)"}


@dataclasses.dataclass(frozen=True)
class Fit:
    """A fitted form.

    Attributes:
        form: "quadratic", d (a - b d), or "logarithmic", d (a - b ln d).
        a: Its first coefficient, gain per unit of d.
        b: Its second coefficient, how fast the gain is lost.
        r_squared: Share of the variance of gold that the form explains.
    """

    form: Form
    a: float
    b: float
    r_squared: float

    def __call__(self, distance: ArrayLike) -> np.ndarray:
        """Returns the gold that the form predicts at d."""
        return _features(self.form, np.asarray(distance, np.float64)) @ np.array([self.a, -self.b])


@dataclasses.dataclass(frozen=True)
class Peak:
    """Where gold is largest on a curve, and what comes after.

    Attributes:
        index: Index of the point.
        gold: Gold there.
        fall: Gold there minus gold at the end.
        inside: Whether the peak is neither the first nor the last point.
    """

    index: int
    gold: float
    fall: float
    inside: bool


def fit_form(divergence: ArrayLike, gold: ArrayLike, form: Form) -> Fit:
    """Fits a form by least squares.

    Args:
        divergence: KL(policy || reference) in nats, at least 0, shape (n,).
        gold: Gold minus its value at the reference policy, shape (n,).
        form: "quadratic" or "logarithmic".

    Returns:
        The fit.

    Raises:
        ValueError: Fewer than three points, different shapes, a negative KL, gold that does not vary, or an unknown
            form.
    """
    kl, values = np.asarray(divergence, np.float64), np.asarray(gold, np.float64)
    if form not in FORMS:
        raise ValueError(f"The form must be one of {FORMS}, got {form!r}.")
    if kl.ndim != 1 or kl.shape != values.shape or len(kl) < 3:
        raise ValueError(f"A fit needs at least 3 points of equal shape (n,), got {kl.shape} and {values.shape}.")
    if not (np.isfinite(kl).all() and (kl >= 0).all()):
        raise ValueError(f"KL must be finite and at least 0, got {kl.min()} to {kl.max()}.")
    if not np.isfinite(values).all():
        raise ValueError(f"Gold must be finite, got {values.min()} to {values.max()}.")
    spread = np.sum((values - values.mean()) ** 2)
    if spread == 0:
        raise ValueError("Gold does not vary, so that no form can explain its variance.")
    features = _features(form, np.sqrt(kl))
    (a, minus_b), *_ = np.linalg.lstsq(features, values, rcond=None)
    left = np.sum((features @ np.array([a, minus_b]) - values) ** 2)
    return Fit(form, float(a), float(-minus_b), float(1 - left / spread))


def find_peak(gold: ArrayLike) -> Peak:
    """Finds the largest gold on a curve of shape (n,), ordered from the reference policy outwards."""
    values = np.asarray(gold, np.float64)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(f"A curve has at least 2 finite values of shape (n,), got shape {values.shape}.")
    index = int(values.argmax())
    return Peak(index, float(values[index]), float(values[index] - values[-1]), 0 < index < len(values) - 1)


def peaks(curves: Table, *labels: str) -> Table:
    """Describes every curve of a table: where gold peaks, how far it falls, and both fits.

    Args:
        curves: Rows with `seed`, `gold`, `kl`, `proxy` and the labels, each curve from the reference policy outwards.
        labels: Columns that tell the curves of a seed apart.

    Returns:
        One row per curve with its labels: `gold`, `kl` and `proxy` at the peak, the `fall` of gold and the `rise` of
        the proxy after it, and `quadratic` and `logarithmic`, the R2 of both forms.
    """
    rows = []
    for key, one in curves.groups("seed", *labels):
        # Rounding makes the KL of a policy that is still the reference -1e-9 or so.
        gold, kl, proxy = one["gold"], np.maximum(one["kl"], 0.0), one["proxy"]
        peak = find_peak(gold)
        row: dict[str, Any] = {"gold": peak.gold, "fall": peak.fall, "kl": kl[peak.index], "proxy": proxy[peak.index]}
        fits: dict[str, float] = {form: fit_form(kl, gold - gold[0], form).r_squared for form in FORMS}
        row |= {"rise": proxy[-1] - proxy[peak.index], **fits}
        rows.append(dict(zip(("seed", *labels), key, strict=True)) | row)
    return Table.from_rows(rows)


def fitted_forms(curves: Table) -> dict[str, Table]:
    """Returns both forms, fitted to the mean over seeds of a curve, as curves by formula and R2."""
    grid, values = on_grid(curves, "kl", "gold")
    mean = values.mean(0)
    fitted: dict[str, Table] = {}
    for form in FORMS:
        fit = fit_form(grid**2, mean - mean[0], form)
        columns = {"seed": np.zeros(len(grid)), "kl": grid**2, "gold": mean[0] + fit(grid)}
        fitted[f"{TEXTS[form]}, R2 = {fit.r_squared:.2f}"] = Table(columns)
    return fitted


def late(curves: Table, last: float, share: float) -> Table:
    """Returns the rows of the last `share` of the iterations up to `last`."""
    return curves.at((curves["iteration"] > (1 - share) * last) & (curves["iteration"] <= last))


def drops(curves: Table, ends: Mapping[int, int], share: float) -> Table:
    """Measures gold, its drop from the peak so far and KL at several times of one curve per seed.

    Args:
        curves: Rows with `seed`, `iteration`, `gold`, by which the peak is found, `test_gold`, its height, and `kl`.
        ends: Iterations by the name of their time, such as the multiple of a budget.
        share: Share of the iterations up to each, the last ones, over which gold and KL are averaged.

    Returns:
        One row per seed with `gold_N`, `drop_N` and `kl_N` for each name N.
    """
    rows = []
    for (seed,), own in curves.groups("seed"):
        row: dict[str, Any] = {"seed": seed}
        for name, last in ends.items():
            until, end = own.at(own["iteration"] <= last), late(own, last, share)
            row[f"gold_{name}"] = float(end["test_gold"].mean())
            row[f"drop_{name}"] = float(until["test_gold"][np.argmax(until["gold"])] - end["test_gold"].mean())
            row[f"kl_{name}"] = float(end["kl"].mean())
        rows.append(row)
    return Table.from_rows(rows)


def averages(rows: Table, names: Mapping[str, str]) -> dict[str, Any]:
    """Returns what a summary says of one curve per seed.

    Args:
        rows: One row per seed.
        names: Columns, each with the name that its mean gets.

    Returns:
        The means of those columns that there are, after the first its standard error, and the number of seeds.
    """
    (first, *_), count = names, len(rows)
    means = {name: float(rows[column].mean()) for column, name in names.items() if column in rows.columns}
    error = float(rows[first].std(ddof=1) / np.sqrt(count)) if count > 1 else None
    return {names[first]: means[names[first]], "s.e.": error, **means, "seeds": count}


def _features(form: Form, d: np.ndarray) -> np.ndarray:
    second = d**2 if form == "quadratic" else d * np.log(np.where(d > 0, d, 1.0))
    return np.stack([d, second], axis=-1)
