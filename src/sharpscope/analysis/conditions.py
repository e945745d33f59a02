"""How runs fare under conditions, as one table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from sharpscope.safety.by_condition import OF_PROBABILITIES, VALUES
from sharpscope.store.reading import Reading
from sharpscope.store.record import BY_CONDITION, Entry, Record
from sharpscope.store.snapshots import CALIBRATED, END, column, twin_at
from sharpscope.store.wanted import CONDITIONS, Wanted, answers

CLEAN = "clean"
TWIN = twin_at(END, CALIBRATED)
# Of the calibrated twin, by the names of the plain ones.
CALIBRATED_VALUES = {name: column(name, TWIN) for name in OF_PROBABILITIES}
COLUMNS = ("condition", "kind", "family", "severity", *VALUES, *CALIBRATED_VALUES.values(), "samples", "like")


def conditions_table(reading: Reading) -> pd.DataFrame:
    """Return one row a run and case of the conditions that a study asks for, of the runs that have them.

    Beside the key of the run, its columns are ``condition``, ``kind``, ``family`` and ``severity``, of which a
    condition's go from slight to severe; ``accuracy``, ``nll``, ``ece`` and ``brier``; of these the last three of the
    calibrated twin too, under corruptions (``ece~calibrated``), NaN where there is none; the ``samples`` of the test
    set; and whether the run was trained on images that are altered in a ``like`` way. One row of each run, of the
    condition and kind ``clean`` and the severity 0, is of the test set as it is.
    """
    catalog = reading.catalog
    asked = Wanted.from_catalog(catalog)
    like: Mapping[str, list[str]] = catalog.get("trained_on_the_like", {})
    rows: list[dict[str, Any]] = []
    for run in reading.runs:
        entry = _current(run.record, END, asked)
        if run.record.state == "done" and entry is not None:
            key = {**run.key, "run_id": run.run_id, "samples": entry["samples"]}
            alike = like.get(run.key["regime"], [])
            twin = _of_twin(run.record, asked)
            rows.append({**key, **entry["clean"], **twin.get((CLEAN, 0), {}), **_CLEAN_CASE})
            # Published corruptions have the name of their suite before theirs.
            rows += [
                {
                    **key,
                    **case,
                    **twin.get((case["condition"], case["severity"]), {}),
                    "like": case["condition"].rpartition("/")[2] in alike,
                }
                for case in _cases(entry)
            ]
    return pd.DataFrame(rows, columns=["regime", *catalog["varying"], "seed", "run_id", *COLUMNS])


_CLEAN_CASE = {"condition": CLEAN, "kind": CLEAN, "family": "", "severity": 0, "like": False}


def _of_twin(record: Record, asked: Wanted) -> dict[tuple[str, int], dict[str, float]]:
    """Return what a run's calibrated twin has in each case, by condition and severity; nothing where there is none."""
    entry = _current(record, TWIN, asked)
    if entry is None:
        return {}

    def renamed(values: Mapping[str, Any]) -> dict[str, float]:
        return {told: values[name] for name, told in CALIBRATED_VALUES.items()}

    found = {(case["condition"], case["severity"]): renamed(case) for case in _cases(entry)}
    return {(CLEAN, 0): renamed(entry["clean"]), **found}


def _current(record: Record, snapshot: str, asked: Wanted) -> Entry | None:
    """Return a run's table with the conditions that are as they are wanted now; None where there is none.

    Others wait to be made anew, or could not be made, and cost nothing but their own cases.
    """
    entry, stamp = (of.at(snapshot, BY_CONDITION).get(BY_CONDITION) for of in (record, asked))
    if entry is None or stamp is None or not record.came_to(snapshot, asked):
        return None
    if not answers(entry, {**stamp, CONDITIONS: {}}):
        return None
    return {**entry, CONDITIONS: dict(entry[CONDITIONS].items() & stamp[CONDITIONS].items())}


def _cases(entry: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    columns = entry["cases"]
    cases = (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))
    return (case for case in cases if case["condition"] in entry[CONDITIONS])
