"""YAML with places: a tree of plain values, and the line of every key and item in it."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import yaml

from sharpscope.errors import SharpscopeError, SpecError
from sharpscope.spec import Loc

# What no study needs and only a mistake, or somebody who means harm, would write: a text of a few hundred bytes can
# stand for any number of values, by names that repeat what repeats others.
LARGEST_TEXT = 4 << 20
MOST_VALUES = 150_000  # more than a grid that is written out can have
DEEPEST = 50
LARGEST_INT = 2**63 - 1  # what a column of a table holds

_TAG = "tag:yaml.org,2002:"
_KINDS = ("null", "bool", "int", "float", "str", "seq", "map")
# What looks like one of these has another meaning here, or is text.
_REPLACED = ("int", "timestamp", "value")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the numbers of YAML 1.2: ``1e-4`` is one, not text, and ``010`` is ten, not eight.

    What it reads can be written as JSON: dates are text, as keys are, and numbers are finite.

    Args:
        text: The YAML.
        name: What messages call it.
    """

    def __init__(self, text: str, name: str) -> None:
        super().__init__(text)
        self.name = name
        self._depth = 0
        self._values = 0

    def refuse(self, node: yaml.Node, problem: str) -> NoReturn:
        """Raise an error with the place of a node."""
        raise SpecError(f"{self.name}, line {node.start_mark.line + 1}: {problem}")

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Read one value; called for each that is within it, too."""
        self._depth += 1
        self._values += 1
        if self._depth > DEEPEST or self._values > MOST_VALUES:
            raise SpecError(f"{self.name}, line {self.peek_event().start_mark.line + 1}: {_too_much(self._depth)}")
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        """Read a word or number."""
        node: yaml.ScalarNode = super().compose_scalar_node(anchor)
        try:
            # As JSON has them, a character outside of the basic plane is two halves.
            node.value = node.value.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self.refuse(node, "this text has half of a character, a surrogate without the other one; write it whole")
        if "\0" in node.value:
            self.refuse(node, "no text in a study can have the character NUL; leave it out")
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Return the value of a node."""
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, LookupError, OverflowError) as error:
            if isinstance(error, SpecError):
                raise
            kind = node.tag.removeprefix(_TAG)
            self.refuse(node, f"{_shown(node)} is no {kind}; write a value that is, or put it in quotes")

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Return a whole number, whatever zeros it begins with."""
        text = self.construct_scalar(node)
        value = int(text) if len(text) <= 100 else LARGEST_INT + 1
        if abs(value) > LARGEST_INT:
            self.refuse(node, f"{_shown(node)} is too large, a whole number is at most {LARGEST_INT}")
        return value

    def construct_finite_float(self, node: yaml.ScalarNode) -> float:
        """Return a number."""
        value = self.construct_yaml_float(node)
        if not math.isfinite(value):
            self.refuse(node, f"{_shown(node)} is not finite, and a number of a study is")
        return value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Return a mapping; its keys are words, whatever else they may look like."""
        if not isinstance(node, yaml.MappingNode):
            self.refuse(node, f"{_shown(node)} is no mapping of keys to values")
        self.flatten_mapping(node)
        return {key.value: self.construct_object(value, deep=deep) for key, value in node.value}


def _too_much(depth: int) -> str:
    if depth > DEEPEST:
        return f"this is nested more than {DEEPEST} levels deep, which no study needs"
    return f"this stands for more than {MOST_VALUES} values, which no study needs"


def _shown(node: yaml.Node) -> str:
    text = " ".join(str(node.value).split()) if isinstance(node, yaml.ScalarNode) else "a list or mapping"
    return text if len(text) <= 40 else f"{text[:40]}..."


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern) for tag, pattern in resolvers if tag not in (f"{_TAG}int", f"{_TAG}timestamp", f"{_TAG}value")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.yaml_constructors = {
    tag: constructor
    for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.removeprefix(_TAG) in _KINDS
}
_Loader.add_constructor(f"{_TAG}int", _Loader.construct_yaml_int)
_Loader.add_constructor(f"{_TAG}float", _Loader.construct_finite_float)
_Loader.add_implicit_resolver(f"{_TAG}int", re.compile(r"[-+]?[0-9]+(?:_[0-9]+)*$"), list("-+0123456789"))

