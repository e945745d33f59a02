"""From the store of a study to its tables: ledger, pairs, reliability bins, results under conditions, failures.

Reads the store alone: neither torch nor the study's plugins are needed.
"""

from __future__ import annotations

import io
import math
import shlex
from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path
from typing import Any

import pandas as pd

from sharpscope.analysis.conditions import conditions_table
from sharpscope.analysis.results import MISSING_COLUMNS, RUN_COLUMNS, Arrays, Quantity, StudyResults
from sharpscope.store.files import Damaged, write_whole
from sharpscope.store.folder import Store
from sharpscope.store.pairs import Pair, Pairs, compute_pairs
from sharpscope.store.reading import Reading, StoredRun
from sharpscope.store.record import MEASURES, RELIABILITY, Entry, Record
from sharpscope.store.snapshots import END
from sharpscope.store.wanted import Wanted, answers, current
from sharpscope.task import Task

BIN_COLUMNS = ("bin", "count", "confidence", "accuracy", "low", "high")
CONFIDENCE_COLUMNS = ("ece", "null", "sure", "doubt")


def load_ledger(study_dir: str | Path) -> pd.DataFrame:
    """Return the ledger of a study; see ``sharpscope.load_ledger``."""
    reading = Reading.of(Store.existing(Path(study_dir)))
    return _ledger(reading, _pair_table(compute_pairs(reading, across=False).rows, reading.catalog))


def load_results(study_dir: str | Path) -> StudyResults:
    """Return all that a study found, for statistics and a report; nothing is written.

    Args:
        study_dir: The folder of the study.

    Raises:
        SharpscopeError: If it is no such folder.
    """
    reading = Reading.of(Store.existing(Path(study_dir)))
    return results_of(reading, compute_pairs(reading))


def results_of(reading: Reading, scored: Pairs) -> StudyResults:
    """Return all that a study found, for statistics and a report.

    Args:
        reading: What its documents say.
        scored: The scores of pairs of its runs.
    """
    catalog = reading.catalog
    pairs = _pair_table(scored.rows, catalog)
    reliability, confidence = _reliability(reading)
    damage = [*_damage(reading.runs), *(f"{fault}; the next run makes it again" for fault in reading.faults)]
    return StudyResults(
        study=catalog["study"],
        quantities={q["name"]: _quantity(q) for q in catalog["quantities"]},
        ledger=_ledger(reading, pairs),
        pairs=pairs.drop(columns=["run_a", "run_b"]),
        pairs_across=_across(scored.across, catalog),
        reliability=reliability,
        confidence=confidence,
        conditions=conditions_table(reading),
        failures=_failures(reading),
        missing=_missing(reading, scored),
        provenance=_provenance(reading),
        default_primary=catalog["default_primary"],
        first_primary=catalog["first_primary"],
        notes=(*damage, *_told_no_more(scored.notes, damage)),
        damaged=bool(damage),
        task=Task.of(catalog),
        claimed=tuple(catalog.get("claims", ())),
        watched=tuple(_quantity(facts) for facts in catalog.get("watched", ())),
        read_arrays=partial(_arrays, reading),
        details=partial(_details, reading),
    )


def write_ledger(ledger: pd.DataFrame, study_dir: str | Path) -> None:
    """Write ``results.csv`` and ``results.parquet``; numbers read back to the last bit."""
    directory = Path(study_dir)
    buffer = io.BytesIO()
    ledger.to_parquet(buffer, index=False)
    write_whole(directory / "results.parquet", buffer.getvalue())
    write_whole(directory / "results.csv", ledger.to_csv(index=False, lineterminator="\n").encode())


def _quantity(facts: dict[str, Any]) -> Quantity:
    told = {key: value for key, value in facts.items() if key != "level"}
    told |= {key: tuple(told[key]) for key in ("caveats", "unchanged_by") if key in told}
    return Quantity(**told, matched_loss=facts.get("level", ""))


def _damage(runs: Iterable[StoredRun]) -> list[str]:
    """Return what was damaged of each run, as far as a report sees it: records, and sizes of files."""
    told = []
    for run in runs:
        faults = [run.damage] if run.damage else _faults(run)
        told += [f"run {run.run_id}: {fault}; the next run makes it again" for fault in dict.fromkeys(faults)]
    return told


