"""What the studies of rewards learned on random delivery tasks share: tasks, answers, learners and figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from prefront.reports.figure_forms import level_panels
from prefront.reports.near_optimality import near_share, share_and_median
from prefront.reports.summaries import by_level, summarise
from prefront.runs.study import Job, Results, Rows
from prefront.system.checks import MANY, check_between, check_distinct, check_least, check_most, check_types
from prefront.system.tables import Table

if TYPE_CHECKING:
    from prefront.exact.tables import TabularMDP
    from prefront.preferences.comparisons import Comparisons
    from prefront.preferences.models.base import PreferenceModel, RewardModel
    from prefront.preferences.segment_scores import Regret, Statistic
    from prefront.preferences.teachers import Teacher

PAPER = "Knox et al. (2024), section 6.2"
# Noiseless answers, and logistic ones with temperature 1.
LABELS = {"noiseless": "noiseless answers", "stochastic": "logistic answers, temperature 1"}
Family = Literal["deterministic", "risky"]
# Learner, and the generator of its data.
Pair = tuple[str, str]
# What was fitted to what, the weights learned, and how well they predict fresh answers.
Fit = tuple[dict[str, Any], np.ndarray, dict[str, float]]
MOST_TASKS = 100_000
NAMES = {
    "partial_return": "partial return",
    "regret": "regret",
    "regret_coverage": "regret, coverage set",
    "regret_exact": "regret, exact values",
    "regret_deterministic": "regret, deterministic form",
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Tasks and answers.

    Attributes:
        mdps: Random tasks of each seed.
        chunk: Tasks in one piece of work.
        preferences: Numbers of preferences; each larger set holds the smaller.
        lengths: Transitions of a segment.
        random_rewards: Random rewards whose optimal policies give the regret learner its successor features.
        test_preferences: Fresh preferences on which each fit is scored.
        gamma: Discount of values and returns.
    """

    mdps: int = 200
    chunk: int = 10
    preferences: tuple[int, ...] = (3, 10, 30, 100, 300, 1000, 3000)
    lengths: tuple[int, ...] = (3,)
    random_rewards: int = 100
    test_preferences: int = 500
    gamma: float = 0.999

    def __post_init__(self) -> None:
        check_types(self)
        check_distinct(self, "preferences", "lengths")
        check_least(self, 1, "mdps", "chunk", "preferences", "lengths", "random_rewards", "test_preferences")
        check_most(self, MOST_TASKS, "mdps", "random_rewards")
        check_most(self, 1000, "lengths")
        check_most(self, MANY, "preferences", "test_preferences")
        check_between(self, 0, 1, "gamma")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One piece of work: a chunk of tasks."""

    chunk: int


def cells(settings: Settings) -> list[Cell]:
    """Returns one piece of work per chunk of tasks."""
    return [Cell(chunk) for chunk in range(-(-settings.mdps // settings.chunk))]


class Task(NamedTuple):
    """A task as the learners see it, and apart from that its true reward.

    Attributes:
        mdp: Its table.
        true_weights: Weights of the true reward, shape (d,).
        random_features: Successor features of the optimal policies of random rewards, shape (K, S, d).
        coverage: Those of a coverage set, shape (K, S, d).
    """

    mdp: TabularMDP
    true_weights: np.ndarray
    random_features: np.ndarray
    coverage: np.ndarray


def fit_pairs(
    settings: Settings, seed: int, job: Job, pairs: Sequence[Pair], family: Family = "deterministic"
) -> dict[str, Rows]:
    """Fits learners to the answers of generators in a chunk of tasks, which depend on seed, chunk and family alone.

    Args:
        settings: Tasks and answers.
        seed: The seed.
        job: The job of one `Cell`.
        pairs: Learners and generators.
        family: "deterministic", or "risky": tasks with stochastic transitions.

    Returns:
        `fits`: one row per task, learner, generator, kind of answers, length and number of preferences, with the exact
        scaled return, and accuracy and cross-entropy on fresh preferences; `tasks`: one row per task.
    """
    from prefront.preferences.evaluation import evaluate_reward

    chunk = job.cell.chunk
    coverage = any(learner == "regret_coverage" for learner, _ in pairs)
    tasks = draw_tasks(settings, seed, chunk, family, coverage)
    conditions = [(labels, length) for labels in LABELS for length in settings.lengths]
    found: list[list[Fit]] = [[] for _ in tasks]
    for done, (labels, length) in enumerate(conditions):
        for row, fit in _fits(settings, (seed, chunk), pairs, family, labels, tasks, length):
            found[row].append(fit)
        job.report(done + 1, len(conditions))
    rows, described = [], []
    for row, (task, fits) in enumerate(zip(tasks, found, strict=True)):
        number = {"task": chunk * settings.chunk + row}
        learned = np.array([weights for _, weights, _ in fits])
        reached = evaluate_reward(task.mdp, learned, task.true_weights, settings.gamma).scaled_return
        rows += [
            {**number, **facts, "scaled_return": float(value), **scores}
            for (facts, _, scores), value in zip(fits, reached, strict=True)
        ]
        sizes = {"random_policies": len(task.random_features), "coverage_policies": len(task.coverage)}
        described.append({**number, "states": int((~task.mdp.terminal).sum()), **sizes})
    return {"fits": rows, "tasks": described}


def draw_maps(seed: int, chunk: int, count: int, family: str = "deterministic") -> tuple[TabularMDP, np.ndarray]:
    """Draws the random delivery maps of a chunk: a batch of tables, and the true reward weights, shape (count, d)."""
    import jax

    from prefront.envs.random_delivery import RandomDelivery, generate

    params, truths = generate(jax.random.fold_in(jax.random.key(seed), chunk), count, family)
    return RandomDelivery(family).table(params), truths


def draw_tasks(settings: Settings, seed: int, chunk: int, family: Family, coverage: bool) -> list[Task]:
    """Draws the tasks of a chunk, and the features for regret learners; a coverage set where it is asked for."""
    from prefront.exact.mdp import optimal_successor_features
    from prefront.exact.successor_sets import successor_coverage
    from prefront.exact.tables import unstack
    from prefront.preferences.successor_sets import drop_policy, random_reward_features

    count = min(settings.chunk, settings.mdps - chunk * settings.chunk)
    batch, truths = draw_maps(seed, chunk, count, family)
    rng = np.random.default_rng((seed, chunk, 0))
    features = random_reward_features(batch, rng, settings.random_rewards, settings.gamma)
    optimal = optimal_successor_features(batch, truths[:, None], settings.gamma)[:, 0]
    tasks = []
    for row, (mdp, truth) in enumerate(zip(unstack(batch), truths, strict=True)):
        # As published, lest the features give the true optimal policy away.
        kept = drop_policy(features[row], optimal[row])
        covers = successor_coverage(mdp, settings.gamma).features if coverage else np.empty((0, 0, 0))
        tasks.append(Task(mdp, truth, kept, covers))
    return tasks


def make_teacher(statistic: Statistic, weights: np.ndarray, labels: str, mdp: TabularMDP, gamma: float) -> Teacher:
    """Returns a person who answers without noise, or by logistic choice: one unit is one of log-odds."""
    from prefront.preferences.choice import Choice, Linear
    from prefront.preferences.segment_scores import segment_margin
    from prefront.preferences.teachers import Teacher

    margin = segment_margin(statistic, Linear(weights), mdp=mdp, gamma=gamma)
    return Teacher(margin, Choice(rationality=None if labels == "noiseless" else 1.0))


def ask(teacher: Teacher, mdp: TabularMDP, number: int, length: int, rng: np.random.Generator) -> Comparisons[Any]:
    """Asks about random pairs of segments that go on inside terminal states."""
    from prefront.preferences.segments import sample_segments

    first, second = (sample_segments(mdp, number, length, rng, absorbing=True) for _ in range(2))
    return teacher.ask(first, second, rng)


def _fits(
    settings: Settings,
    seeds: tuple[int, int],
    pairs: Sequence[Pair],
    family: Family,
    labels: str,
    tasks: list[Task],
    length: int,
) -> Iterator[tuple[int, Fit]]:
    """Yields row of the task and fit, for every learner, generator and number of preferences."""
    from prefront.preferences.models.base import fit_many

    largest, regret = max(settings.preferences), regret_of(family)
    answers: dict[str, list[Comparisons[Any]]] = {}
    for generator in dict.fromkeys(generator for _, generator in pairs):
        statistic: Statistic = "partial_return" if generator == "partial_return" else regret
        teachers = [make_teacher(statistic, task.true_weights, labels, task.mdp, settings.gamma) for task in tasks]
        # Generators and kinds of answers have the same streams, and so the same pairs.
        answers[generator] = [
            ask(teacher, task.mdp, largest + settings.test_preferences, length, _stream(seeds, row, length))
            for row, (teacher, task) in enumerate(zip(teachers, tasks, strict=True))
        ]
    for learner, generator in pairs:
        models: list[Any] = [build(learner, task, settings.gamma, regret) for task in tasks]
        for size in settings.preferences:
            fitted = fit_many(models, [given[:size] for given in answers[generator]])
            facts: dict[str, Any] = {"labels": labels, "length": length, "preferences": size}
            facts |= {"generator": generator, "learner": learner}
            for row, (model, given) in enumerate(zip(fitted, answers[generator], strict=True)):
                yield row, (facts, model.learned(), prediction(model, given[largest:]))


def prediction(model: PreferenceModel, fresh: Comparisons[Any]) -> dict[str, float]:
    """Returns accuracy on strict answers, NaN where there are none, and cross-entropy of fresh answers in nats."""
    from prefront.preferences.models.base import accuracy, cross_entropy

    strict = bool((np.asarray(fresh.labels) != 0.5).any())
    right = accuracy(model, fresh) if strict else float("nan")
    return {"accuracy": right, "cross_entropy": cross_entropy(model, fresh)}


def _stream(seeds: tuple[int, int], row: int, length: int) -> np.random.Generator:
    return np.random.default_rng((*seeds, row, length))


def regret_of(family: Family) -> Regret:
    """Returns the form of regret by which people choose in a family of tasks."""
    return "general_regret" if family == "risky" else "deterministic_regret"


def build(learner: str, task: Task, gamma: float, regret: Regret = "deterministic_regret") -> RewardModel:
    """Returns a learner that assumes partial return, or this form of regret with one of the ways to values."""
    from prefront.preferences.models.exact_regret import ExactRegret
    from prefront.preferences.models.partial_return import PartialReturn
    from prefront.preferences.models.regret import SuccessorFeatureRegret

    if learner == "partial_return":
        return PartialReturn()
    if learner == "regret_exact":
        return ExactRegret(task.mdp, gamma)
    features = task.coverage if learner == "regret_coverage" else task.random_features
    assumed = "deterministic_regret" if learner == "regret_deterministic" else regret
    return SuccessorFeatureRegret(task.mdp, features, gamma=gamma, statistic=assumed)


def where(pair: Pair) -> dict[str, str]:
    """Returns what the columns of a pair's rows equal."""
    return dict(zip(("learner", "generator"), pair, strict=True))


