"""Claims and summary of the study `constrained_rlhf`, from its stored tables."""

from __future__ import annotations

import dataclasses

import numpy as np

from prefront.experiments.token_worlds import standard_error
from prefront.reports.claim_forms import bounded, larger, share
from prefront.reports.claims import Claim, claim_of
from prefront.reports.evidence import Mean
from prefront.reports.overoptimization import find_peak
from prefront.runs.study import Results
from prefront.system.tables import Table

METHODS = {
    "ppo": "PPO, no KL",
    "ppo_annealed_kl": "PPO, KL annealed",
    "ppo_adaptive_kl": "PPO, oracle's KL",
    "ppo_sat": "PPO-SAT",
    "mu_ppo": "μ-PPO",
    "all_ppo": "All-PPO",
    "xi_ppo": "ξ-PPO",
    "mu_ppo_paper": "μ-PPO, paper's form",
    "all_ppo_paper": "All-PPO, paper's form",
    "xi_ppo_paper": "ξ-PPO, paper's form",
}
PLACES = ("joint", "lower", "higher", "independent")
PAPER = "Moskovitz et al. (2024)"
LAST_SHARE = 0.2
FALL, CLOSE_GOLD, CLOSE_THRESHOLD = 0.5, 0.1, 0.05
FORMS = ("", "_paper")


def decide(results: Results) -> list[Claim]:
    """Returns the ledger: one claim or more per figure, then those that need the exact optimum."""
    settings = results.settings
    conditions = (
        f"{settings.world.vocabulary} tokens, sequences of {settings.world.length}, thresholds at the exact joint "
        f"proxy point, {settings.learner.iterations} iterations of {settings.learner.sequences} sequences"
    )
    ledger: list[Claim | None] = [_rises_and_falls(results), _points_differ(results)]
    for form in FORMS:
        ledger += _final_gold(results, form)
    ledger += [_longer(results, name, worse) for name, worse in (("ppo", True), ("xi_ppo", False))]
    ledger.append(_longer(results, "xi_ppo_paper", False))
    for form in FORMS:
        ledger += [
            _side(results, f"mu_ppo{form}", 1),
            _side(results, f"all_ppo{form}", -1),
            _on(results, f"xi_ppo{form}"),
        ]
    ledger += _placed(results)
    ledger += [_oscillates(results, form) for form in FORMS]
    ledger += [_gold_gap(results), *_nearest(results)]
    return [dataclasses.replace(claim, conditions=conditions) for claim in ledger if claim is not None]


def ending(table: Table, column: str, last: int) -> np.ndarray:
    """Returns each seed's mean of a column over the last 20 % of the iterations up to `last`, shape (seeds,)."""
    late = table.at((table["iteration"] > (1 - LAST_SHARE) * last) & (table["iteration"] <= last))
    return np.array([late.where(seed=seed)[column].mean() for seed in late.unique("seed")])


def of_method(results: Results, name: str, study: str = "methods", focus: str = "joint") -> Table:
    """Returns the curves of one method; empty where it was not trained."""
    return results["curves"].where(study=study, method=name, focus=focus)


def _compare(
    sentence: str, figure: str, ours: np.ndarray, theirs: np.ndarray, quantity: str = "mean difference in gold"
) -> Claim:
    paper = f"{PAPER}, {figure}" if figure else ""
    return larger(ours, theirs, sentence=sentence, paper=paper, quantity=quantity)


def _rises_and_falls(results: Results) -> Claim:
    """Figure 3.1, on the exact path and, where they were trained, by learners."""
    curves = results["curves"].where(study="alone")
    method = "ppo_annealed_kl" if "ppo_annealed_kl" in curves.unique("method") else "exact"
    alone = [curves.where(method=method, focus=focus) for focus in ("1", "2")]
    falls = np.array(
        [find_peak(one.where(seed=seed)["gold"]).fall for one in alone for seed in one.unique("seed")]
    ).reshape(2, -1)
    return share(
        (falls > FALL).all(0),
        "above",
        0.5,
        sentence="In more than half of the worlds, each of both reward models, optimised alone, raises gold and then "
        f"lowers it by more than {FALL}.",
        paper=f"{PAPER}, Figure 3.1",
        stated="both models",
        quantity="of the seeds, where both models do",
        note=f"mean fall {falls.mean():.2f}; {METHODS.get(method, 'exact path')}",
    )


