"""A batch of Gymnasium environments with vector rewards, stepped on the host: MO-Gymnasium's, or a user's own."""

from __future__ import annotations

from collections.abc import Callable
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
    """What one step of a batch yields, leading axis (num_envs,).

    Attributes:
        final: Observation that the step led to, before any reset.
        observation: Observation from which to go on: of a new episode where one ended.
        reward: Vector rewards, shape (num_envs, objectives).
        terminated: Whether the episode ended for good.
        truncated: Whether a time limit cut it, and it did not terminate.
    """

    final: Any
    observation: Any
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray


class HostEnvironments:
    """Several environments, each of which starts a new episode as soon as one ends, within the same step.

    An environment that registers a vectorised form which resets within the step (`vector_entry_point` and
    `AutoresetMode.SAME_STEP`) is used in that form, any other as a list of single environments.

    Args:
        environment: Gymnasium id, whose rewards are taken as float32; or one environment, which is left open, whose
            rewards are taken as float64.
        num_envs: Number of environments that are made by the id.
        **kwargs: Arguments with which they are made.

    Raises:
        TypeError: The environment's reward is no vector; by `step`, where one does not have the shape of the space.
        RuntimeError: This process was forked from one that used jax.
    """

    def __init__(self, environment: str | gym.Env[Any, Any], num_envs: int = 1, **kwargs: Any) -> None:
        check_process()
        self.name, self.num_envs = str(environment), num_envs
        single = gymnasium_environment(environment, **kwargs) if isinstance(environment, str) else environment
        self.single_observation_space, self.single_action_space = single.observation_space, single.action_space
        # A wrapper may pay another vector than the environment inside it.
        self._reward_space = stated_reward_space(single)
        self._dtype = np.float32 if isinstance(environment, str) else np.float64
        space = self.single_action_space
        self._box = ActionBox.for_space(space) if isinstance(space, gym.spaces.Box) else None
        self._vector, self._singles = None, [single]
        if isinstance(environment, str):
            if self._reward_space is None or len(self._reward_space.shape) != 1:
                raise TypeError(f"{environment} has no vector reward: its `reward_space` is {self._reward_space}.")
            if single.spec is not None and single.spec.vector_entry_point is not None:
                self._vector = _vectorised(environment, num_envs, kwargs)
            if self._vector is None:
                self._singles += [gymnasium_environment(environment, **kwargs) for _ in range(num_envs - 1)]

    def reset(self, seed: int) -> Any:
        """Starts an episode in each environment; number i gets `seed + i`, and later episodes follow from it."""
        if self._vector is not None:
            return self._vector.reset(seed=seed)[0]
        return _stacked([env.reset(seed=seed + i)[0] for i, env in enumerate(self._singles)])

    def step(self, actions: np.ndarray) -> Step:
        """Takes one action in each environment."""
        check_process()
        if self._box is not None:
            actions = self._box.on_host(actions)
        if self._vector is not None:
            return self._vector_step(actions)
        terminated, truncated = np.zeros(self.num_envs, bool), np.zeros(self.num_envs, bool)
        rewards, final, following = [], [], []
        for i, (env, action) in enumerate(zip(self._singles, actions, strict=True)):
            observation, reward, terminated[i], cut, _ = env.step(action)
            rewards.append(checked_reward(reward, self.name, self._reward_space))
            truncated[i] = cut and not terminated[i]
            final.append(observation)
            following.append(env.reset()[0] if terminated[i] or cut else observation)
        return Step(_stacked(final), _stacked(following), np.stack(rewards).astype(self._dtype), terminated, truncated)

    def _vector_step(self, actions: np.ndarray) -> Step:
        assert self._vector is not None
        observation, reward, terminated, truncated, infos = self._vector.step(actions)
        reward = checked_reward(reward, self.name, self._reward_space, self.num_envs).astype(self._dtype)
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


def _unwatched(moment: str, **yielded: Any) -> None:
    pass


def mean_returns(
    environments: HostEnvironments,
    act: Callable[[Any], np.ndarray],
    seed: int,
    episodes: int,
    discount: float,
    watch: Callable[..., None] = _unwatched,
) -> tuple[np.ndarray, np.ndarray]:
    """Runs whole episodes in each environment; those that have ended are stepped in vain until all have.

    Args:
        environments: The environments.
        act: Gives an action for each observation of a batch.
        seed: Seed of the episodes.
        episodes: Episodes in each environment.
        discount: Discount.
        watch: Called with a moment in words and what the environments yield then, before anybody acts on it.

    Returns:
        Mean discounted returns, shape (num_envs, objectives), and steps, shape (num_envs,).
    """
    number = environments.num_envs
    total, steps = np.zeros((number, 1)), np.zeros(number, np.int64)
    for episode in range(episodes):
        observation = environments.reset(seed + episode * number)
        running, weight = np.ones(number, bool), 1.0
        for t in range(LONGEST_EPISODE):
            moment = f"step {t + 1} of episode {episode + 1} that measures"
            watch(moment, observation=observation)
            step = environments.step(act(observation))
            watch(moment, observation=step.final, reward=step.reward)
            total = total + np.where(running[:, None], weight * step.reward, 0.0)
            steps += running
            running &= ~(step.terminated | step.truncated)
            if not running.any():
                break
            weight *= discount
            observation = step.observation
    return total / episodes, steps


def gymnasium_environment(id: str, **kwargs: Any) -> gym.Env[Any, Any]:
    """Makes an environment by its id, ours included, as a Gymnasium environment."""
    made = make_environment(id, **kwargs)
    return made if isinstance(made, gym.Env) else gym.make(made.id, disable_env_checker=True, **kwargs)


def _vectorised(id: str, num_envs: int, kwargs: dict[str, Any]) -> gym.vector.VectorEnv | None:
    try:
        vector = gym.make_vec(
            id,
            num_envs=num_envs,
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
