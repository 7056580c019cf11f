"""What conformance checks share, and the one that compares a vector environment with single ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import iterate

from prefront.tasks.environment import Environment

VECTOR_COPIES = 3


class ConformanceError(AssertionError):
    """An environment breaks a promise.

    Attributes:
        check: Name of the check that failed.
        value: What was found.
        expected: What is expected in its place.
    """

    def __init__(self, check: str, value: str, expected: str) -> None:
        super().__init__(f"{check}: got {value}, expected {expected}.")
        self.check, self.value, self.expected = check, value, expected


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is checked: a single environment, how to make others of its kind, and what it is made of where known."""

    single: gym.Env[Any, Any]
    functional: Environment | None
    make_single: Callable[[int | None], gym.Env[Any, Any]] | None
    make_vector: Callable[[int, int | None, AutoresetMode], Any] | None
    seed: int
    steps: int

    def attribute(self, name: str, default: Any = None) -> Any:
        """Returns an attribute of the environment below its wrappers, or the default."""
        return getattr(self.single.unwrapped, name, default)


class NotApplicableError(Exception):
    """A check does not apply; the message says why."""


def check_vector(subject: Subject, mode: AutoresetMode, limit: int | None) -> str:
    """Compares copies with single environments, step by step, through a reset of some of them by `reset_mask`."""
    check = f"vector {mode.value}"
    if subject.make_vector is None or subject.make_single is None:
        raise NotApplicableError("it offers no vector environment of its own")
    vector = subject.make_vector(VECTOR_COPIES, limit, mode)
    vector.action_space.seed(subject.seed)
    shown, infos = vector.reset(seed=subject.seed)
    starts, first_infos = list(iterate(vector.observation_space, shown)), infos
    steps: list[_Event] = []
    mask = np.arange(VECTOR_COPIES) % 2 == 0
    for time in range(subject.steps):
        if time == subject.steps // 2:
            shown, infos = vector.reset(options={"reset_mask": mask.copy()})
            steps.append(_Event(None, list(iterate(vector.observation_space, shown)), None, None, None, infos))
        actions = vector.action_space.sample()
        shown, rewards, terminated, truncated, infos = vector.step(actions)
        if rewards.dtype != np.float32:
            raise ConformanceError(check, f"rewards of dtype {rewards.dtype}", "float32")
        taken = list(iterate(vector.action_space, actions))
        observed = list(iterate(vector.observation_space, shown))
        steps.append(_Event(taken, observed, rewards, terminated, truncated, infos))
    env = subject.make_single(limit)
    episodes = 0
    for i in range(VECTOR_COPIES):
        observation, info = env.reset(seed=subject.seed + i)
        _expect(check, starts[i], observation, f"the first observation of copy {i}")
        _expect(check, _info_of(first_infos, i), info, f"the first info of copy {i}")
        ended, before = False, starts[i]
        for event in steps:
            found_info = _info_of(event.infos, i)
            if event.taken is None:
                if mask[i]:
                    before, info = env.reset()
                    ended = False
                _expect(check, event.observed[i], before, f"after a reset by mask the observation of copy {i}")
                _expect(check, found_info, info if mask[i] else {}, f"after a reset by mask the info of copy {i}")
                continue
            if ended and mode == AutoresetMode.NEXT_STEP:
                (observation, info), ended = env.reset(), False
                wanted: tuple[Any, ...] = (observation, np.zeros_like(event.rewards[i]), False, False, info)
            else:
                observation, reward, terminates, cut, info = env.step(event.taken[i])
                # Gymnasium's TimeLimit says both where an episode terminates on its last step.
                wanted = (observation, reward, terminates, cut and not terminates, info)
                ended = bool(terminates or cut)
                episodes += ended
                if ended and mode == AutoresetMode.SAME_STEP:
                    _expect(check, event.infos["final_obs"][i], observation, f"the final observation of copy {i}")
                    _expect(check, _info_of(event.infos["final_info"], i), info, f"the final info of copy {i}")
                    observation, info = env.reset()
                    wanted = (observation, *wanted[1:4], info)
            before = event.observed[i]
            found = (before, event.rewards[i], bool(event.terminated[i]), bool(event.truncated[i]), found_info)
            for name, a, b in zip(
                ("observation", "reward", "terminated", "truncated", "info"), found, wanted, strict=True
            ):
                _expect(check, a, b, f"the {name} of copy {i}")
    return f"{subject.steps} steps of {VECTOR_COPIES} copies, {episodes} episodes"


class _Event(NamedTuple):
    """A step of a vector environment, or where no actions were taken a reset of some copies."""

    taken: Any
    observed: list[Any]
    rewards: Any
    terminated: Any
    truncated: Any
    infos: dict[str, Any]


def _info_of(infos: dict[str, Any], copy: int) -> dict[str, Any]:
    """Returns what a vector environment's infos say of one copy, but for what an ended episode left."""
    return {
        name: _info_of(value, copy) if isinstance(value, dict) else value[copy]
        for name, value in infos.items()
        if not name.startswith(("_", "final_")) and infos[f"_{name}"][copy]
    }


def _expect(check: str, found: Any, wanted: Any, what: str) -> None:
    if not same(found, wanted, 1e-5):
        raise ConformanceError(check, f"{what} {found!r}", f"{wanted!r}, as the single environment")


def same(one: Any, other: Any, tolerance: float = 0.0) -> bool:
    """Compares observations of any space, or rewards, up to a tolerance for floating-point numbers."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name], tolerance) for name in one)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(same(a, b, tolerance) for a, b in zip(one, other, strict=True))
    if one is None or other is None or isinstance(one, str):
        return bool(one == other)
    a, b = np.asarray(one), np.asarray(other)
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True))
