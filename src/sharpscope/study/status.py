"""The state of a study's runs, for a reader at a terminal. Needs no torch."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from sharpscope.study.store import Damaged, Store

STATES = ("done", "diverged", "failed", "running", "waiting", "damaged")


def status(store: Store) -> str:
    """Return the runs of the present grid by state, and the reasons of those that went wrong, in words."""
    runs = states(store)
    counts = Counter(run["state"] for run in runs)
    shown = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    lines = [f"{store.read_study()['name']}: {len(runs)} runs: {shown}"]
    lines += [
        f"{run['run_id']} {run['state']} ({run['regime']}, seed {run['seed']}): {run['reason']}"
        for run in runs
        if run["reason"]
    ]
    return "\n".join(lines)


def to_json(store: Store) -> str:
    """Return the same as JSON: a mapping of states to counts, and a list of runs."""
    runs = states(store)
    counts = Counter(run["state"] for run in runs)
    return json.dumps({"study": store.read_study()["name"], "counts": counts, "runs": runs}, indent=2)


def states(store: Store) -> list[dict[str, Any]]:
    """Return each run of the present grid with its state and reason."""
    runs = []
    for point in store.read_catalog()["grid"]:
        state, reason = _state(store, point["run_id"])
        runs.append({**point, "state": state, "reason": reason})
    return runs


def _state(store: Store, run_id: str) -> tuple[str, str]:
    folder = store.run(run_id)
    if folder.busy:
        return "running", ""
    try:
        record = folder.read_record()
    except Damaged as error:
        return "damaged", f"{error}; the next run makes it again"
    return ("waiting", "") if record is None else (record.state, record.reason)