def _points_differ(results: Results) -> Claim:
    columns = ("threshold_1", "threshold_2")
    joint, alone = (
        np.stack([results["points"].where(place=place)[column] for column in columns], 1)
        for place in ("joint", "independent")
    )
    return claim_of(
        Mean.of_pairs(joint.mean(1), alone.mean(1)),
        "other than",
        0.0,
        sentence="The joint proxy point differs from the proxy points of the models alone.",
        paper=f"{PAPER}, Figure 3.2",
        stated="(0.48, 0.23) joint",
        quantity="mean over models of joint minus alone, standard deviations of the reward",
        note=f"means joint {joint.mean(0).round(2).tolist()}, alone {alone.mean(0).round(2).tolist()}",
    )


def _final_gold(results: Results, form: str) -> list[Claim]:
    """Figure 5.1: gold at the end of training."""
    last = results.settings.learner.iterations
    pairs = [("xi_ppo", other) for other in ("ppo", "ppo_sat", "all_ppo", "mu_ppo", "ppo_adaptive_kl")]
    found = []
    for ours, theirs in [*pairs, ("mu_ppo", "ppo")]:
        first = f"{ours}{form}"
        second = theirs + (form if theirs in ("mu_ppo", "all_ppo") else "")
        tables = of_method(results, first), of_method(results, second)
        if all(len(one) for one in tables):
            sentence = f"{METHODS[first]} ends with more gold than {METHODS[second]}."
            figure = "" if theirs == "ppo_adaptive_kl" else "Figure 5.1"
            first_gold, second_gold = (ending(one, "gold", last) for one in tables)
            found.append(_compare(sentence, figure, first_gold, second_gold))
    return found


def _longer(results: Results, name: str, worse: bool) -> Claim | None:
    """Figure 5.1, right: what three times as much training does."""
    settings, table = results.settings, of_method(results, name)
    if settings.longer < 2 or not len(table):
        return None
    once, long = (ending(table, "gold", times * settings.learner.iterations) for times in (1, settings.longer))
    if worse:
        sentence = f"{METHODS[name]} loses gold when it trains {settings.longer} times longer."
        return _compare(sentence, "Figure 5.1", once, long, "mean loss of gold")
    sentence = f"{METHODS[name]} does not lose gold ({CLOSE_GOLD}) when it trains {settings.longer} times longer."
    return bounded(
        once - long,
        "below",
        CLOSE_GOLD,
        sentence=sentence,
        paper=f"{PAPER}, Figure 5.1",
        quantity="mean loss of gold",
    )


def _side(results: Results, name: str, sign: int) -> Claim | None:
    """Figure 5.2: rewards on the allowed side of their thresholds, but for 5 %."""
    table = of_method(results, name)
    if not len(table):
        return None
    last = results.settings.learner.iterations
    errors = np.stack([ending(table, f"threshold_error_{k}", last) for k in (1, 2)])
    worst = (-sign * errors).max(0)
    where = "above" if sign > 0 else "below"
    return bounded(
        worst,
        "below",
        CLOSE_THRESHOLD,
        sentence=f"{METHODS[name]} keeps both rewards {where} their thresholds.",
        paper=f"{PAPER}, Figure 5.2",
        quantity=f"% of the threshold on the wrong side, worse model (allowed: {100 * CLOSE_THRESHOLD:g})",
        scale=100.0,
    )


def _on(results: Results, name: str) -> Claim | None:
    table = of_method(results, name)
    if not len(table):
        return None
    return bounded(
        ending(table, "threshold_error", results.settings.learner.iterations),
        "below",
        CLOSE_THRESHOLD,
        sentence=f"{METHODS[name]} keeps rewards on their thresholds.",
        paper=f"{PAPER}, Figure 5.2",
        quantity=f"% mean threshold error in the last {LAST_SHARE:.0%} of training (allowed: "
        f"{100 * CLOSE_THRESHOLD:g})",
        scale=100.0,
    )


