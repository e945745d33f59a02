"""What a process is given to do, and what it reports. Needs no torch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sharpscope.errors import DataError
from sharpscope.spec import Run
from sharpscope.store.documents import plain
from sharpscope.store.folder import Store
from sharpscope.store.wanted import Wanted

# Seconds to wait for whoever only looks whether a run is at work.
LEASE_SECONDS = 0.2


@dataclass(frozen=True)
class Assignment:
    """All that a process needs to do the runs of a study; it can be pickled.

    Attributes:
        directory: The folder of the study.
        runs: The runs by their ids.
        coordinates: Regime, seed and varying keys of each run.
        wanted: What is wanted of each run.
        data: The checksum of the dataset of each run, as it was planned.
        plugins: Python files to import first.
        data_dir: The user's folder of datasets.
        device: Where to compute.
        references: The run of the reference level that each run is matched with, where it is.
        packs: The pack that each run is trained in, where it is in one.
    """

    directory: Path
    runs: dict[str, Run]
    coordinates: dict[str, dict[str, Any]]
    wanted: Wanted
    data: Mapping[str, str] = field(default_factory=dict)
    plugins: tuple[str, ...] = ()
    data_dir: Path | None = None
    device: str = "cpu"
    references: Mapping[str, str] = field(default_factory=dict)
    packs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How the work on a run ended.

    Attributes:
        run_id: The run.
        state: ``done``, ``failed``, ``diverged``, or ``busy`` if another process is at work on it.
        reason: Why it failed or diverged.
        stages: The stages that were done now; none if all was stored.
        missing: What a run that is done lacks, with the reasons.
        notes: What the user should know: stored files that were damaged.
        seconds: Time it took.
        training: Those of them that its training took.
        halt: Why no other run can go on either; empty where they can.
    """

    run_id: str
    state: str
    reason: str = ""
    stages: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    training: float = 0.0
    halt: str = ""


@dataclass(frozen=True)
class Advance:
    """How far a training has come.

    Attributes:
        run_ids: The runs that are trained together, or the one that is trained alone.
        epoch: Epochs done.
        epochs: Epochs of the whole training, which may end before.
    """

    run_ids: tuple[str, ...]
    epoch: int
    epochs: int


# What an executor yields: a run that is begun, how far a training has come, how a run has ended.
Event = str | Advance | Outcome
Report = Callable[[Advance], None]


def unheard(advance: Advance) -> None:
    """Tell no one."""


def check_same(dataset: str, digests: set[str]) -> None:
    """See that a dataset is one and the same wherever its checksum was taken; an empty one was not.

    Raises:
        DataError: If it is not.
    """
    if len(digests - {""}) > 1:
        raise DataError(
            f"dataset '{dataset}' has changed since runs of this study were made of it: its files, or what reads them, "
            "are others; bring the former data back, or run the study with another --out"
        )


def record_failure(run_id: str, assignment: Assignment, reason: str) -> Outcome:
    """Record that a run failed in a way that its own process could not record; what was done before stays."""
    folder = Store(assignment.directory).run(run_id)
    outcome = Outcome(run_id, "failed", reason)
    with contextlib.suppress(OSError), folder.lease(LEASE_SECONDS) as held:
        if held:
            record = folder.best_record()
            if record.settled(assignment.wanted):
                # It died after its work, before it could say so.
                return Outcome(run_id, record.state, record.reason, notes=(f"run {run_id}: {reason}",))
            record.fail(reason)
            outcome = replace(outcome, state=record.state, missing=record.lacking(assignment.wanted))
            record.spec = plain(assignment.runs[run_id].model_dump())
            record.coordinates = plain(assignment.coordinates[run_id])
            folder.write_record(record)
    return outcome
