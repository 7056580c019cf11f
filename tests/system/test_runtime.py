"""What a process is told about itself."""

import importlib.util
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from prefront.runs.job_folders import Clock
from prefront.system import runtime
from prefront.system.runtime import forget_peak_memory, peak_memory_mb


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux lets a process forget its peak")
def test_peak_memory_is_the_most_held_since_it_was_forgotten():
    forget_peak_memory()
    before = peak_memory_mb()
    held = np.ones(25_000_000)
    assert peak_memory_mb() >= before + 180
    del held
    high = peak_memory_mb()
    assert high >= before + 180
    forget_peak_memory()
    assert peak_memory_mb() <= high - 150


@pytest.fixture
def elsewhere(monkeypatch):
    """A system without Linux's files about processes."""

    def missing(path, *_, **__):
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", missing)
    monkeypatch.setattr(Path, "write_text", missing)


def test_other_unix_systems_tell_the_peak_of_the_whole_process(elsewhere):
    import resource

    forget_peak_memory()
    unit = 1 if sys.platform == "darwin" else 1024
    assert peak_memory_mb() == pytest.approx(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, rel=0.1)


def test_where_nothing_tells_the_peak_is_unknown(elsewhere, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "resource", None)
    spec = importlib.util.spec_from_file_location("runtime_elsewhere", runtime.__file__)
    fresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fresh)
    fresh.forget_peak_memory()
    assert math.isnan(fresh.peak_memory_mb())
    assert math.isnan(Clock(tmp_path / "timing.json").spent()["peak_memory_mb"])
