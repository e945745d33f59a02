"""Studies that extend one another: ``extends: digits`` stands for all that ``digits`` says.

A key that both have is the extending study's; two mappings are merged, key by key. What is named anew, such as another
model, begins without the options of what it replaces.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sharpscope.errors import SharpscopeError, SpecError, suggest
from sharpscope.spec import BY_A_WORD, EXTENDS, Loc
from sharpscope.study.source.claims import is_claim_file
from sharpscope.study.source.document import Document, parse, read_text
from sharpscope.study.source.presets import foundations, preset_text, presets

LONGEST_CHAIN = 8  # studies one behind another; more than that nobody can read

_SUFFIXES = (".yaml", ".yml")
_NAMING = ("name", "measure", "score", "factor")  # the keys that say what the options beside them are options of


@dataclass(frozen=True)
class Text:
    """The text of a study, and where it is from.

    Attributes:
        content: The YAML.
        name: What messages call it.
        folder: What relative paths in it start from; None for a preset, which has none.
        origin: What tells it from every other study: the path of the file, or the name of the preset.
    """

    content: str
    name: str
    folder: Path | None
    origin: str


def find(study: str) -> Text:
    """Return the text of a YAML file or of a preset.

    Raises:
        SharpscopeError: If there is neither, with the names that are near.
    """
    path = Path(study)
    if path.is_file():
        return _of_file(path, study)
    known = presets()
    if study in known or study in foundations():
        return _of_preset(study)
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


def _of_file(path: Path, written: str) -> Text:
    content, real = read_text(path, "study", written), path.resolve()
    return Text(content, path.name, real.parent, str(real))


def _of_preset(name: str) -> Text:
    return Text(preset_text(name), f"{name.rpartition('/')[2]}.yaml", None, name)


def _studies_in(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if path.suffix in _SUFFIXES)


def read(text: Text) -> Document:
    """Return a study as one document without ``extends``: what it says, over what the studies say that it extends.

    Raises:
        SpecError: If one of them is no YAML or no mapping, or extends what is not there, or in the end itself; the
            message has the place.
    """
    documents = [_parsed(text)]
    chain = [text]
    while EXTENDS in documents[-1].tree:
        extending = documents[-1]
        try:
            base = _extended(chain[-1], extending.tree[EXTENDS])
            _check_chain([*chain, base])
        except SharpscopeError as error:
            raise SpecError(f"{extending.place((EXTENDS,))}: {error}", (EXTENDS,)) from None
        chain.append(base)
        documents.append(_anchored(_parsed(base), base.folder))
    whole = documents.pop()
    while documents:
        whole = _over(documents.pop(), whole)
    return whole


def _parsed(text: Text) -> Document:
    document = parse(text.content, text.name)
    if not isinstance(document.tree, dict):
        got = "nothing" if document.tree is None else f"a {type(document.tree).__name__}"
        raise SpecError(f"{text.name}: a study is a mapping with the keys name, data and model, got {got}")
    return document


def _extended(text: Text, name: Any) -> Text:
    """Return the study that another one extends by this name; a path starts from the folder of the other."""
    if not isinstance(name, str) or not name.strip():
        raise SharpscopeError(f"{EXTENDS} is the name of a preset or the path of a YAML file, got {name!r}")
    folder = text.folder
    # A preset is the same wherever it is run, so that no file takes the place of what it extends.
    path = None if folder is None else folder / Path(name).expanduser()
    if path is not None and path.is_file():
        return _of_file(path, name)
    known = [*presets(), *foundations()]
    if name in known:
        return _of_preset(name)
    if path is not None and path.suffix in _SUFFIXES:
        near = difflib.get_close_matches(path.name, _studies_in(path.parent), n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise SharpscopeError(f"there is no file '{name}' in {folder} to extend{hint}")
    raise SharpscopeError(f"there is no preset and no file '{name}' to extend{suggest(name, known)}")


def _check_chain(chain: list[Text]) -> None:
    names = " -> ".join(text.name for text in chain)
    if chain[-1].origin in [text.origin for text in chain[:-1]]:
        raise SharpscopeError(f"these studies extend one another in a circle, {names}; one must stand by itself")
    if len(chain) > LONGEST_CHAIN:
        raise SharpscopeError(f"a chain of studies that extend one another has at most {LONGEST_CHAIN}, got {names}")


def _anchored(document: Document, folder: Path | None) -> Document:
    """Return a study whose plugins and claims are found from any folder."""
    if folder is None:
        return document
    found = {
        key: [str(folder / Path(name).expanduser()) if is_file(name) else name for name in document.tree[key]]
        for key, is_file in (("plugins", _is_text), ("claims", is_claim_file))
        if isinstance(document.tree.get(key), list)
    }
    return replace(document, tree={**document.tree, **found})


def _is_text(name: Any) -> bool:
    return isinstance(name, str)


def _over(changes: Document, base: Document) -> Document:
    """Return one study over another: its values, and the place of each in the text that gave it."""
    replaced: set[Loc] = set()
    tree = _merged(base.tree, changes.tree, (), replaced)
    kept = {
        loc: place
        for loc, place in base.places.items()
        if not any(loc[:length] in replaced for length in range(1, len(loc) + 1))
    }
    places = kept | changes.places
    return Document(
        changes.name,
        {key: value for key, value in tree.items() if key != EXTENDS},
        {loc: place for loc, place in places.items() if loc[0] != EXTENDS},
    )


def _merged(base: Any, changes: Any, loc: Loc, replaced: set[Loc]) -> Any:
    """Return what stands at ``loc``, and note where it is the changes' alone."""
    if len(loc) == 1 and loc[0] in BY_A_WORD and isinstance(base, str):
        base = {BY_A_WORD[str(loc[0])]: base}
    if not (isinstance(base, dict) and isinstance(changes, dict)) or (loc and _names_another(base, changes)):
        replaced.add(loc)
        return changes
    mine = {
        key: _merged(base[key], value, (*loc, key), replaced) if key in base else value
        for key, value in changes.items()
    }
    return {**base, **mine}


def _names_another(base: dict[str, Any], changes: dict[str, Any]) -> bool:
    return any(key in changes and changes[key] != base.get(key) for key in _NAMING)
