"""The conformance checker for multi-objective environments, ours and anybody's.

`check_environment` takes a functional environment, a Gymnasium id or a `gym.Env` with a vector reward, and says which
of the promises below it keeps. It is meant to be called from the test suite of whoever writes an environment.
"""

from __future__ import annotations

import dataclasses
import functools
import pickle
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import gymnasium as gym
import jax
import numpy as np
from gymnasium.vector import AutoresetMode

from prefront.system.checks import check_discount, nearest_names
from prefront.tasks.conformance import ConformanceError, NotApplicableError, Subject, check_vector, same
from prefront.tasks.environment import Environment
from prefront.tasks.front_check import check_front, check_reference_point
from prefront.tasks.gymnasium_api import SingleEnvironment, VectorEnvironment

VECTOR_LIMIT = 12


@dataclasses.dataclass(frozen=True)
class CheckResult:
    """One check: its name, whether it was skipped, and what it looked at or why it was skipped."""

    name: str
    skipped: bool
    detail: str


def check_environment(
    environment: Environment | gym.Env[Any, Any] | str, *, seed: int = 0, steps: int = 200
) -> tuple[CheckResult, ...]:
    """Checks that an environment keeps the promises that algorithms build on.

    Checks, in this order: `attributes` (reward space, reward dimension, objective names, discount and reference point
    agree), `spaces` (every observation and reward belongs to its space, with its dtype), `fresh results` (every step
    returns its own info dict and observation), `determinism` (the same seed and actions give the same trajectory),
    `pickling`, `outcomes` (enumerated probabilities sum to 1), `actions` (a Discrete space refuses fractions and
    text), `vector NextStep` (with episodes cut early) and `vector SameStep` (with the environment's own
    limit): the vector face equals single ones in observations, rewards, ends and infos, `reset_mask` resets only the
    copies that it marks, and an episode that terminated is not truncated; `reference point` (the known front dominates
    it) and `front` (no random policy's return lies beyond the known front). Those that an environment offers nothing
    for are skipped.

    Args:
        environment: A functional environment, a Gymnasium id, or a `gym.Env` whose reward is a vector.
        seed: Seed of the episodes and of the random actions.
        steps: Number of random steps of each check.

    Returns:
        One result per check, passed or skipped with the reason.

    Raises:
        ConformanceError: A check failed; the message names the check, the value found and what is expected.
        TypeError: `environment` is none of the three.
        KeyError: No environment has this id.
    """
    subject = _subject(environment, seed, steps)
    results = []
    for name, check in CHECKS.items():
        try:
            results.append(CheckResult(name, False, check(subject)))
        except NotApplicableError as reason:
            results.append(CheckResult(name, True, str(reason)))
    return tuple(results)


def _subject(environment: Any, seed: int, steps: int) -> Subject:
    if isinstance(environment, str):
        id = environment
        try:
            spec = gym.spec(id)
        except gym.error.Error as error:
            raise KeyError(f"No environment {id!r} is registered. {nearest_names(id, list(gym.registry))}") from error

        @functools.cache
        def single(limit: int | None = None) -> gym.Env[Any, Any]:
            return gym.make(id, max_episode_steps=limit, disable_env_checker=True)

        def vector(number: int, limit: int | None, mode: AutoresetMode) -> Any:
            return gym.make_vec(id, number, max_episode_steps=limit, autoreset_mode=mode)

        env = single()
        offered = vector if spec.vector_entry_point else None
        return Subject(env, getattr(env.unwrapped, "environment", None), single, offered, seed, steps)
    env = environment
    if isinstance(env, Environment):
        env = gym.wrappers.TimeLimit(SingleEnvironment(env), env.max_episode_steps)
    if not isinstance(env, gym.Env):
        raise TypeError(f"Expected an Environment, a gym.Env or a Gymnasium id, got {type(environment).__name__}.")
    if not isinstance(env.unwrapped, SingleEnvironment):
        return Subject(env, None, None, None, seed, steps)
    functional = env.unwrapped.environment
    return Subject(
        env,
        functional,
        functools.cache(
            lambda limit: gym.wrappers.TimeLimit(SingleEnvironment(functional), limit or functional.max_episode_steps)
        ),
        lambda number, limit, mode: VectorEnvironment(functional, number, max_episode_steps=limit, autoreset_mode=mode),
        seed,
        steps,
    )


