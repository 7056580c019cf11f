"""Segments: what they sum, where they end, and that wrong ones are refused by row."""

import dataclasses

import jax
import numpy as np
import pytest
from scipy import stats

from prefront.envs.random_delivery import RandomDelivery, generate
from prefront.exact.tables import TabularMDP
from prefront.preferences.segments import Episode, Segments, cut_segments, sample_segments

# Three cells in a row; moving on pays the feature, the third is the end.
CORRIDOR = TabularMDP(
    np.array([[[1]], [[2]], [[2]]]),
    np.ones((3, 1, 1)),
    np.array([[[[1.0]]], [[[10.0]]], [[[7.0]]]]),
    np.array([False, False, True]),
    np.array([1.0, 0, 0]),
)


@pytest.mark.parametrize(("absorbing", "length"), [(True, 5), (False, 2)])
def test_segments_end_in_terminal_states_or_go_on_there_without_features(absorbing, length):
    segments = sample_segments(CORRIDOR, 4, 5, np.random.default_rng(0), absorbing=absorbing)
    segments.checked()
    assert (segments.lengths == length).all()
    assert np.array_equal(segments.states[0], [0, 1, 2, 2, 2, 2])
    assert segments.ended.all()
    assert (segments.start == 0).all()
    assert (segments.end == 2).all()
    assert (segments.features() == 11).all()
    assert (segments.features(0.5) == 6).all()
    assert np.array_equal(segments.mask[0], np.arange(5) < length)
    exact = sample_segments(CORRIDOR, 1, 2, np.random.default_rng(0))
    assert (exact.lengths, exact.ended) == ([2], [True])
    short = sample_segments(CORRIDOR, 1, 1, np.random.default_rng(0))
    assert (short.lengths, short.ended) == ([1], [False])


def test_padding_counts_for_nothing():
    features = np.array([[[1.0], [np.nan], [np.inf]]])
    segments = Segments(np.zeros((1, 4), int), np.zeros((1, 3), int), features, np.array([1]), np.array([True]))
    assert segments.checked().features() == 1


def test_segments_follow_the_dynamics_and_the_policy():
    env = RandomDelivery("risky")
    params, _ = generate(jax.random.key(3), 4, "risky")
    batch = env.table(params)
    rng = np.random.default_rng(0)
    for m in range(4):
        mdp = TabularMDP(*(leaf[m] for leaf in batch))
        policy = rng.dirichlet(np.ones(4), len(mdp.terminal))
        segments = sample_segments(mdp, 4000, 3, rng, policy=policy, absorbing=True)
        before, after = segments.states[:, :-1], segments.states[:, 1:]
        reached = (mdp.successors[before, segments.actions] == after[..., None]) & (
            mdp.probabilities[before, segments.actions] > 0
        )
        assert reached.any(-1).all()
        features = mdp.rewards[before, segments.actions]
        as_told = (features == segments.rewards[:, :, None]).all(-1) & reached
        assert (as_told.any(-1) | mdp.terminal[before]).all()
        assert not segments.rewards[mdp.terminal[before]].any()
        live = mdp.initial > 0
        counts = np.bincount(segments.start, minlength=len(live))
        assert not counts[~live].any()
        assert stats.chisquare(counts[live], 4000 * mdp.initial[live]).pvalue > 1e-4
        state = np.argmax(counts)
        taken = np.bincount(segments.actions[segments.start == state, 0], minlength=4)
        assert stats.chisquare(taken, taken.sum() * policy[state]).pvalue > 1e-4


def test_joining_pads_to_the_longest():
    parts = [sample_segments(CORRIDOR, 2, t, np.random.default_rng(0)) for t in (1, 4)]
    joined = Segments.concatenate(parts).checked()
    assert np.array_equal(joined.lengths, [1, 1, 2, 2])
    assert np.array_equal(joined.features(), np.concatenate([part.features() for part in parts]))
    assert np.array_equal(joined.end, [1, 1, 2, 2])
    with pytest.raises(ValueError, match="absorbing"):
        Segments.concatenate([parts[0], dataclasses.replace(parts[1], absorbing=True)])
    with pytest.raises(ValueError, match="rewards"):
        Segments.concatenate([parts[0], dataclasses.replace(parts[0], rewards=parts[0].rewards.repeat(2, 2))])


