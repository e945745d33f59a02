"""What is chosen by name from a registry, with its options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_serializer, model_validator

from sharpscope.spec.structure import Strict


class Component(Strict):
    """Something chosen by name from a registry, with its options: ``{name: resnet8, width: 16}`` or just ``resnet8``.

    Attributes:
        name: The name in its registry.
        options: What stands beside the name.
        version: The version of the registered definition; the plan fills it in.
    """

    name: str
    options: dict[str, Any] = Field(default_factory=dict)
    version: int = 1

    @model_validator(mode="before")
    @classmethod
    def _from_yaml(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, Mapping):
            rest = {str(k): v for k, v in value.items() if k not in {"name", "options", "version"}}
            known = {k: v for k, v in value.items() if k in {"name", "version"}}
            options = value.get("options")
            options = {} if options is None else options
            if not isinstance(options, Mapping):
                raise ValueError(
                    f"the options of '{value.get('name')}' are a mapping of names to values, got {options!r}"
                )
            return {**known, "options": {**options, **rest}}
        return value

    @model_serializer
    def _to_yaml(self) -> dict[str, Any]:
        version = {} if self.version == 1 else {"version": self.version}
        return {"name": self.name, **self.options, **version}


def named(kind: str, value: Any) -> Any:
    """Bring a list of names, or a mapping of keys to options, into ``{key: {kind: name, **options}}``."""
    if value is None:
        return None
    if isinstance(value, list):
        for name in value:
            if not isinstance(name, str):
                raise ValueError(f"a list of {kind}s holds names; with options write a mapping, got {name!r}")
        value = dict.fromkeys(value)
    if not isinstance(value, Mapping):
        raise ValueError(f"{kind}s are a list of names or a mapping of names to options, got {value!r}")
    named = {}
    for key, options in value.items():
        if options is not None and not isinstance(options, Mapping):
            raise ValueError(f"the options of {kind} '{key}' are a mapping, got {options!r}")
        named[str(key)] = {kind: str(key), **(options or {})}
    return named
