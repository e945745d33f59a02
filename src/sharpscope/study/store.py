"""The folder of a study: what is in it and where.

::

    DIR/study.yaml                     the study as run, defaults filled in
    DIR/catalog.json                   the present grid, and the facts of every column of the ledger
    DIR/command.json                   what runs the study again
    DIR/.report.json                   the files that the last report has written
    DIR/pairs.parquet                  scores of pairs of runs
    DIR/inits/<hash>.safetensors       initial weights, shared by the regimes of one seed
    DIR/runs/<run_id>/run.json         written last, so that its presence means that the rest is there
    DIR/runs/<run_id>/weights.safetensors, predictions.safetensors, history.parquet
    DIR/runs/<run_id>/weights-at-<loss>.safetensors   weights when the train loss was first that small
    DIR/runs/<run_id>/training.safetensors   the state of a training under way; removed when the run is done
    DIR/runs/<run_id>/traceback.txt    of the last failure

Nothing here is ever unpickled, and nothing here needs torch.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sharpscope.errors import SharpscopeError
from sharpscope.files import write_atomic
from sharpscope.safety import Predictions
from sharpscope.study.files import digest, locked, presence, remove_temporary
from sharpscope.study.record import SCHEMA, Record, Wishes, encode

__all__ = [
    "CHECKPOINT",
    "HISTORY",
    "PREDICTIONS",
    "WEIGHTS",
    "Damaged",
    "RunFolder",
    "Store",
    "to_parquet",
    "write_atomic",
]

CHECKPOINT = "training.safetensors"
WEIGHTS = "weights.safetensors"
PREDICTIONS = "predictions.safetensors"
HISTORY = "history.parquet"


class Damaged(SharpscopeError):
    """A stored file that is missing or not what was written; what it held is made again."""


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
            Damaged: If it is torn.
        """
        try:
            return Record.from_json((self.path / "run.json").read_bytes(), self.run_id)
        except FileNotFoundError:
            return None
        except SharpscopeError as error:
            raise Damaged(str(error)) from None

    def write_record(self, record: Record) -> None:
        """Write ``run.json``; it comes last."""
        write_atomic(self.path / "run.json", record.to_json())

    def write(self, name: str, data: bytes) -> dict[str, Any]:
        """Write a file and return its seal: its size and its checksum."""
        write_atomic(self.path / name, data)
        return {"bytes": len(data), "blake2b": digest(data)}

    def read(self, name: str, seal: Mapping[str, Any] | None = None) -> bytes:
        """Return the content of a file.

        Raises:
            Damaged: If it is missing or does not have the checksum of its seal.
        """
        try:
            data = (self.path / name).read_bytes()
        except FileNotFoundError:
            raise Damaged(f"{name} is missing") from None
        if seal is not None and digest(data) != seal["blake2b"]:
            raise Damaged(f"{name} is damaged")
        return data

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        (self.path / name).unlink(missing_ok=True)

    def settled(self, wishes: Wishes) -> Record | None:
        """Return the record of this run if nothing is left to do for it, else None.

        A file that is torn shows by its size. Weights may have been deleted to save space: they are missed only once
        a measure asks for them.

        Raises:
            Damaged: If a file is not what was written.
        """
        record = self.read_record()
        if record is None or not record.settled(wishes):
            return None
        for name, seal in record.files.items():
            path = self.path / name
            if path.is_file() and path.stat().st_size != seal["bytes"]:
                raise Damaged(f"{name} is damaged")
        if PREDICTIONS in record.files and not (self.path / PREDICTIONS).is_file():
            raise Damaged(f"{PREDICTIONS} is missing")
        return record

    def read_predictions(self, record: Record) -> Predictions:
        """Return the stored predictions of this run.

        Raises:
            Damaged: If they are missing or damaged.
        """
        if PREDICTIONS not in record.files:
            raise Damaged(f"{PREDICTIONS} was never written")
        try:
            return Predictions.from_arrays(self.read_arrays(PREDICTIONS, record.files[PREDICTIONS]))
        except KeyError as error:
            raise Damaged(f"{PREDICTIONS} lacks {error}") from None

    def read_arrays(self, name: str, seal: Mapping[str, Any] | None = None) -> dict[str, np.ndarray]:
        """Return the arrays of a safetensors file.

        Raises:
            Damaged: If it is missing or damaged.
        """
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
    def claim(self) -> Iterator[bool]:
        """Try to be the only one at work on this run; the kernel gives the claim back when its holder dies.

        Yields:
            Whether the claim is held; what a killed holder left half-written is gone then.
        """
        with locked(self.path / ".lock") as held:
            if held:
                remove_temporary(self.path)
            yield held

    @property
    def busy(self) -> bool:
        """Whether some process is at work on this run at this moment."""
        lock = self.path / ".lock"
        if not lock.exists():
            return False
        with locked(lock) as free:
            return not free


