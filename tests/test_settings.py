"""Every settings class and every option of the command: what is senseless is refused, by name and value, at once."""

import dataclasses
import errno
import importlib
import inspect
import itertools
import math
import pkgutil
import sys
import types
import typing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import prefront
from prefront import cli
from prefront.agents.cmorl_settings import CMORLConfig
from prefront.agents.constrained_rlhf_settings import MethodSettings, check_method
from prefront.envs.delivery import PUBLISHED_WEIGHTS, Delivery
from prefront.experiments.people import WHERE_FROM
from prefront.preferences.models.base import RESULTS
from prefront.runs.catalogue import EXPERIMENTS
from prefront.runs.loading import load_experiment
from prefront.runs.stored_settings import settings_from_dict, settings_to_dict
from prefront.runs.study import Job
from prefront.system.checks import INFINITE
from prefront.system.files import signed_json

NAN, INFINITY = math.nan, math.inf
# What a class needs that has no default.
GIVEN = {
    "mdp": Delivery().table(),
    "features": np.ones((2, 100, 6)),
    "known_weights": PUBLISHED_WEIGHTS,
    "actions": 4,
}
WRONG = {
    int: (1.5, 2.0, NAN, INFINITY, True, "3", None, b"3", (1,), 2**31, 10**400),
    float: (NAN, INFINITY, -INFINITY, 1e300, 10**400, True, "0.5", None, b"", (0.5,), 1j),
    bool: (0, 1, "yes", None, 0.5, ()),
    str: (3, NAN, None, b"text", ("text",), True),
    tuple: ([], [1, 2], 3, "text", None, {}, (object(),), (NAN,), (None,)),
    typing.Literal: ("no such name", "", 3, NAN, None, b"exact", ["exact"], ()),
}
WORDS = ["", "nan", "inf", "-inf", "-1", "0", "1", "0.5", "1.5", "7", "1e300", str(2**63), "word", "-", "True"]


def classes():
    """All public dataclasses of the project that a user fills in, by walking its modules."""
    found = {}
    for module in pkgutil.walk_packages(prefront.__path__, "prefront."):
        for name, kind in vars(importlib.import_module(module.name)).items():
            if not dataclasses.is_dataclass(kind) or not isinstance(kind, type) or inspect.isabstract(kind):
                continue
            if name.startswith("_") or not kind.__module__.startswith("prefront."):
                continue
            needed = [
                field.name
                for field in dataclasses.fields(kind)
                if field.default is field.default_factory is dataclasses.MISSING
            ]
            # A job is made by the runner; without a field there is nothing to set.
            if set(needed) <= set(GIVEN) and dataclasses.fields(kind) and kind is not Job:
                found[f"{kind.__module__}.{kind.__qualname__}"] = kind
    return found


CLASSES = classes()


def made(kind, /, **changes):
    needed = {field.name for field in dataclasses.fields(kind) if field.name in GIVEN}
    one = kind(**{name: GIVEN[name] for name in needed} | changes)
    if kind is MethodSettings:  # Its numbers may be traced, so they are checked where they are used.
        check_method(one, 2)
    return one


def alternatives(hint):
    """The hint, or the members of a union."""
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if union else (hint,)


def wrong_values(field, hint):
    kinds = [typing.get_origin(one) or one for one in alternatives(hint)]
    if typing.Any in kinds or not any(kind in WRONG or dataclasses.is_dataclass(kind) for kind in kinds):
        return
    for values in WRONG.values():
        for value in values:
            fits = (
                (value is None and types.NoneType in kinds)
                or (type(value) is str and (str in kinds or value in typing.get_args(hint)))
                or (type(value) is bool and bool in kinds)
                or (type(value) is int and ((int in kinds and value < 2**31) or (float in kinds and abs(value) < 1e30)))
                or (type(value) is float and float in kinds and abs(value) < 1e30)
                or (value in (INFINITY, -INFINITY) and field.metadata == INFINITE)
                or (type(value) is tuple and tuple in kinds and (values is not WRONG[tuple] or not value))
            )
            if not fits:
                yield value


def test_the_walk_finds_the_settings_of_agents_experiments_and_people():
    names = {name.rpartition(".")[2] for name in CLASSES}
    assert {"CMORLConfig", "LearnerConfig", "TrainingSettings", "TokenWorldSettings", "Choice", "RunOptions"} <= names
    assert {load_experiment(name).study.settings_type for name in EXPERIMENTS} <= set(CLASSES.values())