def conditions(results: Results, labels: str, kind: str = "") -> str:
    """Says what claims about one kind of answers depend on; `kind` tells the tasks from deterministic ones."""
    settings: Settings = results.settings
    length = f"segments of {settings.lengths[0]} transitions, " if len(settings.lengths) == 1 else ""
    return (
        f"{len(results['tasks'])} random delivery tasks {kind}and the same pairs of segments for all; "
        f"{length}{LABELS[labels]}, discount {settings.gamma:g}"
    )


def summary(results: Results) -> Table:
    """Returns percentages of near-optimal tasks with the median scaled return in brackets, by number of preferences."""
    keys = {"answers": "labels", "learner": "learner", "data": "generator", "length": "length"}
    fits = results["fits"]
    return summarise(fits, keys, by_level(fits, "preferences", share_and_median), NAMES)


def label(pair: Pair) -> str:
    """Names a pair in a legend."""
    return f"{NAMES[pair[0]]} \N{LEFTWARDS ARROW} {NAMES[pair[1]]}"


def plot_shares(results: Results, folder: Path, file: str, pairs: Sequence[Pair], level: str) -> list[Path]:
    """Draws the share of near-optimal tasks by level, with Clopper-Pearson intervals, one panel per kind of answers."""
    return level_panels(
        results["fits"],
        folder,
        file,
        panels="labels",
        level=level,
        series={label(pair): where(pair) for pair in pairs},
        estimate=near_share,
        quantity="share of tasks near-optimal",
        title="{} answers",
        name="transitions in a segment" if level == "length" else "",
        log=level != "length",
        legend="learner \N{LEFTWARDS ARROW} data",
    )
