"""Figures: the same bytes each time, the right size and fonts, and the right geometry."""

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from prefront.reports import plots

FRONTS = [np.array([[0.0, 3.0], [1.0, 2.0], [3.0, 0.0]]), np.array([[0.0, 2.0], [2.0, 1.0]]), np.array([[1.0, 1.0]])]


def draw(folder):
    with plots.style():
        figure, axes = plots.new_figure(columns=2, rows=2)
        plots.plot_exact_front(axes[0], FRONTS[0])
        plots.plot_front(axes[0], FRONTS[1], 0, "found")
        plots.plot_attainment(axes[0], FRONTS, 1, "half", (-1.0, -1.0))
        plots.plot_parallel(axes[1], np.eye(3), np.eye(3)[::-1], ("a_b", "c", "d"), 2, "three")
        plots.plot_curves(axes[2], [[1, 10, 100], [2, 20, 90]], [[1, 2, 3], [2, 3, 4]], 0, "$x^2$")
        plots.plot_intervals(axes[3], ["one", "two"], [(0.5, 0.4, 0.7), (1.0, 1.0, 1.0)], 0, 1, "method")
        axes[0].legend()
        return figure, plots.save(figure, folder, "figure")


def test_files_are_the_same_bytes_each_time(tmp_path):
    paths = draw(tmp_path / "one")[1]
    mpl.rcParams["font.size"] = 23  # The user's settings must not leak in.
    again = draw(tmp_path / "two")[1]
    assert mpl.rcParams["font.size"] == 23
    mpl.rcdefaults()
    assert [path.suffix for path in paths] == [".pdf", ".png"]
    for first, second in zip(paths, again, strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_figures_fit_a_paper(tmp_path):
    figure, (pdf, png) = draw(tmp_path)
    assert figure.get_size_inches()[0] == plots.PAGE_WIDTH == 6.75
    content = pdf.read_bytes()
    assert b"/FontFile2" in content  # TrueType outlines, which editors and journals accept.
    assert b"STIXGeneral" in content
    assert b"/Type3" not in content
    assert b"CreationDate" not in content
    assert Image.open(png).width == pytest.approx(6.75 * plots.PNG_DPI, abs=1)
    with plots.style():
        assert plots.new_figure()[0].get_size_inches()[0] == plots.COLUMN_WIDTH == 3.25


def test_attainment_is_a_staircase_below_the_points():
    with plots.style():
        _, (axes,) = plots.new_figure()
        plots.plot_attainment(axes, FRONTS, 0, "half", (-1.0, -1.0))
    x, y = axes.lines[0].get_data()
    # Two of three runs attain (0, 2), (1, 1) and (2, 0): walk along the boundary from the left to the bottom.
    assert list(zip(x, y, strict=True)) == [(-1, 2), (0, 2), (0, 1), (1, 1), (1, 0), (2, 0), (2, -1)]
    (band,) = axes.collections
    (path,) = band.get_paths()
    inside = [(2.5, -0.5), (0.5, 1.5), (-0.5, 2.5), (1.5, 0.9)]
    outside = [(0.5, 0.5), (-0.5, 0.5), (3.5, -0.5), (2.5, 0.5), (0.5, 2.5)]
    assert path.contains_points(inside).all()
    assert not path.contains_points(outside).any()


def test_curves_hold_their_last_measurement():
    with plots.style():
        _, (axes,) = plots.new_figure()
        plots.plot_curves(axes, [[1, 10, 100], [2, 20, 90]], [[1, 2, 3], [2, 3, 4]], 0, "x", log=False)
    x, y = axes.lines[0].get_data()
    assert x.tolist() == [2, 10, 20, 90]
    assert y.tolist() == [1.5, 2.0, 2.5, 3.0]


def test_neighbouring_series_differ_without_colour():
    for number in range(12):
        first, second = plots.series_style(number), plots.series_style(number + 1)
        assert all(first[name] != second[name] for name in ("color", "marker", "linestyle"))
