"""Fronts on disk: bit-identical, atomically replaced, refused when damaged, never unpickled."""

import dataclasses
import os
import pickle
import sys
import threading

import gymnasium as gym
import jax
import numpy as np
import pytest

from prefront.learning.networks import PolicyNetwork
from prefront.policies.front import Front
from prefront.system.files import DamagedFileError, load_arrays, save_arrays
from prefront.tasks.task import Conditions

NETWORK = PolicyNetwork.for_spaces(
    gym.spaces.Box(-1, 2, (3,), np.float32), gym.spaces.Box(-0.1, np.inf, (2,), np.float32), hidden=(3,)
)
CONDITIONS = Conditions("prefront/Any-v0", 0.9, (0, 0.1, -3), ("a", "b", "c"), kwargs={"map": "x", "sizes": (1, 2)})


def tiny(points, seed=0):
    rng = np.random.default_rng(seed)
    shapes = Front.empty(NETWORK, CONDITIONS).parameters
    drawn = jax.tree.map(lambda leaf: rng.normal(size=(len(points), *leaf.shape[1:])).astype(leaf.dtype), shapes)
    return Front.of(NETWORK, drawn, points, CONDITIONS, environment_steps=10, seed=seed)


@pytest.fixture
def front():
    return tiny(np.random.default_rng(0).dirichlet(np.ones(3), 4))


def same(first, second):
    pairs = zip(jax.tree.leaves(first.parameters), jax.tree.leaves(second.parameters), strict=True)
    described = ("network", "conditions", "environment_steps", "evaluation_steps", "seed")
    return (
        first.returns.tobytes() == second.returns.tobytes()
        and all(a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in pairs)
        and all(getattr(first, name) == getattr(second, name) for name in described)
    )


def test_save_and_load_are_bit_identical(front, tmp_path):
    front.save(tmp_path / "a")
    loaded = Front.load(tmp_path / "a")
    assert same(front, loaded)
    loaded.save(tmp_path / "b")
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "b").iterdir())
    assert files == ["front.safetensors"]
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    observations = np.random.default_rng(1).uniform(-1, 2, (20, 3)).astype(np.float32)
    for policy, again in zip(front, loaded, strict=True):
        assert np.array_equal(policy(observations), again(observations))
    empty = Front.empty(front.network, front.conditions)
    empty.save(tmp_path / "a")
    assert same(Front.load(tmp_path / "a"), empty)
    assert len(list((tmp_path / "a").iterdir())) == 1


def test_every_altered_byte_is_refused(tmp_path):
    tiny([[1.0, 2, 3], [3, 2, 1]]).save(tmp_path)
    path = tmp_path / "front.safetensors"
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x20]) + content[place + 1 :])
        with pytest.raises(DamagedFileError, match=path.name):
            Front.load(tmp_path)
    path.write_bytes(content)
    assert len(Front.load(tmp_path)) == 2


def test_truncated_and_missing_files_are_refused(tmp_path):
    tiny([[1.0, 2, 3]]).save(tmp_path)
    path = tmp_path / "front.safetensors"
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedFileError, match=r"front\.safetensors is (truncated|damaged)"):
            Front.load(tmp_path)
    path.write_bytes(whole[:-1])
    with pytest.raises(DamagedFileError, match=r"is damaged: expected SHA-256 \w{64}, but the file has \w{64}"):
        Front.load(tmp_path)
    path.unlink()
    with pytest.raises(DamagedFileError, match="holds no front"):
        Front.load(tmp_path)
    (tmp_path / "front.json").write_text("{}")
    with pytest.raises(DamagedFileError, match=r"front\.json is a front of the format 'prefront front 1'"):
        Front.load(tmp_path)


def altered(folder, **changes):
    """Writes the front of a folder anew, whole and with a valid checksum, with other facts."""
    arrays, facts = load_arrays(folder / "front.safetensors")
    save_arrays(folder / "front.safetensors", changes.pop("arrays", arrays), {**facts, **changes})
    return facts


