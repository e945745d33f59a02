"""Pictures of functions of the plane: grids as images, and lines where a value is crossed."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from contourpy import contour_generator  # a part of Matplotlib that is a package of its own

Lines = list[np.ndarray]  # each [n, 2], in units of the plane


@dataclass(frozen=True)
class Region:
    """A rectangle of the plane that is drawn.

    Attributes:
        left: Its least x.
        right: Its largest x.
        bottom: Its least y.
        top: Its largest y.
    """

    left: float
    right: float
    bottom: float
    top: float

    @classmethod
    def of(cls, edges: np.ndarray) -> Region:
        """Return that of stored edges."""
        return cls(*map(float, edges))

    @property
    def edges(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top."""
        return self.left, self.right, self.bottom, self.top

    @property
    def height(self) -> float:
        """Its height in hundredths of its width."""
        return round(100 * (self.top - self.bottom) / (self.right - self.left), 2)

    def placed(self, points: np.ndarray) -> np.ndarray:
        """Return points ``[n, 2]`` in hundredths of the width, from the upper left corner."""
        unit = 100 / (self.right - self.left)
        return np.stack([(points[:, 0] - self.left) * unit, (self.top - points[:, 1]) * unit], axis=1)

    def contours(self, values: np.ndarray, level: float) -> Lines:
        """Return the lines on which a grid ``[rows, columns]``, from below, has a value."""
        rows, columns = values.shape
        x, y = np.linspace(self.left, self.right, columns), np.linspace(self.bottom, self.top, rows)
        return cast("Lines", contour_generator(x, y, np.asarray(values, dtype=float)).lines(level))

    def path(self, lines: Lines) -> str:
        """Return lines as the path of a drawing in hundredths of the width."""
        pieces = (" ".join(f"{x:.1f},{y:.1f}" for x, y in self.placed(line)) for line in lines)
        return "".join(f"M{piece}" for piece in pieces)


def image(colors: np.ndarray) -> str:
    """Return a grid of colors as the address of an image that holds itself.

    Args:
        colors: Shape ``[rows, columns, 3 or 4]`` from 0 to 1, rows from below.
    """
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    unsigned: Any = {"Software": None}
    imsave(buffer, np.round(255 * colors[::-1]).astype(np.uint8), format="png", metadata=unsigned)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
