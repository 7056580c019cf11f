"""A search for reward weights whose regrets explain choices, where descent from zero would stop short.

The loss is not convex in the weights, since values are a maximum over policies, and is steep and flat by turns: with
rewards of 50 and answers in log-odds, Adam from zero has far to go and often settles where it should not. Many weights
are therefore tried, and Gauss-Newton steps are taken from the best of them, one after the other. A step treats the
policy of each state as given, for by the envelope theorem the slope of V is that policy's successor features. Where
values and slopes come from, a set of successor features or an exact solver, is left to the models.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from prefront.preferences.models.fitting import Fit, choice_losses, padded_size, padded_to
from prefront.preferences.segment_scores import LinearForm, choice_features
from prefront.preferences.successor_sets import PUBLISHED_REWARDS
from prefront.system.checks import MANY, check_least, check_most, check_types
from prefront.system.compilation import jit

FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-2, 1e-10, 1e3
EASIER, HARDER = 0.3, 4.0
# A loss counts as lower when it gains more than this share.
GAIN = 1e-6
# So many pairs are enough to tell good candidates from bad ones.
SCREENED = 320
SCALES = (1.0, 0.3, 0.1, 0.03)
# Numbers of states for which programs are compiled.
STATE_SIZES = (64, 160)


@dataclasses.dataclass(frozen=True)
class Search:
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

    def __post_init__(self) -> None:
        check_types(self)
        check_least(self, 1, "candidates", "starts", "patience")
        check_least(self, 0, "steps")
        check_most(self, MANY, "candidates")
        check_most(self, self.candidates, "starts")


DEFAULT = Search()


def candidate_weights(number: int, features: np.ndarray) -> np.ndarray:
    """Returns the weights that are tried, shape (number, d), zero first, for features of transitions (..., d).

    They are meant for features whose largest is 1, as in delivery tasks; others are measured by their largest.
    """
    rng = np.random.default_rng(0)
    largest = np.abs(np.asarray(features, np.float64)).reshape(-1, np.shape(features)[-1]).max(0)
    drawn = rng.choice(PUBLISHED_REWARDS, (number, len(largest))) * rng.choice(SCALES, (number, 1))
    drawn[0] = 0.0
    return np.asarray(drawn / np.where(largest > 0, largest, 1.0))


class Problem(NamedTuple):
    """Answers that weights should explain, padded to one of few sizes.

    Attributes:
        form: Regret differences of n pairs, whose states count through the S states that they depend on.
        labels: Shape (n,).
        share: Weight of each pair in the mean loss, shape (n,), 0 for padding.
    """

    form: Any
    labels: Any
    share: Any


class Iterate(NamedTuple):
    """Weights, shape (d,), the slopes of state values there (S, d), differences of scores (n,), and the mean loss."""

    weights: Any
    slopes: Any
    difference: Any
    loss: Any


class Progress(NamedTuple):
    """The best weights so far, the damping of the next step, steps in a row that gained nothing, and all steps."""

    best: Iterate
    damping: Any
    idle: Any
    steps: Any


def pose(form: LinearForm, labels: np.ndarray) -> tuple[Problem, np.ndarray]:
    """Returns the problem, padded, and the numbers of the states that it depends on, in ascending order."""
    states, numbers = np.unique(form.states, return_inverse=True)
    own = form._replace(states=numbers.reshape(form.states.shape).astype(np.int32))
    count = padded_size(len(labels))
    rows = LinearForm(*(padded_to(part, count) for part in own))
    return Problem(rows, padded_to(labels, count), padded_to(np.full(len(labels), 1 / len(labels)), count)), states


def measure(problem: Problem, weights: jax.Array, values: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns differences of scores, shape (n,), and the mean loss, of weights (d,) and state values (S,); pure JAX."""
    form = problem.form
    difference = form.features @ weights + (form.coefficients * values[form.states]).sum(-1)
    return difference, problem.share @ choice_losses(difference, problem.labels)