_Loader.add_implicit_resolver(
    f"{_TAG}float",
    re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$"),
    list("-+0123456789."),
)


class Place(NamedTuple):
    """A line, counted from 1, of a text that messages call by its name."""

    name: str
    line: int


@dataclass(frozen=True)
class Document:
    """What a YAML text says and where.

    Attributes:
        name: What messages call it: ``digits.yaml``.
        tree: Its content as mappings, lists and scalars.
        places: Where every key and item stands, by the way that leads to it.
    """

    name: str
    tree: Any
    places: dict[Loc, Place]

    def place(self, loc: Loc) -> str:
        """Return ``digits.yaml, line 7`` for the nearest thing that stands in the text."""
        known = self._resolve(loc)
        return "{}, line {}".format(*self.places[known]) if known else self.name

    def _resolve(self, loc: Loc) -> Loc:
        """Follow ``loc`` as far as the text goes; in a list, a name stands for the item that is or has it."""
        tree = self.tree
        known: Loc = ()
        for step in loc:
            key: str | int | None = step
            if isinstance(tree, list) and isinstance(step, str):
                key = next((i for i, item in enumerate(tree) if _is_or_has(item, step)), None)
            if key is None or (*known, key) not in self.places:
                break
            known, tree = (*known, key), tree[key]
        return known


def _is_or_has(item: Any, name: str) -> bool:
    return name in item if isinstance(item, dict) else item == name


def parse(text: str, name: str) -> Document:
    """Parse YAML.

    Args:
        text: The YAML.
        name: What messages call it.

    Raises:
        SpecError: If the text is not YAML, holds a key twice, or refers to itself; the message has the place.
    """
    try:
        loader = _Loader(text, name)
        node = loader.get_single_node()
        places: dict[Loc, Place] = {}
        if node is not None:
            _walk(loader, node, (), places, ())
        return Document(name, None if node is None else loader.construct_document(node), places)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        context = f" {error.context}" if error.context else ""
        raise SpecError(f"{name}{where}: this is not YAML: {error.problem}{context}") from None
    except yaml.YAMLError as error:
        raise SpecError(f"{name}: this is not YAML: {str(error).splitlines()[0]}") from None


def _walk(loader: _Loader, node: yaml.Node, loc: Loc, places: dict[Loc, Place], above: tuple[yaml.Node, ...]) -> None:
    """Note the line of every key and item in a node, by the way that leads to it; what repeats another counts again."""
    if any(node is outer for outer in above):
        loader.refuse(node, "this value contains itself")
    if len(above) >= DEEPEST or len(places) > MOST_VALUES:
        loader.refuse(node, _too_much(len(above) + 1))
    above = (*above, node)
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            places[*loc, index] = Place(loader.name, item.start_mark.line + 1)
            _walk(loader, item, (*loc, index), places, above)
    elif isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                loader.refuse(key, "a key must be a word, not a list or a mapping")
            if key.value in seen and key.tag != f"{_TAG}merge":
                loader.refuse(key, f"the key '{key.value}' stands twice, first in line {seen[key.value]}")
            seen[key.value] = line
            places[*loc, key.value] = Place(loader.name, line)
            _walk(loader, value, (*loc, key.value), places, above)


def read_text(path: Path, what: str, written: str) -> str:
    """Return the text of a file.

    Args:
        path: Of the file.
        what: What it should hold: a study.
        written: How the user called it.

    Raises:
        SharpscopeError: If it cannot be read, or is no text of a size that one would write.
    """
    try:
        if path.stat().st_size > LARGEST_TEXT:
            size = f"{path.stat().st_size / 1e6:.0f} MB"
            raise SharpscopeError(f"{path.name}: a {what} is a text of at most 4 MB, and this file has {size}")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise SharpscopeError(f"{path.name}: a {what} is a text in UTF-8, and this file is not") from None
    except OSError as error:
        raise SharpscopeError(f"the {what} '{written}' cannot be read: {error.strerror}") from None


def parse_value(text: str, name: str) -> Any:
    """Parse the YAML of a single value, as on a command line."""
    return parse(text, name).tree
