"""Reward shaping and reward-model ensembles: what becomes of rewards before a policy learns from them.

Every transform is a pure function of rewards and statistics, pluggable into `MethodSettings.transform`, with
`statistics` (and `ensemble`) handed to `prefront.agents.constrained_rlhf.train`. Rewards have the shape (n, K), those
of an ensemble of M members (n, K, M); the result is (n, K), so that constrained methods can be combined with each.

| transform | reward that is learned from | source |
|---|---|---|
| `preference_as_reward` | mean_m sigmoid(r - r_ref^m) | Fu et al. (2025), 2502.18770 |
| `min_max` | (r - min) / (max - min) of reference rewards | a baseline there |
| `mean_std` | (r - mean) / standard deviation of reference rewards | a baseline there |
| `clip` | r within mean -+ width standard deviations | a baseline there |
| `ceiling` | min(r, mean + width standard deviations) | a baseline there |
| `log_sigmoid_centred` | log sigmoid(r - quantile of reference rewards) | Wang et al. (2024), 2402.00742 |
| `ensemble_mean` | mean over members | Coste et al. (2024), 2310.02743 |
| `worst_case` | least over members | Coste et al., Section 3 |
| `variance_penalised` | mean - penalty times the variance over members | Coste et al., Section 3 |

Sigmoids need rewards in logits, the scale on which a Bradley-Terry model was fitted; standardised rewards are brought
back to it by `slope`. The sweep over KL coefficients that the comparisons include is PPO's own setting.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from prefront.envs.token_task import TokenTask, standardised
from prefront.exact.kl_regularised import reference_policy, sample
from prefront.preferences.models.sequences import RewardModels, check_models, fit
from prefront.system.checks import nearest_names

STATISTICS_SAMPLES = 4096


class ShapingStatistics(NamedTuple):
    """What transforms know of the reference policy; a pytree, so that each run of a batch has its own.

    Attributes:
        references: Rewards of m reference sequences, shape (m, K).
        slope: Logits per unit of reward, shape (K,).
        mean: Mean reference reward, shape (K,).
        deviation: Its standard deviation, shape (K,).
        least: Smallest reference reward, shape (K,).
        largest: Largest reference reward, shape (K,).
        quantile: The quantile that `log_sigmoid_centred` subtracts, shape (K,).
        width: Standard deviations from the mean at which `clip` and `ceiling` cut, scalar.
        penalty: Weight of the variance in `variance_penalised`, scalar.
    """

    references: jax.Array
    slope: jax.Array
    mean: jax.Array
    deviation: jax.Array
    least: jax.Array
    largest: jax.Array
    quantile: jax.Array
    width: jax.Array
    penalty: jax.Array


def summarise(
    rewards: jax.Array,
    *,
    slope: jax.Array | float = 1.0,
    references: int = 10,
    quantile: float = 0.85,
    width: float = 3.0,
    penalty: float = 0.1,
) -> ShapingStatistics:
    """Summarises rewards of reference sequences.

    Args:
        rewards: Shape (n, K).
        slope: Logits per unit of reward, (K,) or a number.
        references: How many of the rewards `preference_as_reward` compares with: the first m.
        quantile: Which quantile `log_sigmoid_centred` subtracts, in (0, 1).
        width: Standard deviations at which `clip` and `ceiling` cut, positive.
        penalty: Weight of the variance in `variance_penalised`, at least 0. Coste et al. use 0.1 for PPO and 0.5 for
            best-of-n.

    Returns:
        The statistics.

    Raises:
        ValueError: A number lies outside its range; the message names it.
    """
    rewards = jnp.asarray(rewards)
    if rewards.ndim != 2 or len(rewards) < 2:
        raise ValueError(f"Reference rewards have shape (n, K) with n >= 2, got {rewards.shape}.")
    if not 1 <= references <= len(rewards):
        raise ValueError(f"references must lie in 1 to n = {len(rewards)}, got {references}.")
    if not 0 < quantile < 1:
        raise ValueError(f"quantile must lie in (0, 1), got {quantile}.")
    if not width > 0:
        raise ValueError(f"width must be positive, got {width}.")
    if not penalty >= 0:
        raise ValueError(f"penalty must be at least 0, got {penalty}.")
    return ShapingStatistics(
        rewards[:references],
        jnp.broadcast_to(jnp.asarray(slope, rewards.dtype), rewards.shape[1:]),
        rewards.mean(0),
        rewards.std(0),
        rewards.min(0),
        rewards.max(0),
        jnp.quantile(rewards, quantile, axis=0),
        jnp.asarray(width, rewards.dtype),
        jnp.asarray(penalty, rewards.dtype),
    )


def reference_statistics(
    task: TokenTask, key: jax.Array, samples: int = STATISTICS_SAMPLES, **options: float
) -> ShapingStatistics:
    """Draws sequences from a world's reference policy and summarises their rewards.

    Where the world has prompts, the references belong to all of them alike.

    Args:
        task: The world.
        key: Random key.
        samples: Number of sequences.
        **options: `references`, `quantile`, `width` and `penalty` of `summarise`.

    Returns:
        The statistics; `slope` is the scale that standardisation took away.
    """
    policy = reference_policy(task.reference, task.length)
    rewards = task.rewards(sample(key, task.reference.initial, policy, samples))
    return summarise(rewards, slope=task.models.scale, **options)  # type: ignore[arg-type]


def preference_as_reward(rewards: jax.Array, statistics: ShapingStatistics) -> jax.Array:
    """PAR: the probability, under the reward model, that a sequence is preferred to a reference sequence."""
    margin = rewards[:, None] - statistics.references
    return jax.nn.sigmoid(statistics.slope * margin).mean(1)


def log_sigmoid_centred(rewards: jax.Array, statistics: ShapingStatistics) -> jax.Array:
    """LSC: log-probability of being preferred to a sequence at a quantile of the reference; at most 0."""
    return jax.nn.log_sigmoid(statistics.slope * (rewards - statistics.quantile))


def min_max(rewards: jax.Array, statistics: ShapingStatistics) -> jax.Array:
    """Maps the range of reference rewards to [0, 1]; rewards beyond it leave the interval."""
    return (rewards - statistics.least) / (statistics.largest - statistics.least)


def mean_std(rewards: jax.Array, statistics: ShapingStatistics) -> jax.Array:
    """Standardises by reference rewards."""
    return (rewards - statistics.mean) / statistics.deviation


def clip(rewards: jax.Array, statistics: ShapingStatistics) -> jax.Array:
    """Cuts rewards on both sides."""
    reach = statistics.width * statistics.deviation
    return jnp.clip(rewards, statistics.mean - reach, statistics.mean + reach)


def ceiling(rewards: jax.Array, statistics: ShapingStatistics) -> jax.Array:
    """Cuts rewards from above."""
    return jnp.minimum(rewards, statistics.mean + statistics.width * statistics.deviation)


def ensemble_mean(rewards: jax.Array, statistics: ShapingStatistics | None = None) -> jax.Array:
    """Mean over the members of an ensemble."""
    return rewards.mean(-1)


def worst_case(rewards: jax.Array, statistics: ShapingStatistics | None = None) -> jax.Array:
    """Worst-case optimisation: the least reward of any member."""
    return rewards.min(-1)


def variance_penalised(rewards: jax.Array, statistics: ShapingStatistics) -> jax.Array:
    """Uncertainty-weighted optimisation: mean minus penalty times the variance (not the deviation) over members."""
    return rewards.mean(-1) - statistics.penalty * rewards.var(-1)


TRANSFORMS: dict[str, Callable[..., jax.Array]] = {
    one.__name__: one for one in (preference_as_reward, log_sigmoid_centred, min_max, mean_std, clip, ceiling)
}
ENSEMBLES: dict[str, Callable[..., jax.Array]] = {
    one.__name__: one for one in (ensemble_mean, worst_case, variance_penalised)
}


def reward_transform(name: str) -> Callable[..., jax.Array]:
    """Returns a transform by name.

    Raises:
        ValueError: There is none; the message names the nearest ones.
    """
    known = TRANSFORMS | ENSEMBLES
    if name not in known:
        raise ValueError(f"No reward transform {name!r}. {nearest_names(name, list(known))}")
    return known[name]


def fit_ensemble(task: TokenTask, key: jax.Array, members: int = 5, bootstrap: bool = True) -> RewardModels:
    """Fits M reward models per component to the world's comparisons, each standardised under the reference policy.

    Args:
        task: The world; the form of its models and its comparisons are used, its gold is not.
        key: Random key of resampling and initialisation.
        members: M, at least 2.
        bootstrap: Whether each member sees pairs drawn with replacement. Without, members differ in their
            initialisation only, as in Coste et al.; the linear form has a single answer then and is refused.

    Returns:
        Models with leading axes M and K. `train` takes them as `ensemble` with one more leading axis, that of runs.

    Raises:
        ValueError: Fewer than 2 members, or linear models without a bootstrap.
    """
    if members < 2:
        raise ValueError(f"An ensemble has at least 2 members, got {members}.")
    if task.reward_model.kind == "linear" and not bootstrap:
        raise ValueError("Linear models of the same data are all equal; use bootstrap=True, or another form.")
    return check_models(_fit_ensemble(task, key, members, bootstrap))


@partial(jax.jit, static_argnames=("members", "bootstrap"))
def _fit_ensemble(task: TokenTask, key: jax.Array, members: int, bootstrap: bool) -> RewardModels:
    model, (components, pairs) = task.reward_model, task.comparisons.labels.shape
    for_fit, for_pairs, for_samples = jax.random.split(key, 3)
    if bootstrap:
        drawn = jax.random.randint(for_pairs, (members * components, pairs), 0, pairs)
        weights = jax.vmap(lambda rows: jnp.bincount(rows, length=pairs))(drawn).astype(jnp.float32)
    else:
        weights = jnp.ones((members * components, pairs))
    every = jax.tree.map(lambda leaf: jnp.concatenate([leaf] * members), task.comparisons)
    parameters = jax.lax.map(
        lambda one: fit(model, *one),
        (jax.random.split(for_fit, members * components), every, weights),
    )
    policy = reference_policy(task.reference, task.length)
    calibration = sample(for_samples, task.reference.initial, policy, STATISTICS_SAMPLES)
    models = standardised(model, parameters, task.reference, calibration)
    return jax.tree.map(lambda leaf: leaf.reshape(members, components, *leaf.shape[1:]), models)
