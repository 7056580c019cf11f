"""Forms of figures and summary tables: what is drawn and written is what the stored rows say."""

import numpy as np
import pytest

from prefront.reports import plots
from prefront.reports.figure_forms import level_panels, mean_of, plot_levels, quartiles_of
from prefront.reports.summaries import by_level, summarise
from prefront.system.tables import Table

ROWS = Table.from_rows(
    {"model": model, "size": size, "draw": draw, "value": base + draw / 10}
    for model, base in (("b", 0.2), ("a", 0.4))
    for size in (10, 1000)
    for draw in range(5)
    if (model, size) != ("a", 1000)
)


def test_estimates_are_drawn_at_their_levels():
    with plots.style():
        _, (axes,) = plots.new_figure()
        plot_levels(axes, ROWS, "size", {"B": {"model": "b"}, "A": {"model": "a"}}, mean_of("value"))
    first, second = axes.get_lines()
    assert (first.get_xdata().tolist(), first.get_ydata()) == ([10, 1000], pytest.approx([0.4, 0.4]))
    assert (second.get_xdata().tolist(), second.get_ydata()) == ([10], pytest.approx([0.6]))
    assert [label.get_text() for label in axes.get_xticklabels()] == ["10", "1,000"]
    assert (axes.get_xscale(), axes.get_xlabel()) == ("log", "size")
    assert quartiles_of("value")(ROWS.where(model="a")) == pytest.approx((0.6, 0.5, 0.7))


def test_each_value_of_a_column_has_its_panel(tmp_path):
    form = {"panels": "model", "level": "size", "series": {"all": {}}, "estimate": mean_of("value")}
    paths = level_panels(ROWS, tmp_path, "file", quantity="share", title="model {}", **form)
    assert [path.name for path in paths] == ["file.pdf", "file.png"]


def test_a_summary_has_a_row_for_each_combination_in_the_order_they_come():
    cells = {"rows": len, **by_level(ROWS, "size", lambda rows: f"{np.mean(rows['value']):.1f}", "mean at {:,}")}
    found = summarise(ROWS, {"who": "model"}, cells, {"a": "A"})
    assert list(found.columns) == ["who", "rows", "mean at 10", "mean at 1,000"]
    first, last = found.rows()
    assert list(first.values()) == ["b", 10, "0.4", "0.4"]
    assert list(last.values()) == ["A", 5, "0.6", ""]
