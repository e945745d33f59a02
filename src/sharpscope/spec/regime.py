"""Regimes as they are written: parts that compose, and the label of their sum."""

from __future__ import annotations

import copy
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import field_validator, model_serializer, model_validator

from sharpscope.spec.component import Component
from sharpscope.spec.structure import Strict
from sharpscope.spec.values import set_dotted

# Control characters, ends of lines and of paragraphs, and halves of characters.
_NO_TEXT = ("Cc", "Zl", "Zp", "Cs")


class Regime(Strict):
    """How a model is regularized: parts that compose, and the label that names their sum.

    Written ``sam``, ``augmentation+sam``, ``{sam: {rho: 0.1}}``, ``{augmentation: {}, sam: {rho: 0.1}}``, each with
    an optional ``label``.
    """

    label: str
    parts: tuple[Component, ...]

    @model_validator(mode="before")
    @classmethod
    def _from_yaml(cls, value: Any) -> Any:
        if isinstance(value, Regime | str):
            written: dict[str, Any] = {value: {}} if isinstance(value, str) else {}
        elif isinstance(value, Mapping):
            if "parts" in value:
                return value
            written = {k: v for k, v in value.items() if k != "label"}
        else:
            raise ValueError("a regime is a name, names joined by '+', or a mapping of names to their options")
        if not written:
            if isinstance(value, Regime):
                return value
            raise ValueError("a regime names at least one part, such as baseline")
        parts = [Component(name=n, options=o) for key, opts in written.items() for n, o in _parts(key, opts)]
        names = [part.name for part in parts]
        if len(set(names)) < len(names):
            raise ValueError(f"the regime '{'+'.join(names)}' names a part twice")
        label = value.get("label") if isinstance(value, Mapping) else None
        return {"label": _label(parts) if label is None else label, "parts": tuple(parts)}

    @field_validator("label")
    @classmethod
    def _shows_in_a_table(cls, label: str) -> str:
        if not label.strip() or any(unicodedata.category(character) in _NO_TEXT for character in label):
            raise ValueError(f"the label of a regime is one line of text that can be read, got {label!r}")
        return label

    def with_options(self, chosen: Mapping[str, Any]) -> Regime:
        """Return the regime, under its label, with other options of its parts: ``{"regimes.sam.rho": 0.1}``.

        Raises:
            SpecError: If a key leads into an option that has no parts.
        """
        options = {part.name: copy.deepcopy(part.options) for part in self.parts}
        for key, value in chosen.items():
            set_dotted({"regimes": options}, key, value)
        parts = tuple(part.model_copy(update={"options": options[part.name]}) for part in self.parts)
        return self.model_copy(update={"parts": parts})

    def tells(self, part: str, option: str) -> bool:
        """Return whether the label was made from the parts, and has this option in it."""
        has = any(option in own.options for own in self.parts if own.name == part)
        return has and self.label == _label(self.parts)

    @model_serializer
    def _to_yaml(self) -> dict[str, Any]:
        return {"label": self.label, **{part.name: dict(part.options) for part in self.parts}}


def _parts(key: Any, options: Any) -> Iterable[tuple[str, dict[str, Any]]]:
    names = [name.strip() for name in str(key).split("+")]
    options = _mapping(key, options)
    if len(names) == 1:
        return [(names[0], dict(options))]
    for name in options:
        if name not in names:
            raise ValueError(f"the options of '{key}' belong to its parts: {{{names[0]}: {{...}}}}, got '{name}'")
    return [(name, dict(_mapping(f"{key}' of its part '{name}", options.get(name)))) for name in names]


def _mapping(regime: str, options: Any) -> Mapping[str, Any]:
    """Return the options of a regime as they were written, none where there are none."""
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise ValueError(f"the options of regime '{regime}' must be a mapping such as {{rho: 0.1}}, got {options!r}")
    return options


def _label(parts: Iterable[Component]) -> str:
    return "+".join(map(_part_label, parts))


def _part_label(part: Component) -> str:
    options = ",".join(f"{k}={_plain(v)}" for k, v in part.options.items())
    return f"{part.name}({options})" if options else part.name


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
