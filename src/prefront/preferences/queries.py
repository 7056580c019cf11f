"""Which pairs to ask about next: pure functions from the predictions of an ensemble to the pairs chosen.

A selector takes `(probabilities, number, rng)`: probabilities that the first segment is preferred, one row per member
of an ensemble or posterior sample, shape (M, n); how many of the n candidate pairs to choose; a random generator, by
which ties are broken. It returns the indices of the chosen pairs, best first. Any function of this form is a selector.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Selector = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]


def uniform(probabilities: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """Chooses pairs uniformly, without repetition."""
    return rng.permutation(_check(probabilities, number).shape[1])[:number]


def disagreement(probabilities: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """Chooses the pairs on which the members differ most: largest variance (Christiano et al., 2017, section 2.2.4)."""
    return _largest(_check(probabilities, number).var(0), number, rng)


def information_gain(probabilities: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """Chooses the pairs whose answers tell most about the members (Houlsby et al., 2011): H(mean p) - mean H(p)."""
    checked = _check(probabilities, number)
    return _largest(entropy(checked.mean(0)) - entropy(checked).mean(0), number, rng)


SELECTORS: dict[str, Selector] = {
    "uniform": uniform,
    "disagreement": disagreement,
    "information_gain": information_gain,
}


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Returns the entropy of yes-no questions, in bits."""
    p = np.asarray(probabilities, np.float64)
    inside = np.clip(p, 1e-300, 1 - 1e-16)
    return -(p * np.log2(inside) + (1 - p) * np.log2(np.where(p < 1, 1 - inside, 1.0)))


def _check(probabilities: np.ndarray, number: int) -> np.ndarray:
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 2:
        raise ValueError(f"probabilities must have shape (members, pairs), got {p.shape}.")
    for member, pair in np.argwhere(~((p >= 0) & (p <= 1))):
        raise ValueError(f"member {member}, pair {pair}: a probability must lie in [0, 1], got {p[member, pair]}.")
    if not 0 < number <= p.shape[1]:
        raise ValueError(f"number must lie in 1 to {p.shape[1]}, got {number}.")
    return p


def _largest(scores: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    shuffled = rng.permutation(len(scores))
    return shuffled[np.argsort(-scores[shuffled], kind="stable")[:number]]
