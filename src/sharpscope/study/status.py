"""The state of a study's runs, for a reader at a terminal. Needs no torch."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from sharpscope.study.pairs import failed_pairs
from sharpscope.study.reasons import lacks
from sharpscope.study.record import Wishes
from sharpscope.study.store import Damaged, RunFolder, Store

STATES = ("done", "diverged", "failed", "running", "waiting", "damaged")


def status(store: Store) -> str:
    """Return the runs of the present grid by state, and the reasons of those that went wrong, in words."""
    runs = states(store)
    counts = Counter(run["state"] for run in runs)
    shown = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    lacking = sum(bool(run["missing"]) for run in runs)
    shown += f"; {lacking} of those done {'lacks' if lacking == 1 else 'lack'} something" if lacking else ""
    lines = [f"{store.read_study()['name']}: {len(runs)} runs: {shown}"]
    lines += [
        f"{run['run_id']} {run['state']} ({run['regime']}, seed {run['seed']}): {why}"
        for run in runs
        if (why := lacks(run["missing"]) or run["reason"])
    ]
    lines += [f"runs {pair.run_a} and {pair.run_b}: lacks {pair.key} ({pair.error})" for pair in failed_pairs(store)]
    return "\n".join(lines)


def to_json(store: Store) -> str:
    """Return the same as JSON: a mapping of states to counts, a list of runs, and pairs of which a score failed."""
    runs = states(store)
    counts = Counter(run["state"] for run in runs)
    pairs = [{"runs": [p.run_a, p.run_b], "missing": {p.key: p.error}} for p in failed_pairs(store)]
    found = {"study": store.read_study()["name"], "counts": counts, "runs": runs, "failed_pairs": pairs}
    return json.dumps(found, indent=2)


def states(store: Store) -> list[dict[str, Any]]:
    """Return each run of the present grid with its state, its reason, and what it lacks although it is done."""
    catalog = store.read_catalog()
    wishes = Wishes.from_catalog(catalog)
    return [{**point, **_state(store.run(point["run_id"]), wishes)} for point in catalog["grid"]]


def _state(folder: RunFolder, wishes: Wishes) -> dict[str, Any]:
    found: dict[str, Any] = {"state": "waiting", "reason": "", "missing": {}}
    if folder.busy:
        return {**found, "state": "running"}
    try:
        record = folder.read_record()
    except Damaged as error:
        return {**found, "state": "damaged", "reason": f"{error}; the next run makes it again"}
    if record is None:
        return found
    return {"state": record.state, "reason": record.reason, "missing": record.lacking(wishes)}
