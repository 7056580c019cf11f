"""Tables from elsewhere: any tabular Gymnasium environment as a `TabularMDP`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from prefront.exact.tables import TabularMDP
from prefront.system.checks import nearest_names

FEATURE_KINDS = ("reward_level", "next_state", "state_action")


class GymnasiumTable(NamedTuple):
    """A table and, apart from it, the weights of the true reward, shape (d,), for teachers and evaluation."""

    mdp: TabularMDP
    weights: np.ndarray


def from_gymnasium(
    env: Any, features: str | Callable[[int, int, int], Any] = "reward_level", weights: Any = None
) -> GymnasiumTable:
    """Turns a Gymnasium environment with a transition table `P` into an MDP whose reward is linear in features.

    FrozenLake, Taxi and CliffWalking have such a table: `P[state][action]` lists (probability, next state, reward,
    done). Its states keep their numbers; one terminal state is added behind them, which every `done` leads to.

    Args:
        env: The environment, or a wrapper of it.
        features: "reward_level": one-hot over the distinct rewards, so that their values are the weights. "next_state"
            or "state_action": one-hot over those. Or a function of state, action and next state that gives a vector.
        weights: Those of the true reward, needed for a function as `features`; they must reproduce the rewards.

    Returns:
        The table of S + 1 states, and the true weights.

    Raises:
        TypeError: The environment has no table.
        ValueError: Features are unknown, or the rewards of the environment are not linear in them.
    """
    base = getattr(env, "unwrapped", env)
    if not hasattr(base, "P"):
        raise TypeError(f"{type(base).__name__} has no transition table P: only tabular environments can be converted.")
    if isinstance(features, str) and features not in FEATURE_KINDS:
        raise ValueError(f"No features {features!r}. {nearest_names(features, list(FEATURE_KINDS))}")
    table = base.P
    states, actions = len(table), len(table[0])
    outcomes = max(len(table[s][a]) for s in range(states) for a in range(actions))
    shape = (states + 1, actions, outcomes)
    successors = np.broadcast_to(np.arange(states + 1)[:, None, None], shape).copy()
    probabilities, rewards = np.zeros(shape), np.zeros(shape)
    # Where each outcome leads before `done` sends it to the terminal state, for features.
    reached = successors.copy()
    probabilities[states, :, 0] = 1.0
    for s in range(states):
        for a in range(actions):
            for k, (probability, after, reward, done) in enumerate(table[s][a]):
                probabilities[s, a, k], rewards[s, a, k], reached[s, a, k] = probability, reward, after
                successors[s, a, k] = states if done else after
    # States that only lead to themselves, done and without reward, are the ends that others lead to.
    alone = (reached == np.arange(states + 1)[:, None, None]) & (rewards == 0)
    over = successors == states
    terminal = (over & alone | (probabilities == 0)).all((1, 2))
    terminal[states] = True
    happens = (probabilities > 0) & ~terminal[:, None, None]
    vectors, true = _features(features, weights, reached, rewards, happens)
    initial = np.append(np.asarray(getattr(base, "initial_state_distrib", np.ones(states) / states), np.float64), 0.0)
    mdp = TabularMDP(successors, probabilities, vectors, terminal, initial)
    wrong = happens & (np.abs(vectors @ true - rewards) > 1e-9 * np.abs(rewards).max())
    for s, a, k in np.argwhere(wrong):
        raise ValueError(
            f"The reward {rewards[s, a, k]:g} of state {s}, action {a}, outcome {k} is not linear in the features: the "
            f"weights give {vectors[s, a, k] @ true:g}."
        )
    return GymnasiumTable(mdp, true)


def _features(
    kind: str | Callable[[int, int, int], Any],
    weights: Any,
    reached: np.ndarray,
    rewards: np.ndarray,
    happens: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the features of every outcome, shape (S + 1, A, K, d), and true weights, shape (d,)."""
    places = np.argwhere(happens)
    if callable(kind):
        if weights is None:
            raise ValueError("Features by a function need the weights of the true reward: pass weights.")
        rows = np.array([kind(s, a, int(reached[s, a, k])) for s, a, k in places.tolist()], np.float64)
        vectors = np.zeros((*happens.shape, rows.shape[-1]))
        vectors[happens] = rows
        return vectors, np.asarray(weights, np.float64)
    if kind == "reward_level":
        levels, which = np.unique(rewards[happens], return_inverse=True)
    else:
        which = reached[happens] if kind == "next_state" else places[:, 0] * happens.shape[1] + places[:, 1]
        size = happens.shape[0] - 1
        levels = np.zeros(size if kind == "next_state" else size * happens.shape[1])
        levels[which] = rewards[happens]
    vectors = np.zeros((*happens.shape, len(levels)))
    vectors[(*places.T, which)] = 1.0
    return vectors, levels if weights is None else np.asarray(weights, np.float64)
