"""The optimal advantage learned from choices by regret, used as such and mistaken for a reward.

A table g(s, a) is fitted to preferences by regret as if they were by partial return. What is learned is the optimal
advantage. Taking its largest entry in every state is right. Taking it for a reward and solving the task for it is a
mistake, which is harmless where max_a g(s, a) is near 0 in every state. Segments of equal length leave a constant of g
undetermined, unless some go on inside terminal states, where nothing is won or lost: so those transitions decide.

How close two segments may be for a person to call them equal matters as much. Discounting lets the regrets of optimal
segments differ by thousandths of a unit of reward, and a strict answer to such a pair weighs as much as any other. So
noiseless persons come in two kinds: those who hold regrets within a tenth of a unit for equal, and strict ones.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from prefront.experiments.delivery_learners import ask, draw_maps
from prefront.reports import plots
from prefront.reports.claim_forms import share
from prefront.reports.claims import Claim
from prefront.reports.figure_forms import Series, plot_levels, quartiles_of
from prefront.reports.near_optimality import more_often, near, near_share, share_and_median
from prefront.reports.summaries import by_level, median_of, summarise
from prefront.runs.study import Job, Results, Rows, Study
from prefront.system.checks import MANY, check_between, check_distinct, check_least, check_most, check_types
from prefront.system.tables import Table

if TYPE_CHECKING:
    from prefront.exact.tables import TabularMDP
    from prefront.preferences.comparisons import Comparisons
    from prefront.preferences.segments import Segments

PAPER = "Knox et al. (2024), Learning optimal advantage from preferences and mistaking it for reward"
Labels = Literal["noiseless", "strict", "stochastic"]
Absorbing = Literal["with", "without"]
LABELS: tuple[Labels, ...] = ("noiseless", "strict", "stochastic")
ABSORBING: tuple[Absorbing, ...] = ("with", "without")
USES = {"greedy": "greedy", "argmax": "greedy without tolerance", "reward": "as a reward"}
DRAWN = ("greedy", "reward")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is compared.

    Attributes:
        tasks: Random delivery tasks of each seed.
        chunk: Tasks in one piece of work.
        preferences: Numbers of preferences; each larger set holds the smaller.
        length: Transitions of a segment.
        gamma: Discount of values and returns.
        indifference: Differences of regret, in units of reward, that noiseless persons answer by a tie. A step costs
            1, so that 0.1 is less than any mistake of consequence and more than what discounting does.
        tolerance: Share of the table's largest absolute number within which the greedy policy lets actions tie.
    """

    tasks: int = 100
    chunk: int = 20
    preferences: tuple[int, ...] = (300, 1000, 3000)
    length: int = 3
    gamma: float = 0.999
    indifference: float = 0.1
    tolerance: float = 0.03

    def __post_init__(self) -> None:
        check_types(self)
        check_distinct(self, "preferences")
        check_most(self, 1, "tolerance")
        check_most(self, 100, "length")
        check_most(self, 100_000, "tasks")
        check_most(self, MANY, "preferences", "indifference")
        check_least(self, 1, "tasks", "chunk", "length", "preferences")
        check_least(self, 0, "indifference", "tolerance")
        check_between(self, 0, 1, "gamma")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One piece of work: a chunk of tasks with one kind of answers and segments.

    Attributes:
        labels: "noiseless": regrets within `indifference` are ties, all others strict. "strict": noiseless, and equal
            regrets alone are ties. "stochastic": logistic with temperature 1.
        absorbing: "with": segments that reach a terminal state go on there until their full length. "without": only
            segments that have their full length by themselves are shown.
        chunk: Number of the chunk.
    """

    labels: Labels
    absorbing: Absorbing
    chunk: int


def cells(settings: Settings) -> list[Cell]:
    """Returns one piece of work per kind of answers, kind of segments and chunk of tasks."""
    chunks = range(-(-settings.tasks // settings.chunk))
    return [Cell(labels, absorbing, chunk) for labels in LABELS for absorbing in ABSORBING for chunk in chunks]


def run(settings: Settings, seed: int, job: Job) -> dict[str, Rows]:
    """Fits one table per task and number of preferences, and evaluates both of its uses.

    Returns:
        `fits`: one row per task, number of preferences and use, with the exact scaled return. `largest` is the median
        over states of |max_a g(s, a)|, in log-odds as g itself: 0 for a true advantage.
    """
    from prefront.exact.tables import unstack

    cell: Cell = job.cell
    first = cell.chunk * settings.chunk
    count = min(settings.chunk, settings.tasks - first)
    batch, truths = draw_maps(seed, cell.chunk, count)
    rows = []
    for row, (mdp, truth) in enumerate(zip(unstack(batch), truths, strict=True)):
        facts = {"labels": cell.labels, "absorbing": cell.absorbing, "task": first + row}
        answers = _answers(settings, mdp, truth, cell, np.random.default_rng((seed, first + row)))
        rows += [{**facts, **found} for found in _fits(settings, mdp, truth, answers)]
        job.report(row + 1, count)
    return {"fits": rows}


def _answers(
    settings: Settings, mdp: TabularMDP, truth: np.ndarray, cell: Cell, rng: np.random.Generator
) -> Comparisons[Any]:
    from prefront.preferences.choice import Choice, Linear
    from prefront.preferences.segment_scores import segment_margin
    from prefront.preferences.teachers import Teacher

    choices = {
        "noiseless": Choice(equal_within=settings.indifference),
        "strict": Choice(),
        "stochastic": Choice(rationality=1.0),
    }
    margin = segment_margin("optimal_advantage", Linear(truth), mdp=mdp, gamma=settings.gamma)
    teacher = Teacher(margin, choices[cell.labels])
    number, length = max(settings.preferences), settings.length
    if cell.absorbing == "with":
        return ask(teacher, mdp, number, length, rng)

    first, second = (_full_segments(mdp, number, length, rng) for _ in range(2))
    return teacher.ask(first, second, rng)


def _full_segments(mdp: TabularMDP, number: int, length: int, rng: np.random.Generator) -> Segments:
    """Draws segments, leaving out those that end before their full length."""
    from prefront.preferences.segments import Segments, sample_segments

    kept: list[Segments] = []
    while sum(map(len, kept)) < number:
        drawn = sample_segments(mdp, number, length, rng)
        kept.append(drawn[drawn.lengths == length])
        if not len(kept[-1]):
            raise ValueError(f"None of {number} segments has the full length of {length} transitions.")
    return Segments.concatenate(kept)[np.arange(number)]


def _fits(settings: Settings, mdp: TabularMDP, truth: np.ndarray, answers: Comparisons[Any]) -> list[dict[str, Any]]:
    from prefront.exact.mdp import baselines, expected_rewards
    from prefront.preferences.evaluation import evaluate_policy, evaluate_reward
    from prefront.preferences.models.advantage import OptimalAdvantage

    ends = baselines(mdp, expected_rewards(mdp, truth), settings.gamma)
    rows = []
    for size in settings.preferences:
        model = OptimalAdvantage(mdp).fit(answers[:size])
        table = model.learned()
        reached = {
            "greedy": evaluate_policy(mdp, model.greedy_policy(settings.tolerance), truth, settings.gamma, ends),
            "argmax": evaluate_policy(mdp, model.greedy_policy(), truth, settings.gamma, ends),
            "reward": evaluate_reward(mdp, table, truth, settings.gamma, tables=True, between=ends),
        }
        largest = float(np.median(np.abs(table.max(1)[~np.asarray(mdp.terminal)])))
        rows += [
            {"preferences": size, "use": use, "scaled_return": float(quality.scaled_return), "largest": largest}
            for use, quality in reached.items()
        ]
    return rows


def claims(results: Results) -> list[Claim]:
    """Decides both uses at the largest number of preferences, and the effect of transitions inside terminal states."""
    settings: Settings = results.settings
    size = max(settings.preferences)
    rows = results["fits"].where(preferences=size)
    kinds = rows.unique("labels")
    ledger = [claim for labels in kinds for claim in _of_answers(settings, rows.where(labels=labels), labels)]
    if {"noiseless", "strict"} <= set(kinds):
        sentence = "The mistake is less harmful when noiseless persons call regrets equal that are nearly so."
        conditions = f"{settings.tasks} random delivery tasks, {size:,} preferences, with absorbing transitions"
        ours, theirs = ({"labels": labels, "absorbing": "with"} for labels in ("noiseless", "strict"))
        ledger.append(_effect(rows, ours, theirs, ("ties", "strict"), sentence=sentence, conditions=conditions))
    return ledger


def _of_answers(settings: Settings, rows: Table, labels: str) -> list[Claim]:
    size = max(settings.preferences)
    answers = {
        "noiseless": f"noiseless, regrets within {settings.indifference:g} tie",
        "strict": "noiseless, only equal regrets tie",
        "stochastic": "logistic, temperature 1",
    }
    conditions = (
        f"{settings.tasks} random delivery tasks, discount {settings.gamma:g}, {size:,} preferences by regret, "
        f"segments of {settings.length} transitions, answers {answers[labels]}; greedy actions within "
        f"{100 * settings.tolerance:g} % of the largest number are mixed"
    )
    greedy = f"From {size:,} {labels} preferences, the greedy policy of the learned advantage is near-optimal"
    mistaken = f"Mistaken for a reward, what is learned from {size:,} {labels} preferences is near-optimal"
    inside = f"With {labels} answers, transitions inside terminal states make the mistake less harmful."
    of_tasks = functools.partial(share, paper=PAPER, quantity="of the tasks near-optimal", conditions=conditions)
    followed, taken, none = (
        near(rows.where(absorbing=absorbing, use=use))
        for absorbing, use in (("with", "greedy"), ("with", "reward"), ("without", "reward"))
    )
    on_terms = f"{mistaken} in at least 80 % of the tasks if segments go on inside terminal states."
    return [
        of_tasks(followed, "at least", 0.95, sentence=f"{greedy} in at least 95 % of the tasks."),
        of_tasks(taken, "at least", 0.8, sentence=on_terms),
        of_tasks(none, "at most", 0.5, sentence=f"{mistaken} in at most 50 % of the tasks if none does."),
        _effect(
            rows, {"absorbing": "with"}, {"absorbing": "without"}, ABSORBING, sentence=inside, conditions=conditions
        ),
    ]


def _effect(rows: Table, ours: Mapping[str, str], theirs: Mapping[str, str], names: Any, **words: Any) -> Claim:
    """Decides whether the mistake does better in the first of two conditions, on the same tasks."""
    mistaken = rows.where(use="reward")
    sizes = [
        f"{np.median(mistaken.where(**one)['largest']):.2g} {name}"
        for one, name in zip((ours, theirs), names, strict=True)
    ]
    quantity = f"points near-optimal; median |max_a g| {', '.join(sizes)}"
    return more_often(mistaken, ours, theirs, paper=PAPER, quantity=quantity, **words)


def summary(results: Results) -> Table:
    """Returns percentages of near-optimal tasks with the median scaled return in brackets, by number of preferences."""
    fits, size = results["fits"], max(results.settings.preferences)
    keys = {"answers": "labels", "absorbing transitions": "absorbing", "use": "use"}
    cells = by_level(fits, "preferences", share_and_median)
    cells["median |max_a g|"] = lambda rows: median_of("largest")(rows.where(preferences=size))
    return summarise(fits, keys, cells, USES)


def plot(results: Results, folder: Path) -> list[Path]:
    """Draws near-optimality of both uses against the number of preferences, and the largest entries of the table."""
    fits = results["fits"]
    uses = {
        f"{USES[use]}, {absorbing}": {"use": use, "absorbing": absorbing} for use in DRAWN for absorbing in ABSORBING
    }
    sizes: Series = {absorbing: {"use": "reward", "absorbing": absorbing} for absorbing in ABSORBING}
    with plots.style():
        figure, panels = plots.new_figure(2, 2, height=4.4)
        for axes, labels in zip(panels, fits.unique("labels"), strict=False):
            plot_levels(axes, fits.where(labels=labels), "preferences", uses, near_share)
            axes.set(title=f"{labels} answers", ylim=(0, 1.02))
        panels[0].set_ylabel("share of tasks near-optimal")
        handles = panels[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=4, title="absorbing transitions")
        largest = fits.where(labels=LABELS[0])
        plot_levels(panels[-1], largest, "preferences", sizes, quartiles_of("largest"), first=2)
        panels[-1].set(title=f"{LABELS[0]} answers", ylabel="|max$_a$ g(s, a)|, median over states")
        panels[-1].set_ylim(0)
        return plots.save(figure, folder, "optimal_advantage")


STUDY = Study(
    presets={"paper": Settings(), "smoke": Settings(tasks=3, chunk=3, preferences=(100,))},
    seeds={"paper": range(1000, 1001), "smoke": range(1)},
    run=run,
    cells=cells,
    claims=[claims],
    figures=[plot],
    summary=summary,
)


if __name__ == "__main__":
    from prefront.cli import main

    sys.exit(main(["run", "optimal_advantage", *sys.argv[1:]]))
