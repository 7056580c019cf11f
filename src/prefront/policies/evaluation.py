"""Discounted return vectors of policies, measured by whole episodes in any environment."""

from __future__ import annotations

import json
from functools import lru_cache, partial

import gymnasium as gym
import jax
import numpy as np

from prefront.learning import rollouts
from prefront.learning.networks import Parameters, PolicyNetwork
from prefront.policies.policy import Policy
from prefront.system.checks import check_discount
from prefront.system.runtime import check_process
from prefront.tasks.environment import AnyEnvironment, Environment
from prefront.tasks.host import HostEnvironments, mean_returns
from prefront.tasks.registry import make_environment, make_stored_environment
from prefront.tasks.task import Conditions


def evaluate(
    environment: AnyEnvironment,
    network: PolicyNetwork,
    parameters: Parameters,
    *,
    episodes: int,
    seed: int,
    gamma: float,
    deterministic: bool = True,
) -> np.ndarray:
    """Measures the mean discounted return vector of each of several policies.

    All policies meet the same starting states and the same random numbers.

    Args:
        environment: One of ours, which is stepped in one compiled program, or a Gymnasium environment with a vector
            reward, which is stepped on the host (and left open).
        network: The policies' network.
        parameters: Their parameters, stacked along a leading axis.
        episodes: Episodes per policy.
        seed: Seed of the episodes.
        gamma: Discount in (0, 1].
        deterministic: Whether actions are the distributions' modes, or drawn from them.

    Returns:
        Mean returns, shape (policies, objectives), float64.

    Raises:
        ValueError: Fewer than one episode, a discount outside (0, 1], or a network for other spaces than the
            environment's; the message names both.
        TypeError: The environment is of another kind, or its reward does not have the shape of its `reward_space`.
        RuntimeError: This process was forked from one that used jax.
    """
    gamma = check_discount(gamma)
    if episodes < 1:
        raise ValueError(f"episodes must be at least 1, got {episodes}.")
    if not isinstance(environment, Environment | gym.Env):
        raise TypeError(f"The environment must be a prefront Environment or a gym.Env, got {type(environment)}.")
    check_process()
    # On the host a policy refuses by itself the observations that it has no row for.
    compiled = isinstance(environment, Environment)
    network.check_spaces(environment.observation_space, environment.action_space, bounds=compiled)
    policies = len(jax.tree.leaves(parameters)[0])
    if isinstance(environment, Environment):
        # Some policies are measured twice, so that one program serves all numbers up to the next power of two.
        padded = np.arange(1 << (policies - 1).bit_length()) % policies
        stacked = jax.tree.map(lambda leaf: np.asarray(leaf)[padded], parameters)
        key = jax.random.key(seed)
        means = _evaluate_compiled(environment, network, episodes, deterministic, stacked, key, gamma)
        return np.asarray(means, np.float64)[:policies]
    environments, rows = HostEnvironments(environment), []
    for i in range(policies):
        policy = Policy(network, jax.tree.map(lambda leaf, i=i: leaf[i], parameters))
        act = partial(policy, rng=None if deterministic else np.random.default_rng(seed))
        rows.append(mean_returns(environments, act, seed, episodes, gamma)[0][0])
    return np.array(rows, np.float64)


def evaluate_under(
    conditions: Conditions,
    network: PolicyNetwork,
    parameters: Parameters,
    environment: AnyEnvironment | str | None = None,
    *,
    episodes: int,
    seed: int,
    deterministic: bool | None = None,
    gamma: float | None = None,
) -> np.ndarray:
    """Measures policies as `evaluate` does; what is not given is as in the conditions.

    The environment of the conditions is made as `prefront.tasks.registry.make_stored_environment` says.
    """
    stored = isinstance(environment, str) and environment == conditions.environment and conditions.kwargs
    if environment is None or stored:
        environment = _make_stored_once(conditions.environment, json.dumps(conditions.kwargs))
    elif isinstance(environment, str):
        environment = _make_once(environment)
    return evaluate(
        environment,
        network,
        parameters,
        episodes=episodes,
        seed=seed,
        gamma=conditions.discount if gamma is None else gamma,
        deterministic=conditions.deterministic if deterministic is None else deterministic,
    )


# The environment that was made before has its programs compiled already.
_make_once = lru_cache(maxsize=8)(make_environment)


@lru_cache(maxsize=8)
def _make_stored_once(id: str, kwargs: str) -> AnyEnvironment:
    return make_stored_environment(id, json.loads(kwargs))


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _evaluate_compiled(
    environment: Environment,
    network: PolicyNetwork,
    episodes: int,
    deterministic: bool,
    parameters: Parameters,
    key: jax.Array,
    gamma: float,
) -> jax.Array:
    def one(own: Parameters) -> jax.Array:
        return rollouts.evaluate(environment, network, own, key, episodes, gamma, not deterministic).returns

    return jax.vmap(one)(parameters)