def test_cutting_episodes():
    observations = np.arange(8.0).reshape(4, 2)
    ended = Episode(observations, np.arange(3), np.array([[1.0], [2], [4]]), True)
    truncated = ended._replace(terminated=False)
    rng = np.random.default_rng(0)
    cut = cut_segments([ended], 200, 2, rng).checked()
    assert set(map(tuple, np.stack([cut.features()[:, 0], cut.lengths, cut.ended], 1))) == {
        (3, 2, False),
        (6, 2, True),
        (4, 1, True),
    }
    on = cut_segments([ended], 200, 2, rng, absorbing=True).checked()
    assert (on.lengths == 2).all()
    assert set(on.features()[:, 0]) == {3, 6, 4}
    assert np.array_equal(on.end[on.ended], np.tile([6.0, 7.0], (on.ended.sum(), 1)))
    whole = cut_segments([truncated], 200, 2, rng)
    assert set(whole.features()[:, 0]) == {3, 6}
    assert not whole.ended.any()
    with pytest.raises(ValueError, match="truncated after 3 of 4"):
        cut_segments([truncated], 1, 4, rng, absorbing=True)
    with pytest.raises(ValueError, match="0 episodes"):
        cut_segments([], 1, 4, rng)


def test_wrong_rows_are_named():
    segments = sample_segments(CORRIDOR, 3, 2, np.random.default_rng(0))
    with pytest.raises(ValueError, match="row 1 declares length 5, but must lie in 1 to 2"):
        dataclasses.replace(segments, lengths=np.array([2, 5, 2])).checked()
    features = segments.rewards.copy()
    features[2, 1] = np.nan
    with pytest.raises(ValueError, match=r"row 2, step 1 has rewards \[nan\]"):
        dataclasses.replace(segments, rewards=features).checked()
    with pytest.raises(ValueError, match=r"states must begin with \(3, 3\), got \(3, 2\)"):
        dataclasses.replace(segments, states=segments.states[:, :2]).checked()
    with pytest.raises(ValueError, match="got 0 and 2"):
        sample_segments(CORRIDOR, 0, 2, np.random.default_rng(0))


def test_segments_are_a_pytree():
    segments = sample_segments(CORRIDOR, 3, 2, np.random.default_rng(0), absorbing=True)
    total = jax.jit(lambda given: (given.rewards.sum(), given.absorbing))(segments)
    assert float(total[0]) == 33
    assert total[1]
    assert len(segments[np.array([True, False, True])]) == 2


@pytest.mark.parametrize("discount", [np.nan, 0.0, -1.0, 1.5, np.inf])
def test_returns_need_a_discount(discount):
    segments = sample_segments(CORRIDOR, 2, 2, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"discount must lie in \(0, 1\], got"):
        segments.features(discount)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rewards": np.zeros(4)}, r"episode 1: .*rewards be \(T, d\), got \(4,\) and \(4,\)"),
        ({"rewards": np.zeros((3, 2))}, r"episode 1: .*got \(4,\) and \(3, 2\)"),
        ({"observations": np.zeros((4, 3))}, r"episode 1: observations must begin with \(5,\), got \(4, 3\)"),
        ({"terminated": np.zeros(4, bool)}, r"episode 1: terminated must be one truth value, got shape \(4,\)"),
        ({"rewards": np.full((4, 2), np.nan)}, r"episode 1: step 0 has rewards \[nan nan\], which must be finite"),
        ({"rewards": np.zeros((4, 3))}, r"agree on the number of rewards, got \[2, 3\]"),
    ],
)
def test_episodes_whose_arrays_do_not_fit_are_named(fields, message):
    good = Episode(np.zeros((5, 3)), np.zeros(4, int), np.zeros((4, 2)), False)
    with pytest.raises(ValueError, match=message):
        cut_segments([good, good._replace(**fields)], 3, 2, np.random.default_rng(0))
