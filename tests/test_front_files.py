"""Fronts on disk: bit-identical, atomically replaced, refused when damaged, never unpickled."""

import dataclasses
import json
import pickle

import gymnasium as gym
import jax
import numpy as np
import pytest

from prefront import front_files
from prefront.files import DamagedFileError
from prefront.front import Conditions, Front
from prefront.learning.networks import PolicyNetwork

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
    assert len(files) == 2
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    observations = np.random.default_rng(1).uniform(-1, 2, (20, 3)).astype(np.float32)
    for policy, again in zip(front, loaded, strict=True):
        assert np.array_equal(policy(observations), again(observations))
    empty = Front.empty(front.network, front.conditions)
    empty.save(tmp_path / "a")
    assert same(Front.load(tmp_path / "a"), empty)
    assert len(list((tmp_path / "a").iterdir())) == 2


def arrays_file(folder):
    (path,) = folder.glob("*.safetensors")
    return path


def test_every_altered_byte_is_refused(tmp_path):
    tiny([[1.0, 2, 3], [3, 2, 1]]).save(tmp_path)
    for path in (tmp_path / "front.json", arrays_file(tmp_path)):
        content = path.read_bytes()
        for place in range(len(content)):
            path.write_bytes(content[:place] + bytes([content[place] ^ 0x20]) + content[place + 1 :])
            with pytest.raises(DamagedFileError, match=path.name):
                Front.load(tmp_path)
        path.write_bytes(content)
    assert len(Front.load(tmp_path)) == 2


def test_truncated_and_missing_files_are_refused_with_checksums(tmp_path):
    tiny([[1.0, 2, 3]]).save(tmp_path)
    arrays, description = arrays_file(tmp_path), tmp_path / "front.json"
    expected = json.loads(description.read_text())["arrays"]["sha256"]
    whole = arrays.read_bytes()
    for length in (0, 7, len(whole) // 2, len(whole) - 1):
        arrays.write_bytes(whole[:length])
        with pytest.raises(DamagedFileError, match=rf"{arrays.name} is damaged: expected SHA-256 {expected}, but"):
            Front.load(tmp_path)
    arrays.unlink()
    with pytest.raises(DamagedFileError, match=rf"{arrays.name} is missing.*{expected}"):
        Front.load(tmp_path)
    arrays.write_bytes(whole)
    text = description.read_text()
    for length in (0, 10, len(text) - 1):
        description.write_text(text[:length])
        with pytest.raises(DamagedFileError, match=r"front\.json"):
            Front.load(tmp_path)
    description.write_text(text.replace('"policies": 1', '"policies": 2'))
    with pytest.raises(
        DamagedFileError, match=r"front\.json is damaged: expected SHA-256 \w{64}, but the file has \w{64}"
    ):
        Front.load(tmp_path)
    description.unlink()
    with pytest.raises(DamagedFileError, match="holds no front"):
        Front.load(tmp_path)


def test_a_save_that_dies_at_any_write_leaves_the_old_front(front, tmp_path, monkeypatch):
    old = dataclasses.replace(front, environment_steps=1, parameters=jax.tree.map(np.negative, front.parameters))
    old.save(tmp_path)
    real = front_files.write_atomically
    for survive in (0, 1):
        written = []

        def dying(path, data, survive=survive, written=written):
            if len(written) == survive:
                raise KeyboardInterrupt
            written.append(path)
            return real(path, data)

        with monkeypatch.context() as patch:
            patch.setattr(front_files, "write_atomically", dying)
            with pytest.raises(KeyboardInterrupt):
                front.save(tmp_path)
        assert same(Front.load(tmp_path), old)
    front.save(tmp_path)
    assert same(Front.load(tmp_path), front)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_front_replaced_while_it_is_read_gives_the_new_one(front, tmp_path, monkeypatch):
    old = dataclasses.replace(front, parameters=jax.tree.map(np.negative, front.parameters))
    old.save(tmp_path)
    checked, calls = front_files._checked, []

    def replaced_meanwhile(path):
        content = checked(path)
        if not calls:
            front.save(tmp_path)
        calls.append(path)
        return content

    monkeypatch.setattr(front_files, "_checked", replaced_meanwhile)
    assert same(Front.load(tmp_path), front)


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_pickle_with_a_valid_checksum_is_refused_and_never_run(tmp_path):
    tiny([[1.0, 2, 3]]).save(tmp_path / "front")
    content = json.loads((tmp_path / "front" / "front.json").read_text())
    payload = pickle.dumps(Trap(tmp_path / "sprung"))
    (tmp_path / "front" / "trap.safetensors").write_bytes(payload)
    checksum = front_files.hashlib.sha256(payload).hexdigest()
    del content["sha256"]
    content["arrays"] = {"file": "trap.safetensors", "sha256": checksum}
    (tmp_path / "front" / "front.json").write_text(front_files._signed(content))
    with pytest.raises(DamagedFileError, match=r"trap\.safetensors is truncated or no safetensors file"):
        Front.load(tmp_path / "front")
    assert not (tmp_path / "sprung").exists()
    pickle.loads(payload).close()
    assert (tmp_path / "sprung").exists()
