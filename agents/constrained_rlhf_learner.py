"""One learner of constrained RLHF: sample sequences, estimate one advantage per reward model and KL, mix, update.

Everything here is for one run and free of side effects; `prefront.agents.constrained_rlhf` compiles it and maps it over
runs. Source: Moskovitz et al. (2024), arXiv 2310.04373, Section 4 and Algorithm 1, on proximal policy optimisation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from prefront.agents.constrained_rlhf_settings import MethodSettings, TrainingSettings
from prefront.envs.token_task import World, gold
from prefront.exact import kl_regularised
from prefront.learning.advantages import generalised_advantages
from prefront.learning.lagrangian import (
    Multipliers,
    annealed_coefficient,
    controlled_coefficient,
    effective,
    multiplier_step,
)
from prefront.learning.policy_gradient import clipped_surrogate, standardise, value_loss
from prefront.preferences.models.sequences import (
    RewardModels,
    RewardModelSettings,
    linear_rewards,
    model_rewards,
)
from prefront.sequences.policies import SequenceNetwork, SequencePolicy
from prefront.system.failures import first_failure

# What is watched for values that are not finite, in this order.
QUANTITIES = ("reward", "KL", "multiplier", "policy loss", "value loss", "parameter")


@dataclasses.dataclass(frozen=True)
class Program:
    """All that is fixed when a run is compiled.

    Attributes:
        training: How training proceeds.
        policy: The policy.
        critic: The critic: one head per reward and one for KL.
        reward_model: Form of the reward models.
        per_token: Whether linear rewards arrive token by token.
        reward_function: Maps a world and sequences (n, L + 1) to rewards (n, K), in place of the world's models.
        gold_function: Maps a world and sequences to gold values (n,), in place of the world's gold.
    """

    training: TrainingSettings
    policy: SequencePolicy
    critic: SequenceNetwork
    reward_model: RewardModelSettings
    per_token: bool = False
    reward_function: Callable[[World, jax.Array], jax.Array] | None = None
    gold_function: Callable[[World, jax.Array], jax.Array] | None = None

    @property
    def exact(self) -> bool:
        """Whether expected rewards are known without sampling."""
        linear = self.reward_model.kind == "linear" and self.reward_function is None
        return linear and self.policy.network.tabular


class RunInputs(NamedTuple):
    """What a run is given beside its world; each may be None.

    Attributes:
        statistics: Second argument of the reward transform.
        ensemble: Reward models with a leading axis of M members, learned from in place of the world's.
        optimum: Multipliers of the exact optimum to measure the distance to, shape (K,).
    """

    statistics: Any = None
    ensemble: RewardModels | None = None
    optimum: jax.Array | None = None


class LearnerState(NamedTuple):
    """All that a run goes on from.

    Attributes:
        policy: Policy parameters.
        critic: Critic parameters.
        optimizer: State of Adam, for both.
        multipliers: Lagrange multipliers.
        coefficient: KL coefficient.
        iteration: Iterations done.
        sequences: Sequences learned from.
        stopped: Whether early stopping froze the policy.
        failure: 0, or 1 + the index in `QUANTITIES` of what was not finite; the state is the last good one.
        key: Random key of the run.
    """

    policy: Any
    critic: Any
    optimizer: Any
    multipliers: Multipliers
    coefficient: jax.Array
    iteration: jax.Array
    sequences: jax.Array
    stopped: jax.Array
    failure: jax.Array
    key: jax.Array


class _Batch(NamedTuple):
    """What an update learns from; leading axis n."""

    sequences: jax.Array
    log_probabilities: jax.Array
    advantages: jax.Array
    returns: jax.Array
    rewards: jax.Array


def initial_state(program: Program, method: MethodSettings, key: jax.Array) -> LearnerState:
    """Returns a run's first state: the policy is the reference, values and multipliers are zero."""
    for_policy, for_critic, for_run = jax.random.split(key, 3)
    policy, critic = program.policy.init(for_policy), program.critic.init(for_critic)
    zeros = jnp.zeros(program.critic.outputs - 1)
    used = method.coefficient != "none"
    return LearnerState(
        policy,
        critic,
        optax.scale_by_adam().init((policy, critic)),
        Multipliers(zeros, zeros),
        method.kl_coefficient if used else jnp.zeros_like(method.kl_coefficient),
        jnp.int32(0),
        jnp.int32(0),
        jnp.bool_(False),
        jnp.int32(0),
        for_run,
    )


def world_rewards(program: Program, world: World, ensemble: RewardModels | None, sequences: jax.Array) -> jax.Array:
    """Returns the rewards of sequences (n, L + 1): (n, K), or (n, K, M) from an ensemble."""
    if ensemble is not None:
        members = jax.vmap(lambda models: model_rewards(program.reward_model, models, sequences))(ensemble)
        return jnp.moveaxis(members, 0, -1)
    if program.reward_function is not None:
        return program.reward_function(world, sequences)
    return model_rewards(program.reward_model, world.models, sequences)


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


