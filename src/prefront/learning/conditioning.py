"""Conditions shown in the observation: one network answers every preference, and nothing else has to know.

`show` draws weights at the start of every episode, keeps them through it, adds them to the observation and pays each
objective's reward times its weight. A learner that maximises the plain sum of what it is paid then maximises the
weighted sum that the shown weights ask for, whatever they are: networks, rollouts and PPO stay as they are. `fold`
turns the trained network into an ordinary one for given weights: the weights enter the first layer linearly, so that
fixing them changes its bias only.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from prefront.learning.networks import Parameters, PolicyNetwork, normalised
from prefront.system.checks import check_least, check_positive, check_types
from prefront.tasks.environment import Environment

WEIGHTS = "weights"
OBSERVATION = "observation"
# Beyond every number that an environment gives to its own keys.
STREAM = 2**31 - 1

Sampler = Callable[[jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class DirichletWeights:
    """Draws weights from the simplex by a symmetric Dirichlet distribution.

    Attributes:
        objectives: Number of weights.
        concentration: 1 draws uniformly; less draws more often near corners and edges.
    """

    objectives: int
    concentration: float = 1.0

    def __post_init__(self) -> None:
        check_types(self)
        check_least(self, 1, "objectives")
        check_positive(self, "concentration")

    def __call__(self, key: jax.Array) -> jax.Array:
        """Draws one weight vector, shape (objectives,)."""
        if self.concentration == 1.0:  # The general sampler takes seconds to compile.
            drawn = jax.random.exponential(key, (self.objectives,))
            return drawn / drawn.sum()
        return jax.random.dirichlet(key, jnp.full(self.objectives, self.concentration))


class Shown(NamedTuple):
    """State of an environment that shows weights: its own state, and the weights of the episode."""

    state: Any
    weights: jax.Array


class ShownWeights(Environment):
    """An environment that shows weights and pays each objective's reward times its weight; see `show`.

    Attributes:
        base: The environment.
        sampler: Draws the weights of an episode from a random key.
    """

    def __init__(self, base: Environment, sampler: Sampler) -> None:
        self.base, self.sampler = base, sampler
        self.objective_names, self.reference_point = base.objective_names, base.reference_point
        self.discount, self.max_episode_steps = base.discount, base.max_episode_steps
        super().__init__()
        self.default_params = base.default_params
        self.action_space = base.action_space
        weights = gym.spaces.Box(0.0, 1.0, (self.reward_dim,), np.float32)
        seen = base.observation_space
        parts = seen.spaces if isinstance(seen, gym.spaces.Dict) else {OBSERVATION: seen}
        # Ordered, so that the weights come last in what networks read.
        self.observation_space = gym.spaces.Dict(OrderedDict([*parts.items(), (WEIGHTS, weights)]))
        low, high = np.minimum(base.reward_space.low, 0), np.maximum(base.reward_space.high, 0)
        self.reward_space = gym.spaces.Box(low, high, dtype=np.float32)

    def get_default_params(self, **kwargs: Any) -> Any:
        """Returns the environment's own parameters."""
        return self.base.default_params

    def initial(self, rng: jax.Array, params: Any = None) -> Shown:
        """Draws the state in which an episode starts, as the environment alone would, and its weights."""
        weights = self.sampler(jax.random.fold_in(rng, STREAM))
        return Shown(self.base.initial(rng, self.resolve(params)), weights)

    def transition(self, state: Shown, action: jax.Array, rng: jax.Array, params: Any = None) -> Shown:
        """Draws the state that follows an action; the weights stay."""
        return Shown(self.base.transition(state.state, action, rng, self.resolve(params)), state.weights)

    def observation(self, state: Shown, rng: jax.Array, params: Any = None) -> dict[str, Any]:
        """Returns what the agent sees, and the weights."""
        seen = self.base.observation(state.state, rng, self.resolve(params))
        return {**(seen if isinstance(seen, dict) else {OBSERVATION: seen}), WEIGHTS: state.weights}

    def reward(
        self, state: Shown, action: jax.Array, next_state: Shown, rng: jax.Array, params: Any = None
    ) -> jax.Array:
        """Returns each objective's reward times its weight, shape (objectives,)."""
        own = self.base.reward(state.state, action, next_state.state, rng, self.resolve(params))
        return own * state.weights

    def terminal(self, state: Shown, rng: jax.Array, params: Any = None) -> jax.Array:
        """Returns whether the episode ends."""
        return self.base.terminal(state.state, rng, self.resolve(params))


def show(environment: Environment, sampler: Sampler | None = None) -> ShownWeights:
    """Returns an environment that shows, in every episode, the weights by which its objectives are paid.

    Args:
        environment: The environment.
        sampler: Draws weights on the simplex, shape (objectives,), from a random key; uniformly by default.
    """
    return ShownWeights(environment, sampler or DirichletWeights(environment.reward_dim))


def folded_network(network: PolicyNetwork, objectives: int) -> PolicyNetwork:
    """Returns the network of the ordinary policies that `fold` makes of a conditioned one.

    Raises:
        ValueError: The network reads no shown weights, or another number of them, or is a table.
    """
    encoder = network.encoder
    if encoder.names[-1:] != (WEIGHTS,) or encoder.kind not in ("mlp", "one-hot"):
        raise ValueError(
            f"Only a perceptron (mlp, one-hot) whose observation ends with {WEIGHTS!r} can be folded, got a network of "
            f"kind {encoder.kind!r} on {encoder.names or 'an observation without names'}."
        )
    names, kept = encoder.names[:-1], encoder.components - objectives
    beyond = set(zip(encoder.low[-objectives:], encoder.high[-objectives:], strict=True)) - {(0.0, 1.0)}
    if kept < 1 or beyond or (encoder.kind == "one-hot" and encoder.plain < objectives):
        raise ValueError(f"The last {objectives} numbers that the network reads are no weights: {encoder.described}.")
    own = dataclasses.replace(
        encoder,
        names=() if names == (OBSERVATION,) else names,
        low=encoder.low[:kept],
        high=encoder.high[:kept],
        components=kept,
        plain=max(0, encoder.plain - objectives),
    )
    return dataclasses.replace(network, body=dataclasses.replace(network.body, encoder=own))


def fold(network: PolicyNetwork, parameters: Parameters, weights: Any) -> Parameters:
    """Returns the parameters of the ordinary policy that a conditioned one is for given weights.

    Args:
        network: The conditioned network, a perceptron on observations that `show` makes.
        parameters: Its parameters.
        weights: Shape (objectives,); may be traced, so that `jax.vmap` folds at many weights.

    Returns:
        Parameters of `folded_network(network, objectives)`.
    """
    weights = jnp.asarray(weights, jnp.float32)
    number, encoder = weights.shape[0], network.encoder
    shown = jnp.zeros(encoder.components).at[-number:].set(weights)
    given = normalised(parameters, encoder.encode(shown))[-number:]
    first = parameters["weights"]["layer_0"]
    layer = {"kernel": first["kernel"][:-number], "bias": first["bias"] + given @ first["kernel"][-number:]}
    folded = {**parameters, "weights": {**parameters["weights"], "layer_0": layer}}
    if "statistics" in parameters:
        folded["statistics"] = {name: leaf[:-number] for name, leaf in parameters["statistics"].items()}
    return folded
