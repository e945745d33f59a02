"""What a stage is: a step from stored things to stored things, which knows its columns, what it wants, and its cost."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from sharpscope.errors import SharpscopeError, SpecError
from sharpscope.registry import Registry
from sharpscope.store.snapshots import twin_of
from sharpscope.store.wanted import Stages, Stamp, Wanted
from sharpscope.study.work.requested import RequestedValues

if TYPE_CHECKING:
    from sharpscope.spec import Run
    from sharpscope.study.work.timing import Timing
    from sharpscope.study.work.work import Work

QuantityKind = Literal["sharpness", "complexity", "control", "score", "training"]


@dataclass(frozen=True)
class Column:
    """One column of the ledger.

    Attributes:
        name: Its name at the end of the training; that of another snapshot is made of it.
        key: The key of the result that has its number.
        path: Where in the result it is: ``("value",)``.
        suffix: What stands behind the name at every snapshot: "_stderr".
        type: Of its values.
        facts: What a report tells of it: ``kind``, ``label``, ``better``, ``unit``, ``summary`` and the like, as
            ``Quantity`` has them; None for a column that no report tells of by itself.
    """

    name: str
    key: str
    path: tuple[str, ...] = ("value",)
    suffix: str = ""
    type: Literal["float", "boolean"] = "float"
    facts: Mapping[str, Any] | None = None

    @classmethod
    def of_value(
        cls,
        name: str,
        key: str,
        label: str,
        kind: QuantityKind = "score",
        *,
        better: Literal["higher", "lower"] | None = None,
        unit: str = "",
        summary: str = "",
        scale: Literal["ratio", "difference"] = "difference",
    ) -> Column:
        """Return the column of one of the ``values`` of a result, with what a report tells of it.

        Args:
            name: Of the column, and of the value.
            key: Of the result.
            label: Its name in a report.
            kind: What it tells of, as in ``Quantity``.
            better: Which direction is better.
            unit: "fraction", "nats", ...
            summary: One line that says what it is.
            scale: Whether values are compared by their ratio, as what is positive and spans decades, or by their
                difference.
        """
        told = {"kind": kind, "label": label, "better": better, "unit": unit, "summary": summary}
        facts = {**told, "scale": scale}
        return cls(name, key, ("values", name), facts=facts)


@dataclass(frozen=True)
class StageResult:
    """A result of a stage.

    Attributes:
        entry: What ``run.json`` is to say of it beside its stamp; the numbers of columns are in here.
        arrays: What is kept in a file beside it, by name; nothing is written where there are none.
        table: Columns of one length that are kept as a Parquet file beside it; likewise.
    """

    entry: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    table: Mapping[str, np.ndarray] = field(default_factory=dict)

    def checked(self, stage: str) -> dict[str, Any]:
        """Return the entry with its values as numbers; a record with others could not be read again.

        Args:
            stage: Which found it.

        Raises:
            SharpscopeError: If one of its values is no number.
        """
        values = {}
        for name, value in self.entry.get("values", {}).items():
            try:
                values[name] = float(value)
            except (TypeError, ValueError):
                raise SharpscopeError(f"stage '{stage}' found no number as '{name}', but {value!r:.60}") from None
        return {**self.entry, "values": values} if "values" in self.entry else {**self.entry}


class Stage(ABC):
    """A step of every run. One of one's own says what it needs, its columns, and what it finds at a snapshot.

    Args:
        name: Under which it is registered, and stands in ``run.json``.
        version: Of its definition; results of another version are made anew.

    Attributes:
        needs: ``run``, the ``weights`` at a snapshot, or the ``predictions`` made with them. A stage that needs the
            run alone is done once for all snapshots, the others at each. They follow each other by what they need.
        gives: What it makes that other stages need; empty if nothing. One that gives what it needs goes before the
            others that need it.
        stamps_conditions: Whether its stamps have the conditions that it reads predictions under; without that, all it
            found from predictions is found anew when one of them is made under another condition.
        twins: Whether it is done at twins of snapshots too.
    """

    needs: ClassVar[str] = "weights"
    gives: ClassVar[str] = ""
    stamps_conditions: ClassVar[bool] = False
    twins: ClassVar[bool] = False

    def __init__(self, name: str, version: int) -> None:
        self.name = name
        self.version = version

    def wanted(self, requested: RequestedValues, snapshot: str) -> dict[str, Stamp]:
        """Return what a study wants of this stage at a snapshot, by key; by itself one result, named as the stage.

        Args:
            requested: What the study asks for.
            snapshot: ``end``, or a matched train loss, such as ``loss-0.1``; a twin of these, such as
                ``end~calibrated``, of a stage that has ``twins``.
        """
        return {self.name: {"version": self.version}}

    @abstractmethod
    def columns(self, requested: RequestedValues, snapshot: str) -> list[Column]:
        """Return its columns of the ledger at a snapshot, in their order."""

    @abstractmethod
    def do(self, work: Work, snapshot: str, missing: Mapping[str, Stamp]) -> Mapping[str, StageResult]:
        """Find what is missing at a snapshot.

        Args:
            work: The run, its data, and its model and predictions at the snapshot.
            snapshot: Where.
            missing: Keys with their stamps.

        Returns:
            What was found, by key. What could not be had is told by ``work.fail``, and left out.
        """

    def finds_weights(self, work: Work, snapshot: str) -> bool:
        """Return whether the weights that it begins from at a snapshot can be read; by itself, those of the snapshot.

        Args:
            work: The run.
            snapshot: Where.
        """
        return work.has_weights(snapshot)

    def seconds(self, timing: Timing, run: Run, left: Mapping[str, Mapping[str, Stamp]]) -> float:
        """Return about how long it takes for what is left of a run; by itself, a pass over the training data each.

        Args:
            timing: Times parts of a run on this machine.
            run: The run.
            left: By snapshot and key.
        """
        return len(left) * timing.forward(run) * len(timing.dataset(run).train_inputs)

    def disk(self, timing: Timing, run: Run) -> dict[str, int]:
        """Return about how many bytes it stores of a run, by what takes them, as far as that is much."""
        return {}


# A stage is a class that is made of its name and its version.
STAGES: Registry = Registry("stage", package="sharpscope.study.stages")


def in_order(names: Iterable[str] | None = None) -> list[Stage]:
    """Return stages in the order in which they are done: each after what it needs, those that give first.

    Args:
        names: Which; all that are known when None.

    Raises:
        SpecError: If one needs what none gives.
    """
    entries = STAGES.values() if names is None else [STAGES[name] for name in names]
    waiting = [entry(entry.name, entry.version) for entry in entries]
    ordered: list[Stage] = []
    given = {"run"}
    while waiting:
        ready = [stage for stage in waiting if stage.needs in given]
        if not ready:
            first = waiting[0]
            raise SpecError(
                f"stage '{first.name}' needs '{first.needs}', which no stage before it gives: {sorted(given)}"
            )
        ordered += sorted(ready, key=lambda stage: (not stage.gives, stage.gives != stage.needs, stage.name))
        given |= {stage.gives for stage in ready}
        waiting = [stage for stage in waiting if stage not in ready]
    return ordered


def stages_at(requested: RequestedValues, snapshot: str) -> list[Stage]:
    """Return the stages of a study that are done at a snapshot, in their order."""
    return [stage for stage in in_order(requested.stages) if stage.twins or not twin_of(snapshot)]


def wanted_of(requested: RequestedValues) -> Wanted:
    """Return all that a study wants of each run."""
    table: dict[str, Stages] = {}
    for snapshot in requested.snapshots:
        keys = {stage.name: stage.wanted(requested, snapshot) for stage in stages_at(requested, snapshot)}
        table[snapshot] = {name: wanted for name, wanted in keys.items() if wanted}
    return Wanted(table)
