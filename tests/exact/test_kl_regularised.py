"""Tilted sequence distributions against enumeration of every sequence, and against sampling."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefront.exact import kl_constrained, kl_regularised

V, L, K = 3, 4, 2


def chain(seed, prompts=0, vocabulary=V, components=K):
    rng = np.random.default_rng(seed)
    transitions = rng.dirichlet(np.ones(vocabulary), vocabulary + 1)
    initial = np.zeros(vocabulary + 1)
    initial[slice(0, prompts) if prompts else slice(vocabulary, None)] = 1 / max(prompts, 1)
    scores = rng.normal(size=(components, vocabulary + 1, vocabulary))
    offset = rng.normal(size=components)
    return kl_regularised.MarkovReference(initial, np.log(transitions)), kl_regularised.CountRewards(scores, offset)


def enumerate_all(reference, rewards):
    """All sequences, their reference log-probabilities given the context, their rewards, and their contexts' shares."""
    contexts = np.flatnonzero(reference.initial)
    sequences = np.array([(c, *tail) for c in contexts for tail in itertools.product(range(V), repeat=L)])
    log_p = reference.log_transitions[sequences[:, :-1], sequences[:, 1:]].sum(1)
    values = rewards.scores[:, sequences[:, :-1], sequences[:, 1:]].sum(-1).T + rewards.offset
    return sequences, log_p, values, reference.initial[sequences[:, 0]]


def brute_force(reference, rewards, multipliers):
    sequences, log_p, values, shares = enumerate_all(reference, rewards)
    log_z = expected = divergence = 0
    probabilities = np.zeros(len(sequences))
    for context in np.unique(sequences[:, 0]):
        here = sequences[:, 0] == context
        weight = np.exp(log_p[here] + values[here] @ multipliers)
        p = weight / weight.sum()
        share = shares[here][0]
        log_z = log_z + share * np.log(weight.sum())
        expected = expected + share * p @ values[here]
        divergence = divergence + share * p @ (np.log(p) - log_p[here])
        probabilities[here] = p
    return log_z, expected, divergence, probabilities


@pytest.mark.parametrize("prompts", [0, 2])
@pytest.mark.parametrize("multipliers", [(0.0, 0.0), (0.7, -1.3), (5.0, 4.0)])
def test_everything_equals_enumeration(prompts, multipliers):
    reference, rewards = chain(1, prompts)
    multipliers = np.array(multipliers)
    log_z, expected, divergence, probabilities = brute_force(reference, rewards, multipliers)
    sequences, _, values, _ = enumerate_all(reference, rewards)
    with jax.enable_x64(True):
        path = kl_regularised.tilted_path(reference, rewards, multipliers[None], L)
        policy = kl_regularised.tilted_policy(reference, rewards, multipliers, L)
        log_p = policy[np.arange(L), sequences[:, :-1], sequences[:, 1:]].sum(1)
        by_policy = kl_regularised.expected_rewards(reference.initial, rewards, policy)
        own = kl_regularised.divergence(reference.initial, policy, reference.log_transitions)
        np.testing.assert_allclose(jnp.exp(policy).sum(-1), 1, rtol=1e-12)
        np.testing.assert_allclose(kl_regularised.count_rewards(rewards, sequences), values, rtol=1e-12)
        np.testing.assert_allclose(kl_regularised.count_increments(rewards, sequences).sum(1), values, atol=1e-12)
    np.testing.assert_allclose(path.log_partition[0], log_z, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(path.rewards[0], expected, rtol=1e-11)
    np.testing.assert_allclose(path.divergence[0], divergence, atol=1e-10)
    np.testing.assert_allclose(np.exp(log_p), probabilities, atol=1e-12)
    np.testing.assert_allclose(by_policy, expected, rtol=1e-11)
    np.testing.assert_allclose(own, divergence, atol=1e-10)


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.floats(-3, 3), st.floats(-3, 3))
def test_the_optimum_beats_every_other_policy(seed, first, second):
    """Regularised return = log Z - KL(policy || optimum), for any policy: the identity behind the optimum."""
    reference, rewards = chain(seed)
    multipliers = np.array([first, second])
    policy = np.log(np.random.default_rng(seed + 1).dirichlet(np.ones(V), (L, V + 1)))
    with jax.enable_x64(True):
        optimum = kl_regularised.tilted_policy(reference, rewards, multipliers, L)
        regularised = multipliers @ kl_regularised.expected_rewards(
            reference.initial, rewards, policy
        ) - kl_regularised.divergence(reference.initial, policy, reference.log_transitions)
        gap = kl_regularised.divergence(reference.initial, policy, optimum)
        log_z = kl_regularised.log_partition(reference, rewards, multipliers, L)
    assert gap >= 0
    np.testing.assert_allclose(regularised, log_z - gap, atol=1e-9)


