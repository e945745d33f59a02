"""Scores of pairs: two runs of one cell, that is with all but their seed in common. Needs no torch."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

from sharpscope.safety import SCORES, Predictions
from sharpscope.study.store import Damaged, Store, to_parquet, write_atomic

FILE = "pairs.parquet"
COLUMNS = ("key", "run_a", "run_b", "value")


def update_pairs(store: Store) -> list[str]:
    """Compute the scores of all pairs of finished runs in the present grid, and keep them in ``pairs.parquet``.

    Each unordered pair of seeds counts once. Scores whose plugin is not loaded keep their stored values.

    Returns:
        What the user should know: predictions that could not be read.
    """
    wanted = store.read_catalog()["pair_scores"]
    known = {key: stamp for key, stamp in wanted.items() if stamp["score"] in SCORES}
    rows = [row for row in read_pairs(store) if row[0] in wanted and row[0] not in known]
    notes: list[str] = []
    for cell in _cells(store.read_catalog()["grid"]):
        predictions = _predictions(store, cell, notes)
        for a, b in itertools.combinations(predictions, 2):
            for key, stamp in known.items():
                score = SCORES[stamp["score"]]
                value = float(score(predictions[a], predictions[b], **stamp["options"]))
                rows.append((key, a, b, value))
    columns = list(zip(*rows, strict=True)) or [()] * len(COLUMNS)
    write_atomic(store.path / FILE, to_parquet({n: list(c) for n, c in zip(COLUMNS, columns, strict=True)}))
    return notes


def read_pairs(store: Store) -> list[tuple[str, str, str, float]]:
    """Return the stored pairs as (key, run, other run, value)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = store.path / FILE
    if not path.is_file():
        return []
    try:
        columns = pq.read_table(path).to_pydict()
    except (pa.ArrowInvalid, OSError):
        # It is derived from the predictions and is written again by the next run or report.
        return []
    return list(zip(*(columns[name] for name in COLUMNS), strict=True))


def _cells(grid: list[dict[str, Any]]) -> Iterator[list[str]]:
    """Yield the runs of each cell, in the order of the grid."""
    cells: dict[str, list[str]] = {}
    for point in grid:
        key = json.dumps([point["regime"], point["coordinates"]], sort_keys=True)
        cells.setdefault(key, []).append(point["run_id"])
    yield from cells.values()


def _predictions(store: Store, cell: list[str], notes: list[str]) -> dict[str, Predictions]:
    found = {}
    for run_id in cell:
        folder = store.run(run_id)
        try:
            record = folder.read_record()
            if record is not None and record.state == "done":
                found[run_id] = folder.read_predictions(record)
        except Damaged as error:
            notes.append(f"run {run_id}: {error}; its pairs are left out")
    return found