@pytest.mark.parametrize("name", CLASSES)
def test_values_of_another_type_are_refused_with_name_and_value(name):
    kind = CLASSES[name]
    made(kind)
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if field.name in RESULTS:
            continue
        for value in wrong_values(field, hints[field.name]):
            with pytest.raises(ValueError, match=field.name) as error:
                made(kind, **{field.name: value})
                pytest.fail(f"{field.name} took {value!r}")
            message = str(error.value)
            assert repr(value) in message, (field.name, value, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extension": "abc"}, "No extension 'abc'. Known: cpo, ipo, lagrangian, none"),
        ({"weights": "evn"}, "Did you mean even"),
        ({"archive_capacity": 0}, "archive_capacity must be at least 1, got 0"),
        ({"selected": 0}, "selected must be at least 1, got 0"),
        ({"total_steps": 0.5}, "total_steps must be a whole number below 2\\*\\*31, got 0.5"),
        ({"beta": NAN}, "beta must be a finite number below 1e30 in size, got nan"),
        ({"beta": -0.1}, r"beta must lie in \[0, 1\], got -0.1"),
        ({"trust_region": 0.0}, "trust_region must be positive, got 0.0"),
        ({"barrier_sharpness": -1.0}, "barrier_sharpness must be positive, got -1.0"),
        ({"multiplier_rate": -1.0}, "multiplier_rate must be at least 0, got -1.0"),
        ({"discount": 1.5}, r"discount must lie in \(0, 1\], got 1.5"),
        (
            {"reference_point": [0.0]},
            r"reference_point must be a tuple \(each: a finite .*\) or None, got \[0.0\]",
        ),
        ({"learner": {}}, "learner must be LearnerConfig, got {}"),
    ],
)
def test_settings_of_c_morl_are_refused_by_name_and_value(change, message):
    with pytest.raises(ValueError, match=message):
        CMORLConfig(**change)


def leaves(value):
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            if field.metadata != INFINITE and field.name not in (*RESULTS, *GIVEN):
                yield from leaves(getattr(value, field.name))
    elif isinstance(value, tuple):
        for one in value:
            yield from leaves(one)
    else:
        yield value


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-3, 100),
    st.floats(),
    st.floats(-2, 2),
    st.text(max_size=5),
    st.binary(max_size=3),
    st.tuples(st.integers(-2, 3)),
    st.tuples(st.floats(), st.floats()),
    st.lists(st.integers(), max_size=2),
)


@settings(max_examples=1000)
@given(st.data())
def test_whatever_is_put_into_a_field_is_refused_by_name_or_sane(data):
    kind = CLASSES[data.draw(st.sampled_from(sorted(CLASSES)))]
    name = data.draw(st.sampled_from([field.name for field in dataclasses.fields(kind) if field.name not in RESULTS]))
    value = data.draw(ANYTHING)
    try:
        one = made(kind, **{name: value})
    except ValueError as error:
        # A rule of two settings may name the other alone.
        message = str(error)
        assert repr(value) in message or any(field.name in message for field in dataclasses.fields(kind)), message
        return
    for leaf in leaves(one):
        if isinstance(leaf, float):
            assert math.isfinite(leaf)
        if isinstance(leaf, int):
            assert leaf < 1e30


def options(one, prefix=""):
    for field in dataclasses.fields(one):
        value = getattr(one, field.name)
        if dataclasses.is_dataclass(value):
            yield from options(value, f"{prefix}{field.name}.")
        else:
            yield f"--{prefix}{field.name}".replace("_", "-").replace("---", "--")


COMMANDS = {name: list(options(load_experiment(name).study.presets["smoke"])) for name in EXPERIMENTS}
COMMANDS["identifiability"] += options(cli.RunOptions())  # Those of all experiments need one of them.


def carried_out(words, capsys, monkeypatch):
    """The exit status, what was said, and the run that would have begun."""
    begun = []

    def execute(run, *_):
        begun.append(run)
        return 0

    monkeypatch.setattr(cli, "execute", execute)
    try:
        status = cli.main(words)
    except SystemExit as end:
        return end.code, None, begun
    return status, capsys.readouterr().err, begun


def check_answer(words, folder, capsys, monkeypatch):
    status, said, begun = carried_out(words, capsys, monkeypatch)
    capsys.readouterr()
    assert [path.name for path in folder.iterdir()] == ["a_file"], words
    if begun:
        (run,) = begun
        assert status == 0
        assert 1 <= len(run.cells) <= 10_000
        stored = settings_to_dict(run.settings)
        assert settings_from_dict(type(run.settings), stored) == run.settings
        assert all(math.isfinite(leaf) for leaf in leaves(run.settings) if isinstance(leaf, float))
        assert 1 <= run.config.seeds <= cli.MOST_SEEDS
    else:
        assert status == 2, words
        if said is not None:  # Otherwise it is tyro's own page on the usage.
            assert said.count("\n") == 1 or said.strip() == WHERE_FROM, (words, said)
            assert said.strip(), words


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").touch()
    return tmp_path


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_option_of_every_experiment_is_refused_in_one_line_or_builds(name, folder, capsys, monkeypatch):
    # Each option meets some of the words, and all of them are met.
    words = itertools.cycle(WORDS)
    for option in COMMANDS[name]:
        for word in itertools.islice(words, 3 if name == "identifiability" else 2):
            check_answer(["run", name, "--preset", "smoke", f"{option}={word}"], folder, capsys, monkeypatch)


