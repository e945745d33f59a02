"""The temperatures of twins, as they are kept in the records of runs."""

from __future__ import annotations

from sharpscope.safety.temperature import Fit
from sharpscope.store.record import TEMPERATURE, Record
from sharpscope.store.wanted import Wanted, answers


def fit_of(record: Record, twin: str, wanted: Wanted) -> Fit | None:
    """Return the temperature of a twin; None where none was found in the way that is wanted now.

    Args:
        record: Of the run.
        twin: Such as ``end~calibrated``.
        wanted: What the study wants now: a temperature that was found by another reference is not of this twin.
    """
    found = record.at(twin, TEMPERATURE).get(TEMPERATURE)
    stamp = wanted.at(twin, TEMPERATURE).get(TEMPERATURE)
    if found is None or stamp is None or not answers(found, stamp):
        return None
    halves = tuple((first, second) for first, second in found["halves"])
    return Fit(found["values"][TEMPERATURE], found["converged"], halves)
