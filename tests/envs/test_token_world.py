"""Token world: what is promised of its worlds, that gold stays hidden, and that overoptimization happens."""

import dataclasses
import functools

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import prefront
from prefront.envs.token_gold import gold_attributes, repeated_bigram_share
from prefront.envs.token_world import TokenWorld, TokenWorldSettings, make_world, report
from prefront.exact import kl_constrained, kl_regularised
from prefront.preferences.models.sequences import RewardModelSettings
from prefront.tasks.environment import reset, step
from prefront.tasks.generation import known_answer
from prefront.tasks.wrappers import LinearScalarization

SMALL = TokenWorldSettings(vocabulary=6, length=5, pairs=100, calibration_samples=2000)
LAMBDAS = np.concatenate([[0.0], np.geomspace(0.05, 8, 24)])


def reference_sequences(world, settings, key, number=20_000):
    policy = kl_regularised.reference_policy(world.reference, settings.length)
    return kl_regularised.sample(jax.random.key(key), world.reference.initial, policy, number)


def roll(environment, params, sequence):
    """Writes the tokens of a sequence; returns all observations, rewards, ends and the last info."""
    take = jax.jit(lambda state, token: step(environment, state, token, jax.random.key(1), params))
    state, observation = reset(environment, jax.random.key(0), params)
    state = state._replace(tokens=state.tokens.at[0].set(sequence[0]))
    seen, rewards, ends = [observation.at[jnp.array([1, 2])].set(sequence[0])], [], []
    for token in sequence[1:]:
        taken = take(state, token)
        state = taken.state
        seen.append(taken.observation)
        rewards.append(taken.reward)
        ends.append(bool(taken.terminated))
    return np.array(seen), np.array(rewards), ends, environment.state_info(state, params)


@functools.cache
def world_of(seed, rho=0.0):
    return make_world(TokenWorldSettings(), seed, correlation=rho)


def test_worlds_keep_their_promises():
    settings = TokenWorldSettings()
    for rho in (-0.6, 0.9):
        for seed in range(3):
            world = world_of(seed, rho)
            sequences = reference_sequences(world, settings, 99)
            attributes = np.asarray(gold_attributes(world.evaluation, sequences))
            error = 1 / np.sqrt(len(sequences))
            # Both the attributes' standardisation and this sample have a sampling error of their own.
            assert abs(np.corrcoef(attributes.T)[0, 1] - rho) < 6 * (1 - rho**2) * error
            np.testing.assert_allclose(attributes.mean(0), 0, atol=6 * error)
            np.testing.assert_allclose(attributes.std(0), 1, atol=6 * error)
            rewards = np.asarray(kl_regularised.count_rewards(world.answer, sequences))
            np.testing.assert_allclose(rewards.mean(0), 0, atol=5 * error)
            np.testing.assert_allclose(rewards.std(0), 1, atol=5 * error)
            judged = world.gold(sequences)
            repetition = repeated_bigram_share(sequences)
            z = (repetition - repetition.mean()) / repetition.std()
            np.testing.assert_allclose(judged, attributes.mean(1) - 0.5 * z, atol=0.1)


@pytest.mark.slow
def test_any_number_of_components():
    matrix = ((1.0, 0.5, -0.2), (0.5, 1.0, 0.1), (-0.2, 0.1, 1.0))
    settings = TokenWorldSettings(components=3, correlation=matrix, pairs=50)
    world = make_world(settings, 0)
    attributes = np.asarray(gold_attributes(world.evaluation, reference_sequences(world, settings, 4)))
    np.testing.assert_allclose(np.corrcoef(attributes.T), matrix, atol=0.04)
    assert TokenWorld(SMALL, components=9, correlation=0.1).reward_dim == 9
    assert TokenWorld(SMALL, components=1).reward_dim == 1


