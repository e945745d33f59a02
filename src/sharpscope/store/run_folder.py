"""The folder of one run: its files, each checked by its seal wherever it is read."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sharpscope.errors import SharpscopeError
from sharpscope.files import TEMPORARY
from sharpscope.safety import Predictions
from sharpscope.store.files import Damaged, Missing, make_way, read_whole, remove_temporary, unreadable, write_whole
from sharpscope.store.locks import is_held, locked
from sharpscope.store.record import FINAL, Entry, Record
from sharpscope.store.seals import BrokenSeal, check_bytes, check_file, check_sealed, seal_of
from sharpscope.store.snapshots import END, TABLE, weights_file
from sharpscope.store.tables import from_parquet

RECORD = "run.json"
TRAINED = "trained.json"
CHECKPOINT = "training.safetensors"
WEIGHTS = weights_file(END)
PREDICTIONS = "predictions.safetensors"
UNDER_CONDITIONS = "conditions.safetensors"  # apart, since it is the larger and few look at it
PREDICTED = (PREDICTIONS, UNDER_CONDITIONS)
HISTORY = "history.parquet"
WATCHED = "watched.safetensors"  # weights along the training


class AtWork(Damaged):
    """A stored file that another command is making anew at this moment."""


@dataclass(frozen=True)
class RunFolder:
    """The files of one run.

    Attributes:
        path: ``DIR/runs/<run_id>``.
    """

    path: Path

    @property
    def run_id(self) -> str:
        """The run."""
        return self.path.name

    def read_record(self) -> Record | None:
        """Return what ``run.json`` says; None if there is none.

        Raises:
            Damaged: If it is not as it was written.
        """
        return self._read_as_record(RECORD)

    def read_trained(self) -> Record | None:
        """Return what the training left, for a run whose record is damaged or was never written; None if nothing did.

        Raises:
            Damaged: If it is not as it was written.
        """
        return self._read_as_record(TRAINED)

    def look(self) -> tuple[Record, dict[str, str], list[str]]:
        """Return what is known of this run, and what is wrong with its files; all of them are read.

        Returns:
            The best record, what is wrong with the files that it has the seals of, by their names, and with others.
        """
        record, others = self._records()
        return record, self.faults_of_files(record), others + self._fault_of_init(record)

    def best_record(self) -> Record:
        """Return what is known of this run: its record, else what its training left, else nothing."""
        return self._records()[0]

    def _records(self) -> tuple[Record, list[str]]:
        """Return the best record, and what is wrong with ``run.json`` and ``trained.json``."""
        found: list[Record] = []
        faults = []
        for read in (self.read_record, self.read_trained):
            try:
                record = read()
            except Damaged as error:
                faults.append(str(error))
            else:
                found += [] if record is None else [record]
        return (found[0] if found else Record(self.run_id)), faults

    def _read_as_record(self, name: str) -> Record | None:
        try:
            return Record.from_json(read_whole(self.path / name), self.run_id)
        except Missing:
            return None
        except Damaged:
            raise
        except SharpscopeError as error:
            raise Damaged(f"{name} {error}") from None

    def write_record(self, record: Record) -> None:
        """Write ``run.json``; it comes last."""
        write_whole(self.path / RECORD, record.to_json())

    def write_trained(self, record: Record) -> None:
        """Write ``trained.json``; it comes after all that a training writes."""
        write_whole(self.path / TRAINED, record.of_training().to_json())

    def write(self, name: str, data: bytes) -> dict[str, Any]:
        """Write a file and return its seal: its size and its checksum."""
        write_whole(self.path / name, data)
        return seal_of(data)

    def read(self, name: str, seal: Mapping[str, Any] | None) -> bytes:
        """Return the content of a file.

        Raises:
            Damaged: If it is missing, or is not what was sealed, or there is no seal.
        """
        data = read_whole(self.path / name)
        try:
            check_bytes(data, seal)
        except BrokenSeal as error:
            raise Damaged(f"{name} {error}") from None
        return data

    def remove(self, name: str) -> None:
        """Remove a file, if it is there; a folder in its place is moved aside."""
        make_way(self.path / name)
        (self.path / name).unlink(missing_ok=True)

    def faults(self, record: Record, *, read: bool = True) -> list[str]:
        """Return what is wrong with the files of this run, each as "weights.safetensors is damaged".

        Weights, their history and initial weights may have been deleted to save space: they are missed only once
        something asks for them.

        Args:
            record: Says what they must be.
            read: Whether to read them; else only what shows by their size is found.
        """
        found = list(self.faults_of_files(record, read=read).values())
        try:
            self.read_trained()
        except Damaged as error:
            found.append(str(error))
        return found + (self._fault_of_init(record) if read else [])

    def faults_of_files(self, record: Record, *, read: bool = True) -> dict[str, str]:
        """Return what is wrong with the files that a record has the seals of, by their names; see ``faults``."""
        found: dict[str, str] = {}
        needed = record.needed_files()
        for name, seal in record.files.items():
            try:
                check_file(self.path / name, seal, read=read)
            except BrokenSeal as error:
                found[name] = f"{name} {error}"
            except FileNotFoundError as error:
                if name in needed:
                    found[name] = str(unreadable(name, error))
            except OSError as error:
                found[name] = str(unreadable(name, error))
        return found

    def _fault_of_init(self, record: Record) -> list[str]:
        if not record.init:
            return []
        try:
            check_sealed(read_whole(self.path.parent.parent / record.init))
        except Missing:
            return []
        except Damaged as error:
            return [f"inits/{error}"]
        except BrokenSeal as error:
            return [f"{record.init} {error}"]
        return []

    def changing(self, record: Record | None) -> bool:
        """Return whether another command is at work on this run, or has been since its record was read."""
        if self.busy:
            return True
        with contextlib.suppress(Damaged):
            found = self.read_record()
            return None in (found, record) or found.to_json() != record.to_json()  # type: ignore[union-attr]
        return False

    def read_predictions(self, record: Record, *, cases: bool = False) -> Predictions:
        """Return the stored predictions of this run.

        Args:
            record: Says what they must be.
            cases: Whether to read those under conditions too.

        Raises:
            Damaged: If they are missing or damaged.
        """
        if PREDICTIONS not in record.files:
            raise Damaged(f"{PREDICTIONS} was never written")
        arrays = self.read_arrays(PREDICTIONS, record.files[PREDICTIONS])
        if cases and UNDER_CONDITIONS in record.files:
            arrays |= self.read_arrays(UNDER_CONDITIONS, record.files[UNDER_CONDITIONS])
        try:
            return Predictions.from_arrays(arrays)
        except KeyError as error:
            raise Damaged(f"{PREDICTIONS} lacks {error}") from None

    def peek_predictions(self, record: Record, *, cases: bool = False) -> Predictions:
        """Return the stored predictions to one who is not at work on this run himself.

        Args:
            record: As of ``read_predictions``.
            cases: As of ``read_predictions``.

        Raises:
            AtWork: If another command is, and has replaced what the record tells of.
            Damaged: If they are missing or damaged.
        """
        try:
            return self.read_predictions(record, cases=cases)
        except Damaged:
            if self.changing(record):
                raise AtWork(f"{PREDICTIONS} is being made anew by another command") from None
            raise

    def read_results(self, record: Record, entries: Collection[Entry]) -> dict[str, np.ndarray]:
        """Return the arrays of some results; none if they have none.

        Args:
            record: Of this run.
            entries: The results, out of the record.

        Raises:
            AtWork: If another command is at work on this run, and has replaced what the record tells of.
            Damaged: If they are missing or damaged.
        """
        names = {name: None for entry in entries for name in entry.get("files", ())}
        try:
            return {k: array for name in names for k, array in self.read_arrays(name, record.files.get(name)).items()}
        except Damaged:
            if self.changing(record):
                raise AtWork(f"{', '.join(names)} is being made anew by another command") from None
            raise

    def read_arrays(self, name: str, seal: Mapping[str, Any] | None) -> dict[str, np.ndarray]:
        """Return the arrays of a safetensors file, or the columns of a table.

        Raises:
            Damaged: If it is missing or damaged.
        """
        if name.endswith(TABLE):
            return from_parquet(self.read(name, seal))
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            return load(self.read(name, seal))
        except SafetensorError as error:
            raise Damaged(f"{name} is damaged: {error}") from None

    def write_arrays(self, name: str, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Write arrays as safetensors and return the seal of the file."""
        from safetensors.numpy import save

        return self.write(name, save({key: np.ascontiguousarray(array) for key, array in arrays.items()}))

    @contextlib.contextmanager
    def lease(self, patience: float = 0.0) -> Iterator[bool]:
        """Try to be the only one at work on this run; the kernel gives the lease back when its holder dies.

        Args:
            patience: Seconds to try.

        Yields:
            Whether the lease is held; what a killed holder left half-written is gone then.
        """
        with locked(self.path / ".lock", patience) as held:
            if held:
                remove_temporary(self.path)
            yield held

    def tidy(self) -> None:
        """Remove what a process left that was killed after its work: half-written files, a checkpoint of no use."""
        if not (self.path / CHECKPOINT).exists() and not any(self.path.glob(f".*{TEMPORARY}")):
            return
        with self.lease() as held, contextlib.suppress(Damaged):
            record = self.read_record() if held else None
            if record is not None and record.state in FINAL:
                self.remove(CHECKPOINT)

    @property
    def busy(self) -> bool:
        """Whether some process is at work on this run at this moment."""
        return is_held(self.path / ".lock")
