"""Conditioned PPO: one network for all weights, trained on weights that are drawn anew for each episode.

1. The environment shows the weights of the episode in the observation and pays each objective's reward times its
   weight (`prefront.learning.conditioning.show`). The return is then w_j times that of objective j, and ordinary PPO
   on the plain sum maximises the weighted return of whatever weights are shown.
2. The critic estimates each objective's part. Advantages are added in units of rewards: adding them in units of the
   objectives' deviations would answer other weights than those that are shown.
3. For given weights the trained network is an ordinary policy: the weights fold into the bias of its first layer
   (`ConditionedPolicy.select`). An evaluation folds at a lattice of weights, and runs the policies deterministically.

Networks that are shown the weights are from Abels et al. (2019, arXiv 1809.07803), who learn action values; PPO is from
Schulman et al. (2017, arXiv 1707.06347). Linear weights reach the convex coverage set and no point inside it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from prefront.learning import rollouts
from prefront.learning.checkpoints import Checkpoint
from prefront.learning.collectors import CompiledCollector, Measurement
from prefront.learning.conditioning import DirichletWeights, fold, folded_network, show
from prefront.learning.learner_config import LearnerConfig
from prefront.learning.networks import Parameters
from prefront.learning.population import Schedule
from prefront.learning.ppo import ActorCritic, Goal
from prefront.learning.trainer import Trainer
from prefront.pareto.indicators import beats_reference, hypervolume
from prefront.policies.conditioned import ConditionedPolicy
from prefront.policies.scores import utility_lattice
from prefront.policies.solution import Result
from prefront.system.checks import check_between, check_least, check_positive, check_types
from prefront.system.failures import TrainingFailure
from prefront.system.tables import Table
from prefront.tasks.environment import Environment
from prefront.tasks.task import Task

HISTORY = ("environment_steps", "evaluation_steps", "hypervolume", "expected_utility")
# By default numbers of an observation are not rescaled by running statistics, as weights must not be, and no reward is
# clipped, which would change what is asked for.
LEARNER = LearnerConfig(
    network="mlp",
    num_envs=128,
    steps=32,
    learning_rate=1e-3,
    minibatches=4,
    entropy=0.1,
    entropy_decay=1.0,
    normalise_observations=False,
    reward_clip=None,
)


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of conditioned PPO.

    Attributes:
        learner: Settings of PPO; the network is "mlp" or "one-hot".
        total_steps: Training steps of the environment.
        concentration: Of the symmetric Dirichlet distribution from which weights are drawn; 1 is uniform, less is more
            often near the corners.
        linear_decay: Decay of the learning rate: 1 ends at 0, 0 is none.
        updates_per_evaluation: Updates between two evaluations.
        evaluation_episodes: Episodes for each weight vector of an evaluation; 1 is exact where nothing is random.
        discount: Evaluation discount; None takes the environment's own.
        reference_point: Reference point of the hypervolume; None takes the environment's own.
    """

    learner: LearnerConfig = LEARNER
    total_steps: int = 1_000_000
    concentration: float = 1.0
    linear_decay: float = 1.0
    updates_per_evaluation: int = 8
    evaluation_episodes: int = 1
    discount: float | None = None
    reference_point: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        check_types(self)
        check_least(self, 1, "total_steps", "updates_per_evaluation", "evaluation_episodes")
        check_positive(self, "concentration")
        check_between(self, 0, 1, "linear_decay", closed="both")
        check_between(self, 0, 1, "discount", closed="right")


TUNED: dict[str, Config] = {"prefront/DeepSeaTreasure-v0": Config(total_steps=200_000)}


