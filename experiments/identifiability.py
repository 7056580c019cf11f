"""Three pairs of tasks that choices by partial return cannot tell apart, and choices by regret can.

Each study compares a task with another that has the same transitions but other optimal policies:

- constant: a constant is added to the reward of every step, in tasks whose episodes end sooner or later;
- discount: another discount, with segments of one transition;
- lottery: another prize of a lottery, with noiseless answers.

Partial return answers the same in both tasks, for every pair of segments of equal length: no number of such answers
tells which task it is. All segments are enumerated, so nothing rests on sampling but the tasks themselves.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from prefront.reports import plots
from prefront.reports.claim_forms import in_every, untested
from prefront.reports.claims import Claim
from prefront.reports.figure_forms import plot_rows, quartiles_of
from prefront.reports.summaries import median_of, summarise
from prefront.runs.study import Job, Results, Rows, Study
from prefront.system.checks import MANY, check_between, check_least, check_most, check_types
from prefront.system.tables import Table

if TYPE_CHECKING:
    from prefront.exact.tables import TabularMDP
    from prefront.preferences.segments import Segments

PAPER = "Knox et al. (2024), theorem 3.2"
STUDIES = {"constant": "constant added", "discount": "other discount", "lottery": "other prize"}
Twins = Literal["constant", "discount", "lottery"]
NOTHING_CHANGED = 1e-9
# Every step has exactly one of these features: gas, goal, sheep, mud.
STEP = np.array([1, 1, 1, 0, 0, 1])


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is compared.

    Attributes:
        tasks: Random delivery tasks in each study.
        gamma: Discount of the tasks.
        length: Transitions of a segment, in the studies of the constant and of the lottery.
        constant: Added to the reward of every step.
        other_gamma: The other discount.
        prizes: The two prizes of the lottery. Between 52 and infinity partial return ranks segments alike.
        comparisons: Random pairs of segments on which the teachers by regret are compared.
    """

    tasks: int = 100
    gamma: float = 0.999
    length: int = 3
    constant: float = 2.0
    other_gamma: float = 0.5
    prizes: tuple[float, float] = (100.0, 500.0)
    comparisons: int = 2000

    def __post_init__(self) -> None:
        check_types(self)
        check_least(self, 1, "tasks", "length", "comparisons")
        check_most(self, 1000, "length")
        check_most(self, 100_000, "tasks")
        check_most(self, MANY, "comparisons", "prizes")
        check_between(self, -MANY, MANY, "constant")
        check_between(self, 0, 1, "gamma", "other_gamma")
        if min(self.prizes) <= 52 or self.prizes[0] == self.prizes[1]:
            raise ValueError(f"prizes must be two different numbers above 52, got {self.prizes}.")


@dataclasses.dataclass(frozen=True)
class _Twin:
    """Two tasks with the same transitions."""

    mdp: TabularMDP
    weights: tuple[np.ndarray, np.ndarray]
    gammas: tuple[float, float]
    length: int
    noiseless: bool


@dataclasses.dataclass(frozen=True)
class Cell:
    """One piece of work: all twins of one study."""

    study: Twins


def cells(settings: Settings) -> list[Cell]:
    """Returns one piece of work per study."""
    return [Cell(study) for study in get_args(Twins)]


def run(settings: Settings, seed: int, job: Job) -> dict[str, Rows]:
    """Compares the two tasks of every twin of one study.

    Returns:
        `twins`: one row per twin. For each teacher, `*_pairs` is the number of pairs compared, `*_difference` the
        largest difference between the probabilities of an answer, `*_told` the share of pairs in which they differ.
        `other_actions` is the share of states whose optimal actions differ, `scaled_return` that of the second task's
        optimal policy in the first.
    """
    rows, study = [], job.cell.study
    for number, twin in enumerate(_twins(settings, seed, study)):
        rng = np.random.default_rng((seed, number))
        rows.append({"study": study, "task": number, **_compare(twin, settings.comparisons, rng)})
        job.report(number + 1, settings.tasks)
    return {"twins": rows}


def _twins(settings: Settings, seed: int, study: Twins) -> Iterator[_Twin]:
    import jax

    from prefront.envs.random_delivery import RandomDelivery, generate
    from prefront.exact.tables import unstack

    family = "lottery" if study == "lottery" else "deterministic"
    params, weights = generate(jax.random.key(seed), settings.tasks, family)
    gammas = settings.gamma, settings.other_gamma if study == "discount" else settings.gamma
    length = 1 if study == "discount" else settings.length
    for mdp, own in zip(unstack(RandomDelivery(family).table(params)), weights, strict=True):
        pair = own, own + settings.constant * STEP if study == "constant" else own
        if study == "lottery":
            pair = _with_prize(own, settings.prizes[0]), _with_prize(own, settings.prizes[1])
        yield _Twin(mdp, pair, gammas, length, noiseless=study == "lottery")