def test_repeated_bigrams_are_counted():
    sequences = np.array([[9, 0, 1, 0, 1, 0, 1], [9, 0, 1, 2, 3, 4, 5], [9, 7, 7, 7, 7, 7, 7]])
    np.testing.assert_allclose(repeated_bigram_share(jnp.asarray(sequences)), [3 / 5, 0, 4 / 5], rtol=1e-6)


def test_vmapped_worlds_equal_single_ones():
    seeds, rhos = [3, 4], [-0.4, 0.7]
    keys = jax.vmap(jax.random.key)(jnp.array(seeds))
    batch = jax.vmap(lambda key, rho: make_world(SMALL, key, correlation=rho))(keys, jnp.array(rhos))
    for i, (seed, rho) in enumerate(zip(seeds, rhos, strict=True)):
        single = make_world(SMALL, seed, correlation=rho)
        for mine, theirs in zip(jax.tree.leaves(single), jax.tree.leaves(batch), strict=True):
            np.testing.assert_allclose(mine, theirs[i], rtol=2e-3, atol=2e-3)
        assert np.array_equal(single.comparisons.first.tokens, batch.comparisons.first.tokens[i])


@pytest.mark.parametrize("prompts", [0, 3])
def test_episodes_tell_what_they_should(prompts):
    terminal, dense = TokenWorld(SMALL, prompts=prompts), TokenWorld(SMALL, prompts=prompts, per_token=True)
    world = terminal.default_params
    for sequence in np.asarray(reference_sequences(world, SMALL, 7, 2)):
        assert (sequence[0] == 6) if prompts == 0 else (sequence[0] < prompts)
        seen, rewards, ends, info = roll(terminal, world, sequence)
        _, increments, _, _ = roll(dense, world, sequence)
        assert ends == [False] * 4 + [True]
        assert not rewards[:-1].any()
        np.testing.assert_allclose(rewards[-1], world.rewards(sequence), rtol=1e-6)
        np.testing.assert_allclose(rewards[-1], kl_regularised.count_rewards(world.answer, sequence), atol=1e-5)
        np.testing.assert_allclose(increments.sum(0), rewards[-1], atol=1e-5)
        assert np.count_nonzero(increments.any(1)) == 5
        assert np.array_equal(seen[:, 0], np.arange(6))
        assert np.array_equal(seen[:, 1], sequence)
        for t, observation in enumerate(seen):
            assert np.array_equal(observation[2 : 3 + t], sequence[: t + 1])
            assert np.all(observation[3 + t :] == 7)
            assert terminal.observation_space.contains(observation)
        expected = world.reference.log_transitions[sequence[-1]]
        np.testing.assert_allclose(info["reference_log_probabilities"], expected)
        np.testing.assert_allclose(np.exp(expected).sum(), 1, rtol=1e-5)


def test_gold_is_never_seen():
    environment = TokenWorld(SMALL)
    world = environment.default_params
    perturbed = dataclasses.replace(
        world,
        evaluation=jax.tree.map(lambda leaf: leaf + 1.0, world.evaluation),
        comparisons=jax.vmap(lambda one: dataclasses.replace(one, labels=1 - one.labels))(world.comparisons),
    )
    sequence = np.asarray(reference_sequences(world, SMALL, 8, 1))[0]
    assert world.gold(sequence) != perturbed.gold(sequence)
    for mine, theirs in zip(
        jax.tree.leaves(roll(environment, world, sequence)),
        jax.tree.leaves(roll(environment, perturbed, sequence)),
        strict=True,
    ):
        assert np.array_equal(mine, theirs)


def test_gold_falls_while_the_proxy_rises():
    settings = TokenWorldSettings()
    multipliers = jnp.outer(LAMBDAS, jnp.ones(2))

    @jax.jit
    def curve(world):
        rewards = world.answer
        path = kl_regularised.tilted_path(world.reference, rewards, multipliers, settings.length)
        judged, error = kl_regularised.evaluated_path(
            jax.random.key(5),
            world.reference,
            rewards,
            multipliers,
            settings.length,
            world.gold,
            1000,
        )
        return path.rewards.sum(-1), path.divergence, judged, error

    falls = 0
    for seed in range(10):
        proxy, divergence, judged, error = map(np.asarray, curve(world_of(seed)))
        assert np.all(np.diff(proxy) > -1e-3)
        assert np.all(np.diff(divergence) > -1e-3)
        assert judged.max() > judged[0] + 4 * error[0]
        falls += judged.max() - judged[-1] > 0.5
    assert falls >= 8


