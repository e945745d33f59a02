"""The folder of a study: its catalog, its initial weights, the folders of its runs, and who is at work in it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sharpscope.errors import SharpscopeError
from sharpscope.store.before_seals import seal_all
from sharpscope.store.documents import content_of, document, encode, plain
from sharpscope.store.files import Damaged, Missing, read_whole, remove_temporary, write_whole
from sharpscope.store.locks import in_turn, presence
from sharpscope.store.run_folder import RunFolder
from sharpscope.store.seals import BrokenSeal, check_bytes, seal_of, sealed_safetensors
from sharpscope.store.upgrade import SCHEMA, upgraded_catalog

CATALOG = "catalog.json"
STUDY = "study.yaml"
PRIMARY = "primary.json"
COMMAND = "command.json"


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
        if not path.is_dir():
            raise SharpscopeError(f"there is no folder {path}; name the folder of a study, the --out of its run")
        if not any((path / name).exists() for name in (CATALOG, STUDY, "runs")):
            raise SharpscopeError(f"{path} is not the folder of a study: it has no {CATALOG}")
        return cls(path)

    def run(self, run_id: str) -> RunFolder:
        """Return the folder of a run, whether it is there or not."""
        return RunFolder(self.path / "runs" / run_id)

    def pack(self, name: str) -> Path:
        """Return the folder of runs that are trained together, while they are."""
        return self.path / "packs" / name

    @contextlib.contextmanager
    def in_use(self, catalog: Mapping[str, Any]) -> Iterator[list[str]]:
        """Work on a study here for the time of the block; others may, if it is the same study.

        The first to come clears what killed processes left, and writes study and catalog.

        Yields:
            What the user should know of the folder.

        Raises:
            SharpscopeError: If another command is at work on another study here.
        """
        notes: list[str] = []

        def begin() -> None:
            # Whoever writes a report has its turn first, so that what is half-written then is nobody's.
            with self.reporting():
                remove_temporary(self.path / "inits")
                upgraded = seal_all(self.path)
                found = (f"{fault}; it is made again" for fault in self.faults())
                notes.extend(found if upgraded is None else upgraded)
                first = self._first_primary(list(catalog["study"]["primary"]))
                write_whole(self.path / PRIMARY, document({"primary": first}))
                self.write_catalog({**catalog, "first_primary": first})

        with presence(self.path / ".lock", when_alone=begin):
            stored = self.read_catalog()
            if {key: stored.get(key) for key in catalog} != json.loads(encode(catalog)):
                raise SharpscopeError(
                    f"another command is at work on another study in {self.path}; wait until it has ended, or name "
                    "another --out"
                )
            yield notes

    @contextlib.contextmanager
    def reporting(self) -> Iterator[None]:
        """Be the only one who writes ledger, pairs and report, from reading what is in them on; wait for others.

        So nobody writes what he has read earlier over what another has read later.
        """
        with in_turn(self.path / ".report.lock"):
            for folder in (".", "tables", "figures"):
                remove_temporary(self.path / folder)
            yield

    def tidy(self) -> None:
        """Remove what processes left that were killed after the work on a run."""
        for path in sorted((self.path / "runs").glob("*/")):
            self.run(path.name).tidy()

    def _first_primary(self, present: list[str]) -> list[str] | None:
        """Return the primary family of the first run, which is the present one if this is the first.

        It stands in two files, so that it outlives damage to one; None if it has not.
        """
        with contextlib.suppress(Damaged):
            return self._read(PRIMARY)["primary"]
        with contextlib.suppress(SharpscopeError):
            return self.read_catalog()["first_primary"]
        return None if any(os.path.lexists(self.path / name) for name in (PRIMARY, CATALOG)) else present

    def write_command(self, command: Sequence[str]) -> None:
        """Write ``command.json``: what runs the study again, word by word."""
        with self.reporting():
            write_whole(self.path / COMMAND, document({"command": list(command)}))

    def write_catalog(self, catalog: Mapping[str, Any]) -> None:
        """Write ``catalog.json``, what a report needs that otherwise only the code knows, and ``study.yaml``."""
        text = _as_yaml(catalog["study"])
        write_whole(self.path / STUDY, text)
        first = {"first_primary": list(catalog["study"].get("primary", ()))}
        write_whole(self.path / CATALOG, document({**first, **catalog, "files": {STUDY: seal_of(text)}}))

    def read_catalog(self) -> dict[str, Any]:
        """Return what ``write_catalog`` wrote.

        Raises:
            SharpscopeError: If it is damaged, or another version of this package wrote it.
        """
        again = "run the study again with this --out"
        try:
            catalog = upgraded_catalog(self._read(CATALOG))
        except Damaged as error:
            raise SharpscopeError(f"{self.path}: {error}; {again}") from None
        except (ValueError, TypeError, KeyError, AttributeError):
            raise SharpscopeError(f"{self.path}: {CATALOG} is damaged; {again}") from None
        if catalog.get("schema") != SCHEMA:
            raise SharpscopeError(f"{self.path / CATALOG} is of another version of sharpscope; {again}")
        return catalog

    def read_study(self) -> dict[str, Any]:
        """Return the study as run, defaults filled in."""
        return self.read_catalog()["study"]

    def faults(self) -> list[str]:
        """Return what is wrong with the files that belong to no run, each as "primary.json is damaged"."""
        contents, found = self.documents(CATALOG, PRIMARY, COMMAND)
        return [*found, *(self.faults_of_study(contents[CATALOG]) if CATALOG in contents else ())]

    def documents(self, *names: str) -> tuple[dict[str, dict[str, Any]], list[str]]:
        """Return what those documents hold that are there, and what is wrong with those that cannot be read."""
        contents: dict[str, dict[str, Any]] = {}
        found = []
        for name in names:
            try:
                contents[name] = self._read(name)
            except Missing:
                continue
            except Damaged as error:
                found.append(str(error))
        return contents, found

    def faults_of_study(self, catalog: Mapping[str, Any]) -> list[str]:
        """Return what is wrong with the study that is kept for people; none of it changes what is run."""
        try:
            check_bytes(read_whole(self.path / STUDY), catalog["files"][STUDY])
        except BrokenSeal:
            return [f"{STUDY} is not the study that was run, which is in {CATALOG}"]
        except Damaged as error:
            return [str(error)]
        return []

    def _read(self, name: str) -> dict[str, Any]:
        try:
            return content_of(read_whole(self.path / name))
        except BrokenSeal as error:
            raise Damaged(f"{name} {error}") from None

    def write_init(self, name: str, data: bytes) -> str:
        """Keep initial weights once for all runs that start from them; return where, from the folder of the study."""
        relative = f"inits/{name}.safetensors"
        path, content = self.path / relative, sealed_safetensors(data)
        try:
            same = read_whole(path) == content
        except Damaged:
            same = False
        if not same:
            write_whole(path, content)
        return relative


def _as_yaml(study: Mapping[str, Any]) -> bytes:
    return yaml.safe_dump(plain(study), sort_keys=False, allow_unicode=True, width=110).encode()