@dataclass(frozen=True)
class Store:
    """The folder of a study.

    Attributes:
        path: DIR.
    """

    path: Path

    @classmethod
    def existing(cls, path: Path) -> Store:
        """Return the store in a folder.

        Raises:
            SharpscopeError: If no study was run there.
        """
        store = cls(path)
        if not store.path.is_dir():
            raise SharpscopeError(f"there is no folder {path}; name the folder of a study, the --out of its run")
        for name in ("study.yaml", "catalog.json"):
            if not (path / name).is_file():
                raise SharpscopeError(f"{path} is not the folder of a study: it has no {name}")
        return store

    def run(self, run_id: str) -> RunFolder:
        """Return the folder of a run, whether it is there or not."""
        return RunFolder(self.path / "runs" / run_id)

    @contextlib.contextmanager
    def in_use(self, study: Mapping[str, Any], catalog: Mapping[str, Any]) -> Iterator[None]:
        """Work on a study here for the time of the block; others may, if it is the same study.

        The first to come clears what killed processes left, and writes study and catalog.

        Raises:
            SharpscopeError: If another command is at work on another study here.
        """

        def begin() -> None:
            for folder in (".", "inits", "tables", "figures"):
                remove_temporary(self.path / folder)
            self.write_study(study)
            self.write_catalog(catalog)

        with presence(self.path / ".lock", when_alone=begin):
            written = ((self.path / "study.yaml", _as_yaml(study)), (self.path / "catalog.json", encode(catalog)))
            if any(path.read_bytes() != content for path, content in written):
                raise SharpscopeError(
                    f"another command is at work on another study in {self.path}; wait until it has ended, or name "
                    "another --out"
                )
            yield

    def write_study(self, study: Mapping[str, Any]) -> None:
        """Write ``study.yaml``."""
        write_atomic(self.path / "study.yaml", _as_yaml(study))

    def read_study(self) -> dict[str, Any]:
        """Return the study as run, defaults filled in."""
        tree = self._read("study.yaml", yaml.safe_load)
        if not isinstance(tree, dict):
            raise SharpscopeError(f"{self.path / 'study.yaml'} is damaged; run the study again with this --out")
        return tree

    def keep_primary(self, family: Sequence[str]) -> None:
        """Write ``primary.json``, the primary family of the study's first run; what is there stays."""
        path = self.path / "primary.json"
        if not path.exists():
            write_atomic(path, encode(list(family)))

    def first_primary(self) -> list[str] | None:
        """Return the primary family that the study had when it first ran; None where that is not known."""
        return self._read("primary.json", json.loads) if (self.path / "primary.json").exists() else None

    def write_command(self, command: Sequence[str]) -> None:
        """Write ``command.json``: what runs the study again, word by word."""
        write_atomic(self.path / "command.json", encode(list(command)))

    def read_command(self) -> list[str]:
        """Return what ``write_command`` wrote; the study as it is kept always runs again."""
        kept = (self.path / "command.json").exists()
        return self._read("command.json", json.loads) if kept else ["sharpscope", "run", "study.yaml"]

    def write_catalog(self, catalog: Mapping[str, Any]) -> None:
        """Write ``catalog.json``: what a report needs that otherwise only the code knows."""
        write_atomic(self.path / "catalog.json", encode(catalog))

    def read_catalog(self) -> dict[str, Any]:
        """Return what ``write_catalog`` wrote.

        Raises:
            SharpscopeError: If it is damaged, or another version of this package wrote it.
        """
        catalog: dict[str, Any] = self._read("catalog.json", json.loads)
        if not isinstance(catalog, dict) or catalog.get("schema") != SCHEMA:
            raise SharpscopeError(
                f"{self.path / 'catalog.json'} is of another version of sharpscope; run the study again with this --out"
            )
        return catalog

    def _read(self, name: str, parse: Callable[[bytes], Any]) -> Any:
        try:
            return parse((self.path / name).read_bytes())
        except (ValueError, yaml.YAMLError):
            raise SharpscopeError(f"{self.path / name} is damaged; run the study again with this --out") from None

    def write_init(self, name: str, data: bytes) -> str:
        """Keep initial weights once for all runs that start from them; return where, from the folder of the study."""
        relative = f"inits/{name}.safetensors"
        path = self.path / relative
        if not path.is_file() or path.read_bytes() != data:
            write_atomic(path, data)
        return relative


def _as_yaml(study: Mapping[str, Any]) -> bytes:
    return yaml.safe_dump(dict(study), sort_keys=False, allow_unicode=True, width=110).encode()


def to_parquet(columns: Mapping[str, Any]) -> bytes:
    """Return a table of plain columns as the bytes of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.table(dict(columns)), buffer)
    return buffer.getvalue()
