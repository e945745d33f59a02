"""The studies that come with the package."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources

# Written so in every preset; one without it is there for others to extend.
_NAME = re.compile(r"^name:", re.MULTILINE)


def presets() -> dict[str, str]:
    """Return the presets that can be run: name to its description, the comment on its first line."""
    return {name: _description(text) for name, text in _texts() if _NAME.search(text)}


def foundations() -> dict[str, str]:
    """Return the presets that are no studies by themselves, but what several have in common; as ``presets``."""
    return {name: _description(text) for name, text in _texts() if not _NAME.search(text)}


def preset_text(name: str) -> str:
    """Return the text of a preset."""
    return (resources.files("sharpscope") / "studies" / f"{name}.yaml").read_text(encoding="utf-8")


def _texts() -> Iterator[tuple[str, str]]:
    with resources.as_file(resources.files("sharpscope") / "studies") as folder:
        for path in sorted(folder.rglob("*.yaml")):
            yield path.relative_to(folder).with_suffix("").as_posix(), path.read_text(encoding="utf-8")


def _description(text: str) -> str:
    return text.split("\n", 1)[0].lstrip("# ").rstrip(". ")