def _with_prize(weights: np.ndarray, prize: float) -> np.ndarray:
    return np.array([*weights[:3], prize, *weights[4:]])


def _compare(twin: _Twin, comparisons: int, rng: np.random.Generator) -> dict[str, Any]:
    from prefront.exact.mdp import expected_rewards, optimal_policy, scaled_return, solve
    from prefront.preferences.choice import Choice, Linear
    from prefront.preferences.segment_scores import segment_margin
    from prefront.preferences.segments import sample_segments
    from prefront.preferences.teachers import Teacher

    mdp, choice = twin.mdp, Choice(rationality=None if twin.noiseless else 1.0)
    by_return, by_regret = [], []
    for weights, gamma in zip(twin.weights, twin.gammas, strict=True):
        inside = gamma if twin.length == 1 else 1.0
        by_return.append(Teacher(segment_margin("partial_return", Linear(weights), discount=inside), choice))
        by_regret.append(Teacher(segment_margin("general_regret", Linear(weights), mdp=mdp, gamma=gamma), choice))
    first, second = _distinguishable(_every_segment(mdp, twin.length))
    drawn = [sample_segments(mdp, comparisons, twin.length, rng, absorbing=False) for _ in range(2)]
    equal = drawn[0].lengths == drawn[1].lengths
    row: dict[str, Any] = {}
    for name, teachers, pair in (
        ("partial_return", by_return, (first, second)),
        ("regret", by_regret, (drawn[0][equal], drawn[1][equal])),
    ):
        one, other = (teacher.choice_probabilities(*pair) for teacher in teachers)
        difference = np.abs(one - other).max(1)
        row[f"{name}_pairs"] = len(difference)
        row[f"{name}_difference"] = float(difference.max())
        row[f"{name}_told"] = float((difference > NOTHING_CHANGED).mean())
    rewards = [expected_rewards(mdp, weights) for weights in twin.weights]
    problems = zip(rewards, twin.gammas, strict=True)
    policies = [optimal_policy(solve(mdp, reward, gamma).action_values) for reward, gamma in problems]
    other_actions = ((policies[0] > 0) != (policies[1] > 0)).any(1)[~mdp.terminal]
    reached = scaled_return(mdp, policies[1], rewards[0], twin.gammas[0])
    return {**row, "other_actions": float(other_actions.mean()), "scaled_return": float(reached)}


def _every_segment(mdp: TabularMDP, length: int) -> Segments:
    """Lists all segments that can happen: every start, action and outcome, up to a terminal state."""
    from prefront.preferences.segments import Segments

    live = ~np.asarray(mdp.terminal)
    # A segment that has ended is carried along as it is, by a single move that earns nothing.
    going, stays = live[:, None, None], np.arange(len(live))[:, None, None]
    possible = (mdp.probabilities > 0) & going
    possible[~live, 0, 0] = True
    successors, gained = np.where(going, mdp.successors, stays), np.where(going[..., None], mdp.rewards, 0.0)
    states = np.flatnonzero(live)[:, None]
    actions, rewards = np.zeros((len(states), 0), np.int64), np.zeros((len(states), 0, gained.shape[-1]))
    lengths = np.zeros(len(states), np.int64)
    for _ in range(length):
        origin, action, outcome = np.nonzero(possible[states[:, -1]])
        move = states[origin, -1], action, outcome
        lengths = lengths[origin] + live[move[0]]
        states = np.concatenate([states[origin], successors[move][:, None]], 1)
        actions = np.concatenate([actions[origin], action[:, None]], 1)
        rewards = np.concatenate([rewards[origin], gained[move][:, None]], 1)
    return Segments(states, actions, rewards, lengths, ~live[states[:, -1]])


def _distinguishable(segments: Segments) -> tuple[Segments, Segments]:
    """Pairs all segments of equal length, of those with equal sums of features only one."""
    keys = np.concatenate([np.asarray(segments.lengths)[:, None], segments.features()], 1)
    kept = segments[np.unique(keys, axis=0, return_index=True)[1]]
    first, second = np.triu_indices(len(kept), 1)
    equal = kept.lengths[first] == kept.lengths[second]
    return kept[first[equal]], kept[second[equal]]


