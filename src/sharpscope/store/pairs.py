"""Scores of pairs: two runs of one cell, that is with all but their seed in common, and of some of different levels."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sharpscope.errors import FAULTS, one_line
from sharpscope.safety import SCORES
from sharpscope.store.across import across_levels
from sharpscope.store.files import Damaged, Missing, read_whole, write_whole
from sharpscope.store.folder import Store
from sharpscope.store.paired import PairedPredictions
from sharpscope.store.reading import Reading, StoredRun
from sharpscope.store.seals import BrokenSeal, check_sealed, digest
from sharpscope.store.tables import to_parquet
from sharpscope.store.wanted import Wanted

FILE = "pairs.parquet"


class Pair(NamedTuple):
    """A score of two runs.

    Attributes:
        key: The score's column.
        run_a: A run.
        run_b: Another seed of the same cell, or a run of another level.
        value: NaN where the score failed.
        error: Why it failed; empty where it did not.
        stamp: A checksum of the score's definition and both predictions: another one makes the value anew.
    """

    key: str
    run_a: str
    run_b: str
    value: float
    error: str
    stamp: str


@dataclass(frozen=True)
class Pairs:
    """The scores of all pairs of a study.

    Attributes:
        rows: A row for each score of each pair of one cell.
        notes: What the user should know: what could not be read, and scores that failed.
        across: As ``rows``, of pairs of different levels, without those that failed; see ``across_levels``.
    """

    rows: list[Pair]
    notes: list[str]
    across: list[Pair] = field(default_factory=list)

    @property
    def failed(self) -> list[Pair]:
        """The pairs of which a score failed."""
        return [pair for pair in self.rows if pair.error]


def update_pairs(store: Store) -> Pairs:
    """Bring ``pairs.parquet`` up to date and return what it holds; the caller is ``store.reporting``."""
    pairs = compute_pairs(Reading.of(store))
    write_pairs(store, pairs)
    return pairs


def write_pairs(store: Store, pairs: Pairs) -> None:
    """Write ``pairs.parquet``; the caller is ``store.reporting`` since before he read what the pairs are made of."""
    columns = list(zip(*pairs.rows, *pairs.across, strict=True)) or [()] * len(Pair._fields)
    table = {name: list(column) for name, column in zip(Pair._fields, columns, strict=True)}
    write_whole(store.path / FILE, to_parquet(table, seal=True))


def compute_pairs(reading: Reading, *, across: bool = True) -> Pairs:
    """Return the scores of all pairs of finished runs in the present grid; nothing is written.

    Each unordered pair of seeds counts once. What is stored already is kept as long as predictions and definition are
    the same; what failed is tried again. Scores whose plugin is not loaded keep their stored values.

    Args:
        reading: What the documents of the study say.
        across: Whether to have pairs of different levels too.
    """
    wanted = reading.catalog["pair_scores"]
    known = {key: stamp for key, stamp in wanted.items() if stamp["score"] in SCORES}
    notes: list[str] = []
    try:
        stored = stored_pairs(reading.store)
    except Damaged as error:
        stored = []
        lost = [key for key in wanted if key not in known]
        notes.append(f"{error}; {', '.join(lost)} of its plugin is lost until the next run" if lost else str(error))
    kept = {pair[:3]: pair for pair in stored if not pair.error}
    scoring = _Scoring(known, kept, notes, Wanted.from_catalog(reading.catalog))
    cells = list(reading.cells())
    cell_of = {run.run_id: index for index, cell in enumerate(cells) for run in cell}
    unknown = [pair for pair in stored if pair.key in wanted and pair.key not in known]
    within = [cell_of.get(pair.run_a) == cell_of.get(pair.run_b) for pair in unknown]
    rows = [pair for pair, inside in zip(unknown, within, strict=True) if inside]
    others = [pair for pair, inside in zip(unknown, within, strict=True) if not inside]
    for cell in cells:
        rows += scoring.of(cell, itertools.combinations([run.run_id for run in cell], 2))
    for runs, pairs in across_levels(reading) if across and known else ():
        others += scoring.of(runs, pairs)
    for found, what in ((rows, "pairs"), (others, "pairs of different levels")):
        failed = Counter((pair.key, pair.error) for pair in found if pair.error)
        notes += [f"'{key}' failed for {count} of the {what}: {error}" for (key, error), count in failed.items()]
    return Pairs(rows, notes, [pair for pair in others if not pair.error])


@dataclass(frozen=True)
class _Scoring:
    """What scores are wanted of pairs, and what is stored of them.

    Attributes:
        known: The stamps of the scores by key.
        kept: What is stored, by key and runs.
        notes: Gets what could not be read.
        wanted: What the study wants of each run, which says how temperatures are found.
    """

    known: dict[str, dict[str, Any]]
    kept: Mapping[tuple[Any, ...], Pair]
    notes: list[str]
    wanted: Wanted

    def of(self, runs: Iterable[StoredRun], pairs: Iterable[tuple[str, str]]) -> list[Pair]:
        """Return all scores of some pairs of runs; pairs of which one has no predictions, or no twin, are left out."""
        predictions = PairedPredictions(runs, self.notes, self.wanted, self.known.values())
        rows: list[Pair] = []
        for a, b in pairs:
            for key, definition in self.known.items():
                seals = [predictions.seal(run_id, definition) for run_id in (a, b)]
                if None in seals:
                    continue
                stamp = digest(json.dumps([definition, *seals], sort_keys=True).encode())
                pair = self.kept.get((key, a, b))
                if pair is None or pair.stamp != stamp:
                    pair = _scored(predictions, key, definition, a, b, stamp)
                rows += [pair] if pair is not None else []
        return rows


def _scored(
    predictions: PairedPredictions, key: str, definition: Mapping[str, Any], a: str, b: str, stamp: str
) -> Pair | None:
    """Return a score of two runs; None where the predictions of one cannot be read."""
    try:
        value = predictions.score(definition, a, b)
    except FAULTS as error:
        return Pair(key, a, b, math.nan, one_line(error), stamp)
    return None if value is None else Pair(key, a, b, value, "", stamp)


def stored_pairs(store: Store) -> list[Pair]:
    """Return what ``pairs.parquet`` holds; nothing if it is not there.

    Raises:
        Damaged: If it is not as it was written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        data = read_whole(store.path / FILE)
        check_sealed(data)
    except Missing:
        return []
    except BrokenSeal as error:
        raise Damaged(f"{FILE} {error}") from None
    columns = pq.read_table(pa.BufferReader(data)).to_pydict()
    return [Pair(*row) for row in zip(*(columns[name] for name in Pair._fields), strict=True)]
