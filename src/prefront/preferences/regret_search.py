"""A search for reward weights whose regrets explain choices, where descent from zero would stop short.

The loss is not convex in the weights, since V~ is a maximum over policies, and is steep and flat by turns: with rewards
of 50 and answers in log-odds, Adam from zero has far to go and often settles where it should not. Many weights are
therefore tried, and Gauss-Newton steps are taken from the best of them, one after the other.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from prefront.preferences.linear_forms import LinearForm
from prefront.preferences.logistic import Fit, choice_losses
from prefront.preferences.successor_sets import PUBLISHED_REWARDS

FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-2, 1e-10, 1e3
EASIER, HARDER = 0.3, 4.0
# A loss counts as lower when it gains more than this share.
GAIN = 1e-6
# So many pairs are enough to tell good candidates from bad ones.
SCREENED = 320
SCALES = (1.0, 0.3, 0.1, 0.03)


class Search(NamedTuple):
    """How widely to search.

    Attributes:
        candidates: Weights that are tried, each component drawn as the published random rewards are, times one of four
            scales; they are the same in every fit.
        starts: From how many of them, the best ones, steps are taken.
        steps: Most damped Gauss-Newton (Levenberg-Marquardt) steps from each.
        patience: It stops after so many steps in a row that lower the loss by less than 1e-6 of itself.
    """

    candidates: int = 128
    starts: int = 4
    steps: int = 40
    patience: int = 8


def candidate_weights(number: int, d: int) -> np.ndarray:
    """Returns the weights that are tried, shape (number, d), zero first."""
    rng = np.random.default_rng(0)
    drawn = rng.choice(PUBLISHED_REWARDS, (number, d)) * rng.choice(SCALES, (number, 1))
    drawn[0] = 0.0
    return np.asarray(drawn)


def search_soft_regret(
    features: jax.Array,
    policies: jax.Array,
    form: LinearForm,
    labels: jax.Array,
    weights: jax.Array,
    candidates: jax.Array,
    search: Search,
    temperature: float,
) -> Fit:
    """Searches for the weights of lowest loss; pure JAX, arguments as in `fit_soft_regret`.

    A step treats the policy of each state as given, for by the envelope theorem the slope of V~ is that policy's
    successor features. It is taken only if the loss falls; otherwise it is shortened.

    Args:
        features: Successor features by feature, shape (d, K, S).
        policies: Which of the K are policies rather than padding, shape (K,).
        form: Regret differences of n pairs.
        labels: Shape (n,).
        weights: Weight of each pair, shape (n,).
        candidates: Weights that are tried, shape (C, d).
        search: How widely to search.
        temperature: Of the softmax over policies.
    """
    share = weights / weights.sum()
    barred = jnp.where(policies, 0.0, -jnp.inf)[:, None]
    d = features.shape[0]

    def linearised(w: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns differences of scores, the state values' slopes, and the loss."""
        values = sum(w[i] * features[i] for i in range(d))
        likely = jax.nn.softmax(values / temperature + barred, axis=0)
        state_values = (likely * values).sum(0)
        slopes = jnp.stack([(likely * features[i]).sum(0) for i in range(d)], -1)
        difference = form.features @ w + (form.coefficients * state_values[form.states]).sum(-1)
        return difference, slopes, share @ choice_losses(difference, labels)

    def going(carry: Any) -> jax.Array:
        return (carry[5] < search.patience) & (carry[6] < search.steps)

    def step(carry: Any) -> Any:
        w, difference, slopes, lowest, damping, idle, steps = carry
        jacobian = form.features + jnp.einsum("ne,ned->nd", form.coefficients, slopes[form.states])
        chance = jax.nn.sigmoid(difference)
        gradient = (share * (chance - labels)) @ jacobian
        curvature = (jacobian * (share * chance * (1 - chance))[:, None]).T @ jacobian
        # Features differ in size by orders of magnitude, and one that no answer depends on stays where it is.
        size = jnp.sqrt(share @ jacobian**2)
        size = jnp.where(size > 0, size, 1.0)
        system = curvature / (size * size[:, None]) + damping * jnp.eye(d)
        moved = w - jnp.linalg.solve(system, gradient / size) / size
        found = linearised(moved)
        better = found[2] < lowest
        kept = [jnp.where(better, new, old) for new, old in zip((moved, *found), carry[:4], strict=True)]
        damping = jnp.clip(damping * jnp.where(better, EASIER, HARDER), LEAST_DAMPING, MOST_DAMPING)
        return (*kept, damping, jnp.where(found[2] < lowest * (1 - GAIN), 0, idle + 1), steps + 1)

    few = LinearForm(*(part[:SCREENED] for part in form))

    def screened(w: jax.Array) -> jax.Array:
        values = (sum(w[i] * features[i] for i in range(d)) + barred).max(0)
        difference = few.features @ w + (few.coefficients * values[few.states]).sum(-1)
        return share[:SCREENED] @ choice_losses(difference, labels[:SCREENED])

    losses = jax.lax.map(screened, candidates)
    first = candidates[jnp.argsort(losses)[: search.starts]]

    def descend_from(w: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        carry = (w, *linearised(w), jnp.asarray(FIRST_DAMPING, w.dtype), jnp.int32(0), jnp.int32(0))
        found = jax.lax.while_loop(going, step, carry)
        return found[0], found[3], found[6]

    ends, lowest, steps = jax.lax.map(descend_from, first)
    best = jnp.argmin(lowest)
    return Fit(ends[best], lowest[best], steps[best])


compiled_search = partial(jax.jit, static_argnames=("search", "temperature"))(search_soft_regret)