def train(
    task: Task | Environment | str,
    config: Config,
    seed: int,
    *,
    report: Callable[..., None] | None = None,
    checkpoint: Path | None = None,
) -> Result[ConditionedPolicy]:
    """Trains one network for all weights.

    Args:
        task: One of our environments, its id, or a task in it.
        config: Settings, such as `TUNED[id]`.
        seed: Seed of all random numbers: the same seed gives the same network, bit for bit, on one machine.
        report: Called after each evaluation with steps so far, steps in all, and what was measured, by name.
        checkpoint: Folder in which the run's state is kept after each evaluation; a run that finds a state there goes
            on from it and ends as if it had not been interrupted.

    Returns:
        The conditioned policy, and a history of `environment_steps`, `evaluation_steps`, and `hypervolume` and
        `expected_utility` of the policies for a lattice of at most 500 weights.

    Raises:
        TrainingFailure: Something is not finite any more. The checkpoint is that of before; the same call goes on from
            it.
        ValueError: The environment is stepped on the host, the network is a table, or the checkpoint belongs to another
            task, seed or settings; the message names it.
    """
    task = Task.of(task, config.discount, config.reference_point)
    if task.environment is None:
        raise ValueError(f"{task.id} is stepped on the host; weights can be shown in our own environments only.")
    shown = show(task.environment, DirichletWeights(task.objectives, config.concentration))
    network = ActorCritic.build(
        config.learner, shown.observation_space, shown.action_space, task.objectives, task.discount
    )
    lattice = utility_lattice(task.objectives)
    measurement = _measurement(task, network, lattice, config.evaluation_episodes)
    trainer = Trainer(CompiledCollector(shown, network, 1, measurement), network, seed)
    owner = {"task": task.identity(), "seed": seed, "config": dataclasses.asdict(config)}
    kept, population = Checkpoint(checkpoint, owner), trainer.fresh(0)
    history: list[dict[str, float]] = []
    if (stored := kept.restore({"population": population})) is not None:
        population = trainer.continued(stored[0]["population"])
        history = list(Table({name: stored[0]["history"][name] for name in HISTORY}).rows())

    each = trainer.steps_per_update * config.updates_per_evaluation
    evaluations = max(1, config.total_steps // each)
    for done in range(len(history), evaluations):
        try:
            population, evaluation = trainer.advance(population, _schedule(task, config, done / evaluations))
        except TrainingFailure as failure:
            failure.moment = f"evaluation {done + 1} (after {done * each} steps of training): {failure.moment}"
            failure.environment, failure.checkpoint = task.id, kept.stored
            raise
        returns = np.asarray(evaluation.returns[0], np.float64)
        counted = returns[beats_reference(returns, task.reference_point)]
        figures = {
            "hypervolume": float(hypervolume(counted, task.reference_point)) if len(counted) else 0.0,
            "expected_utility": float(np.mean(np.sum(returns * lattice, axis=1))),
        }
        spent = int(evaluation.steps[0]) + (history[-1]["evaluation_steps"] if done else 0)
        history.append({"environment_steps": (done + 1) * each, "evaluation_steps": spent, **figures})
        kept.save({"population": population, "history": Table.from_rows(history).columns}, {})
        if report is not None:
            report((done + 1) * each, evaluations * each, **figures)

    parameters = jax.tree.map(lambda leaf: np.asarray(leaf[0]), population.learners.policy)
    steps = evaluations * each, int(history[-1]["evaluation_steps"])
    policy = ConditionedPolicy(network.policy, parameters, task.conditions(), *steps, seed)
    return Result(policy, Table.from_rows(history), *steps)


def _schedule(task: Task, config: Config, done: float) -> Schedule:
    """Asks for the plain sum of what the environment pays, in units of rewards."""
    shape = (1, task.objectives)
    ones, unbounded = np.ones(shape, np.float32), np.full(shape, -np.inf, np.float32)
    rate = np.float32(config.learner.learning_rate * (1.0 - config.linear_decay * done))
    return Schedule(
        Goal(ones, unbounded, ones), rate, np.bool_(True), np.int32(config.updates_per_evaluation), np.float32(done)
    )


def _measurement(task: Task, network: ActorCritic, lattice: np.ndarray, episodes: int) -> Measurement:
    """Returns a function that measures the policies for several weights, where no weights are shown."""
    assert task.environment is not None
    environment, ordinary = task.environment, folded_network(network.policy, task.objectives)

    def measure(parameters: Parameters, key: jax.Array) -> rollouts.Evaluation:
        def one(weights: jax.Array) -> rollouts.Evaluation:
            folded: Any = fold(network.policy, parameters, weights)
            return rollouts.evaluate(environment, ordinary, folded, key, episodes, task.discount)

        found = jax.vmap(one)(jax.numpy.asarray(lattice, jax.numpy.float32))
        return rollouts.Evaluation(found.returns, found.steps.sum())

    return measure
