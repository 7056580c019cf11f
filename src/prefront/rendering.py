"""Pictures of grid worlds as RGB arrays, drawn with Pillow, without a display."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont

CELL_PIXELS = 48
WATER, ROCK, GOLD, FLOOR, WALL = (173, 216, 230), (90, 80, 75), (240, 190, 60), (238, 232, 220), (70, 70, 80)
AGENT = (200, 60, 50)


def draw_grid(
    colours: np.ndarray, agent: tuple[int, int] | None, labels: Mapping[tuple[int, int], str] | None = None
) -> np.ndarray:
    """Draws a grid world.

    Args:
        colours: Fill of every cell, shape (rows, columns, 3), values 0 to 255.
        agent: Row and column of the agent, drawn as a disc; None draws none.
        labels: Short texts by (row, column).

    Returns:
        An RGB picture, shape (rows * 48, columns * 48, 3), uint8.
    """
    rows, columns = colours.shape[:2]
    picture = Image.new("RGB", (columns * CELL_PIXELS, rows * CELL_PIXELS))
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=14)
    for row in range(rows):
        for column in range(columns):
            x, y = column * CELL_PIXELS, row * CELL_PIXELS
            fill = tuple(int(part) for part in colours[row, column])
            pen.rectangle((x, y, x + CELL_PIXELS - 1, y + CELL_PIXELS - 1), fill=fill, outline=(200, 200, 200))
    if agent is not None:
        x, y = agent[1] * CELL_PIXELS, agent[0] * CELL_PIXELS
        pen.ellipse((x + 10, y + 10, x + CELL_PIXELS - 11, y + CELL_PIXELS - 11), fill=AGENT)
    for (row, column), text in (labels or {}).items():
        centre = (column * CELL_PIXELS + CELL_PIXELS // 2, row * CELL_PIXELS + CELL_PIXELS // 2)
        pen.text(centre, text, fill=(20, 20, 20), font=font, anchor="mm")
    return np.asarray(picture).copy()
