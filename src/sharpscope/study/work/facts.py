"""What the ledger tells of measures and scores, by what their registries declare."""

from __future__ import annotations

from typing import Any

from sharpscope.registry import Registry
from sharpscope.study.work.requested import RequestedValue


def described(registry: Registry[Any], key: str, wanted: RequestedValue) -> dict[str, Any]:
    """Return what is told of measures and scores alike."""
    member = registry[wanted.name]
    facts = member.facts
    return {
        "label": _label(facts.label, key, wanted),
        "unit": facts.unit,
        "scale": facts.scale or "difference",
        "summary": member.summary,
        "reference": facts.reference,
    }


def _label(label: str, key: str, wanted: RequestedValue) -> str:
    """Tell a measure or score that stands in the study under a key of its own from the plain one."""
    return label if key == wanted.name else f"{label} ({key})"
