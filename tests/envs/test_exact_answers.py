"""The known answers, asked of the environments themselves and of what Gymnasium makes of them."""

import functools

import gymnasium as gym
import mo_gymnasium as mo_gym
import moocore
import numpy as np
import pytest

import prefront

SEA, CONCAVE, MIRRORED = (f"prefront/DeepSeaTreasure{variant}-v0" for variant in ("", "Concave", "Mirrored"))
FRUITS, RESOURCES = "prefront/FruitTree-v0", "prefront/ResourceGathering-v0"


@functools.cache
def made(id, **kwargs):
    return gym.make(id, **kwargs).unwrapped


@pytest.mark.parametrize(
    ("id", "points", "covering"),
    [
        (SEA, (10, 10, 10, 3), (9, 10, 10, 3)),
        (CONCAVE, (10, 10, 10, 9), (2, 2, 2, 2)),
        (FRUITS, (64, 64, 64, 64), (64, 64, 64, 64)),
        (RESOURCES, (1, 3, 3, 9), (1, 3, 3, 6)),
    ],
)
def test_counts_at_four_discounts(id, points, covering):
    gammas = (1.0, 0.99, 0.98, 0.9)
    assert made(id).environment.front_kind == "exact"
    assert tuple(len(made(id).pareto_front(gamma)) for gamma in gammas) == points
    assert tuple(len(made(id).coverage_set(gamma)) for gamma in gammas) == covering


@pytest.mark.parametrize(
    ("id", "reference", "hypervolumes"),
    [
        (SEA, (0, -50), {1.0: 994.30, 0.99: 854.8504, 0.98: 731.6139}),
        (CONCAVE, (0, -50), {1.0: 4255.0, 0.99: 3688.3771}),
        (FRUITS, (-1,) * 6, {1.0: 58271.2584, 0.99: 46034.8017}),
        (RESOURCES, (-1, -1, -2), {1.0: 6.0, 0.99: 5.4147, 0.98: 4.9383, 0.9: 3.2101}),
    ],
)
def test_hypervolumes_at_the_reference_point(id, reference, hypervolumes):
    assert made(id).reference_point.tolist() == list(reference)
    for gamma, volume in hypervolumes.items():
        assert made(id).max_hypervolume(gamma) == pytest.approx(volume, abs=6e-5)


@pytest.mark.parametrize(
    ("id", "kwargs", "theirs"),
    [
        (SEA, {}, ("deep-sea-treasure-v0", {})),
        (CONCAVE, {}, ("deep-sea-treasure-concave-v0", {})),
        (MIRRORED, {}, ("deep-sea-treasure-mirrored-v0", {})),
        *((FRUITS, {"depth": depth}, ("fruit-tree-v0", {"depth": depth})) for depth in (5, 6, 7)),
    ],
)
@pytest.mark.parametrize("gamma", [1.0, 0.99, 0.98])
def test_fronts_equal_those_that_mo_gymnasium_publishes(id, kwargs, theirs, gamma):
    published = np.array(mo_gym.make(theirs[0], **theirs[1]).unwrapped.pareto_front(gamma))
    published = moocore.filter_dominated(published, maximise=True)
    front = prefront.make(id, **kwargs).pareto_front(gamma)
    assert front.shape == published.shape
    order = [points[np.lexsort(np.round(points, 9).T[::-1])] for points in (front, published)]
    np.testing.assert_allclose(*order, rtol=0, atol=1e-9)
    volume = moocore.hypervolume(published, ref=made(id, **kwargs).reference_point, maximise=True)
    assert made(id, **kwargs).max_hypervolume(gamma) == pytest.approx(volume, rel=1e-9)


def test_answers_are_kept_but_not_pickled():
    import pickle

    environment = prefront.make("DeepSeaTreasure-v0")
    assert environment.pareto_front(0.99) is environment.pareto_front(0.99)
    assert environment.table() is environment.table()
    copy = pickle.loads(pickle.dumps(environment))
    assert not {"_enumeration", "_answers"} & vars(copy).keys()
    assert np.array_equal(copy.pareto_front(0.99), environment.pareto_front(0.99))


@pytest.mark.parametrize("gamma", [0.0, -0.5, 1.01, float("nan")])
def test_other_discounts_are_refused(gamma):
    with pytest.raises(ValueError, match=r"\(0, 1\]"):
        made(SEA).pareto_front(gamma)
