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
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from prefront.experiments.near_optimality import (
    in_order,
    label_numbers,
    more_often,
    near,
    plot_shares,
    share_and_median,
)
from prefront.reports import plots
from prefront.reports.claim_forms import share
from prefront.reports.claims import Claim
from prefront.runs.study import Job, Results, Rows, Study
from prefront.system.checks import MANY, check_between, check_distinct, check_least, check_most, check_types
from prefront.system.tables import Table

if TYPE_CHECKING:
    from prefront.exact.tables import TabularMDP
    from prefront.preferences.segments import Segments

PAPER = "Knox et al. (2024), Learning optimal advantage from preferences and mistaking it for reward"
Labels = Literal["noiseless", "strict", "stochastic"]
Absorbing = Literal["with", "without"]
MOST_TASKS = 100_000
Use = Literal["greedy", "argmax", "reward"]
USES: dict[Use, str] = {"greedy": "greedy", "argmax": "greedy without tolerance", "reward": "as a reward"}
DRAWN: tuple[Use, ...] = ("greedy", "reward")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is compared.

    Attributes:
        tasks: Random delivery tasks of each seed.
        chunk: Tasks in one piece of work.
        labels: "noiseless": regrets within `indifference` are ties, all others strict. "strict": noiseless, and equal
            regrets alone are ties. "stochastic": logistic with temperature 1.
        absorbing: "with": segments that reach a terminal state go on there until their full length. "without": only
            segments that have their full length by themselves are shown.
        preferences: Numbers of preferences; each larger set holds the smaller.
        length: Transitions of a segment.
        gamma: Discount of values and returns.
        indifference: Differences of regret, in units of reward, that noiseless persons answer by a tie. A step costs
            1, so that 0.1 is less than any mistake of consequence and more than what discounting does. 0.1 and 0.3
            differed little on tasks of other keys.
        tolerance: Share of the table's largest absolute number within which the greedy policy lets actions tie,
            chosen among 0.01, 0.03 and 0.05 on tasks of other keys.
    """

    tasks: int = 100
    chunk: int = 20
    labels: tuple[Labels, ...] = ("noiseless", "strict", "stochastic")
    absorbing: tuple[Absorbing, ...] = ("with", "without")
    preferences: tuple[int, ...] = (300, 1000, 3000)
    length: int = 3
    gamma: float = 0.999
    indifference: float = 0.1
    tolerance: float = 0.03

    def __post_init__(self) -> None:
        check_types(self)
        check_distinct(self, "labels", "absorbing", "preferences")
        check_most(self, 1, "tolerance")
        check_most(self, 100, "length")
        check_most(self, MOST_TASKS, "tasks")
        check_most(self, MANY, "preferences", "indifference")
        check_least(self, 1, "tasks", "chunk", "length", "preferences")
        check_least(self, 0, "indifference", "tolerance")
        check_between(self, 0, 1, "gamma")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One piece of work: a chunk of tasks with one kind of answers and segments."""

    labels: Labels
    absorbing: Absorbing
    chunk: int


