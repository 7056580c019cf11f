"""What the study of human preferences says: claims, table and figure, from its stored tables alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from prefront.experiments.human_preferences_models import GIVEN, LEARNED, REGRETS
from prefront.experiments.near_optimality import in_order, label_numbers, more_often, percentage, plot_shares
from prefront.reports import plots
from prefront.reports.claim_forms import larger, untested
from prefront.reports.claims import Claim
from prefront.reports.evidence import Mean
from prefront.runs.study import Results
from prefront.system.tables import Table

PAPER = "Knox et al. (2024), section 6.3"
SIMULATED = "simulated"
# 10-fold cross-entropy by one scale, measured by an independent implementation.
REFERENCE = {"Privileged-Control": {"partial_return": 0.620, "regret": 0.573}}
TOLERANCE = 0.005
PUBLISHED_CONDITIONS = 9


def claims(results: Results) -> list[Claim]:
    """Decides for each condition and, where there are several, over them."""
    names = _names(results)
    ledger = []
    for name in names:
        own = _of_one_condition(_of(results, name), name)
        if results.settings.data != SIMULATED:
            own = [
                dataclasses.replace(
                    claim, sentence=f"{name}: {claim.sentence}", conditions=f"{claim.conditions}; {_which(results)}"
                )
                for claim in own
            ]
        ledger += own
    return ledger + (_over_conditions(results) if len(names) > 1 else [])


def _names(results: Results) -> list[str]:
    """Returns the conditions that were studied."""
    return results["folds"].unique("condition")


def _of(results: Results, condition: str) -> Results:
    """Returns the results of one condition."""
    tables = {name: table.where(condition=condition) for name, table in results.tables.items()}
    return dataclasses.replace(results, tables=tables)


def _which(results: Results) -> str:
    names = _names(results)
    return f"{len(names)} of the {PUBLISHED_CONDITIONS} published conditions studied: {', '.join(names)}"


def _over_conditions(results: Results) -> list[Claim]:
    """Decides which model predicts better, and who learns from less, in the mean over conditions."""
    every = [_of(results, name) for name in _names(results)]

    def predicts(reward: str, ours: str, theirs: str, labels: dict[str, str]) -> Claim:
        better, worse = (
            np.array([_weighted(one, reward, name, "cross_entropy") for one in every]) for name in (ours, theirs)
        )
        sentence = f"Over conditions: {labels[ours]} predicts preferences better than {labels[theirs]}"
        how = "with the true reward given" if reward == "given" else "with a learned reward"
        return _paired(f"{sentence}, {how}.", worse, better, "nats lower")

    ledger = [predicts("given", "regret", "partial_return", GIVEN)]
    ledger += [predicts("learned", name, "partial_return", LEARNED) for name in REGRETS]
    # Not every condition has as many preferences as the largest number asks for.
    sizes = sorted(set.intersection(*(set(_sizes(one)) for one in every)))
    for name in REGRETS:
        for size in sizes:
            shares = [[percentage(_scaled(one, model, size)) for one in every] for model in (name, "partial_return")]
            sentence = (
                f"Over conditions: from {size:,} preferences, the regret learner ({_values(name)}) is near-optimal "
                "more often than the partial return learner."
            )
            ledger.append(_paired(sentence, np.array(shares[0]), np.array(shares[1]), "points near-optimal"))
    which = _which(results)
    return [dataclasses.replace(claim, conditions=which) for claim in ledger]


def _paired(sentence: str, ours: np.ndarray, theirs: np.ndarray, quantity: str) -> Claim:
    wins = f"larger in {int((ours > theirs).sum())} of {len(ours)} conditions"
    return larger(ours, theirs, sentence=sentence, quantity=quantity, note=f"paired by condition; {wins}")


def _of_one_condition(results: Results, condition: str) -> list[Claim]:
    """Decides which model predicts better, whether reference figures are met, and who learns from less."""
    settings = results.settings
    given, learned = "with the true reward given", "with a learned reward"
    ledger = [
        _predicts(results, ("given", "regret"), "partial_return", f"Regret predicts preferences better than partial "
                  f"return, {given} and one scale.", PAPER),
        _predicts(results, ("given", "expanded_regret"), "regret", f"Three scales predict preferences better than the "
                  f"one of regret, {given}.", PAPER),
    ]  # fmt: skip
    for name in REGRETS:
        sentence = f"Regret predicts preferences better than partial return, {learned} ({_values(name)})."
        ledger.append(_predicts(results, ("learned", name), "partial_return", sentence, PAPER))
    sentence = "Successor features of a coverage set predict preferences better than those of random rewards."
    ledger.append(_predicts(results, ("learned", "regret_coverage"), "regret", sentence, ""))
    reference = REFERENCE.get(condition, {}) if settings.data != SIMULATED else {}
    ledger += [_as_measured(results, name, stated) for name, stated in reference.items()]
    return ledger + [_learns(results, name, size) for name in REGRETS for size in _sizes(results)]


def _values(name: str) -> str:
    return LEARNED[name].removeprefix("regret, ")


def _predicts(results: Results, model: tuple[str, str], other: str, sentence: str, paper: str) -> Claim:
    """Decides whether one model has lower held-out cross-entropy than another of its kind."""
    reward, name = model
    better, worse = (_column(results, reward, one, "cross_entropy") for one in (name, other))
    return larger(
        worse,
        better,
        sentence=sentence,
        paper=paper,
        stated="lower cross-entropy" if paper else "",
        quantity="nats lower, mean over folds",
        note=f"paired by fold; means {better.mean():.4g} and {worse.mean():.4g}",
        conditions=f"{_conditions(results)}; {results.settings.folds}-fold cross-validation",
    )


def _as_measured(results: Results, name: str, stated: float) -> Claim:
    mean = _weighted(results, "given", name, "cross_entropy")
    return untested(
        mean,
        "holds" if abs(mean - stated) <= TOLERANCE else "fails",
        results.settings.folds,
        sentence=f"The cross-entropy of {GIVEN[name]} with one scale is {stated:.3f} within {TOLERANCE:g}.",
        paper="an independent implementation on the same data",
        stated=f"{stated:.3f}",
        quantity="nats",
        test="mean over all held-out preferences; the data are the same, so that this is no test",
        conditions=f"{_conditions(results)}; {results.settings.folds}-fold cross-validation",
    )


def _learns(results: Results, regret: str, size: int) -> Claim:
    """Decides whether a regret learner is near-optimal more often than the partial return learner."""
    ours, theirs = (_scaled(results, name, size) for name in (regret, "partial_return"))
    return more_often(
        ours,
        theirs,
        unit="draws",
        sentence=f"From {size:,} preferences, the regret learner ({_values(regret)}) is near-optimal more often than "
        "the partial return learner.",
        paper=PAPER,
        stated="more often",
        conditions=f"{_conditions(results)}; draws without replacement from the same preferences",
    )


def _conditions(results: Results) -> str:
    settings = results.settings
    rows = results["folds"].where(model="regret", reward="given")
    count = int(rows.where(seed=rows["seed"][0])["held_out"].sum())
    source = f"{count:,} human preferences, condition {rows['condition'][0]}"
    if settings.data == SIMULATED:
        source = f"{count:,} preferences of a simulated teacher by regret (no people)"
    return f"{source}; delivery task, discount {settings.gamma:g}"


def _sizes(results: Results) -> list[int]:
    """Returns the numbers of preferences from which models have learned."""
    return sorted({int(size) for size in results["learning"]["preferences"]}) if "learning" in results.tables else []


def _column(results: Results, reward: str, model: str, column: str) -> np.ndarray:
    return in_order(results["folds"].where(reward=reward, model=model), "fold", column)


def _weighted(results: Results, reward: str, model: str, column: str) -> float:
    """Returns the mean over folds, weighted by their sizes."""
    weights = _column(results, reward, model, "held_out")
    return float(np.average(_column(results, reward, model, column), weights=weights))


def _scaled(results: Results, model: str, size: int) -> np.ndarray:
    return in_order(results["learning"].where(model=model, preferences=size), "draw")


def summary(results: Results) -> Table:
    """Returns cross-entropy and strict accuracy of each model, and of those that learn how often they do well."""
    return Table.from_rows(row for name in _names(results) for row in _summary_rows(_of(results, name), name))


def _summary_rows(results: Results, condition: str) -> list[dict[str, Any]]:
    rows = []
    for reward, models in (("given", GIVEN), ("learned", LEARNED)):
        for name, label in models.items():
            row: dict[str, Any] = {
                "condition": condition,
                "model": label,
                "reward": reward,
                "cross-entropy": _weighted(results, reward, name, "cross_entropy"),
                "strict accuracy": _weighted(results, reward, name, "accuracy"),
            }
            for size in _sizes(results):
                share = f"{percentage(_scaled(results, name, size)):.0f}" if reward == "learned" else ""
                row[f"% near-optimal from {size:,}"] = share
            rows.append(row)
    return rows


def plot(results: Results, folder: Path) -> list[Path]:
    """Draws for each condition cross-entropies by model, and near-optimality by number of preferences."""
    return [path for name in _names(results) for path in _plot_condition(_of(results, name), name, folder)]


def _plot_condition(results: Results, condition: str, folder: Path) -> list[Path]:
    sizes = _sizes(results)
    with plots.style():
        figure, (left, right) = plots.new_figure(columns=2, height=2.9)
        known = [("given", name, {"color": plots.EXACT, "marker": "o"}) for name in GIVEN]
        rows = known + [("learned", name, plots.look(number)) for number, name in enumerate(LEARNED)]
        for row, (reward, name, look) in enumerate(rows):
            found = Mean.of(_column(results, reward, name, "cross_entropy"))
            low, high = found.interval()
            reach = [[found.estimate - low], [high - found.estimate]]
            bar = {**look, "linestyle": "none", "capsize": 1.5, "elinewidth": 1, "markeredgewidth": 0}
            left.errorbar(found.estimate, row, xerr=reach, **bar)
        left.set_yticks(range(len(rows)), [f"{label}, given" for label in GIVEN.values()] + list(LEARNED.values()))
        left.set_ylim(len(rows) - 0.5, -0.5)
        left.axvline(np.log(2), color=plots.EXACT, linewidth=0.8, linestyle=":")
        left.set_xlabel("held-out cross-entropy, nats\n(mean, 95 % interval over folds; dotted: chance)")
        for number, (name, label) in enumerate(LEARNED.items()):
            plot_shares(right, sizes, [_scaled(results, name, size) for size in sizes], number, label)
        label_numbers(right, sizes)
        right.set_ylim(0, 1.02)
        right.set_ylabel("share of draws near-optimal")
        figure.legend(*right.get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=7)
        return plots.save(figure, folder, f"human_preferences_{condition}")
