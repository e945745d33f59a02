"""One look at a study: its documents are read once, and all that is told of it is told of the same state."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sharpscope.store.files import Damaged
from sharpscope.store.folder import COMMAND, PRIMARY, STUDY, Store
from sharpscope.store.record import Record
from sharpscope.store.run_folder import RunFolder


@dataclass(frozen=True)
class StoredRun:
    """A point of the present grid with what is stored of its run.

    Attributes:
        point: Its place in the grid, as the catalog has it.
        folder: Where the other files of the run are.
        record: What is known of the run; nothing but the damage where that cannot be read.
        damage: What is wrong with the record.
    """

    point: dict[str, Any]
    folder: RunFolder
    record: Record
    damage: str = ""

    @property
    def run_id(self) -> str:
        """The run."""
        return self.folder.run_id

    @property
    def state(self) -> str:
        """As its record says; ``damaged`` where that cannot be read."""
        return "damaged" if self.damage else self.record.state

    @property
    def key(self) -> dict[str, Any]:
        """Regime, seed and the varying keys."""
        return {"regime": self.point["regime"], "seed": self.point["seed"], **self.point["coordinates"]}


@dataclass(frozen=True)
class Reading:
    """What the documents of a study say; the large files of its runs are read where they are asked for.

    Attributes:
        store: The folder.
        catalog: The study as run, its present grid, and the facts of every column.
        command: What runs the study again.
        runs: The runs of the present grid that have ended, or of which one cannot tell, in the order of the grid.
        faults: What is wrong with the files that belong to no run.
    """

    store: Store
    catalog: dict[str, Any]
    command: list[str]
    runs: list[StoredRun]
    faults: list[str]

    @classmethod
    def of(cls, store: Store) -> Reading:
        """Read the documents of a study; nothing is written.

        Raises:
            SharpscopeError: If its catalog cannot be read.
        """
        catalog = store.read_catalog()
        contents, faults = store.documents(PRIMARY, COMMAND)
        # The study as it is kept always runs again.
        command = contents[COMMAND]["command"] if COMMAND in contents else ["sharpscope", "run", STUDY]
        faults += store.faults_of_study(catalog)
        return cls(store, catalog, command, list(_stored_runs(store, catalog)), faults)

    def cells(self) -> Iterator[list[StoredRun]]:
        """Yield the runs of each cell, which have all but their seed in common."""
        cells: dict[str, list[StoredRun]] = {}
        for run in self.runs:
            cell = json.dumps([run.point["regime"], run.point["coordinates"]], sort_keys=True)
            cells.setdefault(cell, []).append(run)
        yield from cells.values()


def _stored_runs(store: Store, catalog: dict[str, Any]) -> Iterator[StoredRun]:
    for point in catalog["grid"]:
        folder = store.run(point["run_id"])
        try:
            record = folder.read_record()
        except Damaged as error:
            yield StoredRun(point, folder, Record(folder.run_id, reason=str(error)), str(error))
        else:
            if record is not None:
                yield StoredRun(point, folder, record)