def screening_loss(problem: Problem, weights: jax.Array, values: jax.Array) -> jax.Array:
    """Returns the loss on the first pairs, which tells good candidates from bad ones; pure JAX."""
    few = LinearForm(*(part[:SCREENED] for part in problem.form))
    return measure(Problem(few, problem.labels[:SCREENED], problem.share[:SCREENED]), weights, values)[1]


def begin(start: Iterate) -> Progress:
    """Returns the state of a search that begins at given weights."""
    return Progress(start, jnp.full_like(start.loss, FIRST_DAMPING), jnp.int32(0), jnp.int32(0))


def propose(problem: Problem, progress: Progress) -> jax.Array:
    """Returns where a damped Gauss-Newton (Levenberg-Marquardt) step leads, shape (d,); pure JAX."""
    here = progress.best
    jacobian = choice_features(problem.form, here.slopes)
    chance = jax.nn.sigmoid(here.difference)
    gradient = (problem.share * (chance - problem.labels)) @ jacobian
    curvature = (jacobian * (problem.share * chance * (1 - chance))[:, None]).T @ jacobian
    # Features differ in size by orders of magnitude, and one that no answer depends on stays where it is.
    size = jnp.sqrt(problem.share @ jacobian**2)
    size = jnp.where(size > 0, size, 1.0)
    system = curvature / (size * size[:, None]) + progress.damping * jnp.eye(len(size))
    return here.weights - jnp.linalg.solve(system, gradient / size) / size


def advance(progress: Progress, found: Iterate) -> Progress:
    """Takes a step if the loss falls, and makes the next one bolder; otherwise the next one is shorter; pure JAX."""
    here = progress.best
    better = found.loss < here.loss
    damping = jnp.clip(progress.damping * jnp.where(better, EASIER, HARDER), LEAST_DAMPING, MOST_DAMPING)
    idle = jnp.where(found.loss < here.loss * (1 - GAIN), 0, progress.idle + 1)
    kept = jax.tree.map(lambda new, old: jnp.where(better, new, old), found, here)
    return Progress(kept, damping, idle, progress.steps + 1)


def going(progress: Progress, search: Search) -> jax.Array:
    """Returns whether another step is to be tried; pure JAX."""
    return jnp.asarray((progress.idle < search.patience) & (progress.steps < search.steps))


def search_soft_regret(
    features: jax.Array,
    policies: jax.Array,
    problem: Problem,
    candidates: jax.Array,
    search: Search,
    temperature: float,
) -> Fit:
    """Searches for the weights of lowest loss where values are a softmax over a set of successor features; pure JAX.

    Args:
        features: Successor features by feature, shape (d, K, S).
        policies: Which of the K are policies rather than padding, shape (K,).
        problem: Answers, whose states count through S.
        candidates: Weights that are tried, shape (C, d).
        search: How widely to search.
        temperature: Of the softmax over policies.
    """
    barred = jnp.where(policies, 0.0, -jnp.inf)[:, None]
    d = features.shape[0]

    def measured(w: jax.Array) -> Iterate:
        values = sum(w[i] * features[i] for i in range(d))
        likely = jax.nn.softmax(values / temperature + barred, axis=0)
        slopes = jnp.stack([(likely * features[i]).sum(0) for i in range(d)], -1)
        return Iterate(w, slopes, *measure(problem, w, (likely * values).sum(0)))

    def screened(w: jax.Array) -> jax.Array:
        return screening_loss(problem, w, (sum(w[i] * features[i] for i in range(d)) + barred).max(0))

    def step(progress: Progress) -> Progress:
        return advance(progress, measured(propose(problem, progress)))

    def descend_from(w: jax.Array) -> Fit:
        found = jax.lax.while_loop(partial(going, search=search), step, begin(measured(w)))
        return Fit(found.best.weights, found.best.loss, found.steps)

    losses = jax.lax.map(screened, candidates)
    ends = jax.lax.map(descend_from, candidates[jnp.argsort(losses)[: search.starts]])
    best = jnp.argmin(ends.loss)
    return Fit(*(leaf[best] for leaf in ends))


compiled_search = jit(search_soft_regret, fusion_emitters=False, static_argnames=("search", "temperature"))
