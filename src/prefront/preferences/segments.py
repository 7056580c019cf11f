"""Segments of behaviour, the things that people compare, in batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import jax
import numpy as np

from prefront.exact.mdp import random_policy
from prefront.exact.tables import TabularMDP
from prefront.preferences.items import Items, static
from prefront.system.checks import check_discount


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Segments(Items):
    """n segments of up to T transitions.

    Transitions from `lengths` on are padding and mean nothing. A segment that reaches a terminal state either ends
    there and is shorter than others, or goes on there without rewards until its full length, as `absorbing` says.

    Attributes:
        states: State numbers of a table, shape (n, T + 1), or observations, shape (n, T + 1, ...).
        actions: Shape (n, T) or (n, T, ...).
        rewards: Vector reward of every transition, shape (n, T, d).
        lengths: Number of transitions, at least 1, shape (n,).
        ended: Whether the last state is terminal, so that nothing comes after it, shape (n,).
        absorbing: Whether transitions inside terminal states are part of segments.
    """

    states: Any
    actions: Any
    rewards: Any
    lengths: Any
    ended: Any
    absorbing: bool = static(default=False)

    @property
    def kind(self) -> dict[str, Any]:
        """Whether they are absorbing, and the number of rewards."""
        return {"absorbing": self.absorbing, "rewards": np.shape(self.rewards)[2]}

    @property
    def mask(self) -> np.ndarray:
        """Which transitions are part of their segment, shape (n, T)."""
        return np.arange(self.actions.shape[1]) < np.asarray(self.lengths)[:, None]

    @property
    def start(self) -> np.ndarray:
        """First states, shape (n, ...)."""
        return np.asarray(self.states)[:, 0]

    @property
    def end(self) -> np.ndarray:
        """Last states, shape (n, ...)."""
        return np.asarray(self.states)[np.arange(len(self)), np.asarray(self.lengths)]

    def features(self, discount: float = 1.0) -> np.ndarray:
        """Returns the sums of rewards, discounted from each segment's beginning, shape (n, d), float64.

        Raises:
            ValueError: The discount lies outside (0, 1].
        """
        check_discount(discount)
        powers = np.where(self.mask, discount ** np.arange(self.actions.shape[1]), 0.0)
        # Padding may hold anything, not-a-number included.
        rewards = np.where(self.mask[..., None], np.asarray(self.rewards, np.float64), 0.0)
        return np.einsum("nt,ntd->nd", powers, rewards)

    def checked(self, name: str = "segments") -> Segments:
        """Returns the segments as NumPy arrays after checking shapes, lengths and rewards."""
        states, actions = np.asarray(self.states), np.asarray(self.actions)
        rewards = np.asarray(self.rewards, np.float64)
        lengths, ended = np.asarray(self.lengths), np.asarray(self.ended)
        if rewards.ndim != 3 or actions.ndim < 2 or actions.shape[:2] != rewards.shape[:2]:
            raise ValueError(f"{name}: actions {actions.shape} and rewards {rewards.shape} must begin with (n, T).")
        count, horizon = actions.shape[:2]
        if states.ndim < 2 or states.shape[:2] != (count, horizon + 1):
            raise ValueError(f"{name}: states must begin with {(count, horizon + 1)}, got {states.shape}.")
        for field, array in (("lengths", lengths), ("ended", ended)):
            if array.shape != (count,):
                raise ValueError(f"{name}: {field} must have shape ({count},), got {array.shape}.")
        if lengths.dtype.kind not in "iu":
            raise ValueError(f"{name}: lengths must be integers, got {lengths.dtype}.")
        for row in np.flatnonzero((lengths < 1) | (lengths > horizon)):
            raise ValueError(f"{name}: row {row} declares length {lengths[row]}, but must lie in 1 to {horizon}.")
        checked = Segments(states, actions, rewards, lengths.astype(np.int32), ended.astype(bool), self.absorbing)
        broken = ~np.isfinite(rewards).all(2) & checked.mask
        for row, step in np.argwhere(broken):
            raise ValueError(f"{name}: row {row}, step {step} has rewards {rewards[row, step]}, which must be finite.")
        return checked

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """Joins batches, padding them to the longest."""
        horizon = max((part.actions.shape[1] for part in parts), default=0)

        def lengthened(part: Self) -> Self:
            short = horizon - part.actions.shape[1]
            grown: dict[str, Any] = {
                name: np.pad(array, ((0, 0), (0, short), *((0, 0),) * (array.ndim - 2)))
                for name in ("states", "actions", "rewards")
                for array in [np.asarray(getattr(part, name))]
            }
            return dataclasses.replace(part, **grown)

        return super().concatenate([lengthened(part) for part in parts])


class Episode(NamedTuple):
    """What an episode of T steps left behind.

    Attributes:
        observations: Shape (T + 1, ...).
        actions: Shape (T, ...).
        rewards: Vector rewards, shape (T, d).
        terminated: Whether it ended in a terminal state, rather than by truncation.
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminated: bool


