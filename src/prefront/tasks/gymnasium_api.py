"""The Gymnasium faces of a functional environment: `gym.Env` and a jitted `gym.vector.VectorEnv`.

Random numbers: environment number i of a vector seeded with s follows the single environment seeded with s + i, draw by
draw, whatever the autoreset mode. Event number t (a step or a reset) of an environment uses `fold_in(key(seed), t)`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium as gym
import jax
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from prefront.system.checks import check_count
from prefront.system.runtime import check_process, note_process
from prefront.tasks import environment as functional
from prefront.tasks.autoreset import advance_next_step, advance_same_step, event_key, start_one
from prefront.tasks.environment import Environment
from prefront.tasks.gymnasium_inputs import SEED_BOUND, checked_action, checked_mask, checked_seed, checked_seeds
from prefront.tasks.registry import ENVIRONMENTS, load

RENDER_MODES = ("rgb_array",)


def make_single(entry: str, render_mode: str | None = None, **kwargs: Any) -> SingleEnvironment:
    """Entry point of `gym.make`: the environment of an entry of the table, and no other, built with `kwargs`."""
    return SingleEnvironment(load(ENVIRONMENTS[entry].path)(**kwargs), render_mode)


def make_vector(
    entry: str, num_envs: int = 1, max_episode_steps: int | None = None, **kwargs: Any
) -> VectorEnvironment:
    """Entry point of `gym.make_vec`: `num_envs` copies of an entry's environment in one compiled program."""
    own = {name: kwargs.pop(name) for name in ("render_mode", "autoreset_mode") if name in kwargs}
    return VectorEnvironment(
        load(ENVIRONMENTS[entry].path)(**kwargs), num_envs, max_episode_steps=max_episode_steps, **own
    )