def test_whole_files_that_hold_no_front_are_refused(tmp_path):
    tiny([[1.0, 2, 3]]).save(tmp_path)
    arrays, facts = load_arrays(tmp_path / "front.safetensors")
    encoder = {**facts["network"]["body"]["encoder"], "components": 4}
    wrong = [
        {"format": "prefront front 3"},
        {"network": 3},
        {"network": {**facts["network"], "body": {**facts["network"]["body"], "encoder": encoder}}},
        {"network": {**facts["network"], "body": {**facts["network"]["body"], "hidden": [-5]}}},
        {"network": {**facts["network"], "body": {**facts["network"]["body"], "hidden": [10**12]}}},
        {"conditions": {**facts["conditions"], "discount": "much"}},
        {"conditions": {**facts["conditions"], "discount": 2.0}},
        {"conditions": {**facts["conditions"], "more": 1}},
        {"policies": 2},
        {"seed": [0]},
        {"arrays": {"returns": arrays["returns"]}},
        {"arrays": {**arrays, "returns": np.zeros((1, 2))}},
        {"arrays": {"returns": arrays["returns"], "parameters": {"weights": np.zeros((1, 3))}}},
    ]
    for changes in wrong:
        altered(tmp_path, **changes)
        with pytest.raises(DamagedFileError, match=r"front\.safetensors"):
            Front.load(tmp_path)
        save_arrays(tmp_path / "front.safetensors", arrays, facts)
    assert len(Front.load(tmp_path)) == 1


def test_a_save_that_dies_at_any_moment_leaves_the_old_front(front, tmp_path, monkeypatch):
    old = dataclasses.replace(front, environment_steps=1, parameters=jax.tree.map(np.negative, front.parameters))
    old.save(tmp_path)

    def dying(descriptor):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", dying)
        with pytest.raises(KeyboardInterrupt):
            front.save(tmp_path)
    assert same(Front.load(tmp_path), old)
    front.save(tmp_path)
    assert same(Front.load(tmp_path), front)
    assert len(list(tmp_path.iterdir())) == 1


def test_many_savers_of_one_folder_never_leave_it_without_a_front(front, tmp_path):
    fronts = [dataclasses.replace(front, environment_steps=number) for number in range(3)]
    fronts[0].save(tmp_path)
    stop = threading.Event()

    def save(own):
        while not stop.is_set():
            own.save(tmp_path)

    savers = [threading.Thread(target=save, args=(one,)) for one in fronts]
    for saver in savers:
        saver.start()
    try:
        found = {Front.load(tmp_path).environment_steps for _ in range(100)}
    finally:
        stop.set()
        for saver in savers:
            saver.join()
    assert found <= {0, 1, 2}
    assert len(list(tmp_path.iterdir())) == 1


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_pickle_in_place_of_a_front_is_refused_and_never_run(tmp_path):
    payload = pickle.dumps(Trap(tmp_path / "sprung"))
    (tmp_path / "front.safetensors").write_bytes(payload)
    with pytest.raises(DamagedFileError, match=r"front\.safetensors is truncated, or no safetensors file"):
        Front.load(tmp_path)
    assert not (tmp_path / "sprung").exists()
    pickle.loads(payload).close()
    assert (tmp_path / "sprung").exists()


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """A module whose import leaves a mark, and an attribute whose call leaves another."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "planted.py").write_text(
        f"import pathlib\nmark = pathlib.Path({str(tmp_path / 'mark')!r})\nmark.write_text('imported')\n"
        "def Called(*args, **kwargs):\n    mark.write_text('called')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    return tmp_path / "mark"


@pytest.mark.parametrize(
    ("id", "kwargs", "error"),
    [
        ("prefront:prefront/DeepSeaTreasure-v0", {"path": "planted:Called"}, TypeError),
        ("prefront/DeepSeaTreasure-v0", {"path": "planted:Called"}, TypeError),
        ("prefront/DeepSeaTreasure-v0", {"entry": "planted:Called"}, TypeError),
        ("prefront/DeepSeaTreasure-v0", {"entry_point": "planted:Called"}, TypeError),
        ("planted:prefront/DeepSeaTreasure-v0", {}, ValueError),
        ("planted:CartPole-v1", {}, ValueError),
        ("prefront:planted:CartPole-v1", {}, ValueError),
        ("gymnasium:CartPole-v1", {"entry_point": "planted:Called"}, ValueError),
        ("GymV26Environment-v0", {"env_id": "planted:CartPole-v1"}, ValueError),
        ("planted-v0", {}, KeyError),
    ],
)
def test_what_a_stored_front_names_is_never_imported_or_called(planted, tmp_path, id, kwargs, error):
    front = tiny([[1.0, 2, 3]])
    dataclasses.replace(front, conditions=dataclasses.replace(CONDITIONS, environment=id, kwargs=kwargs)).save(tmp_path)
    loaded = Front.load(tmp_path)
    with pytest.raises(error):
        loaded.evaluate(episodes=1)
    assert not planted.exists()
    assert "planted" not in sys.modules


def test_environments_of_ours_are_made_from_a_table_alone(planted):
    for make in (gym.make, gym.make_vec):
        with pytest.raises(TypeError, match="path"):
            make("prefront/DeepSeaTreasure-v0", path="planted:Called")
        with pytest.raises(KeyError, match="planted:Called"):
            make("prefront/DeepSeaTreasure-v0", entry="planted:Called")
    assert not planted.exists()