def iterate(
    program: Program, method: MethodSettings, world: World, inputs: RunInputs, state: LearnerState
) -> tuple[LearnerState, dict[str, jax.Array]]:
    """Runs one iteration.

    Returns:
        The new state, and what was measured on the iteration's own sequences: `rewards` (K,) before any transform,
        `kl`, `multipliers` (H,), `coefficient`, `policy_loss` and `value_loss`.
    """
    training, reference = program.training, world.reference
    for_sequences, for_order = jax.random.split(jax.random.fold_in(state.key, state.iteration))
    sequences = program.policy.sample(state.policy, reference, for_sequences, training.sequences)
    rewards = world_rewards(program, world, inputs.ensemble, sequences)
    divergence = program.policy.divergence(state.policy, reference, sequences)
    proxies = rewards.mean(-1) if rewards.ndim == 3 else rewards
    progress = state.iteration / training.iterations
    if method.coefficient == "annealed":
        coefficient = annealed_coefficient(method.kl_coefficient, method.final_kl_coefficient, progress)
        state = state._replace(coefficient=coefficient)
    batch = _batch(program, method, world, inputs, state, sequences, rewards)
    share = jnp.maximum(1.0 - (1.0 - method.final_rate) * progress, 0.0)
    new, losses = _update(program, method, reference, state, batch, share, for_order)
    if method.coefficient == "adaptive":
        new = new._replace(coefficient=controlled_coefficient(new.coefficient, divergence, method.kl_target))

    stopped = state.stopped
    if method.stop == "divergence":
        stopped |= divergence > method.stop_divergence
    if method.stop == "reward":
        stopped |= proxies.mean(0) @ method.weights >= method.thresholds @ method.weights
    parameters = (new.policy, new.critic, new.optimizer)
    watched = ((rewards, batch.rewards), (divergence, new.coefficient), new.multipliers, *losses, parameters)
    failure = first_failure(state.failure, watched)
    kept = stopped | (failure > 0)

    def held(old: Any, one: Any) -> Any:
        return jax.tree.map(lambda before, after: jnp.where(kept, before, after), old, one)

    state = state._replace(
        policy=held(state.policy, new.policy),
        critic=held(state.critic, new.critic),
        optimizer=held(state.optimizer, new.optimizer),
        multipliers=held(state.multipliers, new.multipliers),
        coefficient=held(state.coefficient, new.coefficient),
        iteration=state.iteration + (failure == 0),
        sequences=state.sequences + jnp.where(kept, 0, training.sequences),
        stopped=stopped,
        failure=failure,
    )
    return state, {
        "rewards": proxies.mean(0),
        "kl": divergence,
        "multipliers": effective(state.multipliers.raw, method.form, method.equality),
        "coefficient": state.coefficient,
        "policy_loss": losses[0],
        "value_loss": losses[1],
    }


def evaluate(
    program: Program, world: World, inputs: RunInputs, state: LearnerState, thresholds: jax.Array | None
) -> dict[str, jax.Array]:
    """Measures the present policy; nothing of it is fed back.

    All evaluations of a run share their random numbers, so that the curve is smoother than its standard errors say.
    Rewards, KL and entropy of a tabular policy under linear models are exact.
    """
    training, policy, reference = program.training, program.policy, world.reference
    key = jax.random.fold_in(state.key, 2**32 - 1)
    sequences = policy.sample(state.policy, reference, key, training.evaluation_sequences)
    judge = program.gold_function or gold
    judged = judge(world, sequences)
    if program.exact:
        table = policy.table(state.policy, reference)
        rewards = kl_regularised.expected_rewards(reference.initial, linear_rewards(world.models), table)
    else:
        rewards = world_rewards(program, world, None, sequences).mean(0)
    measured = {
        "iteration": state.iteration,
        "sequences": state.sequences,
        "gold": judged.mean(),
        "gold_error": judged.std(ddof=1) / jnp.sqrt(1.0 * training.evaluation_sequences),
        "rewards": rewards,
        "kl": policy.divergence(state.policy, reference, sequences),
        "entropy": policy.entropy(state.policy, reference, sequences),
        "coefficient": state.coefficient,
        "stopped": state.stopped,
    }
    if training.test_sequences:
        key_apart = jax.random.fold_in(state.key, 2**32 - 2)
        tested = judge(world, policy.sample(state.policy, reference, key_apart, training.test_sequences))
        measured["test_gold"] = tested.mean()
        measured["test_gold_error"] = tested.std(ddof=1) / jnp.sqrt(1.0 * training.test_sequences)
    if thresholds is not None:
        measured["threshold_errors"] = (rewards - thresholds) / jnp.maximum(jnp.abs(thresholds), 1.0)
        measured["threshold_error"] = jnp.abs(measured["threshold_errors"]).mean()
    if inputs.optimum is not None:
        optimum = kl_regularised.tilted_policy(
            reference, linear_rewards(world.models), inputs.optimum, policy.network.length
        )
        if policy.network.tabular:
            distance = kl_regularised.divergence(reference.initial, policy.table(state.policy, reference), optimum)
        else:
            steps = jnp.arange(policy.network.length)
            at_optimum = optimum[steps, sequences[:, :-1]]
            own = policy.log_distributions(state.policy, reference, sequences)
            distance = jnp.mean(jnp.sum(jnp.exp(own) * (own - at_optimum), axis=(1, 2)))
        best = kl_regularised.sample(key, reference.initial, optimum, training.evaluation_sequences)
        measured |= {"optimum_divergence": distance, "gold_gap": judge(world, best).mean() - judged.mean()}
    return measured


