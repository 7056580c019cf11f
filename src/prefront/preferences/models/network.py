"""Rewards as neural networks, for environments without tables, and ensembles whose members disagree."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import expit

from prefront.exact.tables import TabularMDP
from prefront.preferences.comparisons import Comparisons
from prefront.preferences.models.base import NotFittedError, RewardModel
from prefront.preferences.models.fitting import Descent, draw_counts, fit_members, initial_layers, perceptron
from prefront.preferences.segment_scores import check_state_numbers
from prefront.preferences.segments import Segments
from prefront.system.checks import check_least, check_positive


class Network(NamedTuple):
    """A fitted ensemble of M perceptrons; a pytree that compiled programs can use.

    Attributes:
        layers: (kernel, bias) of each layer, with a leading axis M.
        mean: Mean of the inputs in the data, shape (inputs,).
        scale: Their standard deviation, 1 where they do not vary.
    """

    layers: tuple[tuple[jax.Array, jax.Array], ...]
    mean: jax.Array
    scale: jax.Array


@dataclasses.dataclass(frozen=True, eq=False)
class NeuralReward(RewardModel):
    """Assumes a teacher by `partial_return`: the reward of a transition is a perceptron of observation and action.

    An ensemble (Christiano et al., 2017, section 2.2): every member starts from its own weights and is fitted to its
    own bootstrap of the answers; scores are means over members, and `member_probabilities` is what query selection
    takes. Sums run over the transitions of a segment without averaging, so segments may differ in length. Transitions
    inside terminal states score 0: nobody can collect reward there.

    Attributes:
        actions: Number of discrete actions, which are one-hot inputs; 0 for continuous ones, which are used as numbers.
        members: Size of the ensemble; 1 is fitted to all answers as they are.
        hidden: Sizes of the hidden layers, with tanh.
        steps: Full-batch AdamW steps.
        learning_rate: Its peak step size, which decays to 0 along a cosine.
        weight_decay: Its decoupled weight decay.
        observations: What is seen in each state of a table, shape (S, ...), where segments hold state numbers; None
            where they hold observations.
        network: What was learned; None before `fit`.
    """

    assumes: ClassVar[str] = "partial_return"
    actions: int
    members: int = 1
    hidden: tuple[int, ...] = (64, 64)
    steps: int = 500
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    observations: Any = None
    network: Network | None = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least(self, 1, "members", "steps", "hidden")
        check_least(self, 0, "weight_decay")
        check_positive(self, "learning_rate")
        if self.actions < (self.observations is not None):
            raise ValueError(f"actions must not be negative, and on a table at least 1, got {self.actions}.")

    def learned(self) -> Network:
        """Returns the network.

        Raises:
            NotFittedError: There is none yet.
        """
        if self.network is None:
            raise NotFittedError("NeuralReward has not been fitted: call fit(dataset) and use what it gives.")
        return self.network

    def fit(self, dataset: Comparisons[Any], key: jax.Array | int = 0) -> NeuralReward:
        """Returns the model with a fitted ensemble."""
        sides = [self._inputs(segments) for segments in (dataset.first, dataset.second)]
        shown = np.concatenate([inputs[mask] for inputs, mask in sides])
        spread = shown.std(0)
        mean, scale = shown.mean(0), np.where(spread > 1e-6, spread, 1.0)
        sizes = (shown.shape[1], *self.hidden, 1)
        key = jax.random.key(key) if isinstance(key, int) else key
        layers = jax.vmap(partial(initial_layers, sizes=sizes))(jax.random.split(key, self.members))
        counts = draw_counts(jax.random.fold_in(key, self.members), self.members, len(dataset))
        scaled = [(jnp.asarray((inputs - mean) / scale, jnp.float32), jnp.asarray(mask)) for inputs, mask in sides]
        labels = jnp.asarray(dataset.labels, jnp.float32)
        descent = Descent(self.learning_rate, self.steps, self.steps, self.weight_decay, cosine=True)
        fitted = fit_members(_margins, layers, *scaled, labels, counts, descent)
        return dataclasses.replace(self, network=Network(fitted, jnp.asarray(mean), jnp.asarray(scale)))

    def reward(self, observation: Any, action: Any) -> jax.Array:
        """Returns the mean reward of the members for one transition; pure JAX, for compiled environments."""
        network = self.learned()
        parts = [jnp.ravel(jnp.asarray(observation)), self._encoded(jnp.asarray(action))]
        inputs = (jnp.concatenate([part.astype(jnp.float32) for part in parts]) - network.mean) / network.scale
        return jax.vmap(_apply, (0, None))(network.layers, inputs).mean()

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

    def member_scores(self, segments: Segments) -> np.ndarray:
        """Returns each member's sums of rewards, shape (members, n)."""
        network = self.learned()
        inputs, mask = self._inputs(segments)
        scaled = jnp.asarray((inputs - np.asarray(network.mean)) / np.asarray(network.scale), jnp.float32)
        return np.asarray(_sums(network.layers, scaled, jnp.asarray(mask)), np.float64)

    def member_probabilities(self, first: Segments, second: Segments) -> np.ndarray:
        """Returns each member's probability that the first segment is preferred, shape (members, n)."""
        return np.asarray(expit(self.member_scores(first) - self.member_scores(second)))

    def scores(self, segments: Segments) -> np.ndarray:
        """Returns the sums of rewards, mean over members, shape (n,)."""
        return np.asarray(self.member_scores(segments).mean(0))

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


def _margins(layers: Any, first: tuple[jax.Array, jax.Array], second: tuple[jax.Array, jax.Array]) -> jax.Array:
    one, other = (jnp.where(mask, _apply(layers, inputs), 0.0).sum(1) for inputs, mask in (first, second))
    return one - other


def _apply(layers: Any, inputs: jax.Array) -> jax.Array:
    """Returns rewards, shape (...), of inputs (..., inputs)."""
    return perceptron(layers, inputs)[..., 0]


@jax.jit
def _sums(layers: Any, inputs: jax.Array, mask: jax.Array) -> jax.Array:
    return jax.vmap(lambda one: jnp.where(mask, _apply(one, inputs), 0.0).sum(1))(layers)
