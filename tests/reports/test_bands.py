"""Panels of curves: what is drawn is the mean over seeds on a grid that all of them reach."""

import numpy as np
import pytest
import scipy

from prefront.reports.bands import ABOVE, curves, draw_panels, intervals, mean_and_band, on_grid
from prefront.system.tables import Table


def table(ends, x="sequences"):
    return Table.from_rows(
        {"seed": seed, x: float(i), "gold": float(i * (seed + 1))} for seed, end in enumerate(ends) for i in range(end)
    )


def test_curves_are_interpolated_where_all_seeds_have_been():
    grid, values = on_grid(table((5, 4)), "sequences", "gold")
    assert (grid[0], grid[-1], values.shape) == (0, 3, (2, len(grid)))
    assert np.allclose(values, [grid, 2 * grid])
    grid, _ = on_grid(table((4, 4)), "sequences", "gold")
    assert grid.tolist() == [0, 1, 2, 3]
    grid, values = on_grid(table((5, 4), "kl"), "kl", "gold")
    assert grid[-1] == pytest.approx(np.sqrt(3))
    assert values[1, -1] == pytest.approx(6)


def test_bands_are_intervals_of_the_mean_by_students_t():
    values = np.random.default_rng(0).normal(size=(8, 3))
    mean, low, high = mean_and_band(values)
    assert np.allclose(mean, values.mean(0))
    expected = scipy.stats.t.interval(0.95, 7, mean, scipy.stats.sem(values, axis=0))
    assert np.allclose((low, high), expected)
    assert np.isnan(mean_and_band(values[:1])[1]).all()


def test_a_figure_is_one_call_and_leaves_empty_series_out(tmp_path):
    drawn = []
    series = {"ours": table((5,) * 6), "never trained": Table({}), "theirs": table((5, 4))}
    panels = [
        curves(series, "sequences", "gold", level={"optimum": 3.0}, marks=[2.0], title="both"),
        intervals({"": {"ours": [1.0, 2.0, 3.0]}}, marks=[0.0], xlabel="gold"),
        drawn.append,
    ]
    paths = draw_panels(tmp_path, "figure", panels, legend=ABOVE, columns=2)
    assert [path.name for path in paths] == ["figure.pdf", "figure.png"]
    first, second = drawn[0].figure.axes[:2]
    assert first.get_legend_handles_labels()[1] == ["ours", "theirs", "optimum"]
    assert (first.get_title(), first.get_xlabel()) == ("both", "sequences learned from")
    assert second.get_xlabel() == "gold"
    assert len(drawn[0].figure.legends) == 1
