"""Exact returns of tabular policies in finite environments, by the transition table instead of by episodes."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from prefront.learning.networks import Parameters, PolicyNetwork
from prefront.tasks.environment import Environment
from prefront.tasks.finite import FiniteEnvironment


class TransitionTable(NamedTuple):
    """A finite environment written out for the evaluation of policies that see `encoded`.

    Attributes:
        encoded: Encoded observation of each state, leading axis (S,).
        sources: The states from which each state is reached, shape (S, M), with M the most ways into one state.
        actions: The actions that lead there, shape (S, M).
        probabilities: How likely they do, shape (S, M); zero for ways that do not exist, and out of terminal states.
        rewards: Expected vector rewards, shape (S, A, objectives).
        initial: Distribution over the states in which episodes start, shape (S,).
    """

    encoded: jax.Array
    sources: jax.Array
    actions: jax.Array
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
    enumeration = environment.enumeration()
    table = enumeration.table
    key = jax.random.key(0)
    encoded = jax.jit(jax.vmap(lambda state: policy.encoder(environment.observation(state, key))))(enumeration.states)
    probabilities = np.where(table.terminal[:, None, None], 0.0, table.probabilities)
    rewards = (probabilities[..., None] * table.rewards).sum(2)

    # Terminal states pay nothing: who reaches them need not be counted.
    ways = np.argwhere((probabilities > 0) & ~table.terminal[table.successors])
    targets = table.successors[tuple(ways.T)]
    order = np.argsort(targets, kind="stable")
    ways, targets = ways[order], targets[order]
    column = np.arange(len(targets)) - np.searchsorted(targets, targets)
    sources, actions = np.zeros((2, len(table.initial), column.max(initial=0) + 1), np.int32)
    likely = np.zeros(sources.shape)
    sources[targets, column], actions[targets, column] = ways[:, 0], ways[:, 1]
    likely[targets, column] = probabilities[tuple(ways.T)]
    floats = (jnp.asarray(one, jnp.float32) for one in (likely, rewards, table.initial))
    return TransitionTable(encoded, jnp.asarray(sources), jnp.asarray(actions), *floats)


def exact_returns(
    table: TransitionTable,
    policy: PolicyNetwork,
    parameters: Parameters,
    gamma: float,
    horizon: int,
    stochastic: bool = False,
) -> jax.Array:
    """Returns the expected discounted return of a policy, shape (objectives,): its visits to states times rewards.

    Args:
        table: The environment.
        policy: The policy network.
        parameters: Its parameters.
        gamma: Discount.
        horizon: Episodes end after this many steps.
        stochastic: Whether actions are drawn, or the distribution's mode is taken.
    """
    number = jnp.arange(table.rewards.shape[1])

    def probabilities(encoded: jax.Array) -> jax.Array:
        distribution = policy.distribution_of(parameters, encoded)
        if not stochastic:
            return (number == distribution.mode()).astype(jnp.float32)
        return jnp.exp(jax.vmap(distribution.log_probability)(number))

    chosen = jax.vmap(probabilities)(table.encoded)
    flow = gamma * table.probabilities * chosen[table.sources, table.actions]

    def step(_: int, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        present, visits = carry
        return jnp.sum(flow * present[table.sources], axis=1), visits + present

    _, visits = jax.lax.fori_loop(0, horizon, step, (table.initial, jnp.zeros_like(table.initial)))
    return jnp.einsum("s,sa,sao->o", visits, chosen, table.rewards)
