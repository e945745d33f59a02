"""YAML with places: a tree of plain values, and the line of every key and item in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from sharpscope.errors import SpecError

Loc = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the numbers of YAML 1.2: ``1e-4`` is one, not text, and ``010`` is ten, not eight."""

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Return a whole number, whatever zeros it begins with."""
        return int(self.construct_scalar(node))


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:int"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[-+]?[0-9]+(?:_[0-9]+)*$"), list("-+0123456789"))

_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$"),
    list("-+0123456789."),
)


@dataclass(frozen=True)
class Document:
    """What a YAML text says and where.

    Attributes:
        name: What messages call it: ``digits.yaml``.
        tree: Its content as mappings, lists and scalars.
        lines: The line, counted from 1, of every key and item, by the way that leads to it.
    """

    name: str
    tree: Any
    lines: dict[Loc, int]

    def place(self, loc: Loc) -> str:
        """Return ``digits.yaml, line 7`` for the nearest thing that stands in the text."""
        known = self._resolve(loc)
        return f"{self.name}, line {self.lines[known]}" if known else self.name

    def _resolve(self, loc: Loc) -> Loc:
        """Follow ``loc`` as far as the text goes; in a list, a name stands for the item that is or has it."""
        tree = self.tree
        known: Loc = ()
        for step in loc:
            key: str | int | None = step
            if isinstance(tree, list) and isinstance(step, str):
                key = next((i for i, item in enumerate(tree) if _is_or_has(item, step)), None)
            if key is None or (*known, key) not in self.lines:
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
        loader = _Loader(text)
        node = loader.get_single_node()
        lines: dict[Loc, int] = {}
        if node is not None:
            _walk(node, (), lines, name, ())
        return Document(name, None if node is None else loader.construct_document(node), lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        context = f" {error.context}" if error.context else ""
        raise SpecError(f"{name}{where}: this is not YAML: {error.problem}{context}") from None
    except yaml.YAMLError as error:
        raise SpecError(f"{name}: this is not YAML: {str(error).splitlines()[0]}") from None


def _walk(node: yaml.Node, loc: Loc, lines: dict[Loc, int], name: str, above: tuple[yaml.Node, ...]) -> None:
    if any(node is outer for outer in above):
        raise SpecError(f"{name}, line {node.start_mark.line + 1}: this value contains itself")
    above = (*above, node)
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[*loc, index] = item.start_mark.line + 1
            _walk(item, (*loc, index), lines, name, above)
    elif isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise SpecError(f"{name}, line {line}: a key must be a word, not a list or a mapping")
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise SpecError(
                    f"{name}, line {line}: the key '{key.value}' stands twice, first in line {seen[key.value]}"
                )
            seen[key.value] = lines[*loc, key.value] = line
            _walk(value, (*loc, key.value), lines, name, above)


def parse_value(text: str, name: str) -> Any:
    """Parse the YAML of a single value, as on a command line."""
    return parse(text, name).tree
