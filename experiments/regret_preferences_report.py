"""What the study of regret preferences says: claims, table and figures, from its stored tables alone."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from prefront.experiments.near_optimality import (
    NEAR_OPTIMAL,
    PAPER,
    all_near,
    compare,
    in_order,
    label_numbers,
    more_often,
    near,
    plot_shares,
    share_and_median,
)
from prefront.reports import plots
from prefront.reports.claim_forms import at_every, at_the_ceiling, in_every, untested
from prefront.reports.claims import Claim
from prefront.runs.study import Results
from prefront.system.tables import Table

HEADLINE_POINTS, HEADLINE_SIZE = 10, 100
GOOD_PREDICTION = 0.98
NAMES = {
    "partial_return": "partial return",
    "regret": "regret",
    "regret_coverage": "regret, coverage set",
    "regret_exact": "regret, exact values",
    "regret_deterministic": "regret, deterministic form",
}
# Where the values of the regret learners come from.
VALUES = {
    "regret": "features of random rewards",
    "regret_coverage": "features of a coverage set",
    "regret_exact": "exact values of what it learns",
}
OWN = (("regret", "regret"), ("partial_return", "partial_return"))


def _returns(results: Results, cell: tuple[str, str], **where: Any) -> np.ndarray:
    return in_order(results["fits"].where(learner=cell[0], generator=cell[1], **where), "task")


def _has(results: Results, study: str, *cells: tuple[str, str]) -> bool:
    return study in results.settings.studies and all(cell in results.settings.cells(study) for cell in cells)


def _tasks(results: Results, study: str) -> int:
    return len(results["tasks"].where(study=study))


def _conditions(results: Results, study: str, labels: str) -> str:
    settings = results.settings
    kind = "with stochastic transitions, " if study == "risky" else ""
    length = "" if study == "lengths" else f"segments of {settings.length} transitions, "
    answers = "noiseless answers" if labels == "noiseless" else "logistic answers, temperature 1"
    return (
        f"{_tasks(results, study)} random delivery tasks {kind}and the same pairs of segments for all; "
        f"{length}{answers}, discount {settings.gamma:g}"
    )


def claims(results: Results) -> list[Claim]:
    """Decides every claim for which there are rows."""
    settings, ledger = results.settings, []
    for labels in settings.labels:
        own = f"Each on its own {labels} preferences, the regret learner is better"
        matrix = {
            f"{own} at every number of preferences.": OWN,
            f"On {labels} partial return preferences too, the regret learner does at least as well, at every number.": (
                ("regret", "partial_return"),
                OWN[1],
            ),
            f"On {labels} regret preferences the regret learner is better at every number of preferences.": (
                OWN[0],
                ("partial_return", "regret"),
            ),
        }
        if HEADLINE_SIZE in settings.preferences and _has(results, "matrix", *OWN):
            ledger.append(_headline(results, labels))
        for sentence, cells in matrix.items():
            if _has(results, "matrix", *cells):
                relation: Literal["above", "at least"] = "at least" if "at least" in sentence else "above"
                ledger.append(_at_every(results, "matrix", "preferences", labels, cells, sentence, relation))
        ledger += _features(results, labels)
        if _has(results, "lengths", *OWN):
            sentence = f"{own} at every length of segments."
            ledger.append(_at_every(results, "lengths", "length", labels, OWN, sentence))
        if _has(results, "risky", *OWN):
            sentence = f"{own} where transitions are stochastic."
            ledger.append(_at_every(results, "risky", "preferences", labels, OWN, sentence))
    if "matrix" in settings.studies:
        ledger.append(_prediction(results))
    return ledger


def _headline(results: Results, labels: str) -> Claim:
    """Decides the diagonal by ten points where 100 preferences are given."""
    ours, theirs = (_returns(results, c, study="matrix", labels=labels, preferences=HEADLINE_SIZE) for c in OWN)
    return more_often(
        ours,
        theirs,
        at_least=HEADLINE_POINTS,
        sentence=f"Each on its own {HEADLINE_SIZE} {labels} preferences, the regret learner is near-optimal in at "
        f"least {HEADLINE_POINTS} percentage points more of the tasks than the partial return learner.",
        paper=PAPER,
        stated="more often",
        conditions=_conditions(results, "matrix", labels),
    )


def _at_every(
    results: Results,
    study: str,
    axis: str,
    labels: str,
    cells: Sequence[tuple[str, str]],
    sentence: str,
    relation: Literal["above", "at least"] = "above",
) -> Claim:
    """Decides whether the first learner is near-optimal more often at every level that leaves it anything to gain."""
    settings = results.settings
    levels = settings.lengths if axis == "length" else settings.sizes(study)
    pairs = {
        level: [_returns(results, c, study=study, labels=labels, **{axis: level}) for c in cells] for level in levels
    }
    full = [level for level, pair in pairs.items() if all_near(*pair)]
    found = {level: compare(*pair) for level, pair in pairs.items() if level not in full}
    size = f", {settings.lengths_preferences} preferences" if study == "lengths" else ""
    words: dict[str, Any] = {
        "sentence": sentence,
        "paper": PAPER,
        "stated": "at every one",
        "conditions": _conditions(results, study, labels) + size,
    }
    if not found:
        return at_the_ceiling(len(pairs[full[0]][0]), quantity="points", note="both always near-optimal", **words)
    least = min(found, key=lambda level: found[level].estimate)
    each = ", ".join(f"{level}: {100 * one.estimate:+.1f}" for level, one in found.items())
    left = f"; left out, because both are near-optimal in all tasks: {', '.join(map(str, full))}" if full else ""
    return at_every(
        found,
        relation,
        0.0,
        quantity=f"points near-optimal, least ({axis} {least})",
        scale=100.0,
        note=f"paired by task; points by {axis}: {each}{left}",
        **words,
    )


def _features(results: Results, labels: str) -> list[Claim]:
    """Decides whether other sets of successor features remove the failures that more preferences do not."""
    if "matrix" not in results.settings.studies:
        return []
    sizes = results.settings.sizes("matrix", "regret_coverage")
    if not sizes:
        return []
    size = max(sizes)
    ask = functools.partial(_returns, results, study="matrix", labels=labels, preferences=size)
    common: dict[str, Any] = {"conditions": _conditions(results, "matrix", labels)}
    ledger = []
    for learner, values in VALUES.items():
        if not _has(results, "matrix", (learner, "regret")):
            continue
        reached = near(ask((learner, "regret")))
        ledger.append(
            in_every(
                reached,
                sentence=f"With {values}, {size:,} {labels} regret preferences leave the regret learner no failure.",
                quantity="of the tasks near-optimal",
                **common,
            )
        )
        if learner != "regret" and _has(results, "matrix", OWN[0]):
            ledger.append(
                more_often(
                    ask((learner, "regret")),
                    ask(OWN[0]),
                    sentence=f"At {size:,} {labels} regret preferences, with {values} the regret learner is "
                    f"near-optimal more often than with {VALUES['regret']}.",
                    **common,
                )
            )
    return ledger


def _prediction(results: Results) -> Claim:
    """Counts the tasks in which every fit that predicts so well is near-optimal."""
    rows = results["fits"].where(study="matrix", labels=results.settings.labels[0])
    rows = rows.at(rows["accuracy"] >= GOOD_PREDICTION)
    words: dict[str, Any] = {
        "sentence": f"Rewards that predict at least {100 * GOOD_PREDICTION:g} % of fresh strict preferences have "
        "near-optimal policies.",
        "conditions": _conditions(results, "matrix", results.settings.labels[0]),
    }
    if not len(rows):
        nothing = "no fit predicts so well"
        return untested(math.nan, "undecided", _tasks(results, "matrix"), quantity="% of tasks", test=nothing, **words)
    reached = near(rows["scaled_return"])
    tasks = list(zip(rows["seed"].tolist(), rows["task"].tolist(), strict=True))
    failed = {task for task, good in zip(tasks, reached, strict=True) if not good}
    least = rows["scaled_return"].min()
    return in_every(
        [task not in failed for task in dict.fromkeys(tasks)],
        quantity="of the tasks with such fits, where all of them are near-optimal",
        note=f"{len(rows)} fits, {(~reached).sum()} of them not near-optimal; least scaled return {least:.4g}",
        **words,
    )


def summary(results: Results) -> Table:
    """Returns percentages of near-optimal tasks with the median scaled return in brackets, by number of preferences."""
    settings, rows = results.settings, []
    cells = [(study, learner) for study in settings.studies for learner, _ in settings.cells(study)]
    sizes = sorted({size for cell in cells for size in settings.sizes(*cell)})
    for study in settings.studies:
        for labels in settings.labels:
            for cell in settings.cells(study):
                for length in settings.lengths if study == "lengths" else (settings.length,):
                    row = {
                        "tasks": "risky" if study == "risky" else "deterministic",
                        "answers": labels,
                        "learner": NAMES[cell[0]],
                        "data": NAMES[cell[1]],
                        "length": length,
                        **{f"{size:,}": "" for size in sizes},
                    }
                    for size in settings.sizes(study, cell[0]):
                        found = _returns(results, cell, study=study, labels=labels, length=length, preferences=size)
                        row[f"{size:,}"] = share_and_median(found)
                    rows.append(row)
    return Table.from_rows(rows)


def plot(results: Results, folder: Path) -> list[Path]:
    """Draws every figure for which there are rows; returns their paths."""
    paths = []
    settings = results.settings
    with plots.style():
        if "matrix" in settings.studies:
            first = [cell for cell in settings.cells("matrix") if cell[0] in ("regret", "partial_return")]
            paths += _plot_shares(results, folder, "matrix", "matrix", "preferences", first)
            sets = [cell for cell in settings.cells("matrix") if cell[0].startswith("regret") and cell[1] == "regret"]
            if len(sets) > 1:
                paths += _plot_shares(results, folder, "features", "matrix", "preferences", sets)
            if len(first) == 4:
                paths += _plot_misspecification(results, folder)
        for study, axis in (("lengths", "length"), ("risky", "preferences")):
            if study in settings.studies:
                paths += _plot_shares(results, folder, study, study, axis, settings.cells(study))
    return paths


def _plot_shares(
    results: Results, folder: Path, name: str, study: str, axis: str, cells: Sequence[tuple[str, str]]
) -> list[Path]:
    """Draws the share of near-optimal tasks, with Clopper-Pearson intervals, one panel per kind of answers."""
    settings = results.settings
    levels = settings.lengths if axis == "length" else settings.sizes(study)
    figure, panels = plots.new_figure(columns=max(2, len(settings.labels)), height=3.1, sharey=True)
    for axes, labels in zip(panels, settings.labels, strict=False):
        for number, cell in enumerate(cells):
            own = settings.lengths if axis == "length" else settings.sizes(study, cell[0])
            returns = [_returns(results, cell, study=study, labels=labels, **{axis: level}) for level in own]
            plot_shares(axes, own, returns, number, f"{NAMES[cell[0]]} \N{LEFTWARDS ARROW} {NAMES[cell[1]]}")
        if axis == "length":
            axes.set_xlabel("transitions in a segment")
            axes.set_xticks(levels)
        else:
            label_numbers(axes, levels)
        axes.set_title(f"{labels} answers")
    panels[0].set_ylabel("share of tasks near-optimal")
    panels[0].set_ylim(0, 1.02)
    title = "learner \N{LEFTWARDS ARROW} data"
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, title=title)
    for axes in panels[len(settings.labels) :]:
        axes.set_visible(False)
    return plots.save(figure, folder, name)


def _plot_misspecification(results: Results, folder: Path) -> list[Path]:
    """Draws what data of the other kind cost each learner, and return against accuracy of prediction."""
    settings = results.settings
    figure, (left, right) = plots.new_figure(columns=2, height=2.5)
    number = 0
    ask: Callable[..., np.ndarray] = functools.partial(_returns, results, study="matrix")
    for learner, other in (("regret", "partial_return"), ("partial_return", "regret")):
        for labels in settings.labels:
            found = [
                compare(*(ask((learner, data), labels=labels, preferences=size) for data in (learner, other)))
                for size in settings.preferences
            ]
            points = [(one.estimate, *one.interval()) for one in found]
            losses = [(100 * middle, 100 * low, 100 * high) for middle, low, high in points]
            plots.plot_estimates(left, settings.preferences, losses, number, f"{NAMES[learner]}, {labels}")
            number += 1
    left.axhline(0.0, color=plots.EXACT, linewidth=0.8, linestyle=":")
    label_numbers(left, settings.preferences)
    left.set_ylabel("points near-optimal lost")
    left.set_title("own data minus the other model's")
    low, high = left.get_ylim()
    left.set_ylim(low, high + 0.35 * (high - low))
    left.legend(loc="upper center", ncols=2, fontsize=7)
    largest = results["fits"].where(study="matrix", labels=settings.labels[0], preferences=max(settings.preferences))
    cells = [(learner, data) for learner in ("regret", "partial_return") for data in ("regret", "partial_return")]
    for series, (learner, data) in enumerate(cells):
        rows = largest.where(learner=learner, generator=data)
        look = {**plots.look(series), "linestyle": "none"}
        label = f"{NAMES[learner]} \N{LEFTWARDS ARROW} {NAMES[data]}"
        clipped = np.maximum(rows["scaled_return"], -1.0)
        right.plot(rows["accuracy"], clipped, markersize=3, markeredgewidth=0, alpha=0.6, label=label, **look)
    right.axhline(NEAR_OPTIMAL, color=plots.EXACT, linewidth=0.8, linestyle=":")
    right.set_xlabel("accuracy on fresh strict preferences")
    right.set_ylabel("scaled return (below -1 drawn at -1)")
    right.set_title(f"{max(settings.preferences):,} {settings.labels[0]} preferences")
    right.legend(loc="lower left", fontsize=7)
    return plots.save(figure, folder, "misspecification")
