"""The table of a finite Markov decision process with a vector reward: the one form that every exact solver reads."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class TabularMDP(NamedTuple):
    """A finite Markov decision process with S states, A actions, K outcomes per transition and d rewards, or M such.

    The vector reward of a transition holds d objectives, or d features over which weights make a scalar reward; the
    table holds no weights. Terminal states have value zero whatever their rows say. Several tables are stacked into a
    batch with padding states that are terminal and have no initial probability; solvers of fronts take single tables.

    Attributes:
        successors: State after outcome k, integers, shape (..., S, A, K).
        probabilities: Probability of outcome k, shape (..., S, A, K).
        rewards: Vector reward of outcome k, shape (..., S, A, K, d).
        terminal: Whether the episode ends in a state, shape (..., S).
        initial: Distribution of the first state, shape (..., S).
    """

    successors: Any
    probabilities: Any
    rewards: Any
    terminal: Any
    initial: Any

    @property
    def num_objectives(self) -> int:
        """Length of a reward."""
        return int(np.shape(self.rewards)[-1])

    @property
    def initial_states(self) -> np.ndarray:
        """States of a single table in which an episode can start, shape (I,)."""
        return np.flatnonzero(self.initial)

    @property
    def initial_probabilities(self) -> np.ndarray:
        """Their probabilities, shape (I,)."""
        return np.asarray(self.initial, np.float64)[self.initial_states]


def check_mdp(mdp: TabularMDP) -> TabularMDP:
    """Returns the table as NumPy arrays, float64 and integers, after checking it.

    Raises:
        ValueError: Shapes disagree, a successor does not exist, or probabilities do not sum to one; the message names
            the first wrong entry.
    """
    successors = np.asarray(mdp.successors, np.int64)
    probabilities, rewards = np.asarray(mdp.probabilities, np.float64), np.asarray(mdp.rewards, np.float64)
    terminal, initial = np.asarray(mdp.terminal, bool), np.asarray(mdp.initial, np.float64)
    if successors.ndim not in (3, 4) or 0 in successors.shape:
        raise ValueError(f"successors must have shape (S, A, K) or (M, S, A, K), got {successors.shape}.")
    if probabilities.shape != successors.shape:
        raise ValueError(f"probabilities must have the shape of successors, {successors.shape}: {probabilities.shape}.")
    if rewards.shape[:-1] != successors.shape:
        raise ValueError(f"rewards must have shape {(*successors.shape, 'd')}, got {rewards.shape}.")
    for name, array in (("terminal", terminal), ("initial", initial)):
        if array.shape != successors.shape[:-2]:
            raise ValueError(f"{name} must have shape {successors.shape[:-2]}, got {array.shape}.")
    states = terminal.shape[-1]
    _refuse((successors < 0) | (successors >= states), successors, f"successors must lie in [0, {states})")
    _refuse(~np.isfinite(rewards), rewards, "rewards must be finite")
    _refuse(~(probabilities >= 0), probabilities, "probabilities must not be negative")
    for name, sums in (("probabilities", probabilities.sum(-1)), ("initial", initial.sum(-1))):
        _refuse(~(np.abs(sums - 1) < 1e-6), sums, f"{name} must sum to 1")
    _refuse(~(initial >= 0), initial, "initial must not be negative")
    return TabularMDP(successors, probabilities, rewards, terminal, initial)


def stack(mdps: list[TabularMDP]) -> TabularMDP:
    """Stacks single MDPs of different sizes into one batch, padding states; actions and rewards must agree."""
    checked = [check_mdp(mdp) for mdp in mdps]
    states, outcomes = (max(mdp.successors.shape[axis] for mdp in checked) for axis in (0, 2))

    def padded(mdp: TabularMDP) -> TabularMDP:
        own, _, own_outcomes = mdp.successors.shape
        fill = ((0, states - own), (0, 0), (0, outcomes - own_outcomes))
        successors = np.pad(mdp.successors, fill)
        successors[own:] = np.arange(own, states)[:, None, None]
        probabilities = np.pad(mdp.probabilities, fill)
        probabilities[own:, :, 0] = 1.0
        return TabularMDP(
            successors,
            probabilities,
            np.pad(mdp.rewards, (*fill, (0, 0))),
            np.pad(mdp.terminal, (0, states - own), constant_values=True),
            np.pad(mdp.initial, (0, states - own)),
        )

    return TabularMDP(*(np.stack(leaves) for leaves in zip(*map(padded, checked), strict=True)))


def unstack(mdp: TabularMDP) -> list[TabularMDP]:
    """Returns the MDPs of a batch, one by one."""
    return [TabularMDP(*leaves) for leaves in zip(*(np.asarray(leaf) for leaf in mdp), strict=True)]


def _refuse(wrong: np.ndarray, values: np.ndarray, rule: str) -> None:
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(f"{rule}, got {values[place]} at {place}.")
