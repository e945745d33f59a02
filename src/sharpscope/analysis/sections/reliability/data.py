"""Reliability of a level of the factor: the bins of its runs put together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from sharpscope.analysis.palette import styles_of
from sharpscope.analysis.results import StudyResults, describe_group, records, select


def aggregate(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row a non-empty bin with the runs' predictions put together.

    Args:
        rows: Columns ``run_id, bin, count, confidence, accuracy``, a row for every bin, empty or not; ``bin`` counts
            from 0, bins are equally wide.

    Returns:
        Columns ``bin, count, confidence, accuracy, center`` (middle of the bin) and ``share`` (of all predictions).
    """
    width = 1 / bin_count(rows)
    rows = rows[rows["count"] > 0]
    counts = rows["count"].to_numpy(float)
    weighted = pd.DataFrame(
        {
            "bin": rows["bin"].to_numpy(int),
            "count": counts,
            "confidence": counts * rows["confidence"].to_numpy(float),
            "accuracy": counts * rows["accuracy"].to_numpy(float),
        }
    )
    bins = weighted.groupby("bin", as_index=False).sum()
    bins["confidence"] /= bins["count"]
    bins["accuracy"] /= bins["count"]
    bins["share"] = bins["count"] / max(bins["count"].sum(), 1.0)
    bins["center"] = (bins["bin"] + 0.5) * width
    return bins


def bin_count(rows: pd.DataFrame) -> int:
    """Return how many bins confidence is cut into."""
    return int(rows["bin"].max()) + 1


def expected_calibration_error(bins: pd.DataFrame) -> float:
    """Return the expected calibration error of aggregated bins: the mean gap of confidence and accuracy.

    Signs cancel between runs in one bin, so this is at most the mean of the runs' own errors.
    """
    return float(np.sum(bins["share"] * np.abs(bins["accuracy"] - bins["confidence"])))


def panel_sets(results: StudyResults) -> list[dict[str, Any]]:
    """Return one set of panels a group: for each level its bins put together over seeds."""
    styles = styles_of(results.factor)
    sets = []
    for group, _ in results.groups():
        panels = []
        for level in results.levels:
            rows = select(results.reliability_compared, {**group, results.factor.name: level})
            if rows.empty or not rows["count"].sum():
                continue
            bins = aggregate(rows)
            panels.append(
                {
                    "level": level,
                    "color": styles[level].color,
                    "error": f"{expected_calibration_error(bins):.3f}",
                    "bins": records(bins.round(4)),
                }
            )
        if panels:
            sets.append({"title": describe_group(group), "panels": panels})
    return sets