class _Face:
    """What both faces share: the contract's attributes, and pickling without compiled programs."""

    environment: Environment
    render_mode: str | None

    def _adopt(self, environment: Environment, render_mode: str | None) -> None:
        if render_mode is not None and render_mode not in RENDER_MODES:
            raise ValueError(f"render_mode must be None or one of {RENDER_MODES}, got {render_mode!r}.")
        self.environment = environment
        self.render_mode = render_mode
        self.objective_names = environment.objective_names
        self.discount = environment.discount
        self.reference_point = environment.reference_point
        self.reward_dim = environment.reward_dim
        note_process()
        self._compile()

    def _compile(self) -> None:
        raise NotImplementedError

    def pareto_front(self, gamma: float | None = None) -> np.ndarray:
        """Returns the exact or best known Pareto front, see `Environment.pareto_front`."""
        return self.environment.pareto_front(gamma)

    def coverage_set(self, gamma: float | None = None) -> np.ndarray:
        """Returns the convex coverage set, see `Environment.coverage_set`."""
        return self.environment.coverage_set(gamma)

    def max_hypervolume(self, gamma: float | None = None) -> float:
        """Returns the hypervolume of the Pareto front, see `Environment.max_hypervolume`."""
        return self.environment.max_hypervolume(gamma)

    def __getstate__(self) -> dict[str, Any]:
        kept = {name: value for name, value in self.__dict__.items() if not name.startswith("_jit_")}
        return {**kept, **{name: jax.device_get(kept[name]) for name in ("_state", "_observation") if name in kept}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._compile()


class SingleEnvironment(_Face, gym.Env[Any, Any]):
    """One environment as a `gym.Env` whose reward is a float32 vector of shape (number of objectives,).

    Attributes:
        environment: The functional environment.
        reward_space: Box that holds every reward.
        reward_dim: Number of objectives.
        reference_point: Reference point for hypervolumes.
        discount: Evaluation discount.
        objective_names: Names of the objectives.
    """

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": 4}  # noqa: RUF012 (Gymnasium's form)

    def __init__(self, environment: Environment, render_mode: str | None = None) -> None:
        self._adopt(environment, render_mode)
        self.observation_space = environment.observation_space
        self.action_space = environment.action_space
        self.reward_space = environment.reward_space
        self._state: Any = None
        self._seed = 0
        self._events = 0

    def _compile(self) -> None:
        environment = self.environment

        def start(seed: jax.Array, event: jax.Array, params: Any) -> tuple[Any, Any, Any]:
            state, observation = functional.reset(environment, event_key(seed, event), params)
            return state, observation, environment.state_info(state, params)

        def advance(state: Any, action: jax.Array, seed: jax.Array, event: jax.Array, params: Any) -> tuple[Any, Any]:
            taken = functional.step(environment, state, action, event_key(seed, event), params)
            return taken, environment.transition_info(state, action, taken.state, params)

        self._jit_reset = jax.jit(start)
        self._jit_step = jax.jit(advance)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts an episode; the same seed gives the same episode for the same actions.

        Raises:
            ValueError: The seed is no whole number of at least 0.
        """
        check_process()
        seed = None if seed is None else checked_seed(seed)
        super().reset(seed=seed)
        if seed is not None or self._events == 0:
            self._seed = int(self.np_random.integers(SEED_BOUND)) if seed is None else seed % SEED_BOUND
            self._events = 0
        self._state, observation, info = self._jit_reset(
            np.uint32(self._seed), np.uint32(self._events), self.environment.default_params
        )
        self._events += 1
        return _to_host(self.observation_space, observation), jax.device_get(info)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Takes one step; truncation at the episode limit is `gym.make`'s, as for every Gymnasium environment.

        Raises:
            RuntimeError: `reset` has not been called.
            ValueError: The action lies outside the action space.
        """
        check_process()
        if self._state is None:
            raise RuntimeError("Call reset() before step().")
        action = checked_action(self.action_space, action)
        taken, info = self._jit_step(
            self._state, action, np.uint32(self._seed), np.uint32(self._events), self.environment.default_params
        )
        self._state = taken.state
        self._events += 1
        observation = _to_host(self.observation_space, taken.observation)
        return observation, np.array(taken.reward), bool(taken.terminated), False, jax.device_get(info)

    def render(self) -> Any:
        """Returns the picture of the current state, shape (height, width, 3), uint8, or None without a render mode."""
        if self.render_mode is None:
            gym.logger.warn('Nothing is rendered: make the environment with render_mode="rgb_array".')
            return None
        if self._state is None:
            raise RuntimeError("Call reset() before render().")
        return self.environment.render_image(jax.device_get(self._state), (), None)[1]


class VectorEnvironment(_Face, gym.vector.VectorEnv[Any, Any, Any]):
    """Many copies of one environment, stepped by one compiled program; rewards have shape (num_envs, objectives).

    Args:
        environment: The functional environment.
        num_envs: How many copies.
        max_episode_steps: Episode limit; the environment's own by default.
        render_mode: None or "rgb_array".
        autoreset_mode: `AutoresetMode.NEXT_STEP` (the step after an episode's end resets, its action is ignored and its
            reward is 0) or `AutoresetMode.SAME_STEP` (the ending step resets; `final_obs` and `final_info` in the infos
            hold what the episode ended with).
    """

    def __init__(
        self,
        environment: Environment,
        num_envs: int = 1,
        *,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
    ) -> None:
        check_count("num_envs", num_envs)
        if max_episode_steps is not None:
            check_count("max_episode_steps", max_episode_steps)
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        if self.autoreset_mode == AutoresetMode.DISABLED:
            raise ValueError("autoreset_mode must be NEXT_STEP or SAME_STEP, got DISABLED.")
        self.num_envs = num_envs
        self.max_episode_steps = environment.max_episode_steps if max_episode_steps is None else max_episode_steps
        self._adopt(environment, render_mode)
        self.metadata = {"render_modes": list(RENDER_MODES), "autoreset_mode": self.autoreset_mode}
        self.single_observation_space = environment.observation_space
        self.single_action_space = environment.action_space
        self.single_reward_space = environment.reward_space
        self.observation_space = batch_space(environment.observation_space, num_envs)
        self.action_space = batch_space(environment.action_space, num_envs)
        self.reward_space = batch_space(environment.reward_space, num_envs)
        self._state: Any = None
        self._observation: Any = None
        self._seeds = np.zeros(num_envs, np.uint32)

    def _compile(self) -> None:
        self._jit_reset = jax.jit(jax.vmap(partial(start_one, self.environment), in_axes=(0, 0, None)))
        advance = advance_next_step if self.autoreset_mode == AutoresetMode.NEXT_STEP else advance_same_step
        self._jit_step = jax.jit(
            jax.vmap(partial(advance, self.environment, self.max_episode_steps), in_axes=(0, 0, 0, None))
        )
        self._jit_select = jax.jit(jax.vmap(functional.select))

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts an episode in every copy, or in those that `options={"reset_mask": mask}` marks.

        Args:
            seed: A whole number s, by which copy i gets `s + i`, or a list or array with a seed or None for each copy.
                A copy without a seed goes on with its own random numbers.
            options: `reset_mask`, a boolean array of shape (num_envs,): the other copies keep state and observation.

        Raises:
            ValueError: A seed is no whole number of at least 0, their number is wrong, the mask is no boolean array of
                this shape, or it leaves out a copy that was never reset.
        """
        check_process()
        one, by_copy, mentioned = checked_seeds(seed, self.num_envs)
        first = self._state is None
        mask = checked_mask((options or {}).get("reset_mask"), self.num_envs, first)
        super().reset(seed=one)
        fresh = mentioned & mask
        seeds = np.where(fresh, by_copy, self._seeds).astype(np.uint32)
        events = np.zeros(self.num_envs, np.uint32)
        if first:
            drawn = self.np_random.integers(SEED_BOUND, size=self.num_envs, dtype=np.uint32)
            seeds = np.where(mentioned, seeds, drawn)
        else:
            events = np.where(fresh, events, np.asarray(self._state.events))
        state, observation, info = self._jit_reset(seeds, events, self.environment.default_params)
        if not mask.all():
            kept = (self._state, self._observation)
            state, observation = self._jit_select(mask, (state, observation), kept)
        self._state, self._observation, self._seeds = state, observation, seeds
        return _to_host(self.observation_space, observation), _masked(info, mask)

    def step(self, actions: Any) -> tuple[Any, Any, np.ndarray, np.ndarray, dict[str, Any]]:
        """Takes one step in every copy; returns batched observation, reward (num_envs, objectives), ends and infos.

        An episode that terminates on its last permitted step is terminated, not truncated.

        Raises:
            RuntimeError: `reset` has not been called.
            ValueError: The actions do not belong to the action space.
        """
        check_process()
        if self._state is None:
            raise RuntimeError("Call reset() before step().")
        actions = checked_action(self.action_space, actions)
        self._state, out = self._jit_step(self._state, actions, self._seeds, self.environment.default_params)
        self._observation = out.observation
        terminated, truncated = np.array(out.terminated), np.array(out.truncated)
        observation = _to_host(self.observation_space, out.observation)
        reward = np.array(out.reward)
        infos = _present(jax.device_get(out.info))
        ended = terminated | truncated
        if self.autoreset_mode == AutoresetMode.SAME_STEP and ended.any():
            final = _to_host(self.observation_space, out.final_observation)
            infos["final_obs"] = np.full(self.num_envs, None, dtype=object)
            for i in np.flatnonzero(ended):
                infos["final_obs"][i] = jax.tree.map(lambda leaf, i=i: leaf[i], final)
            infos["_final_obs"] = ended
            infos["final_info"] = _masked(out.final_info, ended)
            infos["_final_info"] = ended
        return observation, reward, terminated, truncated, infos

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Returns one picture per copy, or None without a render mode."""
        if self.render_mode is None:
            return None
        if self._state is None:
            raise RuntimeError("Call reset() before render().")
        states = jax.device_get(self._state.state)
        return tuple(
            self.environment.render_image(jax.tree.map(lambda leaf, i=i: leaf[i], states), (), None)[1]
            for i in range(self.num_envs)
        )


def _to_host(space: gym.Space[Any], observation: Any) -> Any:
    """Copies an observation to NumPy arrays in the layout of its space."""
    if isinstance(space, gym.spaces.Dict):
        return {name: _to_host(part, observation[name]) for name, part in space.spaces.items()}
    if isinstance(space, gym.spaces.Tuple):
        return tuple(_to_host(part, one) for part, one in zip(space.spaces, observation, strict=True))
    if isinstance(space, gym.spaces.Discrete):
        return space.dtype.type(observation)
    return np.array(observation, dtype=space.dtype)


def _masked(info: dict[str, Any], mask: np.ndarray) -> dict[str, Any]:
    """Lays out batched infos as Gymnasium's vector environments do: each value beside the mask of who has it."""
    if not mask.any():
        return {}
    laid: dict[str, Any] = {}
    for name, value in jax.device_get(info).items():
        laid[name], laid[f"_{name}"] = _masked(value, mask) if isinstance(value, dict) else value, mask.copy()
    return laid


def _present(laid: dict[str, Any]) -> dict[str, Any]:
    """Leaves out the infos that no copy has."""
    return {
        name: _present(value) if isinstance(value, dict) else value
        for name, value in laid.items()
        if name.startswith("_") or laid[f"_{name}"].any()
    }
