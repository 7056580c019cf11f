"""Settings of C-MORL: what can be set, and tuned values by environment id."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from prefront.learning.learner_config import LearnerConfig
from prefront.system.checks import check_between, check_least, check_positive, check_types, nearest_names

Extension = Literal["ipo", "lagrangian", "cpo", "none"]


@dataclasses.dataclass(frozen=True)
class CMORLConfig:
    """Settings of C-MORL.

    Attributes:
        learner: Settings of each PPO learner.
        total_steps: Training steps of the environment, over both stages and the whole population.
        population: Learners that train side by side, in both stages.
        weights: Weight vectors of stage 1: "even" (spread over the simplex), "random" (uniform on it, drawn anew at
            each restart) or "corners" (one objective each, in turn).
        stage_one_share: Share of the training steps that Pareto initialisation takes. Unless it is 1, one extension is
            made at least, where there are steps for twice as much.
        restarts: Populations that stage 1 trains one after the other, each with new networks.
        linear_decay: Decay of the learning rate over each population of stage 1 and each extension: 1 ends at 0, 0 is
            none.
        updates_per_evaluation: Updates between two evaluations; each evaluated policy may enter the archive.
        evaluation: "episodes", or "exact" to evaluate tabular policies by the transition table of a finite environment
            instead of by episodes.
        evaluation_episodes: Episodes of each deterministic evaluation; 1 is exact where nothing is random.
        extension: How stage 2 constrains returns: "ipo" (logarithmic barrier), "lagrangian" (multipliers), "cpo" (trust
            region), or "none", which spends all steps in stage 1: linear scalarisation alone. Where episodes reach
            their time limit, "cpo" holds constraints only by `evaluation` "exact" or by `return_episodes`: the critic's
            returns go on beyond the limit.
        selected: Policies that are extended per round, each once for every objective; None takes as many as the
            population holds.
        extension_updates: Updates of each extension.
        extension_rate: First learning rate of an extension as a share of stage 1's.
        beta: Share of a policy's return, in units of the objective's range, that an extension must keep.
        slack_spread: Width of a uniform random addition to the slack 1 - beta, drawn per learner and objective.
        barrier_sharpness: The t of the logarithmic barrier when an extension starts. The barrier's optimum lies about
            1 / t of an objective's range inside its constraint.
        barrier_sharpening: Factor by which t grows over the course of an extension, geometrically; 1 leaves it.
        multiplier_gain: Multiplier of the Lagrangian per violation in ranges: the controller's proportional part.
        multiplier_rate: Step size of the controller's integral part.
        trust_region: Largest Kullback-Leibler divergence of an extension's first "cpo" step, in nats; it shrinks to a
            25th of it.
        archive_capacity: Most policies in the archive; the most crowded are dropped. None keeps all.
        discount: Evaluation discount; None takes the environment's own.
        reference_point: Reference point of the hypervolume; None takes the environment's own.
        checkpoint_evaluations: Evaluations between two saved states. Environments that the host steps begin new
            episodes then, whether a state is saved or not, since their own state cannot be stored.
        devices: Devices over which the population is spread. Sums over all learners, by which rewards are scaled, then
            differ in the last digits: runs are equal bit for bit only on equal numbers of devices.
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
    extension: Extension = "ipo"
    selected: int | None = None
    extension_updates: int = 20
    extension_rate: float = 1.0
    beta: float = 0.9
    slack_spread: float = 0.0
    barrier_sharpness: float = 20.0
    barrier_sharpening: float = 5.0
    multiplier_gain: float = 20.0
    multiplier_rate: float = 2.0
    trust_region: float = 0.01
    archive_capacity: int | None = 200
    discount: float | None = None
    reference_point: tuple[float, ...] | None = None
    checkpoint_evaluations: int = 10
    devices: int = 1

    def __post_init__(self) -> None:
        check_types(self)
        check_least(
            self, 1, "total_steps", "population", "restarts", "updates_per_evaluation", "evaluation_episodes",
            "extension_updates", "checkpoint_evaluations", "devices", "selected", "archive_capacity",
        )  # fmt: skip
        check_least(self, 0, "extension_rate", "slack_spread", "multiplier_rate")
        check_positive(self, "barrier_sharpness", "trust_region")
        check_between(self, 0, 1, "stage_one_share", "beta", "linear_decay", closed="both")
        check_between(self, 0, 1, "discount", closed="right")
        if self.population % self.devices:
            raise ValueError(f"population={self.population} must be a multiple of devices={self.devices}.")


