"""A quantity against another one that is measured too: its mean over a stretch of that, in each seed by itself."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import PchipInterpolator


def mean_between(values: np.ndarray, x: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the mean of each seed's curve over a stretch of x: between its levels, and only there.

    The curve goes through the levels of the seed in the order of their x, by monotone cubic interpolation, so that only
    the levels in the stretch and the two nearest on each side have a part in it, and between two levels it never leaves
    their values. Chords of a curve lie all to one side of it, which made two halves of one curve differ; and a
    parabola of least squares swings wide where a seed has two levels close together.

    Args:
        values: Shape ``[levels, seeds]``; NaN where there is none. Where x is equal, their mean counts.
        x: Another one in each seed, shape ``[levels, seeds]``.
        low: Where the stretch of each seed begins, shape ``[seeds]``.
        high: Where it ends.

    Returns:
        Shape ``[seeds]``; NaN where the stretch is empty, or has no level on both sides of it.

    Reference: Fritsch & Carlson, "Monotone Piecewise Cubic Interpolation", SIAM J. Numer. Anal. 1980.
    """
    found = np.full(values.shape[1], np.nan)
    for seed, (start, end) in enumerate(zip(low, high, strict=True)):
        rows = np.isfinite(values[:, seed]) & np.isfinite(x[:, seed])
        places, which = np.unique(x[rows, seed], return_inverse=True)
        if len(places) > 1 and places[0] <= start < end <= places[-1]:
            heights = np.bincount(which, values[rows, seed]) / np.bincount(which)
            found[seed] = PchipInterpolator(places, heights).integrate(start, end) / (end - start)
    return found
