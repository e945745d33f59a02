"""Folders of studies from the time before seals: what is in them is sealed once, as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sharpscope.errors import SharpscopeError
from sharpscope.store.documents import document
from sharpscope.store.files import Damaged, read_whole, write_whole
from sharpscope.store.record import Record
from sharpscope.store.run_folder import RECORD, RunFolder
from sharpscope.store.seals import KEY, check_sealed, sealed_safetensors
from sharpscope.store.upgrade import BEFORE_SEALS

_INIT = re.compile(r"inits/[0-9a-f]+\.safetensors")


def seal_all(directory: Path) -> list[str] | None:
    """Seal what is in the folder of a study, if its catalog is of the time before seals; nothing is done else.

    The catalog decides for all files, since it is sealed itself afterwards: a file of a later time that has lost its
    seal is damaged, not old. The caller writes the new catalog, and keeps others out until then.

    Returns:
        What the user should know; None if the folder is not of that time.
    """
    if not _before_seals(directory / "catalog.json"):
        return None
    for path in sorted((directory / "inits").glob("*.safetensors")):
        _seal_init(path)
    primary = _parsed(directory / "primary.json")
    if isinstance(primary, list):
        write_whole(directory / "primary.json", document({"primary": primary}))
    (directory / "command.json").unlink(missing_ok=True)
    count = sum(_seal_records(directory))
    several = "s were" if count != 1 else " was"
    return [f"{count} run{several} recorded before files had seals: taken as found, and sealed now"] if count else []


def _before_seals(path: Path) -> bool:
    content = _parsed(path)
    # A sealed catalog whose schema was changed by one bit still has the key.
    return isinstance(content, dict) and KEY not in content and content.get("schema") == BEFORE_SEALS


def _parsed(path: Path) -> Any:
    """Return what a JSON file holds; None if it cannot be read."""
    try:
        return json.loads(read_whole(path))
    except (Damaged, ValueError, RecursionError):
        return None


def _seal_init(path: Path) -> None:
    try:
        data = read_whole(path)
    except Damaged:
        return
    try:
        check_sealed(data)
    except SharpscopeError:
        try:
            write_whole(path, sealed_safetensors(data))
        except (ValueError, TypeError, AttributeError):
            # No safetensors file: the runs that began from it find it damaged, and make it again.
            return


def _seal_records(directory: Path) -> Iterator[bool]:
    """Seal the records of all runs, and yield of each whether it could be read."""
    for path in sorted((directory / "runs").glob(f"*/{RECORD}")):
        folder = RunFolder(path.parent)
        try:
            record = Record.before_seals(read_whole(path), folder.run_id)
        except SharpscopeError:
            continue
        # The name of a file must not lead out of the folder.
        record.files = {name: seal for name, seal in record.files.items() if Path(name).name == name}
        record.init = record.init if _INIT.fullmatch(record.init) else ""
        if record.state == "done":
            folder.write_trained(record)
        folder.write_record(record)
        yield True
