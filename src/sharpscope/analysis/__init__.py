"""From the ledger of a study to what it says: statistics, figures and the report. Needs no torch."""

from __future__ import annotations

from sharpscope.analysis.results import Quantity, StudyResults

__all__ = ["Quantity", "StudyResults"]
