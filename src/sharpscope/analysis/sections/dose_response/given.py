"""How the train loss is taken out of correlations with the dose, in words."""

from __future__ import annotations

import pandas as pd

from sharpscope.analysis.dose.axis import Axis
from sharpscope.analysis.statistics.partial import takes_squares


def given_loss(axis: Axis, table: pd.DataFrame) -> str:
    """Return how the train loss is taken out of correlations, in a sentence; empty where it is out of none.

    Args:
        axis: The levels.
        table: See ``dose_table``.
    """
    if not (table["partial_n"] > 0).any():
        return ""
    levels = int(axis.on_line.sum())
    if takes_squares(levels):
        return "Of correlations given the train loss, a parabola in the loss is taken out."
    return (
        f"Of correlations given the train loss, only a straight line in the loss is taken out, since {levels} levels "
        "are too few for a curve: what follows the loss by a curve may be left in them."
    )
