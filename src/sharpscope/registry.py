"""One generic registry: names to functions, with their options read from the signature.

The keyword-only parameters of a registered function are its options; what stands before them is supplied by the
program. So a new member is one function and one line:

>>> MODELS = Registry("model")
>>> @MODELS.register()
... def tiny(shape, classes, *, width: int = 8):
...     "A tiny model."
...     return f"{width} units for {classes} classes"
>>> MODELS["tiny"].complete({"width": 4})
{'width': 4}
>>> MODELS["tiny"]((1, 8, 8), 10, width=4)
'4 units for 10 classes'

A family serves all names with its prefix, which another library or the user's own code knows:

>>> @MODELS.family("zoo")
... def zoo(name, shape, classes, *, pretrained: bool = False):
...     "The zoo's models."
...     return f"{name} for {classes} classes"
>>> MODELS["zoo:lion"]((3, 8, 8), 10, pretrained=True)
'lion for 10 classes'
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar, cast, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.json_schema import PydanticJsonSchemaWarning

from sharpscope.docstrings import explained, one_line
from sharpscope.errors import FAULTS, SpecError, UnknownName, suggest

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Registration(Generic[F]):
    """One registered function with all that is declared about it.

    Attributes:
        kind: What the registry holds, for messages ("model").
        name: The name that users write.
        function: The function itself.
        version: The version of its definition; results made by another version are recomputed.
        facts: What the registry wants declared of its members (a dataclass), or None.
    """

    kind: str
    name: str
    function: F
    version: int = 1
    facts: Any = None

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Call the function."""
        return self.function(*args, **options)

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(self.function) or "").split("\n", 1)[0].rstrip(".")

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """Every option with its default value; one without a default is absent."""
        return {name: p.default for name, p in self._parameters.items() if p.default is not p.empty}

    @cached_property
    def _parameters(self) -> dict[str, inspect.Parameter]:
        signature = inspect.signature(self.function)
        return {name: p for name, p in signature.parameters.items() if p.kind is p.KEYWORD_ONLY}

    @cached_property
    def _schema(self) -> type[BaseModel]:
        hints = get_type_hints(self.function, include_extras=True)
        fields: dict[str, Any] = {}
        for name, parameter in self._parameters.items():
            default = ... if parameter.default is parameter.empty else parameter.default
            # The alias lets an option be called like an attribute of BaseModel, such as "copy".
            fields[f"option_{name}"] = (hints.get(name, Any), Field(default, alias=name))
        config = ConfigDict(extra="forbid", strict=False, arbitrary_types_allowed=True, allow_inf_nan=False)
        return create_model(f"{self.name}_options", __config__=config, **fields)

    def complete(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return all options: those given, checked against their types, and the defaults of the others.

        Raises:
            SpecError: If an option is unknown, of the wrong type, or missing; ``loc`` names it.
        """
        for option in options:
            if option not in self._parameters:
                hint = suggest(str(option), self._parameters)
                raise SpecError(f"unknown option '{option}' of {self.kind} '{self.name}'{hint}", (option,))
        try:
            checked = self._schema.model_validate(dict(options))
        except ValidationError as error:
            first = error.errors()[0]
            option = str(first["loc"][0])
            got = "" if first["type"] == "missing" else f", got {first['input']!r}"
            message = f"option '{option}' of {self.kind} '{self.name}': {expectation(first)}{got}"
            raise SpecError(message, (option,)) from None
        return {name: getattr(checked, f"option_{name}") for name in self._parameters}

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON schema of each option by its name, with what the docstring says of it."""
        told = explained(self.function, "Args")
        # A default that JSON does not have is left out, with a warning that is for nobody.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PydanticJsonSchemaWarning)
            found = self._schema.model_json_schema()["properties"] if self._parameters else {}
        return {
            name: {**{k: v for k, v in facts.items() if k != "title"}, "description": one_line(told.get(name, ""))}
            for name, facts in found.items()
        }

    @property
    def required(self) -> list[str]:
        """The options that have no default."""
        return [name for name in self._parameters if name not in self.defaults]

    def reduced(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return only the options that differ from their defaults: what belongs into an identity."""
        absent = object()
        return {k: v for k, v in self.complete(options).items() if self.defaults.get(k, absent) != v}


class Registry(Mapping[str, Registration[F]], Generic[F]):
    """A mapping from names to entries that fills itself from a package at the first look.

    Args:
        kind: What it holds, in the singular, for messages: "measure".
        package: The package, or packages, whose modules register members when imported.
        importable: Whether ``module:function`` names a member of the user's own, imported when it is asked for.
    """

    def __init__(self, kind: str, package: str | tuple[str, ...] = (), *, importable: bool = False) -> None:
        self.kind = kind
        self._importable = importable
        self._packages = (package,) if isinstance(package, str) else package
        self._loaded = False
        self._entries: dict[str, Registration[F]] = {}
        self._families: dict[str, Registration[F]] = {}

    def register(self, name: str | None = None, *, version: int = 1, facts: Any = None) -> Callable[[F], F]:
        """Return a decorator that enrolls a function under its own name, or the one given."""

        def enroll(function: F) -> F:
            entry = Registration(self.kind, name or function.__name__, function, version, facts)
            present = self._entries.get(entry.name)
            if present is not None and present.function.__module__ != function.__module__:
                raise SpecError(
                    f"{self.kind} '{entry.name}' is registered by {present.function.__module__} already; "
                    f"{function.__module__} must choose another name"
                )
            self._entries[entry.name] = entry
            return function

        return enroll

    def family(
        self, prefix: str, *, form: str = "NAME", version: int = 1, facts: Any = None
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Return a decorator that lets a function serve all names ``prefix:NAME``.

        Args:
            prefix: What its names begin with, before the colon.
            form: What follows the colon, for messages and lists.
            version: The version of its definition.
            facts: What the registry wants declared of its members.

        Returns:
            The decorator; its function takes the part after the colon before all else.
        """

        def enroll(function: Callable[..., Any]) -> Callable[..., Any]:
            self._families[prefix] = Registration(self.kind, f"{prefix}:{form}", cast(F, function), version, facts)
            return function

        return enroll

    @property
    def families(self) -> dict[str, Registration[F]]:
        """The families by the form of their names, such as ``zoo:NAME``."""
        self._load()
        return {entry.name: entry for _, entry in sorted(self._families.items())}

    def _has_form(self, name: object) -> bool:
        """Return whether a name is one of a family, or of a function to import."""
        prefix, colon, rest = str(name).partition(":")
        if not colon or not rest:
            return False
        return prefix in self._families or (self._importable and all(map(str.isidentifier, prefix.split("."))))

    def _elsewhere(self, name: str) -> Registration[F]:
        """Return the entry of a name of that form."""
        prefix, _, rest = name.partition(":")
        family = self._families.get(prefix)
        if family is None:
            return Registration(self.kind, name, imported(name, self.kind))

        @functools.wraps(family.function)
        def member(*args: Any, **options: Any) -> Any:
            return family.function(rest, *args, **options)

        return Registration(self.kind, name, cast(F, member), family.version, family.facts)

    def _load(self) -> None:
        if not self._loaded:
            self._loaded = True
            for name in self._packages:
                for module in pkgutil.iter_modules(importlib.import_module(name).__path__):
                    importlib.import_module(f"{name}.{module.name}")

    def __getitem__(self, name: str) -> Registration[F]:
        self._load()
        if name in self._entries:
            return self._entries[name]
        if self._has_form(name):
            return self._elsewhere(name)
        raise UnknownName(self.kind, str(name), [*self._entries, *self.families])

    @property
    def open_names(self) -> list[str]:
        """Regular expressions of the names that are not listed: of each family, as ``families``, and of functions."""
        self._load()
        found = [f"^{re.escape(prefix)}:.+" for prefix in sorted(self._families)]
        return [*found, r"^[^\W\d]\w*(\.[^\W\d]\w*)*:.+"] if self._importable else found

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        self._load()
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        self._load()
        return name in self._entries or self._has_form(name)


def imported(path: str, kind: str) -> Any:
    """Return what ``package.module:name`` stands for; a module in the current folder need not be installed.

    Args:
        path: Where it is.
        kind: What it is, for messages.

    Raises:
        SpecError: If it is not of that form, cannot be imported, or is no function.

    >>> imported("math:sqrt", "function")(4.0)
    2.0
    """
    module, _, name = path.partition(":")
    if not (module and name):
        raise SpecError(f"the {kind} must be named as package.module:function, got '{path}'")
    # As `python -m` does.
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module), name)
    except FAULTS as error:
        reason = f"{type(error).__name__}: {error}".split("\n", 1)[0]
        raise SpecError(f"the {kind} '{path}' cannot be imported ({reason})") from error
    finally:
        sys.path.remove(here)
    if not callable(found):
        raise SpecError(f"the {kind} '{path}' should be a function, got a {type(found).__name__}")
    return found


# Pydantic speaks of Python's types; a study is written in YAML.
A_LIST = ("tuple_type", "list_type")
_EXPECTED = {
    **dict.fromkeys(("model_type", "dict_type"), "expected a mapping of keys to values"),
    **dict.fromkeys(A_LIST, "expected a list"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "expected a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "expected a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "expected true or false"),
    "string_type": "expected text",
    "too_short": "expected at least one",
}


def expectation(error: Mapping[str, Any]) -> str:
    """Return what was expected where Pydantic found an error, in the words of a study.

    >>> expectation({"type": "tuple_type", "msg": "Input should be a valid tuple"})
    'expected a list'
    """
    message = error["msg"].removeprefix("Value error, ")
    return _EXPECTED.get(error["type"]) or f"{message[:1].lower()}{message[1:]}"
