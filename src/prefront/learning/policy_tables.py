"""Exact returns of tabular policies in finite environments, by the transition table instead of by episodes."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from prefront.environment import Environment, FiniteEnvironment
from prefront.exact.momdp import tabulate
from prefront.learning.networks import Parameters, PolicyNetwork


class TransitionTable(NamedTuple):
    """A finite environment written out for the evaluation of policies that see `encoded`.

    Attributes:
        encoded: Encoded observation of each state, leading axis (S,).
        successors: Shape (S, A, K).
        probabilities: Shape (S, A, K); zero in terminal states.
        rewards: Expected vector rewards, shape (S, A, objectives).
        initial: Distribution over the states in which episodes start, shape (S,).
    """

    encoded: jax.Array
    successors: jax.Array
    probabilities: jax.Array
    rewards: jax.Array
    initial: jax.Array


def transition_table(environment: Environment, policy: PolicyNetwork) -> TransitionTable:
    """Writes out a finite environment whose observation is a function of its state.

    Raises:
        ValueError: The environment does not enumerate its outcomes.
    """
    if not isinstance(environment, FiniteEnvironment):
        raise ValueError(f"{type(environment).__name__} is no finite environment; evaluate by episodes.")
    table = tabulate(environment)
    key = jax.random.key(0)
    encoded = jax.jit(jax.vmap(lambda state: policy.encoder(environment.observation(state, key))))(table.states)
    probabilities = np.where(table.terminal[:, None, None], 0.0, table.probabilities)
    initial = np.zeros(len(table.terminal))
    np.add.at(initial, table.initial_states, table.initial_probabilities)
    rewards = (probabilities[..., None] * table.rewards).sum(2)
    return TransitionTable(
        encoded, *(jnp.asarray(one, jnp.int32 if one.dtype == np.int32 else jnp.float32)
                   for one in (table.successors, probabilities, rewards, initial))
    )  # fmt: skip


def exact_returns(
    table: TransitionTable,
    policy: PolicyNetwork,
    parameters: Parameters,
    gamma: float,
    horizon: int,
    stochastic: bool = False,
) -> jax.Array:
    """Returns the expected discounted return of a policy, shape (objectives,).

    Args:
        table: The environment.
        policy: The policy network.
        parameters: Its parameters.
        gamma: Discount.
        horizon: Episodes end after this many steps.
        stochastic: Whether actions are drawn, or the distribution's mode is taken.
    """
    distribution = partial(policy.distribution_of, parameters)
    if stochastic:
        actions = jnp.arange(table.rewards.shape[1])
        log = jax.vmap(lambda encoded: jax.vmap(distribution(encoded).log_probability)(actions))(table.encoded)
        chosen = jnp.exp(log)
        rewards = jnp.einsum("sa,sao->so", chosen, table.rewards)
        probabilities = (chosen[..., None] * table.probabilities).reshape(len(chosen), -1)
        successors = table.successors.reshape(len(chosen), -1)
    else:
        actions = jax.vmap(lambda encoded: distribution(encoded).mode())(table.encoded)
        states = jnp.arange(actions.shape[0])
        rewards = table.rewards[states, actions]
        successors, probabilities = table.successors[states, actions], table.probabilities[states, actions]

    def backup(_: int, values: jax.Array) -> jax.Array:
        return rewards + gamma * jnp.sum(probabilities[..., None] * values[successors], axis=1)

    return table.initial @ jax.lax.fori_loop(0, horizon, backup, jnp.zeros_like(rewards))