# The authors' scripts; the budget and the numbers of policies are for one CPU where they do not know the task.
PAPER = CMORLConfig(
    learner=LearnerConfig(num_envs=8, steps=512, gamma=0.995, learning_rate=3e-4, epochs=10, minibatches=32),
    population=6,
    stage_one_share=0.4,
    updates_per_evaluation=1,
    evaluation_episodes=10,
    extension_updates=4,
    selected=6,
    barrier_sharpening=1.0,
)
PERCEPTRONS = dataclasses.replace(PAPER.learner, network="mlp")


def _published(population: int, million_steps: float, share: float, **other: Any) -> CMORLConfig:
    settings = {"total_steps": round(million_steps * 1e6), "learner": PERCEPTRONS, **other}
    return dataclasses.replace(PAPER, population=population, stage_one_share=share, **settings)


def _locomotion(population: int, objectives: int, episodes: int = 10) -> CMORLConfig:
    steps, share, selected = {2: (12.0, 2 / 3, 5), 3: (16.0, 0.75, 6)}[objectives]
    given = {"discount": 0.99, "reference_point": (-100.0,) * objectives}
    return _published(population, steps, share, selected=selected, evaluation_episodes=episodes, **given)


_MINECART = _published(6, 4.0, 0.4, discount=0.98, reference_point=(-1.0, -1.0, -200.0))
_TREE = _published(6, 3.9, 0.2, weights="corners", discount=0.99, reference_point=(-1.0,) * 6)

# What the scripts set task by task. Steps are those that they take, eight times their argument, over both stages.
PUBLISHED: dict[str, CMORLConfig] = {
    **dict.fromkeys(("mo-hopper-2d-v4", "mo-hopper-2obj-v5"), _locomotion(6, 2, episodes=5)),
    **dict.fromkeys(("mo-ant-2d-v4", "mo-ant-2obj-v5"), _locomotion(3, 2)),
    **dict.fromkeys(("mo-humanoid-v4", "mo-humanoid-v5"), _locomotion(6, 2)),
    **dict.fromkeys(("mo-hopper-v4", "mo-hopper-v5", "mo-ant-v4", "mo-ant-v5"), _locomotion(6, 3)),
    **dict.fromkeys(("minecart-v0", "prefront/Minecart-v0"), _MINECART),
    **dict.fromkeys(("fruit-tree-v0", "prefront/FruitTree-v0"), _TREE),
    "mo-lunar-lander-v3": _published(
        4, 3.9, 0.4, weights="corners", discount=0.99, reference_point=(-101.0, -1001.0, -101.0, -101.0)
    ),
}

PERCEPTRON = LearnerConfig(network="mlp", num_envs=8, steps=32, learning_rate=1e-3, entropy=0.02, action_bias=2.0)
TABLE = LearnerConfig(network="tabular", num_envs=8, steps=12, learning_rate=3e-2, entropy=0.05, action_bias=2.0)

# What was tried and measured for these is in benchmarks/results/tuning.md. Where returns are not known exactly and
# `return_episodes` is 0, constraints hold as well as the critic knows the returns.

# Deep seas: perceptrons on coordinates generalise from cell to cell; tables seldom reach the far treasures.
SEA = CMORLConfig(
    learner=PERCEPTRON,
    total_steps=1_500_000,
    weights="random",
    stage_one_share=0.75,
    restarts=3,
    updates_per_evaluation=2,
)
# One weight vector in several hundred singles out each leaf, so many learners with short lives.
TREE = CMORLConfig(
    learner=dataclasses.replace(TABLE, learning_rate=0.1),
    total_steps=5_400_000,
    population=256,
    weights="random",
    stage_one_share=0.8,
    restarts=8,
    extension_rate=0.3,
)
# A safe way round the enemies is longer than a risky one: much entropy and a fast table find it, in long enough lives.
# At the rate of stage 1 rare deaths throw extended learners over constraints.
GATHERING = CMORLConfig(
    learner=dataclasses.replace(TABLE, num_envs=4, steps=64, learning_rate=0.1, entropy=0.2, action_bias=1.0),
    total_steps=13_000_000,
    population=96,
    weights="random",
    stage_one_share=0.85,
    restarts=3,
    updates_per_evaluation=5,
    evaluation="exact",
    extension_updates=25,
    extension_rate=0.05,
)
BOTTLES = dataclasses.replace(GATHERING, total_steps=3_000_000, restarts=1, stage_one_share=0.6)
# The best paths gather all twelve items in 70 steps; greedy learners come to rest on 27 steps with four of them, in no
# state of which another first step is better. A factored table tells what to do next from what is left, much entropy
# that fades leaves short ways, and at a training discount above the evaluation's detours cost less.
ROOMS = CMORLConfig(
    learner=dataclasses.replace(
        TABLE,
        network="factored",
        num_envs=16,
        steps=64,
        gamma=0.98,
        epochs=2,
        minibatches=2,
        entropy=1.0,
        entropy_decay=0.95,
        action_bias=1.0,
    ),
    total_steps=30_000_000,
    population=64,
    weights="random",
    stage_one_share=0.7,
    extension_updates=16,
    slack_spread=0.5,
    archive_capacity=None,
)
# Long episodes: fewer, longer rollouts, and several gradient steps for each. Ores are sold so rarely that clipping
# would make half a load worth as much as a full one; much entropy finds the mines that are not straight ahead.
CART = CMORLConfig(
    learner=dataclasses.replace(
        PERCEPTRON, num_envs=16, steps=64, minibatches=4, entropy=0.1, action_bias=0.0, reward_clip=None
    ),
    total_steps=6_000_000,
    population=20,
    stage_one_share=0.6,
    linear_decay=0.5,
    updates_per_evaluation=10,
    extension_updates=30,
    slack_spread=0.2,
)

