"""Delivery and its random relatives: published figures, the distribution of maps, and what each family promises."""

import jax
import numpy as np
import pytest
from scipy import stats

import prefront
from prefront.envs import delivery, random_delivery
from prefront.envs.delivery import COIN, GOAL, HOUSE, ROADBLOCK, SHEEP
from prefront.exact import mdp as exact
from prefront.exact.tables import check_mdp

GAMMA = 0.999


def test_published_figures_of_the_map():
    env = delivery.Delivery()
    table = check_mdp(env.table())
    assert (table.initial > 0).sum() == 92
    ends = exact.baselines(table, exact.expected_rewards(table, delivery.PUBLISHED_WEIGHTS), GAMMA)
    assert ends.optimal == pytest.approx(41.208, abs=5e-4)
    assert ends.random == pytest.approx(-71.26, abs=5e-3)
    assert env.optimal_return(delivery.PUBLISHED_WEIGHTS) == pytest.approx(ends.optimal, abs=1e-12)


@pytest.mark.parametrize(
    ("place", "action", "place_after", "features"),
    [
        ((0, 0), 0, (0, 0), [1, 0, 0, 0, 0, 0]),  # off the map, from road
        ((0, 1), 3, (0, 2), [1, 0, 0, 0, 1, 0]),  # onto a roadblock
        ((0, 2), 0, (0, 2), [1, 0, 0, 0, 0, 0]),  # bump on a roadblock: it is paid on entering only
        ((1, 3), 3, (1, 4), [1, 0, 0, 1, 0, 0]),  # onto a coin
        ((1, 8), 3, (1, 9), [0, 0, 0, 0, 0, 1]),  # onto mud: in place of gas
        ((1, 9), 3, (1, 9), [0, 0, 0, 0, 0, 1]),  # bump on mud
        ((7, 6), 3, (7, 7), [0, 0, 0, 1, 0, 1]),  # mud and coin
        ((1, 2), 1, (2, 2), [0, 0, 1, 0, 0, 0]),  # a sheep
        ((8, 8), 3, (8, 9), [0, 1, 0, 0, 0, 0]),  # the goal
        ((2, 4), 1, (2, 4), [1, 0, 0, 0, 0, 0]),  # a house
    ],
)
def test_steps_and_their_features(place, action, place_after, features):
    env = delivery.Delivery()
    state = np.array(place, np.int32)
    after = env.transition(state, action, jax.random.key(0))
    assert tuple(np.asarray(after)) == place_after
    assert np.array_equal(env.reward(state, action, after, jax.random.key(0)), features)
    table = env.table()
    number = place[0] * 10 + place[1]
    assert table.successors[number, action, 0] == place_after[0] * 10 + place_after[1]
    assert np.array_equal(table.rewards[number, action, 0], features)


