"""What the study of regret preferences says: claims, table and figures, from its stored tables alone."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prefront import plots, statistics
from prefront.claims import Claim, Verdict, claim_of_pairs, judge
from prefront.experiment import Results
from prefront.experiments.near_optimality import (
    NEAR_OPTIMAL,
    PAPER,
    compare,
    in_order,
    label_numbers,
    near,
    percentage,
    plot_shares,
    share_and_median,
)
from prefront.tables import Table

LEVEL, HEADLINE_LEVEL, HEADLINE_POINTS, HEADLINE_SIZE = 0.05, 0.01, 10, 100
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
                ledger.append(_at_every(results, "matrix", "preferences", labels, cells, sentence))
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
    found = compare(ours, theirs)
    enough = found.gain >= HEADLINE_POINTS
    small = found.interval[1] < HEADLINE_POINTS or found.p_less < HEADLINE_LEVEL
    verdict: Verdict = "holds" if enough and found.p_greater < HEADLINE_LEVEL else "fails" if small else "undecided"
    return claim_of_pairs(
        found,
        verdict=verdict,
        sentence=f"Each on its own {HEADLINE_SIZE} {labels} preferences, the regret learner is near-optimal in at "
        f"least {HEADLINE_POINTS} percentage points more of the tasks than the partial return learner.",
        paper=PAPER,
        stated="more often",
        quantity=f"points ({percentage(ours):.0f} % and {percentage(theirs):.0f} %)",
        test="95 % bootstrap interval of the points; Wilcoxon signed-rank of scaled returns, paired by task, "
        "one-sided, level 0.01",
        conditions=_conditions(results, "matrix", labels),
    )


def _at_every(
    results: Results, study: str, axis: str, labels: str, cells: Sequence[tuple[str, str]], sentence: str
) -> Claim:
    """Holds where the first learner is better at every level, and fails where it is worse at one of them.

    Better means higher scaled returns, and no fewer tasks near-optimal: where these disagree, nothing is decided.
    """
    settings = results.settings
    levels = settings.lengths if axis == "length" else settings.sizes(study)
    found = {
        level: compare(*(_returns(results, c, study=study, labels=labels, **{axis: level}) for c in cells))
        for level in levels
    }
    worst_for = max(one.p_greater for one in found.values())
    worst_against = min(1.0, len(found) * min(one.p_less for one in found.values()))
    least = min(found, key=lambda level: found[level].gain)
    verdict = judge(worst_for, worst_against, LEVEL)
    if verdict == "holds" and found[least].gain < 0:
        verdict = "undecided"
    p_value, side = (worst_against, "worse") if verdict == "fails" else (worst_for, "better")
    each = ", ".join(f"{level}: {one.gain:+.1f}" for level, one in found.items())
    size = f", {settings.lengths_preferences} preferences" if study == "lengths" else ""
    return claim_of_pairs(
        found[least],
        verdict=verdict,
        p_value=p_value,
        sentence=sentence,
        paper=PAPER,
        stated="at every one",
        quantity=f"points near-optimal, least ({axis} {least})",
        test=f"points by {axis}: {each}; Wilcoxon signed-rank of scaled returns, paired by task, one-sided; p of the "
        + ("least significant" if side == "better" else "most significant, times their number (Bonferroni)")
        + f", that the first is {side}",
        conditions=_conditions(results, study, labels) + size,
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
    common: dict[str, Any] = {"paper": "", "stated": "", "conditions": _conditions(results, "matrix", labels)}
    ledger = []
    for learner, values in VALUES.items():
        if not _has(results, "matrix", (learner, "regret")):
            continue
        reached = near(ask((learner, "regret")))
        share, low, high = statistics.share_interval(reached)
        ledger.append(
            Claim(
                sentence=f"With {values}, {size:,} {labels} regret preferences leave the regret learner no failure.",
                measured=100 * share,
                quantity="% of the tasks near-optimal",
                seeds=len(reached),
                verdict="holds" if reached.all() else "fails",
                interval=(100 * low, 100 * high),
                test=f"{(~reached).sum()} failures; 95 % Wilson interval",
                **common,
            )
        )
        if learner != "regret" and _has(results, "matrix", OWN[0]):
            ledger.append(
                claim_of_pairs(
                    compare(ask((learner, "regret")), ask(OWN[0])),
                    sentence=f"At {size:,} {labels} regret preferences, {values} serve the regret learner better "
                    f"than {VALUES['regret']}.",
                    quantity="points near-optimal",
                    test="95 % bootstrap interval; Wilcoxon signed-rank of scaled returns, paired by task, one-sided",
                    **common,
                )
            )
    return ledger


def _prediction(results: Results) -> Claim:
    rows = results["fits"].where(study="matrix", labels=results.settings.labels[0])
    rows = rows.at(rows["accuracy"] >= GOOD_PREDICTION)
    reached = near(rows["scaled_return"])
    share, low, high = statistics.share_interval(reached) if len(rows) else (float("nan"), 0.0, 1.0)
    least = f"; least scaled return {rows['scaled_return'].min():.4g}" if len(rows) else ""
    return Claim(
        sentence=f"Rewards that predict at least {100 * GOOD_PREDICTION:g} % of fresh strict preferences have "
        "near-optimal policies.",
        paper="",
        stated="",
        measured=100 * share,
        quantity="% of such fits",
        seeds=_tasks(results, "matrix"),
        verdict="undecided" if not len(rows) else "holds" if reached.all() else "fails",
        interval=(100 * low, 100 * high) if len(rows) else None,
        test=f"{len(rows)} fits, {(~reached).sum()} of them not near-optimal{least}; 95 % Wilson interval",
        conditions=_conditions(results, "matrix", results.settings.labels[0]),
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
    """Draws the share of near-optimal tasks, with Wilson intervals, one panel per kind of answers."""
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
            losses = [(one.gain, *one.interval) for one in found]
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
