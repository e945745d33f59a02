"""Python files named in a study: they register datasets, models, regimes and measures of the user's own."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from sharpscope.errors import FAULTS, SpecError, one_line
from sharpscope.study.planning.listing import REGISTRIES
from sharpscope.study.work.stage import STAGES


def resolve_plugins(plugins: Sequence[str], folder: Path) -> tuple[str, ...]:
    """Return the absolute paths of a study's plugins.

    Args:
        plugins: Paths as written in the study.
        folder: What relative ones start from.

    Raises:
        SpecError: If a file is missing.
    """
    paths = []
    for index, written in enumerate(plugins):
        path = (folder / Path(written).expanduser()).resolve()
        if not path.is_file():
            raise SpecError(f"the plugin '{written}' is missing: there is no file {path}", ("plugins", index))
        paths.append(str(path))
    return tuple(paths)


def load_plugins(paths: Sequence[str]) -> None:
    """Import Python files by their paths; each is imported once a process.

    Raises:
        SpecError: If one fails: one sentence with the line in it where it does.
    """
    if paths:
        # Built-in members first, so that it is the plugin that is told of a name that is taken.
        for registry in (*(member() for member in REGISTRIES.values()), STAGES):
            len(registry)
    for index, name in enumerate(paths):
        path = Path(name)
        module_name = _module_name(path)
        if module_name in sys.modules:
            continue
        try:
            _import(path, module_name)
        except FAULTS as error:
            sys.modules.pop(module_name, None)
            message = f"the plugin {path.name} fails{_line(error, path)}: {one_line(error)}"
            raise SpecError(message, ("plugins", index)) from error


def stages_of(paths: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the stages that a study has: those of the package, and those that its plugins define.

    Other studies may have been loaded in this process, and other processes do not know what is defined elsewhere.
    """
    homes = {_module_name(Path(path)) for path in paths} | {"sharpscope"}
    packages = {name: entry.function.__module__.partition(".")[0] for name, entry in STAGES.items()}
    return tuple(name for name, package in packages.items() if package in homes)


def _module_name(path: Path) -> str:
    return f"sharpscope_plugin_{path.stem}_{hashlib.blake2b(str(path).encode(), digest_size=4).hexdigest()}"


def _import(path: Path, module_name: str) -> None:
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"a plugin is a Python file that ends in .py, got {path.name}")
    module = importlib.util.module_from_spec(spec)
    # Registered first, as Python does: dataclasses and type hints look their module up by name.
    sys.modules[module_name] = module
    spec.loader.exec_module(module)


def _line(error: BaseException, path: Path) -> str:
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f" in line {error.lineno}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return f" in line {frames[-1].lineno}" if frames else ""