def _check_attributes(subject: Subject) -> str:
    check, space = "attributes", subject.attribute("reward_space")
    if not isinstance(space, gym.spaces.Box) or len(space.shape) != 1 or space.dtype != np.float32:
        raise ConformanceError(check, f"reward_space {space}", "a Box of shape (objectives,) and dtype float32")
    objectives = space.shape[0]
    if subject.attribute("reward_dim") != objectives:
        raise ConformanceError(check, f"reward_dim {subject.attribute('reward_dim')}", f"{objectives}, as reward_space")
    names = subject.attribute("objective_names")
    if names is not None and (len(names) != objectives or len(set(names)) != objectives):
        raise ConformanceError(check, f"objective_names {names}", f"{objectives} different names")
    point = subject.attribute("reference_point")
    if point is not None and (np.shape(point) != (objectives,) or not np.isfinite(point).all()):
        raise ConformanceError(check, f"reference_point {point}", f"{objectives} finite numbers")
    discount = subject.attribute("discount")
    if discount is not None:
        try:
            check_discount(discount)
        except (TypeError, ValueError):
            raise ConformanceError(check, f"discount {discount!r}", "a number in (0, 1]") from None
    return f"{objectives} objectives"


def _check_spaces(subject: Subject) -> str:
    check, env = "spaces", subject.single
    space, rewards = env.observation_space, subject.attribute("reward_space")
    steps = 0
    for observation, reward, terminated, truncated, _ in _walk(env, subject.seed, subject.steps):
        if not space.contains(observation):
            raise ConformanceError(check, f"observation {observation!r}", f"an element of {space}")
        if reward is None:
            continue
        steps += 1
        if not isinstance(reward, np.ndarray) or reward.dtype != np.float32 or reward.shape != rewards.shape:
            found = f"{reward!r} ({type(reward).__name__}, dtype {getattr(reward, 'dtype', None)})"
            raise ConformanceError(check, f"reward {found}", f"a float32 array of shape {rewards.shape}")
        if not rewards.contains(reward):
            raise ConformanceError(check, f"reward {reward}", f"an element of {rewards}")
        for name, flag in (("terminated", terminated), ("truncated", truncated)):
            if not isinstance(flag, bool | np.bool_):
                raise ConformanceError(check, f"{name} {flag!r} ({type(flag).__name__})", "a bool")
    return f"{steps} random steps"


def _check_fresh_results(subject: Subject) -> str:
    kept: list[tuple[Any, dict[str, Any]]] = []
    previous, copy = None, None
    for observation, _, _, _, info in _walk(subject.single, subject.seed, subject.steps):
        if not isinstance(info, dict):
            raise ConformanceError("fresh results", f"info {info!r}", "a dict")
        if any(info is other for _, other in kept):
            raise ConformanceError("fresh results", "the same info dict from two steps", "a new dict from every step")
        if previous is not None and not same(previous, copy):
            raise ConformanceError(
                "fresh results", f"an observation that a later step overwrote: {previous!r}", f"{copy!r}, unchanged"
            )
        previous, copy = observation, deepcopy(observation)
        kept.append((observation, info))
    return f"{len(kept)} results"


def _check_determinism(subject: Subject) -> str:
    first = list(_walk(subject.single, subject.seed, subject.steps))
    _compare("determinism", first, list(_walk(subject.single, subject.seed, subject.steps)), "with the same seed")
    return f"{subject.steps} steps twice"


def _check_pickling(subject: Subject) -> str:
    try:
        copy = pickle.loads(pickle.dumps(subject.single))
    except Exception as error:
        raise ConformanceError("pickling", f"{type(error).__name__}: {error}", "an environment that pickles") from error
    first = list(_walk(subject.single, subject.seed, subject.steps))
    _compare("pickling", first, list(_walk(copy, subject.seed, subject.steps)), "from the unpickled copy")
    return f"{subject.steps} steps beside the unpickled copy"


def _check_outcomes(subject: Subject) -> str:
    if not hasattr(subject.functional, "outcomes"):
        raise NotApplicableError("its transition law is not enumerated")
    env: Any = subject.functional
    for name, probabilities in (
        ("initial_outcomes", env.initial_outcomes()[0]),
        *(("outcomes", found) for found in _probabilities(env, subject.single, subject.seed, subject.steps)),
    ):
        values = np.asarray(probabilities, np.float64)
        if not (values >= 0).all() or abs(values.sum() - 1) > 1e-5:
            raise ConformanceError("outcomes", f"{name} with probabilities {values}", "numbers >= 0 that sum to 1")
    return f"{subject.steps} states"


