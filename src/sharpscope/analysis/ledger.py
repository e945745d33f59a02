"""From the store of a study to its tables: the ledger, the pairs, the reliability bins, the failures.

Reads the store alone: neither torch nor the study's plugins are needed.
"""

from __future__ import annotations

import io
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sharpscope.analysis.results import MISSING_COLUMNS, RUN_COLUMNS, Quantity, StudyResults
from sharpscope.safety.reliability import reliability_bins
from sharpscope.store.files import Damaged, write_whole
from sharpscope.store.folder import Store
from sharpscope.store.levels import STEP, column
from sharpscope.store.pairs import Pair, Pairs, compute_pairs
from sharpscope.store.record import Record
from sharpscope.store.run_folder import RunFolder
from sharpscope.store.wishes import Wish, Wishes

RELIABILITY_COLUMNS = ("bin", "count", "confidence", "accuracy")


@dataclass(frozen=True)
class _Row:
    """A point of the present grid with what is stored of its run."""

    point: dict[str, Any]
    folder: RunFolder
    record: Record
    damage: str = ""

    @property
    def state(self) -> str:
        """As its record says; ``damaged`` where that cannot be read."""
        return "damaged" if self.damage else self.record.state

    @property
    def key(self) -> dict[str, Any]:
        """Regime, seed and the varying keys."""
        return {"regime": self.point["regime"], "seed": self.point["seed"], **self.point["coordinates"]}


def load_ledger(study_dir: str | Path) -> pd.DataFrame:
    """Return the ledger of a study: one row a run that has ended, in the order of its grid.

    A run that failed or diverged has NaN in its measured columns, and so has an estimate that another definition or
    other options made.

    Args:
        study_dir: The folder of the study, the ``--out`` of its run.

    Raises:
        SharpscopeError: If it is no such folder.
    """
    store = Store.existing(Path(study_dir))
    catalog = store.read_catalog()
    return _ledger(_rows(store, catalog), catalog, _pair_table(compute_pairs(store).rows, catalog))


def load_results(study_dir: str | Path, scored: Pairs | None = None) -> StudyResults:
    """Return all that a study found, for statistics and a report; nothing is written.

    Args:
        study_dir: The folder of the study.
        scored: The scores of pairs, where they are at hand.

    Raises:
        SharpscopeError: If it is no such folder.
    """
    store = Store.existing(Path(study_dir))
    catalog = store.read_catalog()
    rows = _rows(store, catalog)
    scored = scored or compute_pairs(store)
    pairs = _pair_table(scored.rows, catalog)
    reliability, unread = _reliability(rows, catalog)
    damage = [*_damage(rows, unread), *(f"{fault}; the next run makes it again" for fault in store.faults())]
    return StudyResults(
        study=catalog["study"],
        quantities={q["name"]: _quantity(q) for q in catalog["quantities"]},
        ledger=_ledger(rows, catalog, pairs),
        pairs=pairs.drop(columns=["run_a", "run_b"]),
        reliability=reliability,
        failures=_failures(rows),
        missing=_missing(rows, scored, catalog, unread),
        provenance=_provenance(rows, store.read_command()),
        default_primary=catalog["default_primary"],
        first_primary=catalog["first_primary"],
        notes=(*damage, *_told_no_more(scored.notes, damage)),
        damaged=bool(damage),
    )


def write_ledger(ledger: pd.DataFrame, study_dir: str | Path) -> None:
    """Write ``results.csv`` and ``results.parquet``; numbers read back to the last bit."""
    directory = Path(study_dir)
    buffer = io.BytesIO()
    ledger.to_parquet(buffer, index=False)
    write_whole(directory / "results.parquet", buffer.getvalue())
    write_whole(directory / "results.csv", ledger.to_csv(index=False, lineterminator="\n").encode())


def _quantity(facts: dict[str, Any]) -> Quantity:
    return Quantity(**{**facts, "caveats": tuple(facts.get("caveats", ()))})


