"""Rewards as neural networks, for environments without tables, and ensembles whose members disagree."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from prefront.exact.tables import TabularMDP
from prefront.preferences.models.fitting import GradientReward, initial_layers, mean_and_scale, perceptron
from prefront.preferences.segment_scores import check_state_numbers
from prefront.preferences.segments import Segments
from prefront.system.checks import check_least


@dataclasses.dataclass(frozen=True, eq=False)
class NeuralReward(GradientReward):
    """Assumes a teacher by `partial_return`: the reward of a transition is a perceptron of observation and action.

    An ensemble (Christiano et al., 2017, section 2.2): every member starts from its own weights and is fitted to its
    own bootstrap of the answers; scores are means over members, and `member_probabilities` is what query selection
    takes. Sums run over the transitions of a segment without averaging, so segments may differ in length. Transitions
    inside terminal states score 0: nobody can collect reward there.

    Attributes:
        actions: Number of discrete actions, which are one-hot inputs; 0 for continuous ones, which are used as numbers.
        hidden: Sizes of the hidden layers, with tanh.
        observations: What is seen in each state of a table, shape (S, ...), where segments hold state numbers; None
            where they hold observations.
    """

    assumes: ClassVar[str] = "partial_return"
    actions: int
    hidden: tuple[int, ...] = (64, 64)
    observations: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least(self, 1, "hidden")
        if self.actions < (self.observations is not None):
            raise ValueError(f"actions must not be negative, and on a table at least 1, got {self.actions}.")

    def init(self, key: jax.Array, seen: tuple[jax.Array, jax.Array]) -> Any:
        """Returns the layers of one member."""
        return initial_layers(key, (seen[0].shape[-1], *self.hidden, 1))

    def units(self, first: Segments, second: Segments) -> tuple[np.ndarray, np.ndarray]:
        """Returns mean and scale of the inputs of all transitions, each of shape (inputs,)."""
        sides = [self._inputs(segments) for segments in (first, second)]
        return mean_and_scale(np.concatenate([inputs[mask] for inputs, mask in sides]))

    def seen(self, segments: Segments, units: Any) -> tuple[jax.Array, jax.Array]:
        """Returns the standardised inputs of all transitions, shape (n, T, inputs), and which exist, shape (n, T)."""
        inputs, mask = self._inputs(segments)
        return jnp.asarray((inputs - units[0]) / units[1], jnp.float32), jnp.asarray(mask)

    def score(self, layers: Any, seen: tuple[jax.Array, jax.Array]) -> jax.Array:
        """Returns one member's sums of rewards, shape (n,)."""
        inputs, mask = seen
        return jnp.where(mask, perceptron(layers, inputs)[..., 0], 0.0).sum(1)

    def reward(self, observation: Any, action: Any) -> jax.Array:
        """Returns the mean reward of the members for one transition; pure JAX, for compiled environments."""
        layers, (mean, scale) = self.learned()
        parts = [jnp.ravel(jnp.asarray(observation)), self._encoded(jnp.asarray(action))]
        inputs = (jnp.concatenate([part.astype(jnp.float32) for part in parts]) - jnp.asarray(mean)) / jnp.asarray(
            scale
        )
        return jax.vmap(perceptron, (0, None))(layers, inputs).mean()

    def reward_table(self, mdp: TabularMDP) -> np.ndarray:
        """Returns the reward of every state and action, shape (S, A); `observations` must tell what is seen where.

        Raises:
            ValueError: States or actions of the table are more or fewer than the model's.
        """
        if self.observations is None:
            return super().reward_table(mdp)
        size = len(self.observations), self.actions
        if np.shape(mdp.successors)[:2] != size:
            raise ValueError(f"The model sees {size} states and actions, the MDP has {np.shape(mdp.successors)[:2]}.")
        seen, actions = jnp.asarray(self.observations), jnp.arange(self.actions)
        rewards = jax.vmap(lambda one: jax.vmap(lambda action: self.reward(one, action))(actions))(seen)
        return np.asarray(rewards, np.float64)

    def _encoded(self, action: jax.Array) -> jax.Array:
        return jax.nn.one_hot(action, self.actions) if self.actions else jnp.ravel(action)

    def _inputs(self, segments: Segments) -> tuple[np.ndarray, np.ndarray]:
        """Returns inputs of all transitions, shape (n, T, inputs), zero in padding, and which exist, shape (n, T)."""
        observations = np.asarray(segments.states)[:, :-1]
        stays = (observations == segments.end[:, None]).reshape(*segments.mask.shape, -1).all(-1)
        mask = np.asarray(segments.mask & ~(np.asarray(segments.ended)[:, None] & stays))
        if self.observations is not None:
            seen = np.asarray(self.observations)
            check_state_numbers(segments, len(seen), self.actions)
            observations = seen[np.where(mask, observations, 0)]
        observations = observations.reshape(*mask.shape, -1).astype(np.float64)
        actions = np.asarray(segments.actions)
        if self.actions:
            wrong = mask & ((actions < 0) | (actions >= self.actions)) if actions.ndim == 2 else ~mask
            if actions.ndim != 2 or actions.dtype.kind not in "iu" or wrong.any():
                raise ValueError(
                    f"Actions must be integers in [0, {self.actions}), got {actions.dtype} {actions.shape}."
                )
            encoded = np.eye(self.actions)[np.where(mask, actions, 0)]
        else:
            encoded = actions.reshape(*mask.shape, -1).astype(np.float64)
        return np.where(mask[..., None], np.concatenate([observations, encoded], -1), 0.0), mask