def test_divergence_of_missing_support_is_infinite_and_of_equals_zero():
    reference, _ = chain(0)
    policy = np.array(kl_regularised.reference_policy(reference, L))
    other = policy.copy()
    other[1, 0] = [-np.inf, np.log(0.5), np.log(0.5)]
    assert kl_regularised.divergence(reference.initial, policy, other) == np.inf
    assert kl_regularised.divergence(reference.initial, policy, policy) == 0
    assert np.isfinite(kl_regularised.divergence(reference.initial, other, policy))


def test_action_values_equal_enumeration():
    reference, rewards = chain(2, prompts=3)
    policy = np.log(np.random.default_rng(5).dirichlet(np.ones(V), (L, V + 1)))
    with jax.enable_x64(True):
        q = np.asarray(kl_regularised.action_values(rewards, policy))
        start = np.einsum("cv,kcv->kc", np.exp(policy[0]), q[:, 0]) @ reference.initial
        np.testing.assert_allclose(
            start, kl_regularised.expected_rewards(reference.initial, rewards, policy), rtol=1e-11
        )
    for c, v in itertools.product(range(V), repeat=2):
        following = rewards.scores[:, c, v] + np.exp(policy[L - 1, v]) @ rewards.scores[:, v].T + rewards.offset
        np.testing.assert_allclose(q[:, L - 2, c, v], following, rtol=1e-11)


@pytest.mark.parametrize("prompts", [0, 4])
def test_moments_and_samples_agree_on_a_large_chain(prompts):
    reference, rewards = chain(3, prompts, vocabulary=40)
    length, number = 30, 20_000
    reference, rewards = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), (reference, rewards))
    multipliers = jnp.array([0.4, -0.3])
    policy = kl_regularised.tilted_policy(reference, rewards, multipliers, length)
    sequences = kl_regularised.sample(jax.random.key(0), reference.initial, policy, number)
    values = np.asarray(kl_regularised.count_rewards(rewards, sequences), np.float64)
    path = kl_regularised.tilted_path(reference, rewards, multipliers[None], length)
    error = values.std(0) / np.sqrt(number)
    assert np.all(np.abs(values.mean(0) - path.rewards[0]) < 4 * error)
    steps = np.arange(length)
    ratio = (policy - reference.log_transitions)[steps, sequences[:, :-1], sequences[:, 1:]].sum(1)
    assert abs(ratio.mean() - path.divergence[0]) < 4 * ratio.std() / np.sqrt(number)
    plain = kl_regularised.sample(
        jax.random.key(1), reference.initial, kl_regularised.reference_policy(reference, length), number
    )
    raw = np.asarray(kl_regularised.count_rewards(rewards._replace(offset=jnp.zeros(K)), plain)[:, 0], np.float64)
    mean, deviation = kl_regularised.reward_moments(reference, rewards.scores[0], length)
    assert abs(raw.mean() - mean) < 4 * raw.std() / np.sqrt(number)
    assert abs(raw.std() / deviation - 1) < 4 / np.sqrt(2 * number)
    mean_on_path, error = kl_regularised.evaluated_path(
        jax.random.key(2), reference, rewards, multipliers[None], length,
        lambda x: kl_regularised.count_rewards(rewards, x)[:, 0], 5000,
    )  # fmt: skip
    assert abs(mean_on_path[0] - path.rewards[0, 0]) < 4 * error[0]


