"""What a process is told about itself."""

import sys

import numpy as np
import pytest

from prefront.runtime import forget_peak_memory, peak_memory_mb


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
