"""The courses of a quantity along levels: which levels count, and one course a seed over all settings."""

from __future__ import annotations

import numpy as np

from sharpscope.analysis.statistics.study_wide import study_wide


def counted_levels(values: np.ndarray) -> np.ndarray:
    """Return which levels count: those that at least half of the seeds have, in the settings that have any.

    One in which nearly all runs diverged would leave nearly no seed.

    Args:
        values: Shape ``[settings, levels, seeds]``; NaN where there is none.

    Returns:
        Shape ``[levels]``.
    """
    present = np.isfinite(values)
    tried = present.any(axis=1)
    return present.any(axis=(0, 2)) & (2 * present.sum(axis=(0, 2)) >= tried.sum())


def courses_of_seeds(values: np.ndarray) -> np.ndarray:
    """Return the values averaged over settings, shape ``[levels, seeds]``; NaN where a seed lacks one of them.

    Args:
        values: Shape ``[settings, levels, seeds]``; NaN where there is none.
    """
    return np.stack([study_wide(of_level).values for of_level in values.transpose(1, 0, 2)])
