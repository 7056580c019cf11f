"""Wrappers that let tools for a single reward work on vector rewards."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from prefront.tasks.vector_rewards import checked_reward, stated_reward_space


class LinearScalarization(gym.Wrapper[Any, Any, Any, Any]):
    """Turns the vector reward into its weighted sum, a float, so that single-objective algorithms can train.

    The vector stays in `info["vector_reward"]`.

    Args:
        env: An environment with a vector reward and a `reward_space`.
        weights: One finite number per objective; `[1, 0]` picks the first of two. They need not sum to 1.

    Raises:
        ValueError: The number of weights is not that of the objectives, or one is not finite.
        TypeError: There is no vector `reward_space`; by `step`, where a reward does not have its shape.
    """

    def __init__(self, env: gym.Env[Any, Any], weights: Any) -> None:
        super().__init__(env)
        self.weights = np.asarray(weights, np.float64)
        self._space = stated_reward_space(env)
        if self._space is None or len(self._space.shape) != 1:
            raise TypeError(f"{env} has no vector reward: its `reward_space` is {self._space}.")
        if self.weights.shape != self._space.shape:
            raise ValueError(
                f"The reward has shape {self._space.shape}, got weights of shape {self.weights.shape}: {weights!r}."
            )
        if not np.isfinite(self.weights).all():
            raise ValueError(f"Weights must be finite, got {weights!r}.")

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Takes one step; the reward is the weighted sum."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        vector = checked_reward(reward, self.env, self._space)
        return observation, float(vector @ self.weights), terminated, truncated, {**info, "vector_reward": reward}