def _probabilities(env: Any, single: Any, seed: int, steps: int) -> Iterator[Any]:
    single.reset(seed=seed)
    single.action_space.seed(seed)
    probabilities = jax.jit(lambda state, action: env.outcomes(state, action)[0])
    for _ in range(steps):
        action = single.action_space.sample()
        yield probabilities(single.unwrapped._state, action)
        if any(single.step(action)[2:4]):
            single.reset()


def _check_actions(subject: Subject) -> str:
    space = subject.single.action_space
    if not isinstance(space, gym.spaces.Discrete):
        raise NotApplicableError("its actions are not Discrete")
    if subject.functional is None:
        raise NotApplicableError("Gymnasium asks no environment to refuse actions outside its space; ours promise it")
    first, wrong = int(space.start), [float(space.start) + 0.5, str(space.start), int(space.start) - 1]
    tried: list[tuple[Any, Any, Any]] = [(subject.single, action, action) for action in wrong]
    if subject.make_vector is not None:
        vector = subject.make_vector(2, VECTOR_LIMIT, AutoresetMode.NEXT_STEP)
        tried += [(vector, np.array([first, action]), action) for action in wrong if not isinstance(action, str)]
    for env, action, shown in tried:
        env.reset(seed=subject.seed)
        try:
            env.step(action)
        except Exception:
            continue
        raise ConformanceError("actions", f"a step by {shown!r}", f"an error, for {space} does not contain it")
    return f"{len(tried)} wrong actions refused"


def _check_reference_point(subject: Subject) -> str:
    front, point, gamma = _front(subject), subject.attribute("reference_point"), subject.attribute("discount", 0.99)
    if point is None:
        raise NotApplicableError("it has no reference point")
    problem = check_reference_point(front, np.asarray(point, np.float64))
    if problem:
        raise ConformanceError("reference point", *problem)
    return f"{len(front)} points at discount {gamma} dominate it"


def _check_front(subject: Subject) -> str:
    front, gamma = _front(subject), subject.attribute("discount", 0.99)
    exact = getattr(subject.functional, "front_kind", "exact") == "exact"
    target: Any = subject.single if subject.functional is None else subject.functional
    count, problem = check_front(target, front, gamma, subject.seed, exact)
    if problem:
        raise ConformanceError("front", *problem)
    if not count:
        raise NotApplicableError("no random episode came to an end")
    return f"{count} random policies against {len(front)} points at discount {gamma}"


def _front(subject: Subject) -> np.ndarray:
    ask = subject.attribute("pareto_front")
    if ask is None or getattr(subject.functional, "front_kind", "exact") == "unknown":
        raise NotApplicableError("its front is not known")
    return np.asarray(ask(subject.attribute("discount", 0.99)), np.float64)


CHECKS: dict[str, Callable[[Subject], str]] = {
    "attributes": _check_attributes,
    "spaces": _check_spaces,
    "fresh results": _check_fresh_results,
    "determinism": _check_determinism,
    "pickling": _check_pickling,
    "outcomes": _check_outcomes,
    "actions": _check_actions,
    "vector NextStep": lambda subject: check_vector(subject, AutoresetMode.NEXT_STEP, VECTOR_LIMIT),
    # The environment's own limit may be the length of its episodes, where cut and ended meet.
    "vector SameStep": lambda subject: check_vector(subject, AutoresetMode.SAME_STEP, None),
    "reference point": _check_reference_point,
    "front": _check_front,
}


def _walk(env: gym.Env[Any, Any], seed: int, steps: int) -> Iterator[tuple[Any, Any, Any, Any, Any]]:
    """Yields what resets (with reward None) and `steps` random steps return; equal arguments take equal actions."""
    observation, info = env.reset(seed=seed)
    env.action_space.seed(seed)
    yield observation, None, False, False, info
    for _ in range(steps):
        found: Any = env.step(env.action_space.sample())
        yield found
        if found[2] or found[3]:
            observation, info = env.reset()
            yield observation, None, False, False, info


def _compare(check: str, first: list[Any], second: list[Any], how: str) -> None:
    if len(first) != len(second):
        raise ConformanceError(check, f"{len(second)} results {how}", f"{len(first)} again")
    for step, (one, other) in enumerate(zip(first, second, strict=True)):
        for name, a, b in zip(("observation", "reward", "terminated", "truncated"), one, other, strict=False):
            if not same(a, b):
                raise ConformanceError(check, f"{name} {b!r} {how} at result {step}", f"{a!r} again")