@pytest.mark.parametrize("family", random_delivery.FAMILIES)
def test_tables_equal_the_functions_of_the_environment(family):
    """The table, made for whole batches at once, against the outcomes that episodes are drawn from."""
    env = random_delivery.RandomDelivery(family)
    params, _ = random_delivery.generate(jax.random.key(5), 3, family)
    batch = check_mdp(env.table(params))
    places = np.stack(np.indices(random_delivery.SHAPE), -1).reshape(-1, 2).astype(np.int32)
    states = np.pad(places, ((0, 0), (0, 1)))

    @jax.jit
    def outcomes(state, action, one):
        chances, reached = env.outcomes(state, action, one)
        key = jax.random.key(0)
        gained = jax.vmap(lambda after: env.reward(state, action, after, key, one))(reached)
        return chances, reached, gained, env.terminal(state, key, one)

    for m in range(3):
        one = jax.tree.map(lambda leaf, m=m: leaf[m], params)
        width = int(one.width)
        inside = np.asarray(one.cells).ravel() != HOUSE
        number = places[:, 0] * width + places[:, 1]
        starts, _ = env.initial_outcomes(one)
        assert np.allclose(batch.initial[m, number[inside]], np.asarray(starts)[inside], atol=1e-7)
        assert batch.terminal[m].sum() - batch.terminal[m, number[inside]].sum() == 150 - inside.sum()
        for action in range(4):
            chances, reached, gained, ended = jax.vmap(outcomes, (0, None, None))(states, action, one)
            assert np.array_equal(batch.terminal[m, number[inside]], np.asarray(ended)[inside])
            live = inside & ~np.asarray(ended)
            rows = number[live]
            assert np.allclose(batch.probabilities[m, rows, action], np.asarray(chances)[live], atol=1e-7)
            possible = np.asarray(chances)[live] > 0
            numbers = np.asarray(reached)[live][..., 0] * width + np.asarray(reached)[live][..., 1]
            assert np.array_equal(batch.successors[m, rows, action][possible], numbers[possible])
            assert np.array_equal(batch.rewards[m, rows, action][possible], np.asarray(gained)[live][possible])
    alone = env.table(jax.tree.map(lambda leaf: leaf[1], params))
    for leaf, of_batch in zip(alone, batch, strict=True):
        assert np.array_equal(leaf, of_batch[1])


def test_maps_are_distributed_as_published():
    count = 6000
    params, weights = random_delivery.generate(jax.random.key(0), count)
    cells, width = np.asarray(params.cells), np.asarray(params.width)
    inside = cells != HOUSE
    height = inside[:, :, 0].sum(1)
    assert np.array_equal(inside.sum((1, 2)), height * width)
    assert np.array_equal(inside.any(1).sum(1), width)
    assert ((cells == GOAL).sum((1, 2)) == 1).all()

    def uniform(values, options):
        counts = [(values == option).sum() for option in options]
        assert sum(counts) == len(values)
        assert stats.chisquare(counts).pvalue > 1e-3

    uniform(height, random_delivery.HEIGHTS)
    uniform(width, random_delivery.WIDTHS)
    assert (weights[:, [0, 3]] == [-1, 1]).all()
    assert not weights[:, 5].any()
    for column, options in ((1, (0, 1, 5, 10, 50)), (2, (-5, -10, -50, -100)), (4, (-2, -5, -10))):
        uniform(weights[:, column], options)
    # The goal is on every cell of a 3 x 5 map equally often, also on top of what lay there.
    small = (height == 3) & (width == 5)
    goals = (cells[small] == GOAL)[:, :3, :5].reshape(small.sum(), 15).sum(0)
    assert stats.chisquare(goals).pvalue > 1e-3

    # Shares by the published procedure: redraw until they fit, each after the other.
    rng = np.random.default_rng(0)
    simulated: dict[tuple[int, int, int], int] = {}
    for _ in range(40_000):
        sheep = rng.choice([0, 1, 3])
        while (blocks := rng.choice([0, 1, 5, 8])) + sheep >= 10:
            pass
        while (coins := rng.choice([0, 1, 2])) + sheep + blocks >= 10:
            pass
        simulated[sheep, blocks, coins] = simulated.get((sheep, blocks, coins), 0) + 1
    # 6 x 10 and 10 x 10 and 15 x 10 cells: rounding is nothing, and the goal may hide one cell of a kind.
    even = (height * width) % 10 == 0
    size = (height * width)[even]
    kinds = [((cells[even] == kind).sum((1, 2)) * 10 / size) for kind in (SHEEP, ROADBLOCK, COIN)]
    shares = [np.where(np.round(kind + 4 / size) > kind, np.round(kind + 4 / size), np.round(kind)) for kind in kinds]
    seen = [tuple(int(part[i]) for part in shares) for i in range(len(size))]
    assert set(seen) <= set(simulated)
    observed = np.array([seen.count(key) for key in sorted(simulated)])
    expected = np.array([simulated[key] for key in sorted(simulated)]) / 40_000 * len(seen)
    assert stats.chisquare(observed, expected).pvalue > 1e-3


