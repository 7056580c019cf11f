"""The conformance checker: our environments pass, and each way to break an environment is caught by its own check."""

import mo_gymnasium  # noqa: F401 (registers the ids)
import numpy as np
import pytest

import prefront
from prefront.envs.deep_sea_treasure import DeepSeaTreasure
from prefront.envs.resource_gathering import ResourceGathering
from prefront.tasks import checker, front_check
from prefront.tasks.checker import ConformanceError, check_environment
from prefront.tasks.gymnasium_api import SingleEnvironment

# Exact fronts of hundreds of points, or slow programs, take more than 20 seconds.
SLOW = {"prefront/FourRoom-v0", "prefront/Minecart-v0", "prefront/TokenWorld-v0"}
IDS = [
    pytest.param(id, marks=pytest.mark.slow) if id in SLOW else id
    for id in sorted(prefront.tasks.registry.ENVIRONMENTS)
]


@pytest.fixture(autouse=True)
def fewer_random_policies(monkeypatch):
    """A quarter of what users get: enough to show every fault below."""
    monkeypatch.setattr(front_check, "POLICIES", 512)
    monkeypatch.setattr(front_check, "EPISODES", 64)


@pytest.mark.parametrize("id", IDS)
def test_every_environment_of_ours_conforms(id):
    results = {result.name: result for result in check_environment(id, steps=60)}
    skipped = {name for name, result in results.items() if result.skipped}
    environment = prefront.make(id)
    allowed = set() if hasattr(environment, "outcomes") else {"outcomes"}
    if environment.front_kind == "unknown":
        allowed |= {"reference point", "front"}
    assert skipped <= allowed, [results[name] for name in skipped]


def test_small_maze_conforms_with_its_exact_front():
    results = check_environment(prefront.make("FourRoom-v0", maze=("1_ 2", "X3X ", "_1 G")), steps=60)
    assert not any(result.skipped for result in results)


class Broken(SingleEnvironment):
    """Deep sea treasure behind its face, to be broken in one place."""

    def __init__(self):
        super().__init__(DeepSeaTreasure())


class WrongDtype(Broken):
    def step(self, action):
        observation, reward, *rest = super().step(action)
        return observation, reward.astype(np.float64), *rest


class Outside(Broken):
    def step(self, action):
        observation, reward, *rest = super().step(action)
        return observation, reward * 2, *rest


class StrayObservation(Broken):
    def step(self, action):
        observation, *rest = super().step(action)
        return observation + 11, *rest


class IgnoresSeed(SingleEnvironment):
    def __init__(self):
        super().__init__(ResourceGathering())
        self.drawn = np.random.default_rng(0)

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=int(self.drawn.integers(1000)), options=options)

    def step(self, action):
        return super().step(int(self.drawn.integers(4)))


class SharedInfo(Broken):
    shared: dict = {}  # noqa: RUF012

    def step(self, action):
        return *super().step(action)[:4], self.shared


class OverwritesObservation(Broken):
    buffer = np.zeros(2, np.int32)

    def step(self, action):
        observation, *rest = super().step(action)
        self.buffer[:] = observation
        return self.buffer, *rest


class Unpicklable(Broken):
    def __init__(self):
        super().__init__()
        self.hook = lambda: None


class WrongNames(Broken):
    def __init__(self):
        super().__init__()
        self.objective_names = ("treasure",)


class PoorReference(Broken):
    def __init__(self):
        super().__init__()
        self.reference_point = np.array([1.0, -5.0])


class LacksPoints(DeepSeaTreasure):
    def pareto_front(self, gamma=None):
        return super().pareto_front(gamma)[3:]


class TooPoor(DeepSeaTreasure):
    front_kind = "best known"

    def pareto_front(self, gamma=None):
        return super().pareto_front(gamma) - np.array([0.5, 5.0])


class LacksStochasticPoints(ResourceGathering):
    def pareto_front(self, gamma=None):
        front = super().pareto_front(gamma)
        return np.full_like(front[:1], -1.0)


class BadOutcomes(ResourceGathering):
    def outcomes(self, state, action, params=None):
        probabilities, states = super().outcomes(state, action, params)
        return probabilities * 0.9, states


@pytest.mark.parametrize(
    ("broken", "check", "words"),
    [
        (WrongDtype, "spaces", "float64.*float32"),
        (Outside, "spaces", "reward .*element of Box"),
        (StrayObservation, "spaces", "observation"),
        (IgnoresSeed, "determinism", "same seed"),
        (SharedInfo, "fresh results", "info dict"),
        (OverwritesObservation, "fresh results", "overwrote"),
        (Unpicklable, "pickling", "pickle"),
        (WrongNames, "attributes", "treasure.*2 different names"),
        (PoorReference, "reference point", "dominates"),
        (LacksPoints, "front", "point of the front dominates"),
        (TooPoor, "front", "does not dominate"),
        (LacksStochasticPoints, "front", "dominates"),
        (BadOutcomes, "outcomes", "sum to 1"),
    ],
)
def test_broken_environments_are_caught_by_the_right_check(monkeypatch, broken, check, words):
    # None of these differs as a vector, which takes longest to compile.
    for name in [name for name in checker.CHECKS if name.startswith("vector")]:
        monkeypatch.delitem(checker.CHECKS, name)
    with pytest.raises(ConformanceError, match=words) as caught:
        check_environment(broken(), steps=40)
    assert caught.value.check == check
    assert caught.value.value
    assert caught.value.expected


def test_vector_face_that_differs_is_caught(monkeypatch):
    for name in ("determinism", "pickling", "outcomes"):
        monkeypatch.delitem(checker.CHECKS, name)
    from prefront.tasks.gymnasium_api import VectorEnvironment

    def reset(self, *, seed=None, options=None, original=VectorEnvironment.reset):
        return original(self, seed=None if seed is None else [seed] * self.num_envs, options=options)

    monkeypatch.setattr(VectorEnvironment, "reset", reset)
    with pytest.raises(ConformanceError, match="copy") as caught:
        check_environment(ResourceGathering(), steps=60)
    assert caught.value.check.startswith("vector")


def test_environments_of_others_are_checked_too():
    results = {result.name: result for result in check_environment("deep-sea-treasure-v0")}
    assert results["front"].detail.startswith("64 random policies") or not results["front"].skipped
    assert results["vector NextStep"].skipped
    with pytest.raises(ConformanceError, match=r"list") as caught:
        check_environment("breakable-bottles-v0")
    assert caught.value.check == "spaces"


def test_anything_else_is_refused():
    with pytest.raises(TypeError, match="int"):
        check_environment(3)