def test_reward_models_are_as_good_as_noisy_choices_allow():
    def reports(rho, seeds):
        measured = [report(world_of(seed, rho), 1, 2000) for seed in range(seeds)]
        return jax.tree.map(lambda *leaves: np.array(leaves), *measured)

    plain = reports(0.0, 10)
    assert 0.70 < plain.accuracy.mean() < 0.80
    assert 0.55 < plain.attribute_correlation.mean() < 0.80
    assert np.all((plain.calibration_error >= 0) & (plain.calibration_error < 0.3))
    apart, together = reports(-0.6, 3), reports(0.9, 3)
    assert np.all(together.model_correlation[:, 0, 1] > apart.model_correlation[:, 0, 1])


def test_coverage_set_contains_the_best_sequences():
    environment = TokenWorld(SMALL)
    front = environment.coverage_set()
    world = environment.default_params
    for weight in np.linspace(0, 1, 11):
        weights = np.array([weight, 1 - weight])
        best = kl_constrained.best_sequences(world.reference, world.answer, weights, SMALL.length)
        assert (front @ weights).max() == pytest.approx(best.value, abs=1e-6)
        np.testing.assert_allclose(world.rewards(best.sequences[0]) @ weights, best.value, atol=1e-4)
    np.testing.assert_allclose(environment.coverage_set(0.9), 0.9**4 * front, rtol=1e-6)
    dense = TokenWorld(SMALL, per_token=True)
    np.testing.assert_allclose(dense.coverage_set(), front, atol=1e-5)


@pytest.mark.slow
def test_large_world_runs_on_the_same_code():
    settings = TokenWorldSettings(vocabulary=256, length=64)
    world = make_world(settings, 0)
    rewards = world.answer
    lambdas = jnp.array([[0.0, 0.0], [0.5, 0.5]])
    path = jax.jit(lambda: kl_regularised.tilted_path(world.reference, rewards, lambdas, 64))()
    sequences = kl_regularised.sample(
        jax.random.key(0),
        world.reference.initial,
        kl_regularised.tilted_policy(world.reference, rewards, lambdas[1], 64),
        4000,
    )
    values = np.asarray(kl_regularised.count_rewards(rewards, sequences), np.float64)
    assert np.all(np.abs(values.mean(0) - path.rewards[1]) < 4 * values.std(0) / np.sqrt(4000))
    np.testing.assert_allclose(path.rewards[0], 0, atol=1e-3)
    theta = np.asarray(path.rewards[1])
    solved = kl_constrained.solve_equalities(world.reference, rewards, theta, 64)
    np.testing.assert_allclose(solved.rewards, theta, atol=1e-4)