@pytest.mark.parametrize(
    "words",
    [
        ["overoptimization", "--world.label-noise", "0.7"],
        ["reward_model_quality", "--models", "mlp-x"],
        ["reward_model_quality", "--models", "mpl-8"],
        ["reward_model_quality", "--label-noises", "0.1", "0.6"],
        ["overoptimization", "--learner.iterations", "10"],
        ["overoptimization", "--largest-n", "2"],
        ["threshold_search", "--evaluations", "0"],
        ["regret_preferences", "--mdps", "9223372036854775808"],
        ["regret_preferences", "--mdps", "2000000000", "--chunk", "1"],
        ["regret_preferences", "--mdps", "20000", "--chunk", "1"],
        ["human_preferences", "--data", "simulated", "--folds", "501"],
        ["learning_from_people", "--data", "simulated", "--preferences", "900"],
        ["human_preferences", "--data", "."],
        ["pareto_discovery", "--budget", "1e9"],
        ["quickstart", "--name", "a" * 300],
        ["quickstart", "--name", "a/b"],
        ["quickstart", "--name", ".."],
        ["quickstart", "--name", "a\nb"],
        ["quickstart", "--out", "a_file"],
        ["quickstart", "--out", "a_file/runs"],
        ["quickstart", "--out", "runs/" + "a" * 300],
        ["quickstart", "--time-limit", "nan"],
        ["quickstart", "--time-limit", "inf"],
        ["quickstart", "--seeds", "1000000000"],
        ["."],
        [".."],
        ["a_file"],
        ["no.such.module"],
        ["broken.py"],
        ["torn.py"],
    ],
)
def test_commands_that_cannot_be_carried_out_end_before_there_is_a_folder(words, folder, capsys, monkeypatch):
    if words[0].endswith(".py"):
        code = {"broken.py": "import no_such_module\n", "torn.py": "def run(:\n"}[words[0]]
        words = [str(folder.parent / words[0])]
        (folder.parent / words[0]).write_text(code)
    status, said, begun = carried_out(["run", *words], capsys, monkeypatch)
    assert (status, begun) == (2, [])
    assert said is None or said.count("\n") == 1
    assert [path.name for path in folder.iterdir()] == ["a_file"]


@pytest.mark.parametrize("command", ["claims", "plot"])
@pytest.mark.parametrize("word", ["", "a" * 300, "a_file", "..", "\t", "-"])
def test_folders_that_hold_no_run_are_said_in_one_line(command, word, folder, capsys, monkeypatch):
    for words in ([command, word], [command, "x", "--out", word]):
        status, said, _ = carried_out(words, capsys, monkeypatch)
        assert status == 2
        assert said is None or said.count("\n") == 1


def test_without_file_locks_all_commands_work_but_runs(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)  # As on Windows.
    assert cli.main(["list"]) == 0
    assert cli.main(["claims"]) == 2
    capsys.readouterr()
    assert cli.main(["run", "identifiability", "--preset", "smoke"]) == 2
    assert capsys.readouterr().err == "Runs need the file locks of Unix (fcntl), which this system lacks; use WSL.\n"
    assert [path.name for path in folder.iterdir()] == ["a_file"]


def test_stored_settings_that_are_refused_by_now_are_said_in_one_line(folder, capsys):
    stored = settings_to_dict(load_experiment("identifiability").study.presets["smoke"]) | {"gamma": NAN}
    config = {"experiment": "identifiability", "preset": "smoke", "settings": stored, "seeds": 1, "device": "cpu"}
    (folder / "old").mkdir()
    signed = signed_json(config | {"study": None, "first_seed": 0}, allow_nan=True)
    (folder / "old" / "config.json").write_text(signed)
    assert cli.main(["plot", "old"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "old does not fit this version of its experiment: gamma must be a finite number" in said


def test_settings_that_the_system_refuses_end_in_one_line(folder, capsys, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "runs/x")

    monkeypatch.setattr("pathlib.Path.mkdir", full)
    assert cli.main(["run", "identifiability", "--preset", "smoke"]) == 2
    assert capsys.readouterr().err == "[Errno 28] No space left on device: 'runs/x'\n"
