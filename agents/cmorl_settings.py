"""Settings of C-MORL: what can be set, and tuned values by environment id."""

from __future__ import annotations

import dataclasses
from typing import Literal

from prefront.learning.learner import LearnerConfig
from prefront.registration import nearest_names


@dataclasses.dataclass(frozen=True)
class CMORLConfig:
    """Settings of C-MORL.

    Attributes:
        learner: Settings of each PPO learner.
        total_steps: Training steps of the environment, over both stages and the whole population.
        population: Learners that train side by side, in both stages.
        weights: Weight vectors of stage 1: "even" (spread over the simplex), "random" (uniform on it, drawn anew at
            each restart) or "corners" (one objective each, in turn).
        stage_one_share: Share of the training steps that Pareto initialisation takes.
        restarts: Populations that stage 1 trains one after the other, each with new networks.
        linear_decay: Decay of the learning rate over each population of stage 1: 1 ends at 0, 0 is none.
        updates_per_evaluation: Updates between two evaluations; each evaluated policy may enter the archive.
        evaluation: "episodes", or "exact" to evaluate tabular policies by the transition table of a finite environment
            instead of by episodes.
        evaluation_episodes: Episodes of each deterministic evaluation; 1 is exact where nothing is random.
        extension: How stage 2 constrains returns: "ipo" (logarithmic barrier), "lagrangian" (multipliers), "cpo" (trust
            region), or "none", which spends all steps in stage 1: linear scalarisation alone.
        selected: Policies that are extended per round, each once for every objective; None takes as many as the
            population holds.
        extension_updates: Updates of each extension.
        beta: Share of a policy's return, in units of the objective's range, that an extension must keep.
        slack_spread: Width of a uniform random addition to the slack 1 - beta, drawn per learner and objective.
        barrier_sharpness: The t of the logarithmic barrier.
        multiplier_rate: Step size of the Lagrangian's multipliers.
        trust_region: Largest Kullback-Leibler divergence of one "cpo" step, in nats.
        archive_capacity: Most policies in the archive; the most crowded are dropped. None keeps all.
        discount: Evaluation discount; None takes the environment's own.
        reference_point: Reference point of the hypervolume; None takes the environment's own.
        checkpoint_evaluations: Evaluations between two saved states. Environments that the host steps begin new
            episodes then, whether a state is saved or not, since their own state cannot be stored.
        devices: Devices over which the population is spread.
    """

    learner: LearnerConfig = dataclasses.field(default_factory=LearnerConfig)
    total_steps: int = 1_000_000
    population: int = 32
    weights: Literal["even", "random", "corners"] = "even"
    stage_one_share: float = 0.5
    restarts: int = 1
    linear_decay: float = 1.0
    updates_per_evaluation: int = 4
    evaluation: Literal["episodes", "exact"] = "episodes"
    evaluation_episodes: int = 1
    extension: Literal["ipo", "lagrangian", "cpo", "none"] = "ipo"
    selected: int | None = None
    extension_updates: int = 20
    beta: float = 0.9
    slack_spread: float = 0.0
    barrier_sharpness: float = 20.0
    multiplier_rate: float = 0.5
    trust_region: float = 0.01
    archive_capacity: int | None = 200
    discount: float | None = None
    reference_point: tuple[float, ...] | None = None
    checkpoint_evaluations: int = 10
    devices: int = 1

    def __post_init__(self) -> None:
        for name in ("total_steps", "population", "restarts", "updates_per_evaluation", "evaluation_episodes",
                     "extension_updates", "checkpoint_evaluations", "devices"):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("stage_one_share", "beta", "linear_decay"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}.")
        if self.population % self.devices:
            raise ValueError(f"population={self.population} must be a multiple of devices={self.devices}.")


PAPER = CMORLConfig(
    learner=LearnerConfig(
        network="auto", copies=8, steps=512, gamma=0.995, learning_rate=3e-4, epochs=10, minibatches=32
    ),
    total_steps=1_000_000,
    population=6,
    stage_one_share=0.4,
    updates_per_evaluation=1,
    extension_updates=4,
    selected=6,
)  # fmt: skip

