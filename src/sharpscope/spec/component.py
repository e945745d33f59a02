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
