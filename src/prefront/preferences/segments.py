"""Segments of behaviour, the things that people compare, in batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from prefront.exact.mdp import random_policy
from prefront.exact.tables import TabularMDP
from prefront.system.checks import check_discount


@dataclasses.dataclass(frozen=True, eq=False)
class Segments:
    """n segments of up to T transitions; a pytree, so that models can pass it through `jax.jit`.

    Transitions from `lengths` on are padding and mean nothing. A segment that reaches a terminal state either ends
    there and is shorter than others, or goes on there without features until its full length, as `absorbing` says.

    Attributes:
        states: State numbers of a table, shape (n, T + 1), or observations, shape (n, T + 1, ...).
        actions: Shape (n, T) or (n, T, ...).
        features: Vector reward of every transition, shape (n, T, d).
        lengths: Number of transitions, at least 1, shape (n,).
        ended: Whether the last state is terminal, so that nothing comes after it, shape (n,).
        absorbing: Whether transitions inside terminal states are part of segments.
    """

    states: Any
    actions: Any
    features: Any
    lengths: Any
    ended: Any
    absorbing: bool = False

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, rows: Any) -> Segments:
        """Returns some of the segments."""
        return jax.tree.map(lambda leaf: leaf[rows], self)

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

    def returns(self, discount: float = 1.0) -> np.ndarray:
        """Returns the sums of features, discounted from each segment's beginning, shape (n, d), float64.

        Raises:
            ValueError: The discount lies outside (0, 1].
        """
        check_discount(discount)
        powers = np.where(self.mask, discount ** np.arange(self.actions.shape[1]), 0.0)
        # Padding may hold anything, not-a-number included.
        features = np.where(self.mask[..., None], np.asarray(self.features, np.float64), 0.0)
        return np.einsum("nt,ntd->nd", powers, features)


jax.tree_util.register_dataclass(
    Segments, ["states", "actions", "features", "lengths", "ended"], meta_fields=["absorbing"]
)


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


def check_segments(segments: Segments, name: str = "segments") -> Segments:
    """Returns segments as NumPy arrays after checking them.

    Raises:
        ValueError: Shapes disagree, or a row is wrong; the message names the row and its value.
    """
    states, actions = np.asarray(segments.states), np.asarray(segments.actions)
    features = np.asarray(segments.features, np.float64)
    lengths, ended = np.asarray(segments.lengths), np.asarray(segments.ended)
    if features.ndim != 3 or actions.ndim < 2 or actions.shape[:2] != features.shape[:2]:
        raise ValueError(f"{name}: actions {actions.shape} and features {features.shape} must begin with (n, T).")
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
    checked = Segments(states, actions, features, lengths.astype(np.int32), ended.astype(bool), segments.absorbing)
    broken = ~np.isfinite(features).all(2) & checked.mask
    for row, step in np.argwhere(broken):
        raise ValueError(f"{name}: row {row}, step {step} has features {features[row, step]}, which must be finite.")
    return checked


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


def concatenate(parts: Sequence[Segments]) -> Segments:
    """Joins batches of segments, padding them to the longest.

    Raises:
        ValueError: There are none, or they disagree on `absorbing` or the number of features.
    """
    kinds = {(part.absorbing, *np.shape(part.features)[2:]) for part in parts}
    if len(kinds) != 1:
        raise ValueError(f"Segments to join must agree on absorbing and number of features, got {sorted(kinds)}.")
    horizon = max(part.actions.shape[1] for part in parts)

    def padded(array: Any, short: int) -> np.ndarray:
        array = np.asarray(array)
        return np.pad(array, ((0, 0), (0, short), *((0, 0),) * (array.ndim - 2)))

    def lengthened(part: Segments) -> Segments:
        short = horizon - part.actions.shape[1]
        return dataclasses.replace(
            part,
            states=padded(part.states, short),
            actions=padded(part.actions, short),
            features=padded(part.features, short),
        )

    joined: Segments = jax.tree.map(lambda *leaves: np.concatenate(leaves), *map(lengthened, parts))
    return joined


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
        absorbing: Whether segments go on inside terminal states, with features 0 and actions that do nothing.

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
    states, actions, features = [state], [], []
    lengths = np.full(number, length)
    for step in range(length):
        going = ~terminal[state]
        action = _draw(policy[state], rng)
        outcome = _draw(np.asarray(mdp.probabilities)[state, action], rng)
        lengths = np.where(~going & (lengths == length), step, lengths)
        features.append(np.where(going[:, None], np.asarray(mdp.rewards)[state, action, outcome], 0.0))
        state = np.where(going, np.asarray(mdp.successors)[state, action, outcome], state)
        states.append(state)
        actions.append(action)
    return Segments(
        np.stack(states, 1).astype(np.int32),
        np.stack(actions, 1).astype(np.int32),
        np.stack(features, 1).astype(np.float64),
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
    states, actions, features, lengths, ended = (np.stack(column) for column in zip(*rows, strict=True))
    return Segments(states, actions, features, lengths.astype(np.int32), ended, absorbing)


def _draw(probabilities: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draws one column per row, never one of probability zero."""
    sums = np.cumsum(probabilities, -1)
    drawn = (rng.random((len(sums), 1)) * sums[:, -1:] >= sums).sum(-1)
    return np.minimum(drawn, sums.shape[1] - 1)
