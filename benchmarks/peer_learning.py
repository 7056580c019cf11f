"""Trains one agent of morl-baselines on one MO-Gymnasium task and prints what it reached, as a JSON line.

Runs in the peers' own virtual environment; knows nothing of prefront. CPU-seconds count from the start of the process,
imports included, less what evaluation took. Every evaluation adds its return vectors to one archive, so that a front
found once counts from then on, as it does for our own archive.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import time
from collections.abc import Callable

os.environ["OMP_NUM_THREADS"] = "1"

import gymnasium as gym
import mo_gymnasium as mo_gym
import numpy as np
import torch
from morl_baselines.common.performance_indicators import hypervolume
from morl_baselines.common.weights import equally_spaced_weights
from morl_baselines.multi_policy.envelope.envelope import Envelope
from morl_baselines.multi_policy.multi_policy_moqlearning.mp_mo_q_learning import MPMOQLearning
from morl_baselines.multi_policy.pcn.pcn import PCN

torch.set_num_threads(1)


class BudgetSpent(Exception):  # noqa: N818 (it ends a run, it is no error)
    """The CPU budget of this run is used up, or its target reached."""


class Recorder:
    """Keeps the archive of evaluated returns and the curve of hypervolume against CPU-seconds and steps."""

    def __init__(self, reference_point: np.ndarray, target: float, budget: float) -> None:
        self.reference_point, self.target, self.budget = reference_point, target, budget
        self.steps = 0
        self.evaluation_seconds = 0.0
        self.archive: list[np.ndarray] = []
        self.curve: list[tuple[float, int, float]] = []
        self.evaluating = False
        self.returns_now: Callable[[], list[np.ndarray]] = list

    def training_seconds(self) -> float:
        """CPU-seconds so far, without evaluation."""
        return time.process_time() - self.evaluation_seconds

    def evaluate(self, returns: Callable[[], list[np.ndarray]]) -> None:
        """Adds evaluated returns to the archive and a point to the curve; ends the run at its target or budget."""
        started = time.process_time()
        seconds = self.training_seconds()
        self.evaluating = True
        with contextlib.redirect_stdout(io.StringIO()):
            self.archive.extend(np.asarray(one, float) for one in returns())
        self.evaluating = False
        above = [one for one in self.archive if (one > self.reference_point).all()]
        self.archive = [np.array(one) for one in {tuple(np.round(one, 6)) for one in above}]
        reached = float(hypervolume(self.reference_point, self.archive)) if self.archive else 0.0
        self.curve.append((seconds, self.steps, reached))
        self.evaluation_seconds += time.process_time() - started
        if reached >= self.target or self.training_seconds() >= self.budget:
            raise BudgetSpent


class Counted(gym.Wrapper):
    """Counts training steps and stops the run when its budget is spent."""

    def __init__(self, env: gym.Env, recorder: Recorder) -> None:
        super().__init__(env)
        self.recorder = recorder

    def step(self, action):
        """Takes one counted step."""
        if not self.recorder.evaluating:
            self.recorder.steps += 1
            if self.recorder.steps % 64 == 0 and self.recorder.training_seconds() >= self.recorder.budget:
                raise BudgetSpent
        return super().step(action)


def train_pcn(env: gym.Env, evaluation: gym.Env, recorder: Recorder, gamma: float, seed: int, horizon: int) -> None:
    """PCN with the settings of its published runs."""
    dimension = env.unwrapped.reward_dim
    # One factor per objective and one for the horizon, which bring commands to the order of one.
    scale = np.array([0.1] * dimension + [1.0 / horizon])
    agent = PCN(env, scaling_factor=scale, gamma=gamma, seed=seed, log=False, device="cpu")
    original, last = agent.evaluate, [0]
    best = np.asarray(env.unwrapped.reward_space.high, np.float32)
    recorder.returns_now = lambda: original(evaluation, best, n=50)[0]

    def evaluate(env_, max_return, n=10):
        if recorder.steps - last[0] >= 2000:
            last[0] = recorder.steps
            recorder.evaluate(recorder.returns_now)
        return [], None, None

    agent.evaluate, agent.save = evaluate, lambda *a, **k: None
    # It evaluates a thousand times a run: every 1,000 steps, of which the recorder takes every second.
    agent.train(10**6, evaluation, recorder.reference_point, max_return=best, max_buffer_size=100)


def train_envelope(env: gym.Env, evaluation: gym.Env, recorder: Recorder, gamma: float, seed: int, _: int) -> None:
    """Envelope Q-learning, its default network, exploration annealed over 50,000 steps."""
    agent = Envelope(
        env,
        gamma=gamma,
        initial_epsilon=1.0,
        final_epsilon=0.05,
        epsilon_decay_steps=50_000,
        seed=seed,
        log=False,
        device="cpu",
    )
    weights = equally_spaced_weights(env.unwrapped.reward_dim, n=100)
    recorder.returns_now = lambda: [agent.policy_eval(evaluation, num_episodes=1, weights=w)[3] for w in weights]
    while True:
        agent.train(2000, reset_num_timesteps=False)
        recorder.evaluate(recorder.returns_now)


def train_mpmoql(env: gym.Env, evaluation: gym.Env, recorder: Recorder, gamma: float, seed: int, _: int) -> None:
    """Multi-policy MO Q-learning with GPI linear support and Dyna, as its published deep-sea-treasure run."""
    agent = MPMOQLearning(
        env, learning_rate=0.3, gamma=gamma, use_gpi_policy=True, dyna=True, dyna_updates=5,
        initial_epsilon=1.0, final_epsilon=0.01, epsilon_decay_steps=2000,
        weight_selection_algo="gpi-ls", epsilon_ols=0.0, seed=seed, log=False,
    )  # fmt: skip
    original = agent.linear_support.add_solution
    recorder.returns_now = lambda: list(agent.linear_support.ccs)

    def add_solution(value, w):
        removed = original(value, w)
        recorder.evaluate(lambda: [value, *agent.linear_support.ccs])
        return removed

    agent.linear_support.add_solution = add_solution
    agent.train(10**8, evaluation, recorder.reference_point, timesteps_per_iteration=4000, eval_freq=10**9,
                num_eval_episodes_for_front=1)  # fmt: skip


AGENTS = {"PCN": train_pcn, "Envelope": train_envelope, "MPMOQL": train_mpmoql}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agent", choices=AGENTS, required=True)
    parser.add_argument("--id", required=True)
    parser.add_argument("--gamma", type=float, required=True)
    parser.add_argument("--reference", type=float, nargs="+", required=True)
    parser.add_argument("--target", type=float, required=True, help="hypervolume that ends the run")
    parser.add_argument("--budget", type=float, default=120.0, help="CPU-seconds")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    recorder = Recorder(np.array(arguments.reference), arguments.target, arguments.budget)
    evaluation = mo_gym.make(arguments.id)
    env = Counted(mo_gym.make(arguments.id), recorder)
    with contextlib.suppress(BudgetSpent), contextlib.redirect_stdout(io.StringIO()):
        horizon = (evaluation.spec and evaluation.spec.max_episode_steps) or 10
        AGENTS[arguments.agent](env, evaluation, recorder, arguments.gamma, arguments.seed, horizon)
    seconds = recorder.training_seconds()
    with contextlib.suppress(BudgetSpent):
        recorder.evaluate(recorder.returns_now)
    print(json.dumps({
        "cpu_seconds": seconds,
        "evaluation_cpu_seconds": recorder.evaluation_seconds,
        "environment_steps": recorder.steps,
        "hypervolume": recorder.curve[-1][2],
        "curve": recorder.curve,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
