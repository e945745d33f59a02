"""Where a study comes from: a file or a preset, changed by overrides; and where in it an error stands."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharpscope.errors import SpecError
from sharpscope.spec import EXTENDS, REQUIRED, Loc, Study, set_dotted, validated
from sharpscope.study.source.document import Document, parse_value
from sharpscope.study.source.extension import find, read
from sharpscope.study.source.presets import foundations


@dataclass(frozen=True)
class StudySource:
    """A study as its author wrote it.

    Attributes:
        study: Its structure, checked; names and options are not resolved yet.
        document: What it says, with the places in its text and in those that it extends.
        overrides: The dotted keys that ``--set`` changed.
        folder: What relative paths in the study start from.
        command: What runs the study again on another machine: a preset with its changes, or the study as it is kept,
            which has the changes in it.
    """

    study: Study
    document: Document
    overrides: tuple[str, ...]
    folder: Path
    command: tuple[str, ...]

    @contextlib.contextmanager
    def located(self) -> Iterator[None]:
        """Turn every ``SpecError`` of the block into one whose message begins with its place."""
        with _located(self.document, self.overrides):
            yield


def load_source(study: str, overrides: Sequence[str] = ()) -> StudySource:
    """Read a study.

    Args:
        study: A YAML file, or the name of a preset.
        overrides: Changes as ``key=value``, keys dotted, values in YAML: ``training.epochs=1``.

    Raises:
        SharpscopeError: One sentence with the place in the file, if the study cannot be read or has a wrong structure.
    """
    text = find(study)
    document = read(text)
    tree: dict[str, Any] = copy.deepcopy(document.tree)
    changed = tuple(_override(tree, override) for override in overrides)
    missing = [key for key in REQUIRED if key not in tree]
    if missing and text.origin in foundations():
        raise SpecError(
            f"'{study}' is no study by itself, since it lacks {_listed(missing)}; "
            f"extend it in a file of your own, with {EXTENDS}: {study}"
        )
    with _located(document, changed):
        return StudySource(
            validated(Study, tree), document, changed, text.folder or Path.cwd(), _command(study, overrides)
        )


def _listed(keys: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(keys[:-1]), keys[-1])))


def _command(study: str, overrides: Sequence[str]) -> tuple[str, ...]:
    if Path(study).is_file():
        return ("sharpscope", "run", "study.yaml")
    return ("sharpscope", "run", study, *(part for override in overrides for part in ("--set", override)))


def _override(tree: dict[str, Any], override: str) -> str:
    """Apply one ``key=value`` and return its key."""
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not key:
        raise SpecError(f"--set takes key=value, such as training.epochs=1, got '{override}'")
    place = f"--set {key}"
    if key.partition(".")[0] == EXTENDS:
        raise SpecError(f"{place}: what a study {EXTENDS} stands in its file; --set changes the keys of the whole")
    value = parse_value(text, place)
    # A key of the grid is dotted itself, so what follows "grid." is one key.
    section, _, rest = key.partition(".")
    try:
        if section == "grid" and rest:
            grid = tree.setdefault("grid", {})
            if not isinstance(grid, dict):
                raise SpecError(f"the grid is a mapping of keys to lists of values, got {grid!r}")
            grid[rest] = value
        else:
            set_dotted(tree, key, value)
    except SpecError as error:
        raise SpecError(f"{place}: {error.message}") from None
    return key


@contextlib.contextmanager
def _located(document: Document, overrides: Sequence[str]) -> Iterator[None]:
    try:
        yield
    except SpecError as error:
        raise SpecError(f"{_place(document, overrides, error.loc)}: {error.message}", error.loc) from None


def _place(document: Document, overrides: Sequence[str], loc: Loc) -> str:
    """Return where a value stands: in the override that gave it, else in the text, with the overrides inside it."""
    dotted = ".".join(map(str, loc))
    # The last override wins, as it does in the tree.
    for key in reversed(overrides):
        if f"{dotted}.".startswith(f"{key}."):
            return f"--set {key}"
    within = [f"--set {key}" for key in overrides if loc and key.startswith(f"{dotted}.")]
    return ", with ".join([document.place(loc), *within])
