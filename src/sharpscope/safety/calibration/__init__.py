"""Scores of calibration: whether probabilities mean what they say."""

from __future__ import annotations

from sharpscope.safety.calibration import adaptive, decomposition, proper, selection, smooth
from sharpscope.safety.calibration.expected_error import calibration_error

__all__ = ["adaptive", "calibration_error", "decomposition", "proper", "selection", "smooth"]