def _batch(
    program: Program,
    method: MethodSettings,
    world: World,
    inputs: RunInputs,
    state: LearnerState,
    sequences: jax.Array,
    rewards: jax.Array,
) -> _Batch:
    log_p = program.policy.log_probabilities(state.policy, world.reference, sequences)
    log_reference = world.reference.log_transitions[sequences[:, :-1], sequences[:, 1:]]
    learned = learned_rewards(method, rewards, inputs.statistics)
    last = jnp.arange(program.policy.network.length) == program.policy.network.length - 1
    if program.per_token:
        per_token = kl_regularised.count_increments(linear_rewards(world.models), sequences)
    else:
        per_token = last[:, None] * learned[:, None]
    every = jnp.concatenate([per_token, (log_reference - log_p)[..., None]], axis=-1).swapaxes(0, 1)
    values = program.critic.apply(state.critic, sequences).swapaxes(0, 1)
    following = jnp.concatenate([values[1:], jnp.zeros_like(values[:1])])
    ends = jnp.broadcast_to(last[:, None], values.shape[:2])
    lambda_ = program.training.lambda_
    estimates = generalised_advantages(every, values, following, ends, jnp.zeros_like(ends), 1.0, lambda_)
    advantages, returns = (one.swapaxes(0, 1) for one in estimates)
    return _Batch(sequences, log_p, advantages, returns, learned)


def _update(
    program: Program,
    method: MethodSettings,
    reference: kl_regularised.MarkovReference,
    state: LearnerState,
    batch: _Batch,
    share: jax.Array,
    key: jax.Array,
) -> tuple[LearnerState, tuple[jax.Array, jax.Array]]:
    """Updates multipliers, policy and critic; returns the largest policy and value loss, so that NaN is seen."""
    training, adam = program.training, optax.scale_by_adam()
    if method.constrained and method.multiplier_updates == "iteration":
        state = state._replace(multipliers=_descend(method, state.multipliers, batch.rewards))

    def losses(parameters: tuple[Any, Any], part: _Batch, mixed: jax.Array) -> tuple[jax.Array, Any]:
        policy, critic = parameters
        log_p = program.policy.log_probabilities(policy, reference, part.sequences)
        surrogate = clipped_surrogate(log_p.ravel(), part.log_probabilities.ravel(), mixed, training.clip)
        error = value_loss(program.critic.apply(critic, part.sequences), part.returns)
        return surrogate + error, (surrogate, error)

    def step(state: LearnerState, chosen: jax.Array | None) -> tuple[LearnerState, Any]:
        part = batch if chosen is None else jax.tree.map(lambda one: one[chosen], batch)
        if method.constrained and method.multiplier_updates == "minibatch":
            state = state._replace(multipliers=_descend(method, state.multipliers, part.rewards))
        weights = effective(state.multipliers.raw, method.form, method.equality)
        flat = part.advantages.reshape(-1, part.advantages.shape[-1])
        mixed = mixed_advantages(method, flat, weights, state.coefficient)
        parameters = (state.policy, state.critic)
        gradient, measured = jax.grad(losses, has_aux=True)(parameters, part, mixed)
        direction, optimizer = adam.update(gradient, state.optimizer)
        rates = (share * method.learning_rate, share * method.critic_learning_rate)
        policy, critic = (
            jax.tree.map(lambda old, by, rate=rate: old - rate * by, *pair)
            for *pair, rate in zip(parameters, direction, rates, strict=True)
        )
        return state._replace(policy=policy, critic=critic, optimizer=optimizer), measured

    if training.minibatches == 1:
        state, measured = jax.lax.scan(lambda s, _: step(s, None), state, None, length=training.epochs)
    else:
        keys = jax.random.split(key, training.epochs)
        orders = jax.vmap(lambda one: jax.random.permutation(one, training.sequences))(keys)
        state, measured = jax.lax.scan(step, state, orders.reshape(training.epochs * training.minibatches, -1))
    return state, (jnp.max(measured[0]), jnp.max(measured[1]))


def _descend(method: MethodSettings, multipliers: Multipliers, rewards: jax.Array) -> Multipliers:
    # The mean return stands for the value: critics are wrong early in training (Section 4 of the paper).
    excess = rewards.mean(0) - method.thresholds
    excess = -excess if method.upper else excess
    rate, momentum = method.multiplier_rate, method.multiplier_momentum
    return multiplier_step(multipliers, excess, rate, momentum, method.form, method.equality)
