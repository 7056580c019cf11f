"""Proxy points: where more reward begins to lower gold, and what it costs to put thresholds elsewhere.

Figures 3.1, 3.2 and 5.3 of Moskovitz et al. (2024) in worlds of token sequences. Each reward model is optimised alone
and both together, exactly and by PPO; gold rises with the reward up to its proxy point and then falls. The exact proxy
points of the models alone differ from the joint one, and xi-PPO is trained with thresholds there, and moved down and
up from there.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np

from prefront.experiments import token_worlds
from prefront.experiments.constrained_rlhf import LAST_SHARE, METHODS, PAPER, PLACED
from prefront.experiments.token_worlds import LearnerSettings, Row, WorldSettings
from prefront.reports.bands import ABOVE, curves, draw_panels, intervals
from prefront.reports.claim_forms import larger, share
from prefront.reports.claims import Claim, claim_of
from prefront.reports.evidence import Mean
from prefront.reports.overoptimization import averages, late, peaks
from prefront.runs.study import Job, Results, Rows, Study
from prefront.system.checks import MANY, check_between, check_types
from prefront.system.tables import Table

DIRECTIONS = {"1": (1.0, 0.0), "2": (0.0, 1.0), "joint": (1.0, 1.0)}
LEARNER = "ppo_annealed_kl"
FALL = 0.5


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is compared.

    Attributes:
        world: The worlds.
        learner: How learners train.
        threshold_shift: Share by which thresholds are moved down and up.
        points: Points of an exact path.
        samples: Sequences from which gold is estimated at each point.
    """

    world: WorldSettings = dataclasses.field(default_factory=WorldSettings)
    learner: LearnerSettings = dataclasses.field(default_factory=LearnerSettings)
    threshold_shift: float = 0.1
    points: int = 33
    samples: int = 2048

    def __post_init__(self) -> None:
        check_types(self)
        check_between(self, 3, MANY, "points", closed="both")
        check_between(self, 2, MANY, "samples", closed="both")
        check_between(self, 0, 1, "threshold_shift")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One piece of work: optimising rewards, or training with thresholds."""

    part: Literal["rewards", "thresholds"]


def cells(settings: Settings) -> list[Cell]:
    """Returns both pieces of work."""
    return [Cell("rewards"), Cell("thresholds")]


def run(settings: Settings, seed: int, job: Job) -> dict[str, Rows]:
    """Does one piece.

    Returns:
        `curves`: rows of `prefront.experiments.token_worlds` with `focus`, the reward model that is optimised (a key of
        `DIRECTIONS`), and `method` ("exact" or "ppo_annealed_kl"). `points`: by `place` thresholds and the exact
        optimum there. `placed`: rows of xi-PPO with `place`, where its thresholds are.
    """
    if job.cell.part == "rewards":
        return {"curves": _optimised(settings, seed, job), "points": _points(settings, seed)}
    rows: list[Row] = []
    for place, thresholds in places(settings, seed).items():
        curve = token_worlds.constrained_curve(settings, seed, job, "xi_ppo", thresholds)
        rows += [{"place": place, **row} for row in curve]
    return {"placed": rows}


def places(settings: Settings, seed: int) -> dict[str, tuple[float, ...]]:
    """Returns thresholds by where they are: the joint proxy point, moved down and up, and the independent points."""
    joint, alone = token_worlds.proxy_points(settings.world, seed, settings.samples)
    shift = settings.threshold_shift
    lower, higher = (tuple(by * one for one in joint) for by in (1 - shift, 1 + shift))
    return {"joint": joint, "lower": lower, "higher": higher, "independent": alone}


def _optimised(settings: Settings, seed: int, job: Job) -> list[Row]:
    """Each model alone and both together, exactly and by PPO without constraints."""
    from prefront.agents.constrained_rlhf import method_settings

    rows: list[Row] = []
    for focus, direction in DIRECTIONS.items():
        method = method_settings(LEARNER, weights=np.array(direction))
        exact = token_worlds.exact_path(settings.world, seed, direction, settings.points, settings.samples)
        learned = token_worlds.learned_curve(settings, seed, job, method)
        rows += [{"focus": focus, "method": "exact", **row} for row in exact]
        rows += [{"focus": focus, "method": LEARNER, **row} for row in learned]
    return rows


def _points(settings: Settings, seed: int) -> list[Row]:
    rows = []
    for place, thresholds in places(settings, seed).items():
        row: Row = {"place": place, **{f"threshold_{i}": one for i, one in enumerate(thresholds, start=1)}}
        optimum = token_worlds.constrained_optimum(settings.world, seed, thresholds)
        if optimum is not None:
            multipliers = optimum.multipliers.tolist()
            (best,) = token_worlds.exact_curve(settings.world, seed, multipliers, [1.0], settings.samples)
            row |= {name: best[name] for name in ("gold", "gold_error", "kl")}
            row |= {f"multiplier_{i}": one for i, one in enumerate(multipliers, start=1)}
        rows.append(row)
    return rows


def claims(results: Results) -> list[Claim]:
    """Decides what the paper says of proxy points and of misplaced thresholds."""
    found = peaks(results["curves"].where(method=LEARNER), "focus")
    falls = np.stack([found.where(focus=focus)["fall"] for focus in ("1", "2")])
    points = [results["points"].where(place=place) for place in ("joint", "independent")]
    joint, alone = (np.stack([one["threshold_1"], one["threshold_2"]], 1) for one in points)
    on: dict[str, Any] = {"conditions": token_worlds.conditions(results.settings, PLACED)}
    ledger = [
        share(
            (falls > FALL).all(0),
            "above",
            0.5,
            sentence="In more than half of the worlds, each of both reward models, optimised alone, raises gold and "
            f"then lowers it by more than {FALL}.",
            paper=f"{PAPER}, Figure 3.1",
            stated="both models",
            quantity="of the seeds, where both models do",
            note=f"mean fall {falls.mean():.2f}; {METHODS[LEARNER]}",
            **on,
        ),
        claim_of(
            Mean.of_pairs(joint.mean(1), alone.mean(1)),
            "other than",
            0.0,
            sentence="The joint proxy point differs from the proxy points of the models alone.",
            paper=f"{PAPER}, Figure 3.2",
            stated="(0.48, 0.23) joint",
            quantity="mean over models of joint minus alone, standard deviations of the reward",
            note=f"means joint {joint.mean(0).round(2).tolist()}, alone {alone.mean(0).round(2).tolist()}",
            **on,
        ),
    ]
    shift, gold = f"{results.settings.threshold_shift:.0%}", _final_gold(results)
    sentences = {
        "lower": f"Thresholds {shift} below the joint proxy point end with less gold.",
        "higher": f"Thresholds {shift} above the joint proxy point end with less gold.",
        "independent": "Thresholds at the proxy points of the models alone end with less gold than at the joint one.",
    }
    words = {"paper": f"{PAPER}, Figure 5.3", "quantity": "mean difference in gold", **on}
    return ledger + [larger(gold["joint"], gold[place], sentence=text, **words) for place, text in sentences.items()]


def _final_gold(results: Results) -> dict[str, np.ndarray]:
    """Returns gold over the last 20 % of training by place, shape (seeds,) each."""
    ends = late(results["placed"], results.settings.learner.iterations, LAST_SHARE)
    return {
        place: np.array([own["gold"].mean() for _, own in rows.groups("seed")])
        for (place,), rows in ends.groups("place")
    }


def summary(results: Results) -> Table:
    """Returns one row per place of the thresholds: the exact optimum there, and gold of xi-PPO."""
    names = {"gold": "gold of the optimum", "kl": "KL", "threshold_1": "threshold 1", "threshold_2": "threshold 2"}
    gold = _final_gold(results)
    return Table.from_rows(
        {"thresholds": place, "gold of xi-PPO": gold[place].mean(), **averages(rows, names)}
        for (place,), rows in results["points"].groups("place")
    )


def draw(results: Results, folder: Path) -> list[Path]:
    """Draws Figures 3.1 and 3.2, gold against each reward, their sum and KL, and 5.3, gold by place of thresholds."""
    points, panels = results["points"].where(place="independent"), []
    for focus, column in (("1", "reward_1"), ("2", "reward_2"), ("joint", "proxy"), ("joint", "kl")):
        rows = results["curves"].where(focus=focus)
        series = {"exact path": rows.where(method="exact"), METHODS[LEARNER]: rows.where(method=LEARNER)}
        marks = [points[f"threshold_{focus}"].mean()] if focus != "joint" else []
        title = "both rewards" if focus == "joint" else f"reward {focus}, alone"
        panels.append(curves(series, column, "gold", marks=marks, title=title))
    gold, joint = _final_gold(results), results["placed"].where(place="joint")
    moved = {place: values - gold["joint"] for place, values in gold.items() if place != "joint"}
    series = {"joint": joint, **{place: results["placed"].where(place=place) for place in moved}}
    apart = intervals({"": moved}, marks=[0.0], xlabel="gold at the end minus that at the joint point")
    return [
        *draw_panels(folder, "figure_3_1_and_3_2_proxy_points", panels, legend=ABOVE),
        *draw_panels(folder, "figure_5_3_misplaced_thresholds", [curves(series, "sequences", "gold"), apart]),
    ]


STUDY = Study(
    presets={
        "smoke": Settings(
            learner=LearnerSettings(iterations=80, sequences=128, evaluation_sequences=256), points=13, samples=512
        ),
        "paper": Settings(),
    },
    seeds={"smoke": range(2), "paper": range(1000, 1010)},
    run=run,
    cells=cells,
    claims=[claims],
    figures=[draw],
    summary=summary,
)


if __name__ == "__main__":
    from prefront.cli import main

    sys.exit(main(["run", "proxy_points", *sys.argv[1:]]))
