"""What is wanted of each run, as plain data: readers of a store need neither the stages nor the plugins that say it.

It is a table: snapshot, stage and key to a *stamp*, which is all that determines a result beside the weights. A stored
result has its stamp in it, so that one question answers for all stages what is left to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Stamp = Mapping[str, Any]
# Stage and key to what is wanted there, of one snapshot.
Stages = dict[str, dict[str, Stamp]]

# The stage of predictions, and the key of those under conditions, beside the clean ones.
PREDICTING, UNDER = "predictions", "conditions"
# The one part of a stamp of which a result may hold more than is wanted.
CONDITIONS = "conditions"
# The conditions that a score reads predictions under, all of them and no others.
READS = "reads"
# The twin that a score of pairs is of; absent of a score of the models as they are.
TWIN = "twin"
# The parts of a stamp that count as different where only one side has them.
_OPTIONAL = ("subset", READS)


def answers(entry: Mapping[str, Any] | None, stamp: Stamp) -> bool:
    """Return whether a stored result is the one that a stamp asks for.

    Args:
        entry: The stored result; None for none.
        stamp: What is wanted.

    >>> answers({"score": "ece", "version": 2, "value": 0.1}, {"score": "ece", "version": 2})
    True
    >>> answers({"score": "ece", "version": 1, "value": 0.1}, {"score": "ece", "version": 2})
    False
    """
    if entry is None or any(entry.get(part) != stamp.get(part) for part in _OPTIONAL):
        return False
    held, wanted = entry.get(CONDITIONS, {}), stamp.get(CONDITIONS, {})
    exact = {part: value for part, value in stamp.items() if part != CONDITIONS}
    return wanted.items() <= held.items() and {**entry, **exact} == entry


def current(found: Mapping[str, Any], wanted: Mapping[str, Stamp]) -> dict[str, Any]:
    """Return the stored results, by key, that are what is wanted now: others wait to be made anew.

    >>> current({"ece": {"version": 1}, "nll": {"version": 1}}, {"ece": {"version": 2}, "nll": {"version": 1}})
    {'nll': {'version': 1}}
    """
    return {key: entry for key, entry in found.items() if key in wanted and answers(entry, wanted[key])}


def narrowed(stamp: Stamp, entry: Mapping[str, Any] | None) -> Stamp:
    """Return what is left of a stamp that a stored result does not answer: of conditions those that it lacks.

    >>> narrowed({"conditions": {"fog": 1, "snow": 2}}, {"conditions": {"fog": 1, "snow": 1}})
    {'conditions': {'snow': 2}}
    """
    if CONDITIONS not in stamp or entry is None:
        return stamp
    held = entry.get(CONDITIONS, {}).items()
    return {
        **stamp,
        CONDITIONS: {name: version for name, version in stamp[CONDITIONS].items() if (name, version) not in held},
    }


@dataclass(frozen=True)
class Wanted:
    """All that is wanted of each run.

    Attributes:
        snapshots: By snapshot, stage and key, the stamp of each result; stages are in the order of their columns.
    """

    snapshots: dict[str, Stages] = field(default_factory=dict)

    @classmethod
    def from_catalog(cls, catalog: Mapping[str, Any]) -> Wanted:
        """Return what ``catalog.json`` has as ``wanted``."""
        return cls(catalog["wanted"])

    def at(self, snapshot: str, stage: str) -> dict[str, Stamp]:
        """Return what is wanted of a stage at a snapshot, by key."""
        return self.snapshots.get(snapshot, {}).get(stage, {})
