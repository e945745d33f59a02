"""Where a study comes from: a file or a preset, changed by overrides; and where in it an error stands."""

from __future__ import annotations

import contextlib
import copy
import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from sharpscope.errors import SharpscopeError, SpecError, suggest
from sharpscope.spec import Study, set_dotted, validated
from sharpscope.study.document import LARGEST_TEXT, Document, Loc, parse, parse_value

_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class Source:
    """A study as its author wrote it.

    Attributes:
        study: Its structure, checked; names and options are not resolved yet.
        document: The text it came from, with places.
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


def load_source(study: str, overrides: Sequence[str] = ()) -> Source:
    """Read a study.

    Args:
        study: A YAML file, or the name of a preset.
        overrides: Changes as ``key=value``, keys dotted, values in YAML: ``training.epochs=1``.

    Raises:
        SharpscopeError: One sentence with the place in the file, if the study cannot be read or has a wrong structure.
    """
    text, name, folder = _read(study)
    document = parse(text, name)
    if not isinstance(document.tree, dict):
        got = "nothing" if document.tree is None else f"a {type(document.tree).__name__}"
        raise SpecError(f"{name}: a study is a mapping with the keys name, data and model, got {got}")
    tree: dict[str, Any] = copy.deepcopy(document.tree)
    changed = tuple(_override(tree, override) for override in overrides)
    with _located(document, changed):
        return Source(validated(Study, tree), document, changed, folder, _command(study, overrides))


def _command(study: str, overrides: Sequence[str]) -> tuple[str, ...]:
    if Path(study).is_file():
        return ("sharpscope", "run", "study.yaml")
    return ("sharpscope", "run", study, *(part for override in overrides for part in ("--set", override)))


def presets() -> dict[str, str]:
    """Return the presets that come with the package: name to its description, the comment on its first line."""
    root = resources.files("sharpscope") / "studies"
    found = {}
    with resources.as_file(root) as folder:
        for path in sorted(folder.rglob("*.yaml")):
            first = path.read_text(encoding="utf-8").split("\n", 1)[0]
            found[path.relative_to(folder).with_suffix("").as_posix()] = first.lstrip("# ").rstrip(". ")
    return found


def _read(study: str) -> tuple[str, str, Path]:
    """Return the text of a study, what messages call it, and what its relative paths start from."""
    path = Path(study)
    if path.is_file():
        try:
            if path.stat().st_size > LARGEST_TEXT:
                size = f"{path.stat().st_size / 1e6:.0f} MB"
                raise SharpscopeError(f"{path.name}: a study is a text of at most 4 MB, and this file has {size}")
            return path.read_text(encoding="utf-8"), path.name, path.resolve().parent
        except UnicodeDecodeError:
            raise SharpscopeError(f"{path.name}: a study is a text in UTF-8, and this file is not") from None
        except OSError as error:
            raise SharpscopeError(f"the study '{study}' cannot be read: {error.strerror}") from None
    known = presets()
    if study in known:
        preset = resources.files("sharpscope") / "studies" / f"{study}.yaml"
        return preset.read_text(encoding="utf-8"), f"{path.name}.yaml", Path.cwd()
    if path.is_dir():
        hint = suggest("", _studies_in(path)).replace("known", "studies there") if _studies_in(path) else ""
        raise SharpscopeError(f"'{study}' is a folder, and a study is a YAML file or the name of a preset{hint}")
    if path.suffix in _SUFFIXES:
        near = difflib.get_close_matches(path.name, _studies_in(path.parent), n=3)
        hint = f"; did you mean {' or '.join(str(path.parent / n) for n in near)}?" if near else ""
        raise SharpscopeError(f"there is no file '{study}'{hint}")
    files = difflib.get_close_matches(path.name, _studies_in(path.parent), n=3, cutoff=0.5)
    offered = [*known, *(str(path.parent / name) for name in files)]
    raise SharpscopeError(f"there is no preset and no file '{study}'{suggest(study, offered)}")


def _studies_in(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if path.suffix in _SUFFIXES)


def _override(tree: dict[str, Any], override: str) -> str:
    """Apply one ``key=value`` and return its key."""
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not key:
        raise SpecError(f"--set takes key=value, such as training.epochs=1, got '{override}'")
    place = f"--set {key}"
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