def _faults(run: StoredRun) -> list[str]:
    """Return what shows to be wrong with the files of a run; nothing where another command has replaced them since."""
    faults = run.folder.faults(run.record, read=False)
    return [] if faults and run.folder.changing(run.record) else faults


def _told_no_more(notes: list[str], told: list[str]) -> list[str]:
    """Return the notes that do not begin as one that is told already, up to what comes of it."""
    known = {note.partition("; ")[0] for note in told}
    return [note for note in notes if note.partition("; ")[0] not in known]


def _ledger(reading: Reading, pairs: pd.DataFrame) -> pd.DataFrame:
    catalog = reading.catalog
    wanted = Wanted.from_catalog(catalog)
    types = {column["name"]: column["type"] for column in catalog["columns"]}
    means = _pair_means(pairs, catalog["pair_scores"])
    table = [
        {
            "run_id": run.run_id,
            "state": run.state,
            **run.key,
            **(_values(run.record, catalog["columns"], wanted) if run.record.state == "done" else {}),
            **means.get(run.run_id, {}),
        }
        for run in reading.runs
    ]
    ledger = pd.DataFrame(table, columns=[*RUN_COLUMNS, *catalog["varying"], *types])
    return ledger.astype({**types, "run_id": str, "state": str, "regime": str, "seed": "int64"})


def _values(record: Record, columns: Iterable[dict[str, Any]], wanted: Wanted) -> dict[str, float | bool]:
    """Return what a run has in the columns of results that answer the study as it is now."""
    values: dict[str, float | bool] = {}

    # Many columns are of one snapshot, and several of one result.
    @cache
    def is_there(snapshot: str, stage: str) -> bool:
        return record.came_to(snapshot, wanted) or record.tells_of_temperature(snapshot, stage, wanted)

    @cache
    def entry(snapshot: str, stage: str, key: str) -> Entry | None:
        found = record.at(snapshot, stage).get(key)
        is_wanted = is_there(snapshot, stage) and answers(found, wanted.at(snapshot, stage)[key])
        return found if is_wanted else None

    for column in columns:
        if column["at"] is None:
            continue
        snapshot, stage, key, *path = column["at"]
        found: Any = entry(snapshot, stage, key)
        if found is not None:
            for part in path:
                found = found.get(part) if found is not None else None
            values[column["name"]] = found
    return values


def _pair_table(scored: Iterable[Pair], catalog: dict[str, Any]) -> pd.DataFrame:
    """Return one row an unordered pair of seeds, with a column for each score of pairs."""
    points = {point["run_id"]: point for point in catalog["grid"]}
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for key, a, b, value in (pair[:4] for pair in scored if not pair.error):
        if a in points and b in points and key in catalog["pair_scores"]:
            first, second = points[a], points[b]
            row = rows.setdefault(
                (a, b),
                {
                    "regime": first["regime"],
                    **first["coordinates"],
                    "seed_a": first["seed"],
                    "seed_b": second["seed"],
                    "run_a": a,
                    "run_b": b,
                },
            )
            row[key] = value
    columns = ["regime", *catalog["varying"], "seed_a", "seed_b", "run_a", "run_b", *catalog["pair_scores"]]
    return pd.DataFrame(list(rows.values()), columns=columns)


