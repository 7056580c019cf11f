"""C-MORL: discovers a Pareto front by constrained policy optimisation (Liu et al., 2025, arXiv 2410.02236).

1. *Pareto initialisation*: a population of PPO learners with vector critics, one weight vector each. Every policy that
   is evaluated enters an archive, which keeps the non-dominated ones.
2. *Policy selection*: the archived policies of largest crowding distance.
3. *Pareto extension*: from each selected policy pi_r and for each objective l, a learner maximises J_l subject to
   J_j >= c_j for all other j; then selection again, until the budget of environment steps is spent.
4. *Policy assignment*: for given weights, the archived policy of largest weighted return (`Front.select`).

The constraint. The paper asks for J_j >= beta J_j(pi_r), which relaxes the constraint where returns are positive, but
demands an improvement where they are negative and leaves no slack at 0. Here c_j = J_j(pi_r) - (1 - beta) R_j with R_j
the extent of the archive in objective j: the same share of what is at stake, whatever the sign or origin of the reward.
On returns from 0 to R_j it is the paper's threshold at the best policy, and looser below. J and J(pi_r) come from one
estimator: the mean lambda-return of the stochastic policy where episodes start, or `return_episodes` whole episodes, or
the transition table where policies are evaluated by it. Before an extension pi_r is measured, and after it the finished
learners are, at rest. The barrier (IPO) grows sharper over the course of an extension, as interior-point methods do, so
that its optimum ends 1 / (t factor) of the range inside the constraint; the paper's t stays as it is. Multipliers
(Lagrangian) follow a proportional-integral controller per learner, and the trust region (CPO) shrinks, so that either
comes to rest within the extension, half a percent of the range inside. All hold the returns that they are told: by the
critic's estimates they are held only as well as the critic knows them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from prefront.agents.cmorl_settings import CMORLConfig, config_for
from prefront.learning.checkpoints import Checkpoint
from prefront.learning.collectors import Collector, CompiledCollector
from prefront.learning.host_collector import HostCollector
from prefront.learning.population import Schedule
from prefront.learning.ppo import ActorCritic, Goal
from prefront.learning.trainer import Trainer
from prefront.pareto.archive import Archive, stacked, unstacked
from prefront.pareto.weights import dirichlet_weights, riesz_weights
from prefront.policies.front import Front
from prefront.policies.solution import Result
from prefront.system.failures import TrainingFailure
from prefront.system.tables import Table
from prefront.tasks.environment import Environment
from prefront.tasks.task import Task

__all__ = ["CMORLConfig", "config_for", "train"]

# A constraint counts as violated when a return lies below it by more than this share of the objective's range.
VIOLATION = 0.02
HISTORY = (
    "environment_steps", "evaluation_steps", "hypervolume", "cardinality", "stage", "violations", "finished_violations"
)  # fmt: skip


def train(
    task: Task | Environment | str,
    config: CMORLConfig,
    seed: int,
    *,
    report: Callable[..., None] | None = None,
    checkpoint: Path | None = None,
) -> Result[Front]:
    """Discovers a front.

    Args:
        task: A task, an environment or a Gymnasium id. Ours run inside compiled programs; any other with a vector
            reward is stepped on the host.
        config: Settings.
        seed: Seed of all random numbers: the same seed gives the same front, bit for bit, on one machine.
        report: Called after each evaluation with steps so far, steps in all, and `hypervolume` and `points`.
        checkpoint: Folder in which the run's state is kept; a run that finds a state there goes on from it and ends as
            if it had not been interrupted.

    Returns:
        The front, which holds the archived policies and their return vectors. Where the environment is random these are
        the estimates by which the archive chose, which flatter: `Front.evaluate` measures policies afresh. The history
        has one row per evaluation: `environment_steps`, `evaluation_steps`, `hypervolume`, `cardinality`, `stage` (1 or
        2), `violations`, the share of learners that violate a constraint by more than 2 % of the objective's range (NaN
        in stage 1), and `finished_violations`, the same at the end of an extension, measured by episodes of the
        finished policies alone (elsewhere NaN).

    Raises:
        TrainingFailure: Something is not finite any more. The checkpoint is that of before; the same call goes on from
            it.
        ValueError: The checkpoint belongs to another task, seed or settings; the message names what differs.
    """
    discovery = _Discovery(Task.of(task, config.discount, config.reference_point), config, seed)
    owner = {"task": discovery.task.identity(), "seed": seed, "config": dataclasses.asdict(config)}
    kept = Checkpoint(checkpoint, owner)
    if (before := kept.restore({"population": discovery.population, "goal": discovery.phase.goal})) is not None:
        discovery.restore(*before)
    while (done := len(discovery.history)) < discovery.evaluations:
        try:
            discovery.advance()
        except TrainingFailure as failure:
            failure.moment = f"evaluation {done + 1} (after {discovery.steps} steps of training): {failure.moment}"
            failure.checkpoint = kept.stored
            raise
        if (done + 1) % config.checkpoint_evaluations == 0:
            kept.save(*discovery.state())
        if report is not None:
            last = discovery.history[-1]
            report(discovery.steps, discovery.total, hypervolume=last["hypervolume"], points=last["cardinality"])
    return discovery.result()


class _Phase(NamedTuple):
    """A population that is trained towards fixed goals: all of stage 1 or a part of it, or one extension."""

    stage: int
    evaluations: int
    goal: Goal


class _Discovery:
    """The run of C-MORL: an archive, a population, and what it is trained for at present."""

    def __init__(self, task: Task, config: CMORLConfig, seed: int) -> None:
        self.task, self.config, self.seed = task, config, seed
        self.network = ActorCritic.build(
            config.learner,
            task.observation_space,
            task.action_space,
            task.objectives,
            task.discount,
            constraint="lagrangian" if config.extension == "lagrangian" else "ipo",
            sharpness=config.barrier_sharpness,
            sharpening=config.barrier_sharpening,
            multiplier_gain=config.multiplier_gain,
            multiplier_rate=config.multiplier_rate,
            trust_region=config.trust_region,
        )
        self.trainer = _trainer(task, self.network, config, seed)
        # The trust-region step is another update; penalties and barriers share one compiled program with stage 1.
        constrained = dataclasses.replace(self.network, constraint="cpo")
        self.extender = _trainer(task, constrained, config, seed) if config.extension == "cpo" else self.trainer
        steps = self.trainer.steps_per_update * config.updates_per_evaluation
        self.evaluations = max(1, config.total_steps // steps)
        # Two evaluations more per extension: the first measures the policies from which it starts, the last those with
        # which it ends.
        self.extension = 2 + -(-config.extension_updates // config.updates_per_evaluation)
        extensions = int(self.evaluations * (1.0 - config.stage_one_share)) // self.extension
        if config.extension == "none" or config.stage_one_share == 1.0:
            extensions = 0
        elif extensions == 0 and self.evaluations >= 2 * self.extension:
            extensions = 1
        self.initialisation = self.evaluations - extensions * self.extension

        self.archive = Archive(task.objectives, config.archive_capacity)
        self.phase = _Phase(1, 0, self._goal(np.zeros((config.population, task.objectives))))
        self.within = 0  # evaluations of this phase that are done
        self.population = self.trainer.fresh(0)
        self.queue: list[tuple[dict[str, Any], int]] = []  # selected policies, with the objective to extend them in
        self.history: list[dict[str, float]] = []  # a row for each evaluation
        self.steps = self.evaluation_steps = 0
        self.total = self.evaluations * steps

    @property
    def _active(self) -> Trainer:
        return self.trainer if self.phase.stage == 1 else self.extender

    def _initialise(self, done: int) -> None:
        """Pareto initialisation: new learners, each with its own weights (section 4.1)."""
        weights = self._weights(self._random())
        # The remaining evaluations are shared among the remaining restarts.
        restarts = self.config.restarts
        ends = [self.initialisation * (i + 1) // restarts for i in range(restarts)]
        length = next(end for end in ends if end > done) - done
        self.population = self.trainer.fresh(int(self.population.iteration))
        self.phase = _Phase(1, length, self._goal(weights))

    def _extend(self) -> None:
        """Policy selection and Pareto extension: from each selected policy, one learner per objective (section 4.2)."""
        size = self.config.population
        if not self.queue:
            number = self.config.selected or max(1, size // self.task.objectives)
            chosen = self.archive.select(number)
            self.queue = [(self.archive.entries[i], one) for i in chosen for one in range(self.task.objectives)]
        pairs, self.queue = self.queue[:size], self.queue[size:]
        pairs = [pairs[i % len(pairs)] for i in range(size)]
        policies = stacked([policy for policy, _ in pairs])
        self.population = self.extender.resumed(self.population, policies)
        maximised = np.eye(self.task.objectives, dtype=bool)[[objective for _, objective in pairs]]
        self.phase = _Phase(2, self.extension, self._goal(maximised.astype(float)))

    def _constrain(self) -> None:
        """Sets the thresholds c_j = J_j(pi_r) - (1 - beta) R_j of all objectives but the maximised one."""
        ranges = self.archive.ranges()
        ranges = np.where(ranges > 0, ranges, np.asarray(self.population.learners.scale[0]))
        slack = 1.0 - self.config.beta + self.config.slack_spread * self._random().random(self.phase.goal.weights.shape)
        thresholds = np.asarray(self.population.learners.estimate) - slack * ranges
        maximised = self.phase.goal.weights > 0
        goal = self._goal(self.phase.goal.weights, np.where(maximised, -np.inf, thresholds), ranges)
        self.phase = self.phase._replace(goal=goal)

    def advance(self) -> None:
        """Trains for some updates and offers each evaluated policy to the archive."""
        if self.within == self.phase.evaluations:
            self.within = 0
            if len(self.history) < self.initialisation:
                self._initialise(len(self.history))
            else:
                self._extend()
        config, phase = self.config, self.phase
        start, end = (phase.stage == 2 and self.within == at for at in (0, phase.evaluations - 1))
        if end:
            learners = self.population.learners
            forgetful = learners._replace(episodes=jax.numpy.zeros_like(learners.episodes))
            self.population = self.population._replace(learners=forgetful)
        # What only measures is no part of an extension's course.
        passed, whole = (self.within, phase.evaluations) if phase.stage == 1 else (self.within - 1, self.extension - 2)
        rate = config.learner.learning_rate * (1.0 if phase.stage == 1 else config.extension_rate)
        rate *= 0.0 if start or end else 1.0 - config.linear_decay * passed / whole
        new, progress = phase.stage == 1, passed / whole if phase.stage == 1 else 1.0
        course = 0.0 if phase.stage == 1 else min(max(passed / max(whole - 1, 1), 0.0), 1.0)
        updates = np.int32(config.updates_per_evaluation)
        schedule = Schedule(
            phase.goal, np.float32(rate), np.bool_(new), updates, np.float32(progress), np.float32(course)
        )
        self.population, evaluation = self._active.advance(self.population, schedule)
        returns, learners = np.asarray(evaluation.returns), self.population.learners
        stored = {"policy": learners.policy, "critic": learners.critic, "scale": learners.scale}
        self.archive.insert(returns, lambda i: jax.tree.map(lambda leaf: np.array(leaf[i]), stored))
        self.within += 1
        self.steps += self.trainer.steps_per_update * config.updates_per_evaluation
        self.evaluation_steps += int(np.sum(evaluation.steps))
        if start:
            self._constrain()
        self._record(end)

    def _record(self, finished: bool) -> None:
        violations = self._violations()
        volume = float(self.archive.hypervolume(self.task.reference_point))
        row = (self.steps, self.evaluation_steps, volume, len(self.archive), self.phase.stage, violations)
        self.history.append(dict(zip(HISTORY, (*row, violations if finished else np.nan), strict=True)))

    def _violations(self) -> float:
        thresholds, units = self.phase.goal.thresholds, self.phase.goal.units
        if not np.isfinite(thresholds).any():
            return np.nan
        short = (thresholds - np.asarray(self.population.learners.estimate)) / units
        return float(np.mean((short > VIOLATION).any(1)))

    def _weights(self, rng: np.random.Generator) -> np.ndarray:
        number, objectives = self.config.population, self.task.objectives
        if self.config.weights == "corners":
            return np.eye(objectives)[np.arange(number) % objectives]
        if self.config.weights == "random":
            return dirichlet_weights(objectives, number, int(rng.integers(2**32)))
        return riesz_weights(objectives, number, self.seed)

    def _goal(self, weights: np.ndarray, thresholds: np.ndarray | None = None, units: np.ndarray | None = None) -> Goal:
        fill = lambda one, value: np.full(weights.shape, value if one is None else one, np.float32)  # noqa: E731
        return Goal(weights.astype(np.float32), fill(thresholds, -np.inf), fill(units, np.inf))

    def _random(self) -> np.random.Generator:
        """Returns the generator of what is drawn on the host at this point of the run."""
        return np.random.default_rng((self.seed, len(self.history)))

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Returns all that the run goes on from, arrays and facts, and goes on in the same way itself."""
        self.population = self._active.storable(self.population)
        arrays: dict[str, Any] = {
            "population": self.population,
            "goal": self.phase.goal,
            "archive": {"returns": self.archive.returns, "entries": stacked(self.archive.entries)},
            "history": Table.from_rows(self.history).columns,
        }
        if self.queue:
            policies, objectives = zip(*self.queue, strict=True)
            arrays["queue"] = {"policies": stacked(policies), "objectives": np.array(objectives)}
        facts = {
            "phase": [self.phase.stage, self.phase.evaluations, self.within],
            "steps": [self.steps, self.evaluation_steps],
        }
        return arrays, facts

    def restore(self, arrays: dict[str, Any], facts: dict[str, Any]) -> None:
        """Goes on from what `state` returned."""
        self.population = arrays["population"]
        stage, evaluations, self.within = facts["phase"]
        self.phase = _Phase(stage, evaluations, arrays["goal"])
        self.archive.returns = arrays["archive"]["returns"]
        self.archive.entries = unstacked(arrays["archive"]["entries"], len(self.archive.returns))
        if "queue" in arrays:
            objectives = arrays["queue"]["objectives"].tolist()
            self.queue = list(zip(unstacked(arrays["queue"]["policies"], len(objectives)), objectives, strict=True))
        self.history = list(Table({name: arrays["history"][name] for name in HISTORY}).rows())
        self.steps, self.evaluation_steps = facts["steps"]
        self.population = self._active.continued(self.population)

    def result(self) -> Result[Front]:
        """Policy assignment is the front's: `Front.select` (section 4.3)."""
        policies = stacked(self.archive.entries)["policy"]
        front = Front.of(
            self.network.policy,
            policies,
            self.archive.returns,
            self.task.conditions(),
            environment_steps=self.steps,
            evaluation_steps=self.evaluation_steps,
            seed=self.seed,
        )
        return Result(front, Table.from_rows(self.history), self.steps, self.evaluation_steps)


def _trainer(task: Task, network: ActorCritic, config: CMORLConfig, seed: int) -> Trainer:
    """Our environments are stepped inside the compiled program, all others on the host."""
    shared = (network, config.population, task.discount, config.evaluation_episodes)
    exact = config.evaluation == "exact"
    if task.environment is not None:
        collector: Collector = CompiledCollector.of(task.environment, *shared, exact)
    elif exact:
        raise ValueError(f"{task.id} is stepped on the host: evaluate by episodes.")
    else:
        collector = HostCollector(task.id, *shared, **task.kwargs)
    return Trainer(collector, network, seed, config.devices)
