"""An environment with the core alone: the packages that ``pip install sharpscope`` brings, and no others."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]

# Stands before a script: what it is told to hide cannot be found, as if it had never been installed.
_HIDE = """
import sys
from importlib.machinery import PathFinder

class Core(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {hidden!r} else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Core
"""


def project() -> dict[str, Any]:
    """Return what ``pyproject.toml`` says of the project."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def with_dependencies(requirements: Iterable[str]) -> set[str]:
    """Return the names of all distributions that requirements bring, as the installed ones declare theirs."""
    found: set[str] = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        requirement = waiting.pop()
        name = normalized(requirement.name)
        if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        try:
            waiting += [Requirement(text) for text in requires(requirement.name) or ()]
        except PackageNotFoundError:
            continue  # of another platform
    return found


@cache
def core() -> frozenset[str]:
    """Return the names of the distributions that the core brings."""
    return frozenset(with_dependencies(project()["dependencies"]))


@cache
def modules() -> dict[str, set[str]]:
    """Return the distributions of every installed module that is not the project's own."""
    found = {module: {normalized(name) for name in names} for module, names in packages_distributions().items()}
    return {module: names for module, names in found.items() if "sharpscope" not in names}


def run_with_core(script: str, *, hidden: Iterable[str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a script in a process in which only the core can be imported.

    Args:
        script: The script.
        hidden: The modules that cannot be imported instead.
    """
    if hidden is None:
        hidden = (module for module, names in modules().items() if not names & core())
    text = _HIDE.format(hidden=set(hidden)) + textwrap.dedent(script)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=False, env=environment, timeout=300
    )