def _placed(results: Results) -> list[Claim]:
    """Figure 5.3: misplaced thresholds."""
    last = results.settings.learner.iterations
    tables = {place: of_method(results, "xi_ppo", "placed", place) for place in PLACES}
    if not all(len(one) for one in tables.values()):
        return []
    gold = {place: ending(one, "gold", last) for place, one in tables.items()}
    shift = f"{results.settings.threshold_shift:.0%}"
    sentences = {
        "lower": f"Thresholds {shift} below the joint proxy point end with less gold.",
        "higher": f"Thresholds {shift} above the joint proxy point end with less gold.",
        "independent": "Thresholds at the proxy points of the models alone end with less gold than at the joint one.",
    }
    return [_compare(text, "Figure 5.3", gold["joint"], gold[place]) for place, text in sentences.items()]


def _oscillates(results: Results, form: str) -> Claim | None:
    """Figure D.2: standard deviation of multipliers in the second half of training, relative to their mean size."""
    last = results.settings.learner.iterations

    def swing(name: str) -> np.ndarray:
        table = of_method(results, name)
        late = table.at((table["iteration"] > last / 2) & (table["iteration"] <= last))
        every = [late.where(seed=seed) for seed in late.unique("seed")]
        series = [np.stack([one["multiplier_1"], one["multiplier_2"]]) for one in every]
        return np.array([np.mean(one.std(1) / np.maximum(np.abs(one).mean(1), 1e-6)) for one in series])

    names = f"all_ppo{form}", f"xi_ppo{form}"
    if not all(len(of_method(results, name)) for name in names):
        return None
    sentence = f"The multipliers of {METHODS[names[0]]} oscillate more than those of {METHODS[names[1]]}."
    quantity = "mean difference of the relative standard deviation"
    ours, theirs = (swing(name) for name in names)
    return _compare(sentence, "Figure D.2", ours, theirs, quantity)


def _gold_gap(results: Results) -> Claim | None:
    table = of_method(results, "xi_ppo")
    if not len(table):
        return None
    gaps = ending(table, "gold_gap", results.settings.learner.iterations)
    return bounded(
        gaps,
        "within",
        CLOSE_GOLD,
        sentence=f"The mean gold of ξ-PPO ends within {CLOSE_GOLD} of the exact constrained optimum.",
        quantity="gold of the optimum minus that of the policy, mean",
        note=f"mean size {np.abs(gaps).mean():.3f}",
    )


def _nearest(results: Results) -> list[Claim]:
    """Whether the exact form ends nearer to the optimum than the paper's and its strongest rivals do."""
    last, found = results.settings.learner.iterations, []
    for rival in ("xi_ppo_paper", "ppo_sat", "ppo_adaptive_kl"):
        tables = of_method(results, rival), of_method(results, "xi_ppo")
        if all(len(one) for one in tables):
            theirs, ours = (ending(one, "optimum_divergence", last) for one in tables)
            sentence = f"ξ-PPO ends nearer to the exact constrained optimum than {METHODS[rival]}."
            found.append(_compare(sentence, "", theirs, ours, "mean difference of KL(policy || optimum), nats"))
    return found


def summarise(results: Results) -> Table:
    """Returns one row per method, with means over seeds and the standard error of gold."""
    last, rows = results.settings.learner.iterations, []
    for name in results.settings.methods:
        table = of_method(results, name)
        if not len(table):
            continue
        gold = ending(table, "gold", last)
        row = {"method": METHODS[name], "gold": gold.mean(), "s.e.": standard_error(gold)}
        names = {"kl": "KL", "gold_gap": "gold gap", "optimum_divergence": "KL to optimum"}
        row |= {names[one]: ending(table, one, last).mean() for one in names if one in table.columns}
        if "threshold_error" in table.columns and np.isfinite(table["threshold_error"]).all():
            row["threshold error, %"] = 100 * ending(table, "threshold_error", last).mean()
        row[f"gold, {results.settings.longer} times longer"] = ending(
            table, "gold", results.settings.longer * last
        ).mean()
        rows.append({**row, "seeds": len(gold)})
    return Table.from_rows(rows)
