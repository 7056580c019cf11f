"""Whatever happens to a stored file, it is refused by name: never used, and never a traceback."""

import shutil

import gymnasium as gym
import jax
import numpy as np
import pytest

from prefront.agents.cmorl import CMORLConfig, train
from prefront.cli import main
from prefront.learning.learner_config import LearnerConfig
from prefront.learning.networks import PolicyNetwork
from prefront.policies.front import Front
from prefront.preferences.comparisons import Comparisons, load_comparisons
from prefront.preferences.segments import Segments
from prefront.system.files import DamagedFileError, read_json, signed_json
from prefront.tasks.task import Conditions

STUDY = '''
"""A study that stores a file of every kind."""
import dataclasses
import numpy as np
from prefront.reports.claims import Claim
from prefront.runs.study import Study
from prefront.system.files import save_arrays, write_atomically
from prefront.system.tables import Table

@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings.

    Attributes:
        scale: A number.
        mode: What the rows hold.
    """
    scale: float = 1.0
    mode: str = "plain"

@dataclasses.dataclass(frozen=True)
class Cell:
    name: str

def cells(settings):
    return Cell("one"), Cell("two")

def run(settings, seed, job):
    save_arrays(job.folder / "front" / "front.safetensors", {"returns": np.full((2, 2), float(seed))})
    write_atomically(job.folder / "notes.txt", f"{seed} {job.cell.name}")
    own = {"plain": {}, "seed": {"seed": 99}, "cell": {"cell": "x"}}[settings.mode]
    return {"points": [{"x": seed * settings.scale, "code": "007", "commit": "12e5", "answer": "true", **own}]}

def summary(results):
    return Table.from_rows(results["points"].rows())

def claims(results):
    mean = float(results["points"]["x"].mean())
    return [Claim("Codes keep their zeros.", "-", "007", mean, "mean", results.seeds, "holds", conditions="none")]

def plot(results, folder):
    write_atomically(folder / "codes.svg", " ".join(results["points"]["code"].tolist()))
    return [folder / "codes.svg"]

STUDY = Study({"smoke": Settings()}, run, [claims], [plot], cells, {"smoke": 2}, summary)
'''