def _rows(store: Store, catalog: dict[str, Any]) -> list[_Row]:
    """Return the runs of the present grid that have ended, or of which one cannot tell."""
    rows = []
    for point in catalog["grid"]:
        folder = store.run(point["run_id"])
        try:
            record = folder.read_record()
        except Damaged as error:
            rows.append(_Row(point, folder, Record(folder.run_id, reason=str(error)), str(error)))
        else:
            if record is not None:
                rows.append(_Row(point, folder, record))
    return rows


def _damage(rows: list[_Row], unread: dict[str, str]) -> list[str]:
    """Return what was damaged of each run, as far as a report sees it: records, predictions, sizes of files."""
    told = []
    for row in rows:
        faults = [row.damage] if row.damage else row.folder.faults(row.record, read=False)
        faults += [unread[row.record.run_id]] if row.record.run_id in unread else []
        told += [f"run {row.record.run_id}: {fault}; the next run makes it again" for fault in dict.fromkeys(faults)]
    return told


def _told_no_more(notes: list[str], told: list[str]) -> list[str]:
    """Return the notes that do not begin as one that is told already, up to what comes of it."""
    known = {note.partition("; ")[0] for note in told}
    return [note for note in notes if note.partition("; ")[0] not in known]


def _ledger(rows: list[_Row], catalog: dict[str, Any], pairs: pd.DataFrame) -> pd.DataFrame:
    measures, scores, pair_scores = catalog["measures"], catalog["scores"], catalog["pair_scores"]
    columns = [*RUN_COLUMNS, *catalog["varying"], *catalog["training"]]
    columns += [name for key in measures for name in _columns(key)]
    columns += [*scores, *pair_scores]
    for level in catalog["levels"]:
        columns += [column(key, level) for key in catalog["at_loss"]]
        columns += [name for key in measures for name in _columns(column(key, level))]
    means = _pair_means(pairs, pair_scores)
    table = [
        {
            "run_id": row.record.run_id,
            "state": row.state,
            **row.key,
            **(_values(row.record, catalog) if row.record.state == "done" else {}),
            **means.get(row.record.run_id, {}),
        }
        for row in rows
    ]
    ledger = pd.DataFrame(table, columns=columns)
    types: dict[str, Any] = {c: float for c in columns if c not in catalog["varying"]}
    keys = [column(key, level) if level else key for key in measures for level in ("", *catalog["levels"])]
    types |= {f"{key}_converged": "boolean" for key in keys}
    return ledger.astype({**types, "run_id": str, "state": str, "regime": str, "seed": "int64"})


def _columns(name: str) -> tuple[str, str, str]:
    """Return the columns of a measure: its value, its standard error, and whether it can be relied on."""
    return name, f"{name}_stderr", f"{name}_converged"


def _values(record: Record, catalog: dict[str, Any]) -> dict[str, float | bool]:
    values: dict[str, float | bool] = record.training | _estimates(record.measures, catalog["measures"])
    for key, stamp in catalog["scores"].items():
        stored = record.scores.get(key, {})
        if _answers(stored, stamp, "score"):
            values[key] = stored["value"]
    for level in catalog["levels"]:
        point = record.point_at(level, catalog["check_loss_every"])
        if point is not None and point["epoch"] is not None:
            told = {STEP: point["step"], **point["training"]}
            values |= {column(key, level): value for key, value in told.items()}
            values |= _estimates(point["measures"], catalog["measures"], level)
    return values


def _estimates(stored: dict[str, Any], stamps: dict[str, Any], level: str = "") -> dict[str, float | bool]:
    values: dict[str, float | bool] = {}
    for key, stamp in stamps.items():
        estimate = stored.get(key, {})
        if _answers(estimate, stamp, "measure"):
            name = column(key, level) if level else key
            told = (estimate["value"], estimate["stderr"], estimate["converged"])
            values |= dict(zip(_columns(name), told, strict=True))
    return values


