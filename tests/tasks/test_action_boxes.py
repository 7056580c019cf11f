"""Box actions: every element of the box can be reached, and nothing but elements of it."""

import dataclasses
import json

import gymnasium as gym
import jax
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiDiscrete

from prefront.learning.networks import PolicyNetwork
from prefront.policies.policy import Policy
from prefront.system.shapes import restored
from prefront.tasks.action_boxes import ActionBox

RAW = np.linspace(-3, 3, 6001, dtype=np.float32)
BOXES = [
    Box(100, 200, (1,), np.float32),
    Box(-0.1, 0.1, (1,), np.float64),
    Box(0.1, 0.7, (1,), np.float64),
    Box(-0.1, 0.1, (1,), np.float16),
    Box(0, 255, (1,), np.uint8),
    Box(-3, 4, (1,), np.int64),
    Box(5, np.inf, (1,), np.float32),
    Box(-np.inf, -0.3, (1,), np.float64),
    Box(2, 30000, (1,), np.int16),
]


@pytest.mark.parametrize("space", BOXES, ids=str)
def test_actions_cover_the_box_and_lie_in_it_compiled_and_on_the_host(space):
    box = ActionBox.for_space(space)
    compiled = np.asarray(jax.vmap(box)(RAW[:, None]))
    host = box.on_host(compiled)
    assert host.dtype == space.dtype
    assert all(space.contains(one) for one in compiled)
    assert all(space.contains(one) for one in host)
    np.testing.assert_array_equal(compiled, host.astype(compiled.dtype))
    low, high = float(space.low[0]), float(space.high[0])
    width = high - low if np.isfinite(high - low) else 0.0
    if width:
        tolerance = max(float(np.spacing(np.asarray(high, np.float32))), 1e-3 * width)
        assert host.min() == pytest.approx(low, abs=tolerance)
        assert host.max() == pytest.approx(high, abs=tolerance)
        inner = np.abs(RAW) <= 1
        wanted = low + (RAW[inner].astype(float) + 1) / 2 * width
        unit = 0.5 if np.issubdtype(space.dtype, np.integer) else 0.0
        np.testing.assert_allclose(host[inner, 0].astype(float), wanted, atol=unit + tolerance)
        if unit and width < 300:
            assert len(np.unique(host)) == width + 1
    else:
        bound = low if np.isfinite(low) else high
        assert np.abs(host - bound).min() == pytest.approx(0, abs=1e-6)
        assert np.abs(host - bound).max() == pytest.approx(4, abs=1e-5)


def test_a_box_from_minus_one_to_one_is_taken_as_it_is():
    box = ActionBox.for_space(Box(-1, 1, (2, 1), np.float32))
    assert np.asarray(box(np.array([0.3, -7.0], np.float32))).tolist() == [[np.float32(0.3)], [-1.0]]
    free = ActionBox.for_space(Box(-np.inf, np.inf, (1,), np.float32))
    assert float(free(np.array([-7.25], np.float32))[0]) == -7.25


def test_boxes_that_float32_cannot_resolve_are_refused():
    for space in (Box(1e9, 1e9 + 1, (1,), np.float64), Box(1e9, np.inf, (1,), np.float64)):
        with pytest.raises(ValueError, match="1000000000"):
            ActionBox.for_space(space)
    with pytest.raises(ValueError, match="int32"):
        ActionBox.for_space(Box(0, 10**12, (1,), np.int64))


@pytest.mark.parametrize("space", BOXES[:6], ids=str)
def test_saved_policies_of_boxes_act_the_same(space):
    network = PolicyNetwork.for_spaces(Box(-1, 1, (2,)), space, hidden=(4,))
    again = restored(json.loads(json.dumps(dataclasses.asdict(network))), PolicyNetwork)
    assert again == network
    parameters = network.init(jax.random.key(0), 0.5)
    observations = np.random.default_rng(0).uniform(-1, 1, (5, 2)).astype(np.float32)
    first, second = (Policy(one, parameters)(observations, np.random.default_rng(1)) for one in (network, again))
    np.testing.assert_array_equal(first, second)
    assert first.dtype == space.dtype
    assert all(space.contains(one) for one in first)


def test_a_network_names_its_spaces_and_those_that_it_does_not_fit():
    network = PolicyNetwork.for_spaces(MultiDiscrete([11, 11]), Discrete(4))
    network.check_spaces(MultiDiscrete([11, 11]), Discrete(4))
    for other in ((MultiDiscrete([9, 11]), Discrete(4)), (MultiDiscrete([11, 11]), gym.spaces.Discrete(3))):
        with pytest.raises(ValueError, match=r"10\.0.*MultiDiscrete"):
            network.check_spaces(*other)


def test_a_table_has_no_action_for_cells_outside_its_space():
    network = PolicyNetwork.for_spaces(MultiDiscrete([3, 4], start=[1, 0]), Discrete(4))
    policy = Policy(network, network.init(jax.random.key(0)))
    policy(np.array([3, 3]))
    for wrong in ([0, 0], [4, 0], [1, 4], [1, -1], [1.5, 0], [np.nan, 0]):
        with pytest.raises(ValueError, match="outside"):
            policy(np.array(wrong))
        with pytest.raises(ValueError, match="outside"):
            policy(np.array([[1, 0], wrong]))