def claims(results: Results) -> list[Claim]:
    """Decides for each study that partial return is blind, that it matters, and that regret is not."""
    return [claim for study in STUDIES for claim in _of_study(results, study)]


def _of_study(results: Results, study: str) -> list[Claim]:
    rows = results["twins"].where(study=study)
    settings: Settings = results.settings
    ways = {
        "constant": f"A constant (+{settings.constant:g}) added to the reward of every step",
        "discount": f"With segments of one transition, the discount ({settings.gamma:g} or {settings.other_gamma:g})",
        "lottery": f"With noiseless answers, the prize of a lottery ({settings.prizes[0]:g} or {settings.prizes[1]:g})",
    }
    words: dict[str, Any] = {
        "paper": PAPER,
        "conditions": f"{len(rows)} random delivery tasks, discount {settings.gamma:g}, segments of up to "
        f"{1 if study == 'discount' else settings.length} transitions, pairs of equal length, answers "
        f"{'noiseless' if study == 'lottery' else 'logistic, temperature 1'}",
    }
    differ, pairs = rows["other_actions"] > 0, int(rows["partial_return_pairs"].sum())
    blind = untested(
        float(rows["partial_return_difference"].max()),
        "fails" if rows["partial_return_difference"].any() else "holds",
        len(rows),
        sentence=f"{ways[study]} changes no answer by partial return.",
        quantity="largest difference in the probability of an answer",
        test=f"exact, no test: all pairs of distinct sums of features are enumerated ({pairs:,} in all)",
        **words,
    )
    matters = untested(
        100 * float(differ.mean()),
        "holds" if differ.any() else "fails",
        len(rows),
        sentence=f"{ways[study]} changes which policies are optimal in some tasks.",
        quantity="% of the tasks",
        test="exact in each task, no test: one task is enough",
        **words,
    )
    words["sentence"] = f"{ways[study]} changes answers by regret wherever it changes which policies are optimal."
    if not differ.any():
        none = "no test: no task has other optimal policies"
        return [
            blind,
            matters,
            untested(math.nan, "undecided", len(rows), quantity="% of these tasks", test=none, **words),
        ]
    exactly = f"exact probabilities of up to {settings.comparisons:,} random pairs a task"
    told = rows["regret_told"][differ] > 0
    return [blind, matters, in_every(told, quantity="of these tasks", note=exactly, **words)]


def summary(results: Results) -> Table:
    """Returns one row per study: medians over tasks."""
    cells: dict[str, Any] = {
        "tasks": len,
        "largest difference, partial return": lambda rows: float(rows["partial_return_difference"].max()),
        "pairs told apart by regret, median": median_of("regret_told"),
        "tasks with other optimal policies": lambda rows: float((rows["other_actions"] > 0).mean()),
        "states with other optimal actions, median": median_of("other_actions"),
        "scaled return of the twin's policy, median": median_of("scaled_return"),
    }
    return summarise(results["twins"], {"twin": "study"}, cells, STUDIES)


def plot(results: Results, folder: Path) -> list[Path]:
    """Draws, by study, how many pairs tell the twins apart, and what confusing them costs."""
    rows = {label: {"study": study} for study, label in STUDIES.items()}
    told = {"partial return": quartiles_of("partial_return_told"), "regret": quartiles_of("regret_told")}
    with plots.style():
        figure, (left, right) = plots.new_figure(columns=2, height=2.1)
        plot_rows(left, results["twins"], rows, told)
        plot_rows(right, results["twins"], rows, {"": quartiles_of("scaled_return")})
        right.set_xscale("symlog", linthresh=1.0)
        right.axvline(1.0, color=plots.EXACT, linewidth=0.8, linestyle=":")
        left.set_xlabel("share of pairs answered otherwise\n(median and quartiles of tasks)")
        right.set_xlabel("scaled return of the twin's optimal policy\n(median and quartiles of tasks)")
        left.legend(loc="best")
        return plots.save(figure, folder, "identifiability")


STUDY = Study(
    presets={"paper": Settings(), "smoke": Settings(tasks=3, comparisons=200)},
    seeds={"paper": range(1000, 1001), "smoke": range(1)},
    run=run,
    cells=cells,
    claims=[claims],
    figures=[plot],
    summary=summary,
)


if __name__ == "__main__":
    from prefront.cli import main

    sys.exit(main(["run", "identifiability", *sys.argv[1:]]))