def _answers(stored: dict[str, Any], stamp: dict[str, Any], kind: str) -> bool:
    return Wish.of(stamp, kind).answered_by(stored, kind)


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


def _pair_means(pairs: pd.DataFrame, keys: Iterable[str]) -> dict[str, dict[str, float]]:
    """Return, for each run, its mean over the other seeds of its cell."""
    shared: dict[str, dict[str, list[float]]] = {}
    for pair in pairs.to_dict("records"):
        for run_id in (pair["run_a"], pair["run_b"]):
            for key in keys:
                shared.setdefault(run_id, {}).setdefault(key, []).append(pair[key])
    return {r: {key: sum(v) / len(v) for key, v in values.items()} for r, values in shared.items()}


def _reliability(rows: list[_Row], catalog: dict[str, Any]) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return a row for each bin of each run, and of each run whose predictions cannot be read, why."""
    table = []
    unread: dict[str, str] = {}
    # As many bins as the study's calibration error has, which the diagrams then show.
    stamps = [stamp for stamp in catalog["scores"].values() if stamp["score"] == "ece"]
    options = {"bins": stamps[0]["options"]["bins"]} if stamps else {}
    for row in rows:
        if row.record.state != "done":
            continue
        try:
            bins = reliability_bins(row.folder.peek_predictions(row.record).test, **options)
        except Damaged as error:
            unread[row.record.run_id] = str(error)
            continue
        for index, values in enumerate(zip(bins.count, bins.confidence, bins.accuracy, strict=True)):
            cells = dict(zip(RELIABILITY_COLUMNS, (index, *values), strict=True))
            table.append({**row.key, "run_id": row.record.run_id, **cells})
    columns = ["regime", *catalog["varying"], "seed", "run_id", *RELIABILITY_COLUMNS]
    return pd.DataFrame(table, columns=columns), unread


def _failures(rows: list[_Row]) -> pd.DataFrame:
    table = [
        {"run_id": row.record.run_id, **row.key, "state": row.state, "reason": row.record.reason}
        for row in rows
        if row.state != "done"
    ]
    return pd.DataFrame(table, columns=["run_id", "regime", "seed", "state", "reason"])


def _missing(rows: list[_Row], scored: Pairs, catalog: dict[str, Any], unread: dict[str, str]) -> pd.DataFrame:
    wishes = Wishes.from_catalog(catalog)
    table = [
        {"run_id": row.record.run_id, **row.key, "missing": key, "reason": reason}
        for row in rows
        for key, reason in {**row.record.lacking(wishes), **_undrawn(row, unread)}.items()
    ]
    keys = {row.record.run_id: row.key for row in rows}
    table += [
        {"run_id": pair.run_a, **keys[pair.run_a], "missing": pair.key, "reason": pair.error}
        for pair in scored.failed
        if pair.run_a in keys
    ]
    return pd.DataFrame(table, columns=MISSING_COLUMNS)


def _undrawn(row: _Row, unread: dict[str, str]) -> dict[str, str]:
    reason = unread.get(row.record.run_id)
    return {} if reason is None else {"reliability diagram": reason}


def _provenance(rows: list[_Row], command: list[str]) -> dict[str, str]:
    """Return what made the results; where runs differ, all that they name."""
    facts: dict[str, dict[str, None]] = {}
    for made_by in (facts for row in rows for facts in row.record.provenance.values()):
        versions = made_by.get("versions", {})
        for name, value in (*versions.items(), *((k, v) for k, v in made_by.items() if k != "versions")):
            facts.setdefault(name, {})[str(value)] = None
    found = {name: ", ".join(values) for name, values in facts.items()}
    seconds = sum(sum(row.record.timings.values()) for row in rows)
    return {**found, "command": shlex.join(command), "compute seconds": f"{seconds:.0f}"}
