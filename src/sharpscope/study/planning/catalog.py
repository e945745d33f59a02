"""The columns of the ledger: their names, and the facts that a report tells of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sharpscope.errors import SpecError, suggest
from sharpscope.spec import Claim, GridPoint, Study
from sharpscope.store.documents import plain
from sharpscope.store.snapshots import END, column, loss_of, twin_of
from sharpscope.store.upgrade import SCHEMA
from sharpscope.store.wanted import TWIN, Wanted
from sharpscope.study.stages.measure import facts_of
from sharpscope.study.stages.score import score_columns, scores_at
from sharpscope.study.work.requested import RequestedValues
from sharpscope.study.work.stage import Column, stages_at
from sharpscope.training import corruptions_like

RESERVED = ("run_id", "state", "regime", "seed")


@dataclass(frozen=True)
class _Place:
    """A column of the ledger, and where its numbers are: in the results of a stage, or in the scores of pairs."""

    column: Column
    snapshot: str = END
    stage: str = ""

    @property
    def name(self) -> str:
        """As the ledger has it."""
        return column(self.column.name, self.snapshot) + self.column.suffix

    def to_catalog(self) -> dict[str, Any]:
        """Return name, place and type as plain data; scores of pairs are in no run, and so in no place of it."""
        at = [self.snapshot, self.stage, self.column.key, *self.column.path] if self.stage else None
        return {"name": self.name, "at": at, "type": self.column.type}

    def told(self) -> dict[str, Any]:
        """Return what a report tells of it."""
        facts: dict[str, Any] = {"name": self.name, **(self.column.facts or {})}
        loss, twin = loss_of(self.snapshot), twin_of(self.snapshot)
        if loss:
            # How well the training data are fitted is given there, so that more of it is not better.
            given = {"better": None} if facts["kind"] == "training" else {}
            facts |= {**given, "label": f"{facts['label']} at train loss {loss}", "level": loss}
        return {**facts, "label": f"{facts['label']}, {twin.replace('_', ' ')}", "twin": twin} if twin else facts


def _places(requested: RequestedValues) -> Iterator[_Place]:
    """Yield all columns that hold results, in the order of the ledger."""
    for snapshot in requested.snapshots:
        for stage in stages_at(requested, snapshot):
            yield from (_Place(found, snapshot, stage.name) for found in stage.columns(requested, snapshot))
        pair_scores = scores_at(snapshot, requested.pair_scores)
        yield from (_Place(found, snapshot) for found in score_columns(pair_scores, requested))


def _pair_scores(requested: RequestedValues) -> dict[str, dict[str, Any]]:
    """Return the stamps of the scores of pairs by their columns, those of twins after those of the models."""
    return {
        column(key, snapshot): {**wanted.stamp("score"), **({TWIN: twin_of(snapshot)} if twin_of(snapshot) else {})}
        for snapshot in requested.snapshots
        for key, wanted in scores_at(snapshot, requested.pair_scores).items()
    }


def check_columns(requested: RequestedValues) -> None:
    """See that every key makes a column of its own.

    Raises:
        SpecError: If a key is taken.
    """
    taken = dict.fromkeys((*RESERVED, *requested.task.basics), "a column that every ledger has")
    for kind, keys in (("measure", requested.measures), ("score", requested.scores | requested.pair_scores)):
        for key in keys:
            for name in (key, f"{key}_stderr", f"{key}_converged") if kind == "measure" else (key,):
                if name in taken:
                    message = f"'{key}' cannot be the key of a {kind}: '{name}' is {taken[name]}"
                    raise SpecError(message, (f"{kind}s", key))
                taken[name] = f"a column of the {kind} '{key}'"
    seen = dict.fromkeys(RESERVED, "a column that every ledger has")
    for place in _places(requested):
        what = (taken.get(place.name) if place.snapshot != END else None) or seen.get(place.name)
        if what is not None:
            where = f"one of the stage '{place.stage}' at snapshot {place.snapshot}"
            loc = ("measures",) if place.name in taken else ("plugins",)
            raise SpecError(f"'{place.name}' is {what}, and {where}; rename it", loc)
        seen[place.name] = f"a column of the stage '{place.stage}'"


def measured_at_end(requested: RequestedValues) -> list[str]:
    """Return the columns that hold a quantity at the end of the training."""
    return [place.name for place in _places(requested) if not place.column.suffix and place.snapshot == END]


def primary_of(declared: Sequence[str] | None, requested: RequestedValues) -> tuple[str, ...]:
    """Return the primary family: as declared, or the usual one as far as it is measured.

    Raises:
        SpecError: If a declared quantity is not a column of the ledger.
    """
    known = [place.name for place in _places(requested) if not place.column.suffix]
    if declared is None:
        return tuple(name for name in requested.task.primary if name in known)
    family: list[str] = []
    for index, written in enumerate(declared):
        name = requested.task.aliases.get(written, written)
        if name not in known:
            message = f"the primary quantity '{name}' is not measured in this study{suggest(name, known)}"
            raise SpecError(message, ("primary", index))
        if name in family:
            raise SpecError(f"the primary quantity '{name}' is listed twice", ("primary", index))
        family.append(name)
    return tuple(family)


def margins_of(declared: Mapping[str, float], requested: RequestedValues) -> dict[str, float]:
    """Return the smallest difference that matters of each quantity that has one.

    Raises:
        SpecError: If a quantity is not a column of the ledger, or a margin does not fit how it is compared.
    """
    facts = {place.name: place.column.facts or {} for place in _places(requested) if not place.column.suffix}
    margins: dict[str, float] = {}
    for written, margin in declared.items():
        name = requested.task.aliases.get(written, written)
        if name not in facts:
            message = f"the margin of '{name}' is of nothing that is measured in this study{suggest(name, facts)}"
            raise SpecError(message, ("margin", written))
        if name in margins:
            raise SpecError(f"the margin of '{name}' is given twice", ("margin", written))
        if facts[name].get("scale") == "ratio" and margin <= 1:
            message = f"'{name}' is compared by its ratio, so its margin is a factor above 1 (1.1), got {margin:g}"
            raise SpecError(message, ("margin", written))
        margins[name] = margin
    return margins


def catalog_of(
    study: Study, points: Iterable[GridPoint], requested: RequestedValues, wanted: Wanted, claims: Iterable[Claim]
) -> dict[str, Any]:
    """Return the content of ``catalog.json``."""
    places = list(_places(requested))
    grid = [
        {
            "run_id": point.run.id,
            "regime": point.run.regime.label,
            "seed": point.run.seed,
            "coordinates": point.coordinates,
        }
        for point in points
    ]
    return {
        "schema": SCHEMA,
        "study": plain(study.model_dump()),
        "default_primary": study.primary == primary_of(None, requested),
        "claims": [plain(claim.model_dump()) for claim in claims],
        "varying": study.varying,
        "trained_on_the_like": {
            regime.label: corruptions_like(part.name for part in regime.parts) for regime in study.regimes
        },
        "task": requested.task.name,
        "wanted": wanted.snapshots,
        "pair_scores": _pair_scores(requested),
        "columns": [place.to_catalog() for place in places],
        "quantities": [place.told() for place in places if place.column.facts is not None],
        "watched": [{"name": key, **facts_of(key, wanted)} for key, wanted in requested.watched.items()],
        "grid": grid,
    }
