"""The page on preferences: its examples run as a reader would type them, and what they learn is right."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "preferences.md"


def test_the_examples_of_the_page_learn_optimal_policies():
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert blocks
    names: dict[str, object] = {}  # Later examples go on from earlier ones.
    for number, block in enumerate(blocks, start=1):
        names.pop("quality", None)
        exec(compile(block, f"{PAGE.name}, example {number}", "exec"), names)
        assert names["quality"].scaled_return == pytest.approx(1.0, abs=0.01)


def test_the_page_shows_figures_that_are_there():
    for figure in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", PAGE.read_text(encoding="utf-8")):
        assert (PAGE.parent / figure).is_file(), figure