PERCEPTRON = LearnerConfig(network="mlp", copies=8, steps=32, learning_rate=1e-3, entropy=0.02, action_bias=2.0)
TABLE = LearnerConfig(network="tabular", copies=8, steps=12, learning_rate=3e-2, entropy=0.05, action_bias=2.0)

# Deep seas: perceptrons on coordinates generalise from cell to cell; tables seldom reach the far treasures.
SEA = CMORLConfig(
    learner=PERCEPTRON,
    total_steps=1_000_000,
    population=32,
    weights="random",
    stage_one_share=0.75,
    restarts=2,
    updates_per_evaluation=2,
)
# One weight vector in several hundred singles out each leaf, so many learners with short lives.
TREE = CMORLConfig(
    learner=TABLE,
    total_steps=6_000_000,
    population=256,
    weights="random",
    stage_one_share=0.75,
    restarts=9,
)
# A safe way round the enemies is longer than a risky one: much entropy and a fast table find it.
GATHERING = CMORLConfig(
    learner=dataclasses.replace(TABLE, copies=4, steps=64, learning_rate=0.1, entropy=0.2, action_bias=1.0),
    total_steps=9_000_000,
    population=96,
    weights="random",
    stage_one_share=0.85,
    restarts=2,
    updates_per_evaluation=5,
    evaluation="exact",
    extension_updates=25,
)
# Long episodes: fewer, longer rollouts, and several gradient steps for each. Ores are sold so rarely that clipping
# would make half a load worth as much as a full one; much entropy finds the mines that are not straight ahead.
CART = CMORLConfig(
    learner=dataclasses.replace(
        PERCEPTRON, copies=16, steps=64, minibatches=4, entropy=0.1, action_bias=0.0, reward_clip=None
    ),
    total_steps=6_000_000,
    population=20,
    stage_one_share=0.6,
    linear_decay=0.5,
    updates_per_evaluation=10,
    extension_updates=30,
    slack_spread=0.2,
)

EXACT: dict[str, CMORLConfig] = {
    "prefront/DeepSeaTreasure-v0": SEA,
    "prefront/DeepSeaTreasureConcave-v0": SEA,
    "prefront/DeepSeaTreasureMirrored-v0": SEA,
    "prefront/FruitTree-v0": TREE,
    "prefront/ResourceGathering-v0": GATHERING,
    "prefront/BreakableBottles-v0": dataclasses.replace(GATHERING, total_steps=3_000_000, restarts=1),
    "prefront/FourRoom-v0": dataclasses.replace(
        SEA,
        learner=dataclasses.replace(PERCEPTRON, network="one-hot"),
        total_steps=2_000_000,
        stage_one_share=0.5,
        restarts=1,
        archive_capacity=None,
    ),
    "prefront/Minecart-v0": dataclasses.replace(CART, evaluation_episodes=10),
    "prefront/MinecartDeterministic-v0": CART,
    "prefront/MOMountainCar-v0": dataclasses.replace(CART, total_steps=2_000_000),
}

PRESETS = ("paper", "exact")


def config_for(environment_id: str, preset: str = "exact") -> CMORLConfig:
    """Returns settings for an environment.

    Args:
        environment_id: Gymnasium id, with or without the `prefront/` prefix for ours.
        preset: "paper" (the published settings, with a budget for one CPU) or "exact" (tuned to find whole fronts;
            where an environment has not been tuned, settings that suit its like).

    Raises:
        ValueError: The preset is unknown.
    """
    if preset not in PRESETS:
        raise ValueError(f"Unknown preset {preset!r}. {nearest_names(preset, list(PRESETS))}")
    if preset == "paper":
        return PAPER
    full = environment_id if "/" in environment_id else f"prefront/{environment_id}"
    return EXACT.get(full, CMORLConfig(learner=dataclasses.replace(PERCEPTRON, network="auto")))