# The critic does not tell what a policy earns here: its values go on after the time limit, and those of archived
# policies are out of date. Whole episodes do.
HILL = dataclasses.replace(
    CART,
    learner=dataclasses.replace(CART.learner, reward_clip=10.0, return_episodes=16),
    total_steps=1_200_000,
    stage_one_share=0.5,
    updates_per_evaluation=4,
    evaluation_episodes=10,
    extension_updates=16,
    extension_rate=0.3,
)

TUNED: dict[str, CMORLConfig] = {
    **{f"prefront/DeepSeaTreasure{variant}-v0": SEA for variant in ("", "Concave", "Mirrored")},
    "prefront/FruitTree-v0": TREE,
    "prefront/ResourceGathering-v0": GATHERING,
    "prefront/BreakableBottles-v0": BOTTLES,
    "prefront/FourRoom-v0": ROOMS,
    "prefront/Minecart-v0": dataclasses.replace(CART, total_steps=4_000_000, evaluation_episodes=10),
    "prefront/MinecartDeterministic-v0": CART,
    "prefront/MOMountainCar-v0": HILL,
}

# What other extensions than the barrier need, and stage 1 alone ("none"), beside the settings that were tuned with it.
BY_EXTENSION: dict[str, dict[str, dict[str, Any]]] = {
    # Multipliers take longer to settle than a barrier.
    "lagrangian": {id: {"extension_updates": 60} for id in TUNED if "DeepSea" in id},
    # Rollouts of 256 steps do not tell a step where rare deaths are.
    "cpo": {f"prefront/{name}-v0": {"trust_region": 1e-4} for name in ("ResourceGathering", "BreakableBottles")},
    "none": {},
}

UNTUNED = CMORLConfig(learner=dataclasses.replace(PERCEPTRON, network="auto"))

PRESETS = ("tuned", "published")


def config_for(environment_id: str, preset: str = "tuned", extension: Extension | None = None) -> CMORLConfig:
    """Returns settings for an environment.

    Args:
        environment_id: Gymnasium id, with or without the `prefront/` prefix for ours.
        preset: "tuned" (chosen by us to find whole fronts; where an environment has not been tuned, settings that suit
            its like) or "published" (what the authors' scripts set for the task; elsewhere the settings that all their
            tasks share, with a budget for one CPU).
        extension: That of the settings in place of the preset's; tuned ones are changed where it needs others. With
            "none" they are those of linear scalarisation, stage 1 alone, which takes the steps of both.

    Raises:
        ValueError: The preset or the extension is unknown.
    """
    if preset not in PRESETS:
        raise ValueError(f"Unknown preset {preset!r}. {nearest_names(preset, list(PRESETS))}")
    names = (environment_id, f"prefront/{environment_id}")
    by_id, otherwise = (PUBLISHED, PAPER) if preset == "published" else (TUNED, UNTUNED)
    config = next((by_id[name] for name in names if name in by_id), otherwise)
    if extension is None:
        return config
    needs = BY_EXTENSION.get(extension, {}) if preset == "tuned" else {}
    changes = next((needs[name] for name in names if name in needs), {})
    return dataclasses.replace(config, extension=extension, **changes)