def _across(scored: Iterable[Pair], catalog: dict[str, Any]) -> pd.DataFrame:
    """Return one row a pair of runs of different levels, with a column for each score of pairs."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for pair in scored:
        if pair.key in catalog["pair_scores"]:
            rows.setdefault((pair.run_a, pair.run_b), {"run_a": pair.run_a, "run_b": pair.run_b})[pair.key] = pair.value
    return pd.DataFrame(list(rows.values()), columns=["run_a", "run_b", *catalog["pair_scores"]])


def _pair_means(pairs: pd.DataFrame, keys: Iterable[str]) -> dict[str, dict[str, float]]:
    """Return, for each run, its mean over the other seeds of its cell, of those that it has a value with."""
    shared: dict[str, dict[str, list[float]]] = {}
    for pair in pairs.to_dict("records"):
        for run_id in (pair["run_a"], pair["run_b"]):
            for key in keys:
                shared.setdefault(run_id, {}).setdefault(key, []).append(pair[key])
    return {r: {key: _mean(v) for key, v in values.items()} for r, values in shared.items()}


def _mean(values: Iterable[float]) -> float:
    there = [value for value in values if not math.isnan(value)]
    return sum(there) / len(there) if there else math.nan


def _reliability(reading: Reading) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a row for each bin of confidence of each run, and a row for each run, of those that have them."""
    bins: list[dict[str, Any]] = []
    runs: list[dict[str, Any]] = []
    wanted = Wanted.from_catalog(reading.catalog)
    for run in reading.runs:
        found = current(run.record.at(END, RELIABILITY), wanted.at(END, RELIABILITY)).get(RELIABILITY)
        if run.record.state != "done" or found is None or not run.record.came_to(END, wanted):
            continue
        key = {**run.key, "run_id": run.run_id}
        runs.append({**key, **found["values"], "doubt": found["doubt"]})
        columns = [found["bins"][name] for name in BIN_COLUMNS[1:]]
        for index, values in enumerate(zip(*columns, strict=True)):
            bins.append({**key, **dict(zip(BIN_COLUMNS, (index, *values), strict=True))})
    keys = ["regime", *reading.catalog["varying"], "seed", "run_id"]
    return pd.DataFrame(bins, columns=[*keys, *BIN_COLUMNS]), pd.DataFrame(runs, columns=[*keys, *CONFIDENCE_COLUMNS])


def _arrays(reading: Reading, stage: str, snapshot: str) -> Arrays:
    """Return the arrays of a stage of each run, and why those of others cannot be read."""
    found, unread = {}, {}
    wanted = Wanted.from_catalog(reading.catalog)
    for run in reading.runs:
        if run.record.state != "done" or not run.record.came_to(snapshot, wanted):
            continue
        entries = current(run.record.at(snapshot, stage), wanted.at(snapshot, stage))
        try:
            arrays = run.folder.read_results(run.record, entries.values())
        except Damaged as error:
            unread[run.run_id] = str(error)
            continue
        if arrays:
            found[run.run_id] = arrays
    return found, unread


def _details(reading: Reading, name: str) -> dict[str, dict[str, Any]]:
    """Return what is stored beside the value of a measure at the end of training, by run, where it is as wanted."""
    wanted = Wanted.from_catalog(reading.catalog).at(END, MEASURES).get(name)
    found = {run.run_id: run.record.at(END, MEASURES).get(name) for run in reading.runs if run.record.state == "done"}
    return {
        run_id: entry["details"]
        for run_id, entry in found.items()
        if wanted is not None and entry is not None and answers(entry, wanted) and "details" in entry
    }


def _failures(reading: Reading) -> pd.DataFrame:
    table = [
        {"run_id": run.run_id, **run.key, "state": run.state, "reason": run.record.reason}
        for run in reading.runs
        if run.state != "done"
    ]
    return pd.DataFrame(table, columns=["run_id", "regime", *reading.catalog["varying"], "seed", "state", "reason"])


def _missing(reading: Reading, scored: Pairs) -> pd.DataFrame:
    wanted = Wanted.from_catalog(reading.catalog)
    table = [
        {"run_id": run.run_id, **run.key, "missing": key, "reason": reason}
        for run in reading.runs
        for key, reason in run.record.lacking(wanted).items()
    ]
    keys = {run.run_id: run.key for run in reading.runs}
    table += [
        {"run_id": pair.run_a, **keys[pair.run_a], "missing": pair.key, "reason": pair.error}
        for pair in scored.failed
        if pair.run_a in keys
    ]
    return pd.DataFrame(table, columns=MISSING_COLUMNS)


def _provenance(reading: Reading) -> dict[str, str]:
    """Return what made the results; where runs differ, all that they name."""
    facts: dict[str, dict[str, None]] = {}
    for made_by in (facts for run in reading.runs for facts in run.record.provenance.values()):
        versions = made_by.get("versions", {})
        for name, value in (*versions.items(), *((k, v) for k, v in made_by.items() if k != "versions")):
            facts.setdefault(name, {})[str(value)] = None
    found = {name: ", ".join(values) for name, values in facts.items()}
    seconds = sum(sum(run.record.timings.values()) for run in reading.runs)
    return {**found, "command": shlex.join(reading.command), "compute seconds": f"{seconds:.0f}"}
