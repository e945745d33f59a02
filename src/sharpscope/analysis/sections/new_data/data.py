"""What new test samples would change, as the page shows it."""

from __future__ import annotations

import math

import pandas as pd

from sharpscope.analysis import numbers
from sharpscope.analysis.results import StudyResults, records
from sharpscope.analysis.wording import difference_text


def rows_of(results: StudyResults, table: pd.DataFrame) -> list[dict[str, str]]:
    """Return scores by level with their difference, both standard errors, and which intervals exclude equality.

    They are the primary ones, or all where none of these is a mean over test samples.
    """
    primary = table[table["quantity"].isin(results.primary)]
    return [
        {
            "label": results.quantities[row["quantity"]].label,
            "level": row[results.factor.name],
            "seeds": difference_text(row),
            "both": numbers.change(row["scale"], row["mean_difference"], row["new_low"], row["new_high"]),
            "sd_seed": _error(row["scale"], row["sd_seed"]),
            "sd_test": _error(row["scale"], row["sd_test"]),
            "holds": row["holds"],
        }
        for row in records(table if primary.empty else primary)
    ]


def _error(scale: str, error: float) -> str:
    """Return a standard error with two digits; of a ratio, which has that of its logarithm, as a percentage."""
    if not math.isfinite(error):
        return numbers.MISSING
    size = 100 * error if scale == "ratio" else error
    return numbers.fixed(size, numbers.decimals_for(size) if size else 0) + ("%" if scale == "ratio" else "")