def damages(content):
    """Ways in which a file's content is damaged, by name."""
    flips = {
        f"bit {place}": content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        for place in sorted({0, 3, len(content) // 3, len(content) // 2, len(content) - 2, len(content) - 1})
    }
    return {"emptied": b"", "half": content[: len(content) // 2], "cut": content[:-1], **flips}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A complete run of the study, made in another folder than the one it is read from."""
    made = tmp_path_factory.mktemp("study")
    (made / "study.py").write_text(STUDY)
    assert main(["run", str(made / "study.py"), "--out", str(made), "--name", "run", "--jobs", "0"]) == 0
    return made


@pytest.fixture
def run(whole, tmp_path, monkeypatch):
    shutil.copytree(whole / "run", tmp_path / "run")
    shutil.copy(whole / "study.py", tmp_path / "study.py")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "run"


def files(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock"}


def answer(capsys, *words):
    capsys.readouterr()
    status = main(list(words))
    shown = capsys.readouterr()
    assert "Traceback" not in shown.out + shown.err
    return status, shown.err


RUN = ("run", "study.py", "--out", ".", "--name", "run", "--jobs", "0")
CLAIMS = ("claims", "run", "--out", ".")
PLOT = ("plot", "run", "--out", ".", "--study", "study.py")


def test_every_damaged_or_deleted_file_of_a_run_is_refused_by_name(run, capsys):
    stored = files(run)
    names = {path.name for path in stored}
    assert {"config.json", "environment.json", "points.csv", "timing.json", "front.safetensors", "notes.txt"} <= names
    assert {"codes.svg", "summary.md", "summary.tex", "claims.json", "claims.md", "checksums.json"} <= names
    assert len(stored) == 8 + 2 + 2 * 2 * 5
    for path, content in stored.items():
        for damaged in (*damages(content).values(), None):
            path.unlink() if damaged is None else path.write_bytes(damaged)
            for words in (RUN, CLAIMS, PLOT):
                lost_list = damaged is None and path == run / "checksums.json"
                if (path.name == "codes.svg" and words is PLOT) or (lost_list and words is not CLAIMS):
                    continue  # These make it anew.
                status, said = answer(capsys, *words)
                assert status == 2, (path, words)
                assert path.name in said
                assert len(said.splitlines()) == 1
            path.write_bytes(content)
    assert files(run) == stored
    assert [answer(capsys, *words)[0] for words in (RUN, CLAIMS, PLOT)] == [0, 0, 0]


def test_files_of_another_seed_or_cell_are_refused_by_name(run, capsys):
    stored = files(run)
    for path, content in stored.items():
        for old, new in (("seed-0", "seed-1"), ("seed-1", "seed-0"), ("one", "two")):
            other = run.joinpath(*(new if part == old else part for part in path.relative_to(run).parts))
            if other == path:
                continue
            path.write_bytes(stored[other])
            for words in (RUN, CLAIMS, PLOT) if stored[other] != content else ():
                status, said = answer(capsys, *words)
                assert (status, path.name in said) == (2, True), (path, words)
            path.write_bytes(content)
    # All files of a job together, its list among them.
    (run / "seed-0" / "one").rename(run / "kept")
    shutil.copytree(run / "seed-1" / "one", run / "seed-0" / "one")
    for words in (RUN, CLAIMS, PLOT):
        assert answer(capsys, *words)[0] == 2
    (run / "checksums.json").unlink()
    for words in (RUN, PLOT):
        status, said = answer(capsys, *words)
        assert status == 2
        assert "belongs to" in said


def test_what_is_deleted_on_purpose_is_made_anew(run, capsys):
    stored = {path: content for path, content in files(run).items() if path.name != "timing.json"}
    for doomed in (run / "seed-1" / "two", run / "checksums.json", run / "claims.json", run / "figures"):
        shutil.rmtree(doomed) if doomed.is_dir() else doomed.unlink()
        (run / "checksums.json").unlink(missing_ok=True)
        assert answer(capsys, *RUN)[0] == 0
        assert {path: content for path, content in files(run).items() if path.name != "timing.json"} == stored


def test_text_keeps_its_form_and_rows_cannot_take_the_run_s_own_columns(run, capsys):
    assert '0,one,0.0,"007","12e5","true"' in (run / "seed-0" / "points.csv").read_text()
    assert (run / "figures" / "codes.svg").read_text() == "007 007 007 007"
    for mode in ("seed", "cell"):
        status = main([*RUN[:-4], "--name", mode, "--jobs", "0", "--mode", mode])
        assert status == 1
        assert f"The table 'points' has a column '{mode}' of its own" in capsys.readouterr().err


def test_well_formed_files_of_a_wrong_shape_are_refused_by_name(run, capsys):
    deep = "[" * 50_000 + "]" * 50_000
    path = run / "config.json"
    config, content = read_json(path, dict), path.read_text()
    for wrong in (
        *("[]", "null", "3", '{"sha256": 3}', '"x"', deep, "[" * 900 + "]" * 900, '{"sha256": "\\u001b[31m"}'),
        *(signed_json({**config, **change}) for change in ({"seeds": "2"}, {"seeds": 0}, {"more": 1}, {"preset": []})),
        signed_json({**config, "settings": [1]}),
        signed_json({"seeds": 2}),
    ):
        path.write_text(wrong)
        for words in (RUN, CLAIMS, PLOT):
            status, said = answer(capsys, *words)
            assert (status, "config.json" in said, "\x1b" in said) == (2, True, False), (wrong[:80], words)
    for settings in ({}, {"scale": 1.0, "mode": {"a": 1}, "more": 1}):
        path.write_text(signed_json({**config, "settings": settings}))
        assert answer(capsys, *PLOT)[0] == 2
    path.write_text(content)
    for name in ("checksums.json", "seed-0/one/checksums.json", "seed-0/one/timing.json"):
        content = (run / name).read_text()
        for wrong in (
            {},
            {"owner": 1, "files": {}},
            {"owner": {}, "files": {"../../x": "0"}},
            {"owner": {}, "files": 1},
        ):
            (run / name).write_text(signed_json(wrong))
            for words in (CLAIMS, PLOT):
                assert answer(capsys, *words)[0] == 2
        (run / name).write_text(content)
    assert answer(capsys, *CLAIMS)[0] == 0


def test_a_study_that_only_a_file_names_is_never_run(run, capsys, tmp_path, monkeypatch):
    marked = f"import pathlib\npathlib.Path({str(tmp_path / 'mark')!r}).touch()\n"
    (tmp_path / "planted.py").write_text(STUDY + marked)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text(marked)
    (tmp_path / "package" / "planted.py").write_text(STUDY + marked)
    monkeypatch.syspath_prepend(str(tmp_path))
    config = read_json(run / "config.json", dict)
    for name in ("planted.py", str(tmp_path / "planted.py"), "package.planted", "planted", "json.decoder", ""):
        (run / "config.json").write_text(signed_json({**config, "experiment": name}))
        status, said = answer(capsys, "plot", "run", "--out", ".")
        assert status == 2
        assert f"--study {name!r}" in said
        assert answer(capsys, *PLOT)[0] == 2
        assert answer(capsys, *CLAIMS)[0] == 2
    (run / "config.json").write_text(signed_json(config))
    status, said = answer(capsys, "plot", "run", "--out", ".", "--study", "nothing.py")
    assert (status, "nothing.py" in said) == (2, True)
    assert not (tmp_path / "mark").exists()
    assert (
        answer(capsys, "plot", "run", "--out", ".", "--study", "planted.py")[0] == 2
    )  # Named by the user: it may run.


def test_control_characters_in_a_ledger_are_shown_as_escapes(run, capsys):
    study = (run.parent / "study.py").read_text().replace("Codes keep", "\\x1b]0;title\\x07\\x1b[31mCodes\\u202e keep")
    (run.parent / "study.py").write_text(study)
    assert main(["run", "study.py", "--out", ".", "--name", "rude", "--jobs", "0"]) == 0
    for words in ((), ("--markdown",)):
        assert main(["claims", "rude", "--out", ".", *words]) == 0
        shown = capsys.readouterr().out
        assert not any(one in shown for one in "\x1b\x07\u202e")
        assert r"\x1b]0;title" in shown
    assert "\x1b" not in (run.parent / "rude" / "claims.md").read_text()


def front(seed):
    network = PolicyNetwork.for_spaces(gym.spaces.Discrete(3), gym.spaces.Discrete(2), "tabular")
    parameters = jax.vmap(network.init)(jax.random.split(jax.random.key(seed), 1))
    return Front.of(network, parameters, [[1.0, seed]], Conditions("x", 0.9, (0, 0), ("a", "b")), seed=seed)


def dataset(seed):
    rng = np.random.default_rng(seed)
    first, second = (
        Segments(np.zeros((4, 3), int), np.zeros((4, 2), int), rng.normal(size=(4, 2, 2)), [2] * 4, [False] * 4)
        for _ in range(2)
    )
    return Comparisons(first, second, [0, 1, 0.5, 1])


def test_every_damage_of_a_front_and_a_dataset_is_refused_by_name(tmp_path):
    front(0).save(tmp_path)
    checksum = dataset(0).save(tmp_path / "answers.safetensors")
    for path, load in (
        (tmp_path / "front.safetensors", lambda: Front.load(tmp_path)),
        (tmp_path / "answers.safetensors", lambda: load_comparisons(tmp_path / "answers.safetensors")),
    ):
        content = path.read_bytes()
        for damaged in damages(content).values():
            path.write_bytes(damaged)
            with pytest.raises(DamagedFileError, match=path.name):
                load()
        path.unlink()
        with pytest.raises(DamagedFileError, match=path.name):
            load()
        path.write_bytes(content)
        load()
    dataset(1).save(tmp_path / "answers.safetensors")
    assert len(load_comparisons(tmp_path / "answers.safetensors")) == 4
    with pytest.raises(DamagedFileError, match=checksum):
        load_comparisons(tmp_path / "answers.safetensors", checksum)


def test_every_damage_of_a_checkpoint_is_refused_by_name_and_leftovers_are_swept(tmp_path):
    learner = LearnerConfig(network="tabular", num_envs=4, steps=12)
    config = CMORLConfig(
        total_steps=8 * 4 * 12, population=8, updates_per_evaluation=1, checkpoint_evaluations=1, learner=learner
    )
    id = "prefront/FruitTree-v0"
    made = [train(id, config, seed, checkpoint=tmp_path / str(seed)).solution for seed in (0, 1)]
    state = tmp_path / "0" / "state.safetensors"
    content = state.read_bytes()
    for damaged in damages(content).values():
        state.write_bytes(damaged)
        with pytest.raises(DamagedFileError, match=r"state\.safetensors"):
            train(id, config, 0, checkpoint=tmp_path / "0")
    state.write_bytes((tmp_path / "1" / "state.safetensors").read_bytes())
    with pytest.raises(ValueError, match="another run"):
        train(id, config, 0, checkpoint=tmp_path / "0")
    state.write_bytes(content)
    (tmp_path / "0" / ".state.safetensors.1.abcd.tmp").write_bytes(content[:100])
    again = train(id, config, 0, checkpoint=tmp_path / "0").solution
    assert np.array_equal(again.returns, made[0].returns)
    assert list((tmp_path / "0").iterdir()) == [state]


@pytest.mark.parametrize("jobs", ["0", "1"])
def test_a_file_that_a_job_finds_damaged_is_said_in_one_line(run, capsys, jobs):
    load = "from prefront.system.files import load_arrays\n    load_arrays(job.checkpoint)\n"
    study = STUDY.replace("def run(settings, seed, job):\n", f"def run(settings, seed, job):\n    {load}")
    (run.parent / "study.py").write_text(study)
    status, said = answer(capsys, "run", "study.py", "--out", ".", "--name", "late", "--jobs", jobs)
    assert status == 2
    assert len(said.splitlines()) == 1
    assert "checkpoint is missing" in said
