"""The smooth calibration error, which has a kernel in the place of bins."""

from __future__ import annotations

import numpy as np
from scipy.fft import dct, idct
from scipy.optimize import brentq

from sharpscope.safety.predictions import Predictions
from sharpscope.safety.registry import SCORES, ScoreFacts

# Cells that [0, 1] is divided into.
CELLS = 4096


@SCORES.register(
    facts=ScoreFacts(
        "Smooth calibration error",
        "lower",
        "fraction",
        scale="difference",
        reference='Blasiok & Nakkiran, "Smooth ECE: Principled Reliability Diagrams via Kernel Smoothing", ICLR 2024',
        default=False,
    )
)
def smooth_ece(predictions: Predictions) -> float:
    r"""Smooth calibration error on the test set, at the width of kernel that is equal to the error itself.

    .. math:: \mathrm{smECE}_\sigma = \int_0^1 \Big| \frac1N \sum_n K_\sigma(t, c_n) \, (y_n - c_n) \Big| \, dt

    with the Gaussian kernel K reflected at 0 and 1, confidences c, and y = 1 where the prediction is right. The error
    falls with the width, so there is one :math:`\sigma` with :math:`\mathrm{smECE}_\sigma = \sigma`. Confidences are
    taken to the middle of one of 4,096 cells, which moves the error by about 0.0001 at most.
    """
    test = predictions.test
    cell = np.minimum((test.confidence * CELLS).astype(int), CELLS - 1)
    residuals = np.bincount(cell, test.correct - test.confidence, CELLS) / len(cell)
    # In cosines, smoothing with a kernel that is reflected at both ends is a product.
    waves = dct(residuals, type=2)
    frequencies = np.pi * np.arange(CELLS)

    def error(width: float) -> float:
        smoothed = idct(waves * np.exp(-((frequencies * width) ** 2) / 2), type=2)
        return float(np.abs(smoothed).sum())

    if error(0.0) == 0.0:
        return 0.0
    return float(brentq(lambda width: error(width) - width, 0.0, 1.0 + 1e-9, xtol=1e-12))