def test_risks_keep_every_optimal_action():
    params, weights = random_delivery.generate(jax.random.key(2), 60, "risky")
    plain, plain_weights = random_delivery.generate(jax.random.key(2), 60)
    assert np.array_equal(plain.cells, params.cells)
    assert np.array_equal(weights, plain_weights)
    env = random_delivery.RandomDelivery("risky")
    risky, certain = env.table(params), random_delivery.RandomDelivery().table(plain)
    live = ~certain.terminal
    actions = [
        exact.optimal_policy(exact.solve(table, exact.expected_rewards(table, weights), GAMMA).action_values)[live] > 0
        for table in (risky, certain)
    ]
    assert np.array_equal(*actions)
    second = risky.probabilities[..., 1]
    assert set(np.unique(second)) == {0.0, 0.1}
    kinds = risky.rewards[..., 1, :][second > 0]
    for kind in ([0, 1, 0, 0, 0, 0], [1, 0, 0, 0, 2, 0], [1, 0, 0, 0, 0, 0]):
        assert (kinds == kind).all(1).sum() > 10
    # Moves that reach the goal by luck are never optimal ones, and lucky everywhere means at the goal.
    lucky = (second > 0) & (risky.rewards[..., 1, 1] == 1)
    assert not (lucky[live] & actions[0]).any()
    batch, state, action = np.nonzero(lucky)
    assert risky.terminal[batch, risky.successors[batch, state, action, 1]].all()


def test_lotteries():
    params, weights = random_delivery.generate(jax.random.key(2), 100, "lottery")
    table = random_delivery.RandomDelivery("lottery").table(params)
    assert ((~table.terminal).sum(1) < 25).all()
    assert (weights[:, [0, 1, 2, 4, 5]] == [-1, 50, -50, 0, 0]).all()
    assert set(weights[:, 3]) == set(random_delivery.LOTTERY_WINS)
    onto_sheep = table.rewards[..., 0, 2] == 1
    assert (onto_sheep.sum((1, 2)) > 0).all()
    assert np.array_equal(table.probabilities[onto_sheep], np.full((onto_sheep.sum(), 2), 0.5))
    assert (table.probabilities[~onto_sheep] == [1, 0]).all()
    assert (table.rewards[onto_sheep][:, 1] == np.eye(6)[3]).all()
    assert np.array_equal(table.successors[onto_sheep][:, 0], table.successors[onto_sheep][:, 1])
    # One step from a sheep, far from nothing: the mean reward of the lottery is (r_win - 50) / 2.
    rewards = exact.expected_rewards(table, weights)
    batch = np.nonzero(onto_sheep)[0]
    assert np.allclose(rewards[onto_sheep], (weights[batch, 3] - 50) / 2)


def test_second_outcomes_happen_as_often_as_they_should():
    env = random_delivery.RandomDelivery("lottery", seed=1)
    params = env.default_params
    chance = np.asarray(params.chance)
    row, column, action = np.argwhere(chance > 0)[0]
    state = np.array([row, column, 0], np.int32)
    keys = jax.random.split(jax.random.key(0), 4000)
    wins = jax.vmap(lambda key: env.reward(state, action, env.transition(state, action, key), key)[3])(keys)
    assert stats.binomtest(int(wins.sum()), 4000, 0.5).pvalue > 1e-3


def test_features_have_no_front_and_unknown_families_are_named():
    with pytest.raises(NotImplementedError, match="optimal_return"):
        prefront.make("Delivery-v0").pareto_front()
    with pytest.raises(ValueError, match=r"'loterry'.*lottery"):
        prefront.make("RandomDelivery-v0", family="loterry")
    with pytest.raises(ValueError, match=r"'loterry'.*lottery"):
        random_delivery.generate(jax.random.key(0), 1, "loterry")
    with pytest.raises(ValueError, match="got 0"):
        random_delivery.generate(jax.random.key(0), 0)
