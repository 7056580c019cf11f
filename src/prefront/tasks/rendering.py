"""Pictures of grid worlds as RGB arrays, drawn with Pillow, without a display."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont

CELL_PIXELS = 48
WATER, ROCK, GOLD, FLOOR, WALL = (173, 216, 230), (90, 80, 75), (240, 190, 60), (238, 232, 220), (70, 70, 80)
AGENT = (200, 60, 50)


def draw_grid(
    colours: np.ndarray,
    agent: tuple[int, int] | None,
    labels: Mapping[tuple[int, int], str] | None = None,
    cell_pixels: int = CELL_PIXELS,
) -> np.ndarray:
    """Draws a grid world.

    Args:
        colours: Fill of every cell, shape (rows, columns, 3), values 0 to 255.
        agent: Row and column of the agent, drawn as a disc; None draws none.
        labels: Short texts by (row, column).
        cell_pixels: Side of a cell; cells below 8 pixels are drawn without an outline.

    Returns:
        An RGB picture, shape (rows * cell_pixels, columns * cell_pixels, 3), uint8.
    """
    rows, columns = colours.shape[:2]
    picture = Image.new("RGB", (columns * cell_pixels, rows * cell_pixels))
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=14)
    for row in range(rows):
        for column in range(columns):
            x, y = column * cell_pixels, row * cell_pixels
            fill = tuple(int(part) for part in colours[row, column])
            outline = (200, 200, 200) if cell_pixels >= 8 else fill
            pen.rectangle((x, y, x + cell_pixels - 1, y + cell_pixels - 1), fill=fill, outline=outline)
    if agent is not None:
        x, y, margin = agent[1] * cell_pixels, agent[0] * cell_pixels, cell_pixels // 5
        pen.ellipse((x + margin, y + margin, x + cell_pixels - margin - 1, y + cell_pixels - margin - 1), fill=AGENT)
    for (row, column), text in (labels or {}).items():
        centre = (column * cell_pixels + cell_pixels // 2, row * cell_pixels + cell_pixels // 2)
        pen.text(centre, text, fill=(20, 20, 20), font=font, anchor="mm")
    return np.asarray(picture).copy()
