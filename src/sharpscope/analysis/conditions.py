"""How runs fare under conditions, as one table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from sharpscope.safety.by_condition import VALUES
from sharpscope.store.reading import Reading
from sharpscope.store.record import BY_CONDITION
from sharpscope.store.snapshots import END
from sharpscope.store.wanted import CONDITIONS, Wanted

CLEAN = "clean"
COLUMNS = ("condition", "kind", "family", "severity", *VALUES, "samples", "like")


def conditions_table(reading: Reading) -> pd.DataFrame:
    """Return one row a run and case of the conditions that a study asks for, of the runs that have them.

    Beside the key of the run, its columns are ``condition``, ``kind``, ``family`` and ``severity``, of which a
    condition's go from slight to severe; ``accuracy``, ``nll``, ``ece`` and ``brier``; the ``samples`` of the test
    set; and whether the run was trained on images that are altered in a ``like`` way. One row of each run, of the
    condition and kind ``clean`` and the severity 0, is of the test set as it is.
    """
    catalog = reading.catalog
    wanted = Wanted.from_catalog(catalog).at(END, BY_CONDITION).get(BY_CONDITION, {}).get(CONDITIONS, {})
    like: Mapping[str, list[str]] = catalog.get("trained_on_the_like", {})
    rows: list[dict[str, Any]] = []
    for run in reading.runs:
        entry = run.record.at(END, BY_CONDITION).get(BY_CONDITION)
        if run.record.state == "done" and entry is not None and wanted:
            key = {**run.key, "run_id": run.run_id, "samples": entry["samples"]}
            alike = like.get(run.key["regime"], [])
            cases = (case for case in _cases(entry) if case["condition"] in wanted)
            rows.append({**key, **entry["clean"], **_CLEAN_CASE})
            # Published corruptions have the name of their suite before theirs.
            rows += [{**key, **case, "like": case["condition"].rpartition("/")[2] in alike} for case in cases]
    return pd.DataFrame(rows, columns=["regime", *catalog["varying"], "seed", "run_id", *COLUMNS])


_CLEAN_CASE = {"condition": CLEAN, "kind": CLEAN, "family": "", "severity": 0, "like": False}


def _cases(entry: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    columns = entry["cases"]
    return (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))