@pytest.mark.parametrize("prompts", [0, 2])
def test_equalities_are_met(prompts):
    reference, rewards = chain(4, prompts)
    for multipliers in ([0.3, 0.8], [-1.5, 2.5], [4.0, 1.0]):
        _, theta, divergence, _ = brute_force(reference, rewards, np.array(multipliers))
        solved = kl_constrained.solve_equalities(reference, rewards, theta, L)
        np.testing.assert_allclose(solved.rewards, theta, atol=1e-6)
        np.testing.assert_allclose(solved.multipliers, multipliers, atol=1e-3)
        np.testing.assert_allclose(solved.divergence, divergence, atol=1e-5)


def test_inequalities_meet_the_optimality_conditions():
    reference, rewards = chain(6)
    _, start, _, _ = brute_force(reference, rewards, np.zeros(K))
    low_high = kl_constrained.reward_range(reference, rewards, L)
    active = []
    for a, b in itertools.product([-0.5, 0.3], repeat=2):
        theta = start + np.where([a > 0, b > 0], 0.3 * (low_high[:, 1] - start), 0.5 * (low_high[:, 0] - start))
        solved = kl_constrained.solve_inequalities(reference, rewards, theta, L)
        assert np.all(solved.multipliers >= 0)
        assert np.all(solved.rewards >= theta - 1e-6)
        np.testing.assert_allclose(solved.multipliers * (solved.rewards - theta), 0, atol=1e-5)
        _, expected, divergence, _ = brute_force(reference, rewards, solved.multipliers)
        np.testing.assert_allclose(solved.rewards, expected, atol=1e-9)
        np.testing.assert_allclose(solved.divergence, divergence, atol=1e-9)
        active.append(tuple(solved.multipliers > 0))
    assert active[0] == (False, False)
    assert solved.divergence > 0


def test_a_target_of_the_divergence_is_met():
    reference, rewards = chain(7)
    solved = kl_constrained.solve_divergence(reference, rewards, [1.0, 0.5], 0.8, L)
    assert abs(solved.divergence - 0.8) < 1e-6
    assert solved.multipliers[0] == pytest.approx(2 * solved.multipliers[1])
    with pytest.raises(ValueError, match=r"100.*largest"):
        kl_constrained.solve_divergence(reference, rewards, [1.0, 0.5], 100.0, L)
    with pytest.raises(ValueError, match=r"-1"):
        kl_constrained.solve_divergence(reference, rewards, [1.0, 0.5], -1.0, L)


@pytest.mark.parametrize("prompts", [0, 2])
def test_viterbi_and_the_coverage_set_equal_enumeration(prompts):
    reference, rewards = chain(8, prompts)
    sequences, _, values, _ = enumerate_all(reference, rewards)
    contexts = np.unique(sequences[:, 0])
    rng = np.random.default_rng(0)
    front = kl_constrained.coverage_set(reference, rewards, L)
    for weights in [*rng.normal(size=(5, K)), *np.abs(rng.normal(size=(30, K)))]:
        largest = np.mean([(values[sequences[:, 0] == c] @ weights).max() for c in contexts])
        best = kl_constrained.best_sequences(reference, rewards, weights, L)
        assert best.value == pytest.approx(largest)
        assert best.rewards @ weights == pytest.approx(largest)
        if np.all(weights > 0):
            assert (front @ weights).max() == pytest.approx(largest)
    # Every point is needed: without it some weights lose.
    grid = np.linspace(0, 1, 20_001)
    weights = np.column_stack([grid, 1 - grid])
    winners = np.unique((weights @ front.T).argmax(1))
    assert len(winners) == len(front)


