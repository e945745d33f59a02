"""Dose and response: how quantities move along a factor whose levels have an order."""

from __future__ import annotations

from sharpscope.analysis.dose.axis import Axis, axis_of

__all__ = ["Axis", "axis_of"]
