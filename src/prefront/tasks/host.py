"""A batch of Gymnasium environments with vector rewards, stepped on the host: MO-Gymnasium's, or a user's own."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import gymnasium as gym
import jax
import numpy as np
from gymnasium.vector import AutoresetMode

from prefront.system.runtime import check_process
from prefront.tasks.action_boxes import ActionBox
from prefront.tasks.registry import make_environment
from prefront.tasks.vector_rewards import checked_reward, stated_reward_space

# Where a Gymnasium environment has no time limit of its own, an episode is cut after this many steps.
LONGEST_EPISODE = 10_000


class Step(NamedTuple):
    """What one step of a batch yields, leading axis (copies,).

    Attributes:
        final: Observation that the step led to, before any reset.
        observation: Observation from which to go on: of a new episode where one ended.
        reward: Vector rewards, shape (copies, objectives), float32.
        terminated: Whether the episode ended for good.
        truncated: Whether a time limit cut it, and it did not terminate.
    """

    final: Any
    observation: Any
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray


class HostEnvironments:
    """Copies of an environment, each of which starts a new episode as soon as one ends, within the same step.

    An environment that registers a vectorised form which resets within the step (`vector_entry_point` and
    `AutoresetMode.SAME_STEP`) is used in that form, any other as a list of single environments.

    Args:
        id: Gymnasium id.
        copies: Number of copies.
        **kwargs: Arguments with which the environment is made.

    Raises:
        TypeError: The environment's reward is no vector; by `step`, where one does not have the shape of the space.
        RuntimeError: This process was forked from one that used jax.
    """

    def __init__(self, id: str, copies: int, **kwargs: Any) -> None:
        check_process()
        self.id, self.copies = id, copies
        single = gymnasium_environment(id, **kwargs)
        self.single_observation_space, self.single_action_space = single.observation_space, single.action_space
        # A wrapper may pay another vector than the environment inside it.
        self._reward_space = stated_reward_space(single)
        if self._reward_space is None or len(self._reward_space.shape) != 1:
            raise TypeError(f"{id} has no vector reward: its `reward_space` is {self._reward_space}.")
        self.reward_dim = int(self._reward_space.shape[0])
        space = self.single_action_space
        self._box = ActionBox.for_space(space) if isinstance(space, gym.spaces.Box) else None
        spec = single.spec
        self._vector = None
        if spec is not None and spec.vector_entry_point is not None:
            self._vector = _vectorised(id, copies, kwargs)
        if self._vector is None:
            self._singles = [single, *(gymnasium_environment(id, **kwargs) for _ in range(copies - 1))]

    def reset(self, seed: int) -> Any:
        """Starts an episode in each copy; copy i gets `seed + i`, and later episodes follow from it."""
        if self._vector is not None:
            return self._vector.reset(seed=seed)[0]
        return _stacked([env.reset(seed=seed + i)[0] for i, env in enumerate(self._singles)])

    def step(self, actions: np.ndarray) -> Step:
        """Takes one action in each copy."""
        check_process()
        if self._box is not None:
            actions = self._box.on_host(actions)
        if self._vector is not None:
            return self._vector_step(actions)
        rewards = np.zeros((self.copies, self.reward_dim), np.float32)
        terminated, truncated = np.zeros(self.copies, bool), np.zeros(self.copies, bool)
        final, following = [], []
        for i, (env, action) in enumerate(zip(self._singles, actions, strict=True)):
            observation, reward, terminated[i], cut, _ = env.step(action)
            rewards[i] = checked_reward(reward, self.id, self._reward_space)
            truncated[i] = cut and not terminated[i]
            final.append(observation)
            following.append(env.reset()[0] if terminated[i] or cut else observation)
        return Step(_stacked(final), _stacked(following), rewards, terminated, truncated)

    def _vector_step(self, actions: np.ndarray) -> Step:
        assert self._vector is not None
        observation, reward, terminated, truncated, infos = self._vector.step(actions)
        reward = checked_reward(reward, self.id, self._reward_space, self.copies).astype(np.float32)
        final = observation
        if (ended := np.flatnonzero(terminated | truncated)).size:
            final = jax.tree.map(np.copy, observation)
            for i in ended.tolist():
                jax.tree.map(partial(_put, i), final, infos["final_obs"][i])
        return Step(final, observation, reward, terminated, truncated & ~terminated)

    def close(self) -> None:
        """Closes the environments."""
        for env in [self._vector] if self._vector is not None else self._singles:
            env.close()


def gymnasium_environment(id: str, **kwargs: Any) -> gym.Env[Any, Any]:
    """Makes an environment by its id, ours included, as a Gymnasium environment."""
    made = make_environment(id, **kwargs)
    return made if isinstance(made, gym.Env) else gym.make(made.id, disable_env_checker=True, **kwargs)


def _vectorised(id: str, copies: int, kwargs: dict[str, Any]) -> gym.vector.VectorEnv | None:
    try:
        vector = gym.make_vec(
            id,
            num_envs=copies,
            vectorization_mode="vector_entry_point",
            autoreset_mode=AutoresetMode.SAME_STEP,
            **kwargs,
        )
    except TypeError:  # its constructor has no autoreset_mode
        return None
    if vector.metadata.get("autoreset_mode") == AutoresetMode.SAME_STEP:
        return vector
    vector.close()
    return None


def _put(index: int, batch: np.ndarray, one: Any) -> None:
    batch[index] = one


def _stacked(observations: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *observations)
