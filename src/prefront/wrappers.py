"""Wrappers that let tools for a single reward work on vector rewards."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np


class LinearScalarization(gym.Wrapper[Any, Any, Any, Any]):
    """Turns the vector reward into its weighted sum, a float, so that single-objective algorithms can train.

    The vector stays in `info["vector_reward"]`.

    Args:
        env: An environment with a vector reward and a `reward_space`.
        weights: One finite number per objective; `[1, 0]` picks the first of two. They need not sum to 1.

    Raises:
        ValueError: The number of weights is not that of the objectives, or one is not finite.
    """

    def __init__(self, env: gym.Env[Any, Any], weights: Any) -> None:
        super().__init__(env)
        self.weights = np.asarray(weights, np.float64)
        shape = env.get_wrapper_attr("reward_space").shape
        if self.weights.shape != shape:
            raise ValueError(f"The reward has shape {shape}, got weights of shape {self.weights.shape}: {weights!r}.")
        if not np.isfinite(self.weights).all():
            raise ValueError(f"Weights must be finite, got {weights!r}.")

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Takes one step; the reward is the weighted sum."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        vector = np.asarray(reward, np.float64)
        return observation, float(vector @ self.weights), terminated, truncated, {**info, "vector_reward": reward}
