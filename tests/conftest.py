"""What all tests share: one thread, so that results do not depend on the machine, and registries as they were."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from sharpscope.registry import Registration, Registry

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _registries_as_they_were(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take out again what a test has registered, itself or by a plugin; what the package registers stays."""
    enroll, modules = Registry.register, set(sys.modules)
    before: list[tuple[Registry, str, Registration | None]] = []

    def register(registry: Registry, name: str | None = None, **declared: Any) -> Callable[[Any], Any]:
        def noted(function: Any) -> Any:
            key = name or function.__name__
            if not function.__module__.startswith("sharpscope."):
                before.append((registry, key, registry._entries.get(key)))
            return enroll(registry, name, **declared)(function)

        return noted

    monkeypatch.setattr(Registry, "register", register)
    yield
    for registry, name, entry in reversed(before):
        registry._entries.pop(name, None)
        if entry is not None:
            registry._entries[name] = entry
    for name in set(sys.modules) - modules:
        if name.startswith("sharpscope_plugin_"):
            del sys.modules[name]