def test_gymnasium_faces_take_settings():
    small = {"vocabulary": 6, "length": 5, "pairs": 100, "calibration_samples": 2000}
    env = gym.make("prefront/TokenWorld-v0", seed=2, **small)
    observation, info = env.reset(seed=0)
    assert observation[0] == 0
    assert info["reference_log_probabilities"].shape == (6,)
    for t in range(5):
        observation, reward, terminated, truncated, info = env.step(t)
        assert (terminated, truncated) == (t == 4, False)
    np.testing.assert_allclose(
        reward, env.unwrapped.environment.default_params.rewards(np.array([6, 0, 1, 2, 3, 4])), rtol=1e-5
    )
    batch = gym.make_vec(
        "prefront/TokenWorld-v0", num_envs=3, vocabulary=6, length=5, pairs=50, calibration_samples=500
    )
    assert batch.reset(seed=0)[0].shape == (3, 8)
    assert batch.step(np.array([0, 1, 2]))[1].shape == (3, 2)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"correlation": 1.0}, r"\(-1, 1\).*1\.0"),
        ({"correlation": -1.5}, r"-1\.5"),
        ({"components": 3, "correlation": -0.7}, r"eigenvalue is -0\.4"),
        ({"components": 3, "correlation": ((1.0, 0.2), (0.2, 1.0))}, r"3 x 3"),
        ({"correlation": ((1.0, 0.2), (0.3, 1.0))}, "symmetric"),
        ({"components": 0}, "1 to 9.*0"),
        ({"components": 10}, "1 to 9.*10"),
        ({"rationality": -1.0}, r"-1\.0"),
        ({"label_noise": 0.5}, r"\[0, 0\.5\).*0\.5"),
        ({"label_noise": -0.1}, r"-0\.1"),
        ({"length": 1}, "at least 2, got 1"),
        ({"vocabulary": 1}, "at least 2, got 1"),
        ({"prompts": 17}, "16.*17"),
        ({"unseen_weight": -0.1}, r"-0\.1"),
        ({"per_token": True, "reward_model": RewardModelSettings("mlp")}, "mlp"),
    ],
)
def test_bad_settings_are_refused(changes, named):
    with pytest.raises(ValueError, match=named):
        TokenWorldSettings(**changes)


def test_bad_numbers_and_names_are_refused():
    with pytest.raises(ValueError, match=r"\(-1, 1\).*2"):
        make_world(SMALL, 0, correlation=2.0)
    with pytest.raises(TypeError, match=r"lenght.*length"):
        TokenWorld(lenght=3)
    env = gym.make("prefront/TokenWorld-v0")
    with pytest.raises(ValueError, match=r"\(2,\).*\(3,\)"):
        LinearScalarization(env, [1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="finite"):
        LinearScalarization(env, [np.nan, 1.0])


@pytest.mark.slow
def test_neural_worlds_have_no_exact_answer_and_say_so():
    neural = TokenWorld(SMALL, reward_model=RewardModelSettings("mlp", steps=5))
    with pytest.raises(ValueError, match="No exact answer is known"):
        known_answer(neural.default_params)
    with pytest.raises(NotImplementedError, match="mlp"):
        neural.coverage_set()
    sequence = np.array([6, 0, 1, 2, 3, 4])
    _, rewards, _, _ = roll(neural, None, sequence)
    np.testing.assert_allclose(rewards[-1], neural.default_params.rewards(sequence), rtol=1e-5)


def test_scalarized_reward_is_the_weighted_sum():
    env = LinearScalarization(gym.make("prefront/DeepSeaTreasure-v0"), [2.0, -3.0])
    env.reset(seed=0)
    _, reward, _, _, info = env.step(1)
    assert isinstance(reward, float)
    assert reward == pytest.approx(2 * info["vector_reward"][0] - 3 * info["vector_reward"][1])
    assert prefront.make("DeepSeaTreasure-v0").reward_dim == 2


@pytest.mark.slow
def test_ppo_of_stable_baselines_learns_on_the_scalarized_world():
    stable_baselines3 = pytest.importorskip("stable_baselines3")
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    env = LinearScalarization(gym.make("prefront/TokenWorld-v0"), [0.5, 0.5])
    model = stable_baselines3.PPO("MlpPolicy", env, n_steps=1200, batch_size=300, gamma=1.0, seed=0, device="cpu")

    def returns(episodes=100):
        collected = []
        for episode in range(episodes):
            observation, _ = env.reset(seed=1000 + episode)
            ended = False
            while not ended:
                observation, reward, terminated, truncated, _ = env.step(model.predict(observation)[0])
                ended = terminated or truncated
            collected.append(reward)
        return np.array(collected)

    before = returns()
    model.learn(12_000)
    after = returns()
    error = np.sqrt(before.var() / len(before) + after.var() / len(after))
    assert after.mean() - before.mean() > 5 * error
