"""Which task a result belongs to: a fingerprint of what an id does not tell, and what differs between two tasks."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from prefront.system.compilation import jit
from prefront.tasks import environment as functional
from prefront.tasks.enumeration import enumerate_states
from prefront.tasks.environment import Environment
from prefront.tasks.finite import FiniteEnvironment

# Numbers are rounded to this many significant digits, since machines differ in the last ones.
DIGITS = 5
# A finite environment of more states is sampled as others are.
MOST_STATES = 4096
COPIES, STEPS = 32, 32
PROBE_STEPS = 16


def fingerprint(environment: Environment | gym.Env[Any, Any]) -> str:
    """Returns a digest of an environment's dynamics, observations and rewards; empty where an id of ours says it all.

    What it covers:

    - Our environments made by an id: nothing, as id and arguments are the identity.
    - Finite environments of up to 4,096 states: the whole table of transitions, rewards and ends, and what is observed.
    - Other functional environments, learned rewards included: the default parameters, the arrays that dynamics and
      rewards close over, and 32 episodes of 32 random actions under a fixed key. A number that is written into the code
      and matters in none of these steps is not seen.
    - Gymnasium environments: their specification. Where that is not plain text (an entry point or an argument that is
      an object, a wrapper that does not tell its arguments), also 16 fixed actions after a seeded reset, unless these
      do not repeat themselves.

    It is the same in every process. Numbers are rounded to five significant digits, so that it is the same on machines
    whose arithmetic differs in the last digits, except where such a difference falls onto the edge of a rounding.

    Args:
        environment: The environment; a Gymnasium environment is reset and stepped where it has to be probed.

    Returns:
        16 hexadecimal digits, or "".
    """
    if not isinstance(environment, Environment):
        return _digest(_of_gymnasium(environment))
    if environment.id:
        return ""
    facts = {"limit": environment.max_episode_steps, "rewards": environment.reward_dim}
    table = _table(environment)
    return _digest([facts, _sampled(environment) if table is None else table])


def differences(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """Says in which entries two nested dicts of JSON values differ; empty where they agree."""
    found = []
    for name in sorted(mine.keys() | theirs.keys()):
        one, other = mine.get(name), theirs.get(name)
        if isinstance(one, Mapping) and isinstance(other, Mapping) and one and other:
            if inner := differences(one, other):
                found.append(f"{name}: {inner}")
        elif json.dumps(one, sort_keys=True) != json.dumps(other, sort_keys=True):
            found.append(f"{name}: {one!r} and {other!r}")
    return "; ".join(found)


def _table(environment: Environment) -> Any:
    """Returns all there is to know of a small finite environment, or None."""
    if not isinstance(environment, FiniteEnvironment):
        return None
    try:
        found = enumerate_states(environment, max_states=MOST_STATES)
    except (TypeError, ValueError):  # no Discrete actions, too many states, or probabilities that are none
        return None
    key = jax.random.key(0)
    seen = jit(jax.vmap(lambda state: environment.observation(state, key)), level=0)(found.states)
    return [seen, *found.table]


def _sampled(environment: Environment) -> Any:
    drawn = _fixed_actions(environment.action_space, STEPS * COPIES)
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *drawn)
    actions = jax.tree.map(lambda leaf: leaf.reshape(STEPS, COPIES, *leaf.shape[1:]), stacked)

    def one(state: Any, action: jax.Array, key: jax.Array) -> tuple[Any, Any]:
        taken = functional.step(environment, state, action, key)
        chances = environment.outcomes(state, action)[0] if isinstance(environment, FiniteEnvironment) else ()
        again = functional.reset(environment, key)[0]
        state = functional.select(taken.terminated, again, taken.state)
        return state, (taken.observation, taken.reward, taken.terminated, chances)

    def episodes(actions: Any, seed: Any) -> Any:
        keys = jax.random.split(jax.random.key(seed), (STEPS + 1, COPIES))
        state, observation = jax.vmap(lambda key: functional.reset(environment, key))(keys[0])
        _, seen = jax.lax.scan(lambda state, at: jax.vmap(one)(state, *at), state, (actions, keys[1:]))
        return observation, seen

    # Traced once, for its constants and to be run.
    traced = jax.jit(episodes).trace(actions, np.uint32(0))
    options = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    seen = traced.lower().compile(compiler_options=options)(actions, np.uint32(0))
    return [environment.default_params, list(_constants(traced.jaxpr)), seen]


def _constants(closed: Any) -> Iterator[np.ndarray]:
    """Yields the arrays that a traced program closes over, those of its inner programs included."""
    jaxpr = getattr(closed, "jaxpr", closed)
    inner = [leaf for equation in jaxpr.eqns for leaf in jax.tree.leaves(equation.params, is_leaf=_is_program)]
    literals = [one.val for equation in jaxpr.eqns for one in equation.invars if hasattr(one, "val")]
    for value in [*getattr(closed, "consts", ()), *literals]:
        if np.ndim(value) and not jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
            yield np.asarray(value)
    for one in inner:
        if _is_program(one):
            yield from _constants(one)


def _is_program(value: Any) -> bool:
    return hasattr(value, "eqns") or hasattr(getattr(value, "jaxpr", None), "eqns")


def _of_gymnasium(environment: gym.Env[Any, Any]) -> Any:
    spec = environment.spec
    if spec is None:
        return [type(environment.unwrapped).__qualname__, _probed(environment)]
    wrappers = [(one.entry_point, one.kwargs) for one in spec.additional_wrappers]
    told = [spec.entry_point, spec.kwargs, spec.max_episode_steps, wrappers]
    try:
        text = json.dumps(told, sort_keys=True)
    except (TypeError, ValueError):
        text = json.dumps(
            told, sort_keys=True, default=lambda one: getattr(one, "__qualname__", type(one).__qualname__)
        )
    else:
        if all(kwargs is not None for _, kwargs in wrappers):
            return [text]
    return [text, None if spec.nondeterministic else _probed(environment)]


def _probed(environment: gym.Env[Any, Any]) -> Any:
    first, second = (_digest(_probe(environment)) for _ in range(2))
    return first if first == second else None


def _probe(environment: gym.Env[Any, Any]) -> Any:
    seen: list[Any] = [environment.reset(seed=0)[0]]
    for action in _fixed_actions(environment.action_space, PROBE_STEPS):
        observation, reward, terminated, truncated, _ = environment.step(action)
        seen.append((observation, reward, bool(terminated), bool(truncated)))
        if terminated or truncated:
            seen.append(environment.reset()[0])
    return seen


def _fixed_actions(space: gym.Space[Any], number: int) -> list[Any]:
    """Draws actions from a copy of the space, whose own generator stays as it is."""
    own = copy.deepcopy(space)
    own.seed(0)
    return [own.sample() for _ in range(number)]


def _digest(content: Any) -> str:
    hasher = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(content, is_leaf=lambda one: one is None):
        value = leaf if leaf is None or isinstance(leaf, str) else _rounded(np.asarray(leaf))
        shape = value.shape if isinstance(value, np.ndarray) else value
        hasher.update(f"{jax.tree_util.keystr(path)} {shape}\n".encode())
        if isinstance(value, np.ndarray):
            hasher.update(value.astype(value.dtype.newbyteorder("<")).tobytes())
    return hasher.hexdigest()[:16]


def _rounded(values: np.ndarray) -> np.ndarray:
    """Returns whole numbers as int64, and others as float64 of a few significant digits."""
    if values.dtype.kind in "biu":
        return values.astype(np.int64)
    if values.dtype.kind != "f":
        return np.frombuffer(repr(values.tolist()).encode(), np.uint8)
    wide = values.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        place = np.where(np.isfinite(wide) & (wide != 0), np.floor(np.log10(np.abs(wide))), 0.0)
        unit = 10.0 ** (DIGITS - 1 - place)
        rounded = np.where(np.isfinite(wide), np.round(wide * unit) / unit, wide)
    # Adding 0 turns -0.0 into 0.0, and every NaN gets the same bytes.
    return np.where(np.isnan(rounded), np.nan, rounded + 0.0)
