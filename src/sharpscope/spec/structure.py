"""What all parts of a study have in common: they are frozen, know all their keys, and tell mistakes in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from sharpscope.errors import SpecError, suggest
from sharpscope.registry import A_LIST, expectation

Loc = tuple[str | int, ...]


class Strict(BaseModel):
    """A frozen structure that knows all its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    # Keys of the text that are not fields, for the hint that follows an unknown one.
    also_known: ClassVar[tuple[str, ...]] = ()


def validated(kind: type[Strict], tree: Any, chosen: Mapping[str, Any] | None = None) -> Any:
    """Return ``tree`` as ``kind``; the first error as a sentence with its place.

    Raises:
        SpecError: With ``loc`` at the value, or at the key of the grid that gave it.
    """
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        # What is missing may be there under a name that is not known.
        first = min(error.errors(), key=lambda found: found["type"] == "missing")
        loc = first["loc"]
        dotted = ".".join(map(str, loc))
        if chosen and dotted in chosen:
            loc = ("grid", dotted)
        raise SpecError(_sentence(kind, first, dotted), loc) from None


_A_NAME = "expected letters, digits, '.', '_' and '-', of which the first is a letter or digit"


def _sentence(kind: type[Strict], error: Any, dotted: str) -> str:
    if error["type"] == "extra_forbidden":
        *path, key = error["loc"]
        for step in path:
            kind = _structure_in(kind.model_fields[str(step)].annotation)
        place = f" in {'.'.join(map(str, path))}" if path else ""
        known = [*kind.model_fields, *kind.also_known]
        return f"unknown key '{key}'{place}{suggest(str(key), known)}"
    if error["type"] == "missing":
        needed = [name for name, field in kind.model_fields.items() if field.is_required()]
        listed = f"{', '.join(needed[:-1])} and {needed[-1]}" if needed[1:] else needed[0]
        return f"the key '{dotted}' is missing; a {kind.__name__.lower()} needs {listed}"
    expected = _A_NAME if error["type"] == "string_pattern_mismatch" else expectation(error)
    if error["type"] == "value_error":
        return expected
    got = error["input"]
    hint = ""
    if isinstance(got, list) and "." in dotted:
        hint = f"; to try several values, write them in the grid: grid: {{{dotted}: {shortened(got)}}}"
    if error["type"] in A_LIST and isinstance(got, str):
        hint = f"; write [{got}]"
    if error["type"] == "string_type" and isinstance(got, bool | int | float):
        hint = "; put it in quotes"
    # The place has the line, so that the number of an item, which a reader would have to count, says nothing more.
    name = ".".join(part for part in error["loc"] if isinstance(part, str))
    return f"{name}: {expected}, got {shortened(got)}{hint}"


def _structure_in(annotation: Any) -> type[Strict]:
    """Return the structure that a field holds, which may be None in its place."""
    found: type[Strict] = next(part for part in (*get_args(annotation), annotation) if isinstance(part, type))
    return found


def shortened(value: Any, length: int = 200) -> str:
    """Return a value for a message, which is one line, not a page."""
    text = repr(value)
    return text if len(text) <= length else f"{text[:length]}..."
