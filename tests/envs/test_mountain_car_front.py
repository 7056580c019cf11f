"""The best known front of mountain car: its policies, replayed in MO-Gymnasium and from other starts."""

import jax
import mo_gymnasium as mo_gym
import numpy as np
import pytest

import prefront
from prefront.envs import mountain_car_plans as stored
from prefront.pareto.indicators import hypervolume, non_dominated

GAMMA = 0.99
ENV = prefront.make("MOMountainCar-v0")
PLANS = stored.load_plans(stored.PLANS, ENV.max_episode_steps)
STARTS = stored.starts_of(len(PLANS))


def policy(weights):
    """The plan of each cell that is best for some weights, shape (cells, 1, steps)."""
    rewards = stored.replay(ENV, PLANS, STARTS)
    returns = [stored.returns_of(one, ENV.objective_names, GAMMA) for one in rewards]
    best = [int(stored.best_plans(one, np.array([weights]))[0]) for one in returns]
    return [cell[[i]] for cell, i in zip(PLANS, best, strict=True)], np.mean(
        [one[i] for one, i in zip(returns, best, strict=True)], axis=0
    )


@pytest.mark.parametrize("weights", [(0.9, 0.05, 0.05), (0.6, 0.3, 0.1), (0.4, 0.2, 0.4)])
def test_policies_of_the_front_earn_their_returns_in_mo_gymnasium_and_from_other_starts(weights):
    plans, expected = policy(weights)
    env = mo_gym.make("mo-mountaincar-v0").unwrapped
    rng = np.random.default_rng(0)
    played = []
    for start in rng.uniform(-0.6, -0.4, 120):
        env.reset(seed=0)
        env.state = np.array([start, 0.0])
        total, terminated, t = np.zeros(3), False, 0
        for t, action in enumerate(plans[int((start + 0.6) / 0.2 * len(plans))][0]):
            _, reward, terminated, _, _ = env.step(int(action))
            total += GAMMA**t * reward
            if terminated:
                break
        if not terminated:
            total[0] -= GAMMA ** (t + 1) / (1 - GAMMA)
        played.append(total)
    played = np.array(played)
    error = 4 * played.std(axis=0) / np.sqrt(len(played)) + 1e-3
    assert (np.abs(played.mean(axis=0) - expected) < error).all()
    again = stored.replay(ENV, plans, STARTS + np.float32(0.2 / STARTS.size / 3))
    returns = np.mean([stored.returns_of(one, ENV.objective_names, GAMMA)[0] for one in again], axis=0)
    np.testing.assert_allclose(returns, expected, rtol=0.01, atol=0.1)


@pytest.mark.parametrize("gamma", [0.95, 0.99, 1.0])
def test_the_front_is_one_at_every_discount(gamma):
    front = ENV.pareto_front(gamma)
    assert ENV.front_kind == "best known"
    assert len(front) >= 10
    assert non_dominated(front).all()
    assert ENV.max_hypervolume(gamma) == pytest.approx(float(hypervolume(front, ENV.reference_point)))
    # It samples the boundary of a convex set: nearly every point is the best one for some weights.
    assert len(ENV.coverage_set(gamma)) >= 0.9 * len(front)
    waits = (front[:, 1:] == 0).all(axis=1)
    if gamma < 1:
        assert front[waits, 0] == pytest.approx([-1 / (1 - gamma)])
    else:
        assert not waits.any()


def test_pumping_along_the_velocity_is_beaten_in_every_respect():
    front = ENV.pareto_front(GAMMA)

    def pump(start):
        def advance(carry, _):
            state, running, total, weight = carry
            action = 2 * (state.velocity >= 0).astype(np.int32)
            after = ENV.transition(state, action, jax.random.key(0))
            total += jax.numpy.where(running, weight, 0.0) * ENV.reward(state, action, after, jax.random.key(0))
            return (after, running & ~ENV.terminal(after, jax.random.key(0)), total, weight * GAMMA), None

        begin = (ENV.initial(jax.random.key(0))._replace(position=start), np.bool_(True), np.zeros(3, np.float32), 1.0)
        (_, running, total, _), _ = jax.lax.scan(advance, begin, None, 400)
        return total, running

    total, running = jax.jit(jax.vmap(pump))(STARTS.reshape(-1))
    assert not np.any(running)
    assert (front > np.mean(total, axis=0)).all(axis=1).any()


def test_variants_answer_where_they_can():
    merged = prefront.make("MOMountainCar-v0", merge_move_penalty=True)
    front = merged.pareto_front()
    assert front.shape[1] == 2
    assert front[0] == pytest.approx([-100.0, 0.0])
    # Weights that treat both directions alike choose the same policies.
    assert front[:, 0].max() <= ENV.pareto_front()[:, 0].max() + 1e-6
    assert len(prefront.make("MOMountainCar-v0", remove_move_penalty=True).pareto_front()) == 1
    for unknown in ({"add_speed_objective": True}, {"goal_velocity": 0.01}):
        environment = prefront.make("MOMountainCar-v0", **unknown)
        assert environment.front_kind == "unknown"
        with pytest.raises(NotImplementedError, match="no known Pareto front"):
            environment.pareto_front()


def test_plans_are_written_and_read_alike():
    rng = np.random.default_rng(0)
    for _ in range(50):
        actions = np.repeat(rng.integers(0, 3, 9), rng.integers(1, 30, 9)).astype(np.int32)[:60]
        assert np.array_equal(stored.decode(stored.encode(actions), len(actions)), actions)
    waiting = np.ones(60, np.int32)
    assert stored.encode(waiting) == "c1"
    assert np.array_equal(stored.decode("c1", 60), waiting)
