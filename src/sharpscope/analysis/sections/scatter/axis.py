"""Which axes of the scatter plots are logarithmic."""

from __future__ import annotations

from sharpscope.analysis.correlations import LOSS
from sharpscope.analysis.drawing.scale import suits_logarithm
from sharpscope.analysis.results import StudyResults


def on_log_axis(results: StudyResults, *columns: str) -> bool:
    """Return whether one axis for some columns of the same quantity is logarithmic.

    It is for the train loss and all that is compared by ratio, and for what spans decades, where all values are
    positive. On two such axes a power law is a line.
    """
    quantity = results.quantities[columns[0]]
    ratio = quantity.scale == "ratio" or quantity.base == LOSS
    return suits_logarithm(results.runs[list(columns)].to_numpy(float).ravel(), ratio=ratio)
