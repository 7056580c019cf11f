"""Settings of one learner."""

from __future__ import annotations

import dataclasses

from prefront.learning.encoders import Kind
from prefront.system.checks import INFINITE, check_between, check_least, check_positive, check_types


@dataclasses.dataclass(frozen=True)
class LearnerConfig:
    """Settings of one learner.

    Attributes:
        network: "tabular", "factored", "one-hot", "mlp", or "auto" (a table for small integer observation spaces, else
            "mlp"), see `PolicyNetwork.for_spaces`.
        hidden: Sizes of the hidden layers of policy and critic.
        num_envs: Environments that the learner steps side by side.
        steps: Steps of each environment per update.
        gamma: Discount; None takes the environment's evaluation discount.
        lambda_: Parameter of the generalised advantage estimates and the lambda-returns.
        learning_rate: Step size of Adam.
        epochs: Passes over the data of one update.
        minibatches: Parts into which the data are shuffled in each pass; 1 takes them whole.
        clip: Clipping range of the probability ratio.
        entropy: Weight of the entropy bonus.
        entropy_decay: Share of the entropy bonus that is lost, at an even pace, while a population is trained from
            scratch; extensions go on with what is left.
        value_coefficient: Weight of the critic's loss.
        max_gradient_norm: Norm to which gradients are clipped.
        normalise_observations: Normalise features of an "mlp" by running statistics; else by the space's bounds.
        scale_rewards: Divide each objective's reward by the running deviation of its discounted sum.
        reward_clip: Largest magnitude of a scaled reward; None clips nothing. A rare reward is many of its deviations
            large, so that clipping makes small and large ones equal.
        action_bias: Deviation of a random preference for some actions that each learner starts with.
        return_episodes: Whole episodes of the stochastic policy by which its expected return is measured whenever
            constraints are held against it; 0 takes the mean lambda-return at the starts of training's own episodes,
            which costs no step but is only as good as the critic, and does not stop at a time limit.
    """

    network: Kind = "auto"
    hidden: tuple[int, ...] = (64, 64)
    num_envs: int = 8
    steps: int = 32
    gamma: float | None = None
    lambda_: float = 0.95
    learning_rate: float = 3e-4
    epochs: int = 4
    minibatches: int = 1
    clip: float = 0.2
    entropy: float = 0.0
    entropy_decay: float = 0.0
    value_coefficient: float = 0.5
    max_gradient_norm: float = dataclasses.field(default=0.5, metadata=INFINITE)
    normalise_observations: bool = True
    scale_rewards: bool = True
    reward_clip: float | None = 10.0
    action_bias: float = 0.0
    return_episodes: int = 0

    def __post_init__(self) -> None:
        check_types(self)
        check_least(self, 1, "hidden", "num_envs", "steps", "epochs", "minibatches")
        check_least(self, 0, "learning_rate", "entropy", "value_coefficient", "action_bias", "return_episodes")
        check_positive(self, "clip", "max_gradient_norm", "reward_clip")
        check_between(self, 0, 1, "gamma", closed="right")
        check_between(self, 0, 1, "lambda_", "entropy_decay", closed="both")
        if (size := self.num_envs * self.steps) % self.minibatches:
            raise ValueError(f"num_envs times steps, {size}, must be a multiple of minibatches={self.minibatches}.")