def cells(settings: Settings) -> list[Cell]:
    """Returns one piece of work per kind of answers, kind of segments and chunk of tasks."""
    chunks = -(-settings.tasks // settings.chunk)
    return [
        Cell(labels, absorbing, chunk)
        for labels in settings.labels
        for absorbing in settings.absorbing
        for chunk in range(chunks)
    ]


def run(settings: Settings, seed: int, job: Job) -> dict[str, Rows]:
    """Fits one table per task and number of preferences, and evaluates both of its uses.

    Returns:
        `fits`: one row per task, number of preferences and use, with the exact scaled return. `largest` is the median
        over states of |max_a g(s, a)|, in log-odds as g itself: 0 for a true advantage.
    """
    import jax

    from prefront.envs.random_delivery import RandomDelivery, generate
    from prefront.exact.tables import unstack

    cell: Cell = job.cell
    first = cell.chunk * settings.chunk
    count = min(settings.chunk, settings.tasks - first)
    params, truths = generate(jax.random.fold_in(jax.random.key(seed), cell.chunk), count)
    tasks = unstack(RandomDelivery().table(params))
    rows = []
    for row, (mdp, truth) in enumerate(zip(tasks, truths, strict=True)):
        common = {"labels": cell.labels, "absorbing": cell.absorbing, "task": first + row}
        rng = np.random.default_rng((seed, first + row))
        rows += [{**common, **found} for found in _fits(settings, mdp, truth, cell, rng)]
        job.report(row + 1, count)
    return {"fits": rows}


def _fits(
    settings: Settings, mdp: TabularMDP, truth: np.ndarray, cell: Cell, rng: np.random.Generator
) -> list[dict[str, Any]]:
    from prefront.exact.mdp import baselines, expected_rewards
    from prefront.preferences.choice import Choice, Linear
    from prefront.preferences.evaluation import evaluate_policy, evaluate_reward
    from prefront.preferences.models.advantage import OptimalAdvantage
    from prefront.preferences.segment_scores import segment_margin
    from prefront.preferences.segments import sample_segments
    from prefront.preferences.teachers import Teacher

    choices = {
        "noiseless": Choice(equal_within=settings.indifference),
        "strict": Choice(),
        "stochastic": Choice(rationality=1.0),
    }
    margin = segment_margin("optimal_advantage", Linear(truth), mdp=mdp, gamma=settings.gamma)
    teacher = Teacher(margin, choices[cell.labels])
    size = max(settings.preferences)
    if cell.absorbing == "with":
        first, second = (sample_segments(mdp, size, settings.length, rng, absorbing=True) for _ in range(2))
    else:
        first, second = (_full_segments(mdp, size, settings.length, rng) for _ in range(2))
    answers = teacher.ask(first, second, rng)
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


def _returns(results: Results, column: str = "scaled_return", **where: Any) -> np.ndarray:
    return in_order(results["fits"].where(**where), "task", column)


def claims(results: Results) -> list[Claim]:
    """Decides both uses at the largest number of preferences, and the effect of transitions inside terminal states."""
    settings: Settings = results.settings
    size = max(settings.preferences)
    ledger = []
    for labels in settings.labels:
        ask = functools.partial(_returns, results, labels=labels, preferences=size)
        answers = {
            "noiseless": f"noiseless, regrets within {settings.indifference:g} tie",
            "strict": "noiseless, only equal regrets tie",
            "stochastic": "logistic, temperature 1",
        }[labels]
        conditions = (
            f"{settings.tasks} random delivery tasks, discount {settings.gamma:g}, {size:,} preferences by regret, "
            f"segments of {settings.length} transitions, answers {answers}; greedy actions within "
            f"{100 * settings.tolerance:g} % of the largest number are mixed"
        )
        greedy = f"From {size:,} {labels} preferences, the greedy policy of the learned advantage is near-optimal"
        mistaken = f"Mistaken for a reward, what is learned from {size:,} {labels} preferences is near-optimal"
        inside = "if segments go on inside terminal states"
        bounds = (
            (f"{greedy} in at least 95 % of the tasks.", "with", "greedy", 0.95, True),
            (f"{mistaken} in at least 80 % of the tasks {inside}.", "with", "reward", 0.8, True),
            (f"{mistaken} in at most 50 % of the tasks if none does.", "without", "reward", 0.5, False),
        )
        for sentence, absorbing, use, bound, at_least in bounds:
            if absorbing in settings.absorbing:
                ledger.append(_share(sentence, ask(absorbing=absorbing, use=use), bound, at_least, conditions))
        if len(settings.absorbing) == 2:
            sentence = f"With {labels} answers, transitions inside terminal states make the mistake less harmful."
            pair = [{"labels": labels, "absorbing": one} for one in ("with", "without")]
            ledger.append(_effect(results, sentence, pair, ("with", "without"), conditions))
    if {"noiseless", "strict"} <= set(settings.labels) and "with" in settings.absorbing:
        sentence = "The mistake is less harmful when noiseless persons call regrets equal that are nearly so."
        pair = [{"labels": one, "absorbing": "with"} for one in ("noiseless", "strict")]
        conditions = f"{settings.tasks} random delivery tasks, {size:,} preferences, with absorbing transitions"
        ledger.append(_effect(results, sentence, pair, ("ties", "strict"), conditions))
    return ledger


def _share(sentence: str, reached: np.ndarray, bound: float, at_least: bool, conditions: str) -> Claim:
    """Decides whether a share of near-optimal tasks lies on one side of a bound."""
    return share(
        near(reached),
        "at least" if at_least else "at most",
        bound,
        sentence=sentence,
        paper=PAPER,
        quantity="of the tasks near-optimal",
        conditions=conditions,
    )


def _effect(
    results: Results, sentence: str, pair: list[dict[str, str]], names: tuple[str, str], conditions: str
) -> Claim:
    """Decides whether the mistake does better in the first of two conditions, on the same tasks."""
    size = max(results.settings.preferences)
    ask = functools.partial(_returns, results, use="reward", preferences=size)
    sizes = [f"{np.median(ask('largest', **one)):.2g} {name}" for one, name in zip(pair, names, strict=True)]
    ours, theirs = (ask(**one) for one in pair)
    return more_often(
        ours,
        theirs,
        sentence=sentence,
        paper=PAPER,
        quantity=f"points near-optimal; median |max_a g| {', '.join(sizes)}",
        conditions=conditions,
    )


def summary(results: Results) -> Table:
    """Returns percentages of near-optimal tasks with the median scaled return in brackets, by number of preferences."""
    settings: Settings = results.settings
    rows = []
    for labels in settings.labels:
        for absorbing in settings.absorbing:
            for use, label in USES.items():
                where = {"labels": labels, "absorbing": absorbing, "use": use}
                row = {"answers": labels, "absorbing transitions": absorbing, "use": label}
                for size in settings.preferences:
                    row[f"{size:,}"] = share_and_median(_returns(results, **where, preferences=size))
                largest = _returns(results, "largest", **where, preferences=max(settings.preferences))
                rows.append({**row, "median |max_a g|": float(np.median(largest))})
    return Table.from_rows(rows)


def plot(results: Results, folder: Path) -> list[Path]:
    """Draws near-optimality of both uses against the number of preferences, and the largest entries of the table."""
    settings: Settings = results.settings
    levels = settings.preferences
    with plots.style():
        count = len(settings.labels) + 1
        rows, columns = (2, 2) if count == 4 else (1, count)
        figure, grid = plots.new_figure(columns, rows, height=2.2 * rows)
        panels = np.ravel(grid)
        for axes, labels in zip(panels, settings.labels, strict=False):
            series = [(use, absorbing) for use in DRAWN for absorbing in settings.absorbing]
            for number, (use, absorbing) in enumerate(series):
                where = {"labels": labels, "absorbing": absorbing, "use": use}
                found = [_returns(results, **where, preferences=size) for size in levels]
                plot_shares(axes, levels, found, number, f"{USES[use]}, {absorbing}")
            axes.set_ylim(0, 1.02)
            axes.set_title(f"{labels} answers")
        panels[0].set_ylabel("share of tasks near-optimal")
        handles = panels[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=len(handles[0]), title="absorbing transitions")
        for number, absorbing in enumerate(settings.absorbing):
            where = {"labels": settings.labels[0], "absorbing": absorbing, "use": "reward"}
            found = [_returns(results, "largest", **where, preferences=size) for size in levels]
            spread = [tuple(np.quantile(one, (0.5, 0.25, 0.75)).tolist()) for one in found]
            plots.plot_estimates(panels[-1], levels, spread, number + 2, absorbing)
        panels[-1].set_title(f"{settings.labels[0]} answers")
        panels[-1].set_ylabel("|max$_a$ g(s, a)|, median over states")
        panels[-1].set_ylim(0)
        for axes in panels:
            label_numbers(axes, levels)
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
