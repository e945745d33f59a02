"""What a study wants of each run, as its file says it; the stages turn it into the table of ``store.wanted``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sharpscope.store.documents import plain
from sharpscope.store.snapshots import END, snapshot_at, twin_at
from sharpscope.store.wanted import READS
from sharpscope.task import CLASSIFICATION, Task


@dataclass(frozen=True)
class RequestedValue:
    """A measure or score that is wanted, with all that determines its value beside the weights.

    Attributes:
        name: Its name in the registry; the key it is wanted under is another thing.
        options: All of its options.
        version: The version of its definition.
        subset: How many training samples a measure is taken on at most; None for all, and of a score.
        reads: The conditions that a score reads predictions under, with the versions of their definitions.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    version: int = 1
    subset: int | None = None
    reads: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, stamp: Mapping[str, Any], kind: str) -> RequestedValue:
        """Return the requested value that ``stamp`` was made of."""
        return cls(stamp[kind], stamp["options"], stamp["version"], stamp.get("subset"), stamp.get(READS, {}))

    def stamp(self, kind: str) -> dict[str, Any]:
        """Return what stands beside a value so that a later study can tell whether the value answers it."""
        subset = {} if self.subset is None else {"subset": self.subset}
        reads = {READS: self.reads} if self.reads else {}
        return {kind: self.name, "options": plain(self.options), "version": self.version, **subset, **reads}


@dataclass(frozen=True)
class RequestedValues:
    """All that is wanted of each run, by the keys of the ledger.

    Attributes:
        measures: Of the minimum.
        scores: Of the predictions of one run.
        pair_scores: Of the predictions of two runs.
        conditions: The conditions under which the scores read predictions, with the versions of their definitions.
        matched_losses: Names of the train losses at which all measures are wanted too, with the losses.
        check_loss_every: Steps to which these are matched; None for the end of an epoch.
        stages: Names of the stages that each run goes through.
        task: Of all data.
        twins: Names of the twins of each snapshot that are wanted too.
        compared: The ``factor`` and its ``reference``, which a twin is as sure as.
        pictured: Whether what is learned can be pictured: a class, or a number, at each point of the plane.
        watched: What is measured along each training, by key.
        watch: When that is, as ``Watch.moments`` has it; empty where nothing is.
    """

    measures: dict[str, RequestedValue] = field(default_factory=dict)
    scores: dict[str, RequestedValue] = field(default_factory=dict)
    pair_scores: dict[str, RequestedValue] = field(default_factory=dict)
    conditions: dict[str, int] = field(default_factory=dict)
    matched_losses: dict[str, float] = field(default_factory=dict)
    check_loss_every: int | None = None
    stages: tuple[str, ...] = ()
    task: Task = CLASSIFICATION
    twins: tuple[str, ...] = ()
    compared: dict[str, str] = field(default_factory=dict)
    pictured: bool = False
    watched: dict[str, RequestedValue] = field(default_factory=dict)
    watch: dict[str, Any] = field(default_factory=dict)

    @property
    def snapshots(self) -> list[str]:
        """The moments at which the weights of a run are looked at, and then the twins of these."""
        moments = [END, *map(snapshot_at, self.matched_losses)]
        return moments + [twin_at(moment, twin) for twin in self.twins for moment in moments]
