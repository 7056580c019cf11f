"""Figures of the study `overoptimization`, from its stored tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from prefront.experiments.token_world_plots import DISTANCE, on_grid, plot_band, plot_levels
from prefront.reports import plots
from prefront.reports.overoptimization import FORMS, find_peak, fit_form
from prefront.runs.study import Results
from prefront.system.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GOLD = "gold"
FORM_NAMES = {"quadratic": r"$d\,(a - b\,d)$", "logarithmic": r"$d\,(a - b\,\ln d)$"}

SOURCES = {
    "exact": "exact path",
    "ppo_annealed_kl": "PPO, KL annealed",
    "ppo": "PPO, no KL",
    "best_of_n": "best-of-n",
}


def peaks(curves: Table, **equal: Any) -> Table:
    """Returns one row per seed: where its curve with the given labels peaks, how far it falls, and the two fits."""
    rows = []
    chosen = curves.where(**equal)
    for seed in chosen.unique("seed"):
        one = chosen.where(seed=seed)
        # Rounding makes the KL of a policy that is still the reference -1e-9 or so.
        gold, kl, proxy = one["gold"], np.maximum(one["kl"], 0.0), one["proxy"]
        peak = find_peak(gold)
        fits = {form: fit_form(kl, gold - gold[0], form) for form in FORMS}
        rows.append(
            {"seed": seed, "gold": peak.gold, "fall": peak.fall, "kl": kl[peak.index], "proxy": proxy[peak.index]}
            | {"rise": proxy[-1] - proxy[peak.index], "end_kl": kl[-1], "inside": peak.inside}
            | {f"{form}_{name}": getattr(fit, name) for form, fit in fits.items() for name in ("a", "b", "r_squared")}
        )
    return Table.from_rows(rows)


def draw(results: Results, folder: Path) -> list[Path]:
    """Draws all figures; returns their paths."""
    with plots.style():
        return [
            *_curves(results, folder),
            *_peaks(results, folder),
            *_forms(results, folder),
            *_data(results, folder),
        ]


def _at(results: Results, source: str, **changes: Any) -> Table:
    world = results.settings.world
    equal = {"source": source, "model": "linear", "correlation": world.correlation}
    equal |= {"pairs": world.pairs, "label_noise": world.label_noise}
    return results["curves"].where(**{**equal, **changes})


def _curves(results: Results, folder: Path) -> list[Path]:
    """Gold and proxy against distance, gold against proxy, gold against KL."""
    figure, axes = plots.new_figure(columns=3, height=2.6)
    for number, (source, name) in enumerate(SOURCES.items()):
        table = _at(results, source)
        plot_band(axes[0], table, "kl", "gold", number, name, root=True)
        plot_band(axes[1], table, "kl", "proxy", number, name, root=True)
        plot_band(axes[2], table, "proxy", "gold", number, name)
    for one, x, y in ((axes[0], DISTANCE, GOLD), (axes[1], DISTANCE, "summed proxy"), (axes[2], "summed proxy", GOLD)):
        one.set_xlabel(x)
        one.set_ylabel(y)
    for one in (axes[0], axes[2]):
        one.axhline(0.0, color=plots.EXACT, linewidth=0.6, linestyle=":")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(SOURCES))
    return plots.save(figure, folder, "gold_and_proxy")


def _peaks(results: Results, folder: Path) -> list[Path]:
    levels = results.settings.correlations
    if len(levels) < 2:
        return []
    figure, axes = plots.new_figure(columns=3, height=2.4)
    words = {"proxy": "summed proxy at the peak", "kl": "KL at the peak, nats", "gold": "gold at the peak"}
    known = results["curves"].unique("source")
    for number, source in enumerate(source for source in ("exact", "ppo_annealed_kl") if source in known):
        for one, column in zip(axes, words, strict=True):
            values = [peaks(_at(results, source, correlation=level))[column] for level in levels]
            plot_levels(one, levels, np.column_stack(values), number, SOURCES[source], faint=number == 0)
    for one, label in zip(axes, words.values(), strict=True):
        one.set_xlabel("correlation of the gold attributes")
        one.set_ylabel(label)
    axes[0].legend(loc="upper left")
    return plots.save(figure, folder, "peak_by_correlation")


def _forms(results: Results, folder: Path) -> list[Path]:
    """Mean curves with both forms fitted to them."""
    known = results["curves"].unique("source")
    sources = [source for source in ("exact", "ppo_annealed_kl", "best_of_n") if source in known]
    figure, axes = plots.new_figure(columns=len(sources), height=2.4)
    for one, source in zip(axes, sources, strict=True):
        table = _at(results, source)
        plot_band(one, table, "kl", "gold", 0, "mean", root=True, color=plots.EXACT, linestyle="-")
        grid, values = on_grid(table, "kl", "gold", root=True)
        mean = np.nanmean(values, axis=0)
        for number, form in enumerate(FORMS):
            fit = fit_form(grid**2, mean - mean[0], form)
            look = {"color": plots.look(number)["color"], "linestyle": plots.LINES[1 + number]}
            one.plot(grid, mean[0] + fit(grid), label=f"{FORM_NAMES[form]}, $R^2$ = {fit.r_squared:.2f}", **look)
        one.set_title(SOURCES[source])
        one.set_xlabel(DISTANCE)
        one.legend(loc="best", fontsize=7)
    axes[0].set_ylabel(GOLD)
    return plots.save(figure, folder, "functional_forms")


def _data(results: Results, folder: Path) -> list[Path]:
    settings = results.settings
    panels: list[tuple[str, str, tuple[Any, ...], str]] = [
        ("comparisons per model", "pairs", tuple(sorted({*settings.pairs, settings.world.pairs})), "exact"),
        ("label noise", "label_noise", tuple(sorted({*settings.label_noises, settings.world.label_noise})), "exact"),
    ]
    if settings.models:
        panels += [("reward model, PPO", "model", ("linear", *settings.models), "ppo_annealed_kl")]
        panels += [("reward model, best-of-n", "model", ("linear", *settings.models), "best_of_n")]
    panels = [panel for panel in panels if len(panel[2]) > 1]
    if not panels:
        return []
    figure, axes = plots.new_figure(columns=2, rows=(len(panels) + 1) // 2, height=2.3 * ((len(panels) + 1) // 2))
    for one, (title, column, levels, source) in zip(axes, panels, strict=False):
        for number, level in enumerate(levels):
            plot_band(one, _at(results, source, **{column: level}), "kl", "gold", number, f"{level}", root=True)
        _finish(one, title)
    return plots.save(figure, folder, "data_and_models")


def _finish(axes: Axes, title: str) -> None:
    axes.axhline(0.0, color=plots.EXACT, linewidth=0.6, linestyle=":")
    axes.set_title(title)
    axes.set_xlabel(DISTANCE)
    axes.set_ylabel(GOLD)
    axes.legend(loc="best", fontsize=7)
