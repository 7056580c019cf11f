"""One iteration of constrained RLHF: how rewards, advantages and multipliers of a method enter the update of PPO.

Source: Moskovitz et al. (2024), arXiv 2310.04373, Section 4 and Algorithm 1. Everything here is for one run and free of
side effects; `prefront.agents.constrained_rlhf` compiles it and maps it over runs.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from prefront.agents.constrained_rlhf_settings import MethodSettings
from prefront.learning.lagrangian import (
    Multipliers,
    annealed_coefficient,
    controlled_coefficient,
    effective,
    multiplier_step,
)
from prefront.learning.policy_gradient import standardise
from prefront.sequences.ppo import Batch, Networks, SequencePPO
from prefront.system.failures import first_failure
from prefront.tasks.generation import GenerationTask

# What is watched for values that are not finite, in this order.
QUANTITIES = ("reward", "KL", "multiplier", "policy loss", "value loss", "parameter")


def member_rewards(task: Any, ensemble: Any, sequences: jax.Array) -> jax.Array:
    """Returns rewards of sequences (n, L + 1) before any transform: (n, K), or (n, K, M) from an ensemble."""
    if ensemble is None:
        return task.rewards(sequences)
    members = jax.vmap(lambda models: dataclasses.replace(task, models=models).rewards(sequences))(ensemble)
    return jnp.moveaxis(members, 0, -1)


def learned_rewards(method: MethodSettings, rewards: jax.Array, statistics: Any) -> jax.Array:
    """Returns the rewards that have a critic each, shape (n, H), H = K or 1."""
    if method.transform is not None:
        rewards = method.transform(rewards, statistics)
        rewards = rewards[:, None] if rewards.ndim == 1 else rewards
    if method.kind == "ppo_sat":
        rewards = -jnp.sum(method.weights * (rewards - method.thresholds) ** 2, axis=-1, keepdims=True)
    return rewards


def mixed_advantages(
    method: MethodSettings, advantages: jax.Array, multipliers: jax.Array, coefficient: jax.Array
) -> jax.Array:
    """Mixes the advantages of H rewards and KL (the last column) into one.

    Args:
        method: The method.
        advantages: Shape (n, H + 1).
        multipliers: Effective multipliers, shape (H,).
        coefficient: KL coefficient.

    Returns:
        Shape (n,).
    """
    heads = advantages.shape[1] - 1
    weights = jnp.ones(1) if heads == 1 and method.weights.shape[0] != 1 else method.weights
    if not method.constrained:
        weights = jnp.ones(1) if method.kind == "ppo_sat" else weights
        return standardise(advantages @ jnp.append(weights, coefficient))
    if method.form == "exact":
        mix = jnp.append(weights - multipliers, coefficient) if method.upper else jnp.append(multipliers, 1.0)
        return standardise(advantages @ mix)
    columns = jax.vmap(standardise, in_axes=1, out_axes=1)
    objective = advantages @ jnp.append(weights, coefficient) if method.upper else advantages[:, -1]
    towards = columns(advantages[:, :-1]) @ multipliers
    first = (heads - multipliers.sum()) * standardise(objective)
    return first - towards if method.upper else first + towards


class RunInputs(NamedTuple):
    """What a run is given beside its task; each may be None.

    Attributes:
        statistics: Second argument of the reward transform.
        ensemble: Reward models with a leading axis of M members, learned from in place of the task's own.
        optimum: Multipliers of the exact optimum to measure the distance to, shape (K,).
    """

    statistics: Any = None
    ensemble: Any = None
    optimum: jax.Array | None = None


class RunState(NamedTuple):
    """All that a run goes on from.

    Attributes:
        networks: Policy, critic and their optimiser.
        multipliers: Lagrange multipliers.
        coefficient: KL coefficient.
        iteration: Iterations done.
        sequences: Sequences learned from.
        stopped: Whether early stopping froze the policy.
        failure: 0, or 1 + the index in `QUANTITIES` of what was not finite; the state is the last good one.
        key: Random key of the run.
    """

    networks: Networks
    multipliers: Multipliers
    coefficient: jax.Array
    iteration: jax.Array
    sequences: jax.Array
    stopped: jax.Array
    failure: jax.Array
    key: jax.Array


def iterate(
    ppo: SequencePPO, method: MethodSettings, task: GenerationTask, inputs: RunInputs, state: RunState
) -> tuple[RunState, dict[str, jax.Array]]:
    """Samples, estimates advantages and updates once; returns what was measured on the iteration's own sequences."""
    training, reference = ppo.training, task.reference
    for_sequences, for_order = jax.random.split(jax.random.fold_in(state.key, state.iteration))
    sequences = ppo.policy.sample(state.networks.policy, reference, for_sequences, training.sequences)
    rewards = member_rewards(task, inputs.ensemble, sequences)
    divergence = ppo.policy.divergence(state.networks.policy, reference, sequences)
    proxies = rewards.mean(-1) if rewards.ndim == 3 else rewards
    progress = state.iteration / training.iterations
    if method.coefficient == "annealed":
        coefficient = annealed_coefficient(method.kl_coefficient, method.final_kl_coefficient, progress)
        state = state._replace(coefficient=coefficient)
    batch = ppo.batch(state.networks, task, sequences, learned_rewards(method, rewards, inputs.statistics))

    def mix(multipliers: Multipliers, part: Batch) -> tuple[Multipliers, jax.Array]:
        if method.constrained and method.multiplier_updates == "minibatch":
            multipliers = _descend(method, multipliers, part.rewards)
        weights = effective(multipliers.raw, method.form, method.equality)
        flat = part.advantages.reshape(-1, part.advantages.shape[-1])
        return multipliers, mixed_advantages(method, flat, weights, state.coefficient)

    multipliers, coefficient = state.multipliers, state.coefficient
    if method.constrained and method.multiplier_updates == "iteration":
        multipliers = _descend(method, multipliers, batch.rewards)
    share = jnp.maximum(1.0 - (1.0 - method.final_rate) * progress, 0.0)
    rates = (share * method.learning_rate, share * method.critic_learning_rate)
    networks, multipliers, losses = ppo.update(state.networks, reference, batch, mix, multipliers, rates, for_order)
    if method.coefficient == "adaptive":
        coefficient = controlled_coefficient(coefficient, divergence, method.kl_target)

    stopped = state.stopped
    if method.stop == "divergence":
        stopped |= divergence > method.stop_divergence
    if method.stop == "reward":
        stopped |= proxies.mean(0) @ method.weights >= method.thresholds @ method.weights
    watched = ((rewards, batch.rewards), (divergence, coefficient), multipliers, *losses, networks)
    failure = first_failure(state.failure, watched)
    kept = stopped | (failure > 0)
    before, after = (state.networks, state.multipliers, state.coefficient), (networks, multipliers, coefficient)
    networks, multipliers, coefficient = jax.tree.map(lambda old, new: jnp.where(kept, old, new), before, after)
    state = RunState(
        networks,
        multipliers,
        coefficient,
        state.iteration + (failure == 0),
        state.sequences + jnp.where(kept, 0, training.sequences),
        stopped,
        failure,
        state.key,
    )
    return state, {
        "rewards": proxies.mean(0),
        "kl": divergence,
        "multipliers": effective(multipliers.raw, method.form, method.equality),
        "coefficient": coefficient,
        "policy_loss": losses[0],
        "value_loss": losses[1],
    }


def _descend(method: MethodSettings, multipliers: Multipliers, rewards: jax.Array) -> Multipliers:
    # The mean return stands for the value: critics are wrong early in training (Section 4 of the paper).
    excess = rewards.mean(0) - method.thresholds
    excess = -excess if method.upper else excess
    rate, momentum = method.multiplier_rate, method.multiplier_momentum
    return multiplier_step(multipliers, excess, rate, momentum, method.form, method.equality)
