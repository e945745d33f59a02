"""Measure what the sharpness of a minimum means.

Attributes are imported when they are first used, so that ``import sharpscope`` does not load torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sharpscope import errors

if TYPE_CHECKING:
    from sharpscope.analysis.ledger import load_ledger
    from sharpscope.curvature.estimate import Estimate
    from sharpscope.measurement import Measurements, measure
    from sharpscope.monitor import SharpnessMonitor

__version__ = "0.1.0"
__all__ = ["Estimate", "Measurements", "SharpnessMonitor", "errors", "load_ledger", "measure"]

_HOMES = {
    "Estimate": "sharpscope.curvature.estimate",
    "Measurements": "sharpscope.measurement",
    "SharpnessMonitor": "sharpscope.monitor",
    "measure": "sharpscope.measurement",
    "load_ledger": "sharpscope.analysis.ledger",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sharpscope' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