def test_thresholds_out_of_reach_are_named():
    reference, rewards = chain(9)
    low_high = kl_constrained.reward_range(reference, rewards, L)
    _, start, _, _ = brute_force(reference, rewards, np.zeros(K))
    with pytest.raises(kl_constrained.UnreachableThresholdsError, match=r"reachable ranges.*\["):
        kl_constrained.solve_equalities(reference, rewards, [low_high[0, 1] + 0.1, start[1]], L)
    with pytest.raises(kl_constrained.UnreachableThresholdsError, match="together"):
        kl_constrained.solve_equalities(reference, rewards, low_high[:, 1] - 1e-3, L)
    with pytest.raises(kl_constrained.UnreachableThresholdsError, match="together"):
        kl_constrained.solve_inequalities(reference, rewards, low_high[:, 1] - 1e-3, L)
    below = kl_constrained.solve_inequalities(reference, rewards, low_high[:, 0] - 1, L)
    assert below.divergence == pytest.approx(0, abs=1e-12)
    best = kl_constrained.best_sequences(reference, rewards, [1.0, 1.0], L).rewards
    # A vertex is the limit of policies, and is met within the tolerance by one that is almost deterministic.
    np.testing.assert_allclose(kl_constrained.solve_equalities(reference, rewards, best, L).rewards, best, atol=1e-5)
    with pytest.raises(ValueError, match="2 thresholds"):
        kl_constrained.solve_equalities(reference, rewards, [0.0, 0.0, 0.0], L)


def test_three_objectives_coverage_set():
    reference, rewards = chain(10, components=3)
    _, _, values, _ = enumerate_all(reference, rewards)
    front = kl_constrained.coverage_set(reference, rewards, L)
    weights = np.random.default_rng(0).dirichlet(np.ones(3), 5000)
    np.testing.assert_allclose((weights @ front.T).max(1), (weights @ values.T).max(1), rtol=1e-9)


def test_best_of_n_divergence_is_that_of_the_maximum():
    """The best of n scores without ties has density n F^(n - 1), whose KL is integrated here."""
    u = (np.arange(2_000_000) + 0.5) / 2_000_000
    for n in (1, 2, 16):
        density = n * u ** (n - 1)
        assert kl_regularised.best_of_n_divergence(n) == pytest.approx(np.mean(density * np.log(density)), abs=1e-5)
    with pytest.raises(ValueError, match="0"):
        kl_regularised.best_of_n_divergence([4, 0])


def forbidding_chain(seed):
    """A chain whose reference never writes some tokens after some contexts."""
    reference, rewards = chain(seed)
    transitions = np.exp(reference.log_transitions)
    transitions[[0, 1, 2, 3], [2, 0, 0, 1]] = 0
    with np.errstate(divide="ignore"):
        return reference._replace(log_transitions=np.log(transitions / transitions.sum(1, keepdims=True))), rewards


@pytest.mark.parametrize("seed", range(3))
def test_what_the_reference_never_writes_is_out_of_reach(seed):
    """Ranges, coverage set, solutions and policies equal enumeration of the sequences of positive probability."""
    reference, rewards = forbidding_chain(seed)
    _, log_p, values, _ = enumerate_all(reference, rewards)
    possible = values[log_p > -np.inf]
    assert len(possible) < len(values) / 2
    low_high = kl_constrained.reward_range(reference, rewards, L)
    np.testing.assert_allclose(low_high, np.column_stack([possible.min(0), possible.max(0)]), rtol=1e-12)
    front = kl_constrained.coverage_set(reference, rewards, L)
    grid = np.linspace(0, 1, 2001)
    weights = np.column_stack([grid, 1 - grid])
    np.testing.assert_allclose((weights @ front.T).max(1), (weights @ possible.T).max(1), rtol=1e-9)
    with pytest.raises(kl_constrained.UnreachableThresholdsError, match="reachable ranges"):
        kl_constrained.solve_inequalities(reference, rewards, [possible[:, 0].max() + 1e-3, possible[:, 1].min()], L)
    p = np.exp(log_p + values @ [1.5, -0.5])
    p /= p.sum()
    solved = kl_constrained.solve_equalities(reference, rewards, p @ values, L)
    np.testing.assert_allclose(solved.multipliers, [1.5, -0.5], atol=1e-3)
    happens = p > 0
    divergence = p[happens] @ (np.log(p[happens]) - log_p[happens])
    np.testing.assert_allclose(solved.divergence, divergence, atol=1e-5)
    path = kl_regularised.tilted_path(*jax.tree.map(jnp.float32, (reference, rewards, np.array([[1.5, -0.5]]))), L)
    np.testing.assert_allclose(path.rewards[0], p @ values, rtol=1e-5)
    np.testing.assert_allclose(path.divergence[0], divergence, rtol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e6, 1e9])
