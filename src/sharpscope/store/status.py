"""The state of a study's runs, for a reader at a terminal."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from sharpscope.store.files import Damaged
from sharpscope.store.folder import Store
from sharpscope.store.pairs import Pair, stored_pairs
from sharpscope.store.reasons import lacks
from sharpscope.store.record import Record
from sharpscope.store.run_folder import RunFolder
from sharpscope.store.wanted import Wanted

STATES = ("done", "diverged", "failed", "running", "waiting", "damaged")
AGAIN = "the next run makes it again"


@dataclass(frozen=True)
class Status:
    """What is known of a study at this moment.

    Attributes:
        study: Its name.
        runs: Each run of the present grid with its state, its reason, and what it lacks although it is done.
        failed_pairs: Scores of pairs of runs that failed.
        faults: What is wrong with the files that belong to no run.
    """

    study: str
    runs: list[dict[str, Any]]
    failed_pairs: list[Pair]
    faults: list[str]

    @classmethod
    def of(cls, store: Store) -> Status:
        """Look at all of a study, reading every stored file; nothing is written.

        Raises:
            SharpscopeError: If its catalog cannot be read.
        """
        catalog = store.read_catalog()
        faults = store.faults()
        failed: list[Pair] = []
        try:
            failed = [pair for pair in stored_pairs(store) if pair.error]
        except Damaged as error:
            faults.append(str(error))
        return cls(catalog["study"]["name"], states(store, catalog), failed, faults)

    @property
    def sound(self) -> bool:
        """Whether no run has failed, and no stored file is damaged."""
        return not self.faults and not {"failed", "damaged"} & {run["state"] for run in self.runs}

    @property
    def counts(self) -> dict[str, int]:
        """The number of runs in each state."""
        return Counter(run["state"] for run in self.runs)

    def __str__(self) -> str:
        counts = self.counts
        shown = ", ".join(f"{counts[state]} {state}" for state in STATES if counts.get(state))
        lacking = sum(bool(run["missing"]) for run in self.runs)
        shown += f"; {lacking} of those done {'lacks' if lacking == 1 else 'lack'} something" if lacking else ""
        lines = [f"{self.study}: {len(self.runs)} runs: {shown}"]
        lines += [
            f"{run['run_id']} {run['state']} ({run['regime']}, seed {run['seed']}): {why}"
            for run in self.runs
            if (why := lacks(run["missing"]) or run["reason"])
        ]
        lines += [f"runs {p.run_a} and {p.run_b}: lacks {p.key} ({p.error})" for p in self.failed_pairs]
        return "\n".join([*lines, *(f"{fault}; {AGAIN}" for fault in self.faults)])

    def to_json(self) -> str:
        """Return the same as JSON: a mapping of states to counts, a list of runs, failed pairs, and faults."""
        pairs = [{"runs": [p.run_a, p.run_b], "missing": {p.key: p.error}} for p in self.failed_pairs]
        found = {"study": self.study, "counts": self.counts, "runs": self.runs}
        return json.dumps({**found, "failed_pairs": pairs, "faults": self.faults}, indent=2)


def states(store: Store, catalog: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return each run of the present grid with its state, its reason, and what it lacks although it is done."""
    wanted = Wanted.from_catalog(catalog)
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda point: _state(store.run(point["run_id"]), wanted), catalog["grid"])
        return [{**point, **state} for point, state in zip(catalog["grid"], found, strict=True)]


def _state(folder: RunFolder, wanted: Wanted) -> dict[str, Any]:
    found: dict[str, Any] = {"state": "waiting", "reason": "", "missing": {}}
    if folder.busy:
        return {**found, "state": "running"}
    record: Record | None = None
    try:
        record = folder.read_record()
        faults = [] if record is None else folder.faults(record)
    except Damaged as error:
        faults = [str(error)]
    if faults and folder.changing(record):
        return {**found, "state": "running"}
    if faults:
        return {**found, "state": "damaged", "reason": f"{', '.join(faults)}; {AGAIN}"}
    if record is None:
        return found
    return {"state": record.state, "reason": record.reason, "missing": record.lacking(wanted)}
