"""Figures of the study `constrained_rlhf`, from its stored tables; each is named after the paper's figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from prefront.experiments.constrained_rlhf_claims import METHODS, of_method
from prefront.experiments.token_world_plots import DISTANCE, label_steps, mean_interval, plot_band
from prefront.reports import plots
from prefront.runs.study import Results


def draw(results: Results, folder: Path) -> list[Path]:
    """Draws all figures that the tables allow; returns their paths."""
    with plots.style():
        paths = [*_proxy_points(results, folder), *_gold(results, folder), *_distances(results, folder)]
        paths += _tracking(results, folder)
        if len(of_method(results, "xi_ppo", "placed", "lower")):
            paths += _placed(results, folder)
        return paths + _multipliers(results, folder)


def _proxy_points(results: Results, folder: Path) -> list[Path]:
    """Figures 3.1 and 3.2: gold against each reward, their sum, and KL."""
    figure, axes = plots.new_figure(columns=4, height=2.3)
    panels = (("1", "reward_1", "reward 1, alone"), ("2", "reward_2", "reward 2, alone"))
    panels += (("joint", "proxy", "both rewards, summed"), ("joint", "kl", DISTANCE))  # type: ignore[assignment]
    series = {"exact": "exact path", "ppo_annealed_kl": METHODS["ppo_annealed_kl"]}
    for one, (focus, column, label) in zip(axes, panels, strict=True):
        for number, (method, name) in enumerate(series.items()):
            table = of_method(results, method, "alone", focus)
            plot_band(one, table, column, "gold", number, name, root=column == "kl")
        one.set_xlabel(label)
        if focus != "joint":
            where = results["points"].where(place="independent")[f"threshold_{focus}"].mean()
            one.axvline(where, color=plots.EXACT, linewidth=0.7, linestyle=":")
    axes[0].set_ylabel("gold")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return plots.save(figure, folder, "figure_3_1_and_3_2_proxy_points")


def _gold(results: Results, folder: Path) -> list[Path]:
    """Figure 5.1, the paper's form apart from the exact one."""
    settings = results.settings
    figure, axes = plots.new_figure(columns=2, height=3.0, sharey=True)
    optimum = results["points"].where(place="joint")["gold"].mean()
    for one, form in zip(axes, (False, True), strict=True):
        names = [name for name in settings.methods if name.endswith("_paper") == form or "_ppo" not in name]
        for number, name in enumerate(METHODS):
            if name in names:
                label = METHODS[name].removesuffix(", paper's form")
                place = list(METHODS).index(name.removesuffix("_paper")) if form else number
                plot_band(one, of_method(results, name), "sequences", "gold", place, label)
        one.axhline(optimum, color=plots.EXACT, linewidth=0.8, linestyle=":", label="exact optimum")
        one.axvline(settings.learner.iterations * settings.learner.sequences, color=plots.FAINT, linewidth=0.8)
        one.set_title("multipliers in the paper's form" if form else "multipliers in the exact form")
        label_steps(one)
    axes[0].set_ylabel("gold")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return plots.save(figure, folder, "figure_5_1_gold")


def _distances(results: Results, folder: Path) -> list[Path]:
    """What no paper has: the distance of each method to the exact optimum."""
    figure, axes = plots.new_figure(columns=3, height=2.8)
    columns = {"gold_gap": "gold gap to the optimum", "optimum_divergence": "KL(policy || optimum), nats"}
    columns["threshold_error"] = "mean threshold error"
    for one, (column, label) in zip(axes, columns.items(), strict=True):
        for number, name in enumerate(METHODS):
            table = of_method(results, name)
            if len(table) and column in table.columns and np.isfinite(table[column]).all():
                plot_band(one, table, "sequences", column, number, METHODS[name])
        one.set_ylabel(label)
        label_steps(one)
    axes[1].set_yscale("symlog", linthresh=1.0)
    axes[1].set_ylim(bottom=0)
    axes[2].set_ylim(0, 1)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return plots.save(figure, folder, "distance_to_the_optimum")


def _tracking(results: Results, folder: Path) -> list[Path]:
    """Figure 5.2: signed threshold errors over time."""
    names = [name for name in METHODS if len(of_method(results, name)) and name.startswith(("mu", "all", "xi"))]
    if not names:
        return []
    figure, axes = plots.new_figure(columns=2, height=2.5, sharey=True)
    for k, one in enumerate(axes, start=1):
        for name in names:
            number = list(METHODS).index(name)
            plot_band(one, of_method(results, name), "sequences", f"threshold_error_{k}", number, METHODS[name])
        one.axhline(0.0, color=plots.EXACT, linewidth=0.7, linestyle=":")
        one.set_title(f"reward model {k}")
        label_steps(one)
    axes[0].set_ylabel("reward above its threshold, relative")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return plots.save(figure, folder, "figure_5_2_thresholds")


def _placed(results: Results, folder: Path) -> list[Path]:
    """Figure 5.3: gold with thresholds that were moved, or found for each model alone."""
    shift = f"{results.settings.threshold_shift:.0%}"
    labels = {"joint": "joint proxy point", "lower": f"{shift} lower", "higher": f"{shift} higher"}
    labels["independent"] = "points of the models alone"
    figure, axes = plots.new_figure(columns=2, height=2.5)
    ends = {}
    for number, (place, label) in enumerate(labels.items()):
        table = of_method(results, "xi_ppo", "placed", place)
        plot_band(axes[0], table, "sequences", "gold", number, label)
        ends[place] = np.array([table.where(seed=seed)["gold"][-1] for seed in table.unique("seed")])
    moved = [place for place in labels if place != "joint"]
    intervals = [mean_interval(ends[place] - ends["joint"]) for place in moved]
    plots.plot_intervals(axes[1], [labels[place] for place in moved], intervals, 0, 1, "")
    axes[1].axvline(0.0, color=plots.EXACT, linewidth=0.7, linestyle=":")
    label_steps(axes[0])
    axes[0].set_ylabel("gold")
    axes[0].legend(loc="lower right")
    axes[1].set_xlabel("gold at the end minus that at the joint point")
    return plots.save(figure, folder, "figure_5_3_misplaced_thresholds")


def _multipliers(results: Results, folder: Path) -> list[Path]:
    """Figure D.2: multipliers over time."""
    forms = [form for form in ("", "_paper") if len(of_method(results, f"xi_ppo{form}"))]
    if not forms:
        return []
    figure, axes = plots.new_figure(columns=2, rows=len(forms), height=2.2 * len(forms) + 0.3)
    for row, form in enumerate(forms):
        for k in (1, 2):
            one = axes[2 * row + k - 1]
            for name in (f"mu_ppo{form}", f"all_ppo{form}", f"xi_ppo{form}"):
                number = list(METHODS).index(name)
                plot_band(one, of_method(results, name), "sequences", f"multiplier_{k}", number, METHODS[name])
            one.set_ylabel(f"multiplier {k}")
            label_steps(one)
            one.legend(loc="best", fontsize=7)
    return plots.save(figure, folder, "figure_d_2_multipliers")