def test_divergence_stays_exact_for_large_multipliers(scale):
    """In float32, where multipliers times rewards minus log Z would be the difference of two numbers of that size."""
    reference, rewards = chain(1, prompts=2)
    _, log_p, values, shares = enumerate_all(reference, rewards)
    expected = 0.0
    for context in range(2):
        here = shares * (np.arange(len(log_p)) // V**L == context) > 0
        weight = log_p[here] + scale * values[here].sum(1)
        p = np.exp(weight - weight.max())
        p /= p.sum()
        expected += 0.5 * p[p > 0] @ (np.log(p[p > 0]) - log_p[here][p > 0])
    inputs = jax.tree.map(jnp.float32, (reference, rewards, np.full((1, K), scale)))
    path = kl_regularised.tilted_path(*inputs, L)
    np.testing.assert_allclose(path.divergence[0], expected, rtol=2e-6)
    policy = kl_regularised.tilted_policy(*inputs[:2], inputs[2][0], L)
    own = kl_regularised.divergence(inputs[0].initial, policy, inputs[0].log_transitions)
    np.testing.assert_allclose(own, expected, rtol=2e-6)


@pytest.mark.parametrize("units", [(1e-9, 1e-9), (1e9, 1e9), (1e-6, 1e6)])
def test_solutions_do_not_depend_on_the_units_of_rewards(units):
    reference, rewards = chain(4)
    units = np.array(units)
    other = kl_regularised.CountRewards(rewards.scores * units[:, None, None], rewards.offset * units)
    _, theta, _, _ = brute_force(reference, rewards, np.array([0.3, 0.8]))
    for solve in (kl_constrained.solve_equalities, kl_constrained.solve_inequalities):
        plain, found = solve(reference, rewards, theta, L), solve(reference, other, theta * units, L)
        np.testing.assert_allclose(found.multipliers * units, plain.multipliers, rtol=1e-6)
        np.testing.assert_allclose(found.rewards / units, plain.rewards, rtol=1e-6)
        np.testing.assert_allclose(found.divergence, plain.divergence, rtol=1e-6)
        high = kl_constrained.reward_range(reference, rewards, L)[:, 1]
        with pytest.raises(kl_constrained.UnreachableThresholdsError, match="reachable ranges"):
            solve(reference, other, (high + np.array([1e-3, 0])) * units, L)
        with pytest.raises(kl_constrained.UnreachableThresholdsError, match="together"):
            solve(reference, other, (high - 1e-3) * units, L)
    front = kl_constrained.coverage_set(reference, rewards, L)
    np.testing.assert_allclose(kl_constrained.coverage_set(reference, other, L) / units, front, rtol=1e-12)
    target = kl_constrained.solve_divergence(reference, other, [1.0, 0.5] / units, 0.8, L)
    np.testing.assert_allclose(
        target.multipliers * units, kl_constrained.solve_divergence(reference, rewards, [1.0, 0.5], 0.8, L).multipliers
    )