def check_episode(episode: Episode, name: str = "episode") -> Episode:
    """Returns an episode as NumPy arrays after checking them.

    Raises:
        ValueError: Shapes disagree, or a reward is not finite; the message names the array or the step.
    """
    observations, actions = np.asarray(episode.observations), np.asarray(episode.actions)
    rewards = np.asarray(episode.rewards, np.float64)
    if rewards.ndim != 2 or actions.ndim < 1 or len(actions) != len(rewards):
        raise ValueError(
            f"{name}: actions must begin with (T,) and rewards be (T, d), got {actions.shape} and {rewards.shape}."
        )
    if observations.ndim < 1 or len(observations) != len(actions) + 1:
        raise ValueError(f"{name}: observations must begin with ({len(actions) + 1},), got {observations.shape}.")
    if np.ndim(episode.terminated) != 0:
        raise ValueError(f"{name}: terminated must be one truth value, got shape {np.shape(episode.terminated)}.")
    for step in np.flatnonzero(~np.isfinite(rewards).all(1)):
        raise ValueError(f"{name}: step {step} has rewards {rewards[step]}, which must be finite.")
    return Episode(observations, actions, rewards, bool(episode.terminated))


def sample_segments(
    mdp: TabularMDP,
    number: int,
    length: int,
    rng: np.random.Generator,
    *,
    policy: np.ndarray | None = None,
    absorbing: bool = False,
) -> Segments:
    """Draws segments from a table: first states from its initial distribution, actions from a policy.

    Args:
        mdp: One MDP.
        number: How many segments, n.
        length: Transitions of each, T; segments that reach a terminal state are shorter unless `absorbing`.
        rng: Source of random numbers.
        policy: Probabilities of actions, shape (S, A); uniform by default.
        absorbing: Whether segments go on inside terminal states, with rewards 0 and actions that do nothing.

    Returns:
        Segments whose states are state numbers.

    Raises:
        ValueError: `number` or `length` is less than 1.
    """
    if number < 1 or length < 1:
        raise ValueError(f"number and length of segments must be at least 1, got {number} and {length}.")
    policy = random_policy(mdp) if policy is None else np.asarray(policy)
    terminal = np.asarray(mdp.terminal)
    state = _draw(np.broadcast_to(mdp.initial, (number, len(mdp.initial))), rng)
    states, actions, rewards = [state], [], []
    lengths = np.full(number, length)
    for step in range(length):
        going = ~terminal[state]
        action = _draw(policy[state], rng)
        outcome = _draw(np.asarray(mdp.probabilities)[state, action], rng)
        lengths = np.where(~going & (lengths == length), step, lengths)
        rewards.append(np.where(going[:, None], np.asarray(mdp.rewards)[state, action, outcome], 0.0))
        state = np.where(going, np.asarray(mdp.successors)[state, action, outcome], state)
        states.append(state)
        actions.append(action)
    return Segments(
        np.stack(states, 1).astype(np.int32),
        np.stack(actions, 1).astype(np.int32),
        np.stack(rewards, 1).astype(np.float64),
        np.full(number, length, np.int32) if absorbing else lengths.astype(np.int32),
        terminal[state],
        absorbing,
    )


def cut_segments(
    episodes: Sequence[Episode],
    number: int,
    length: int,
    rng: np.random.Generator,
    *,
    absorbing: bool = False,
) -> Segments:
    """Cuts segments out of episodes, every beginning equally likely.

    Args:
        episodes: What was experienced, from any environment.
        number: How many segments, n.
        length: Transitions of each, T. An episode that is shorter, or a beginning too near the end of a terminated one,
            gives a shorter segment, or with `absorbing` one that goes on in the terminal state.
        rng: Source of random numbers.
        absorbing: Whether segments go on inside terminal states.

    Returns:
        Segments whose states are observations.

    Raises:
        ValueError: An episode's arrays do not fit each other, there is no beginning to cut at, or a truncated episode
            is too short for `absorbing`.
    """
    episodes = [check_episode(episode, f"episode {which}") for which, episode in enumerate(episodes)]
    if len({episode.rewards.shape[1] for episode in episodes}) > 1:
        numbers = [episode.rewards.shape[1] for episode in episodes]
        raise ValueError(f"Episodes must agree on the number of rewards, got {numbers}.")
    begins = [
        (which, begin)
        for which, episode in enumerate(episodes)
        for begin in range(len(episode.actions) if episode.terminated else max(1, len(episode.actions) - length + 1))
        if len(episode.actions) > 0
    ]
    if not begins or number < 1 or length < 1:
        raise ValueError(f"Cannot cut {number} segments of length {length} from {len(episodes)} episodes.")
    rows = []
    for which, begin in (begins[i] for i in rng.integers(len(begins), size=number)):
        episode = episodes[which]
        rest = len(episode.actions) - begin
        if absorbing and rest < length and not episode.terminated:
            raise ValueError(f"Episode {which} was truncated after {rest} of {length} transitions.")
        step = np.minimum(begin + np.arange(length + 1), len(episode.actions))
        acted = np.minimum(step[:-1], len(episode.actions) - 1)
        inside = (begin + np.arange(length)) < len(episode.actions)
        gained = np.where(inside[:, None], episode.rewards[acted], 0.0)
        ended = episode.terminated and rest <= length
        rows.append(
            (
                episode.observations[step],
                episode.actions[acted],
                gained,
                length if absorbing else min(rest, length),
                ended,
            )
        )
    states, actions, rewards, lengths, ended = (np.stack(column) for column in zip(*rows, strict=True))
    return Segments(states, actions, rewards, lengths.astype(np.int32), ended, absorbing)


def _draw(probabilities: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draws one column per row, never one of probability zero."""
    sums = np.cumsum(probabilities, -1)
    drawn = (rng.random((len(sums), 1)) * sums[:, -1:] >= sums).sum(-1)
    return np.minimum(drawn, sums.shape[1] - 1)
