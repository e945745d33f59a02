"""What explains how much of sharpness, as LaTeX."""

from __future__ import annotations

import pandas as pd

from sharpscope.analysis.latex import booktabs, escape
from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.sections.is_it_complexity.data import share_blocks


def latex(results: StudyResults, shares: pd.DataFrame) -> bytes:
    """Return a row a measure of sharpness, of complexity, place and order: the share of loss, complexity and level."""
    rows = [
        [escape(cell) for cell in (block["measure"], block["complexity"], block["where"], order, *cells)]
        for block in share_blocks(results, shares)
        for order, cells in block["orders"]
    ]
    header = ["Sharpness", "Complexity", "Where", "Order", "Loss", "Complexity", escape(results.factor.title)]
    title = "Shares of the variation of sharpness over runs of one seed; 95% intervals over seeds."
    return booktabs(header, rows, left=4, title=title)
