"""What a study says of published claims: a verdict on each prediction, at the end and under its controls."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sharpscope.analysis.equal_confidence import CLOSEST, twin_column
from sharpscope.analysis.results import Quantity, StudyResults
from sharpscope.analysis.statistics import hodges_lehmann, study_wide, westfall_young
from sharpscope.analysis.statistics.power import POWER, found_by_signed_rank, power
from sharpscope.analysis.statistics.relations import Design, within_cells
from sharpscope.analysis.tested import ALPHA
from sharpscope.analysis.values import Scaled, Values
from sharpscope.numpy_stream import NumpyStream
from sharpscope.spec import Claim, Contrast, Relation
from sharpscope.spec.claim import ALL

_STREAM = NumpyStream(0, "analysis", "claims")

HOLDS = "holds"
UNCONTROLLED = "holds at the end of training"
ONLY_AT_END = "holds only at the end of training"
CONTRADICTED = "is contradicted"
CANNOT_TELL = "cannot be told here"
IN_PART = "holds in part"
CONTRADICTED_IN_PART = "is contradicted in part"

END, LOSS, CONFIDENCE = "end", "loss", "confidence"
CONDITIONS = {END: "the end of training", LOSS: "equal train loss", CONFIDENCE: "equal confidence"}

MOST_SEEDS = 200
_TRIED = (5, 6, 7, 8, 9, 10, 12, 14, 16, 20, 25, 30, 40, 50, 70, 100, 140, MOST_SEEDS)
_UP, _DOWN = {"sharper", "better", "larger"}, {"flatter", "worse", "smaller"}


@dataclass(frozen=True)
class Finding:
    """What a study says of one prediction under one condition.

    Attributes:
        scale: "ratio" or "difference" of a contrast; "correlation" of a relation.
        value: A factor, a difference or a rank correlation.
        low: Lower end of its 95% interval.
        high: Upper end.
        n: How many seeds it is of.
        favor: +1 where it is significant as predicted, -1 where it is so against it, 0 otherwise.
        at: The matched train loss, where one is the condition.
    """

    scale: str
    value: float
    low: float
    high: float
    n: int
    favor: int
    at: str = ""


@dataclass(frozen=True)
class TestedPrediction:
    """One prediction of a claim: of one quantity, and of one level or outcome.

    Attributes:
        quantity: The column.
        other: The level, or the outcome.
        reference: What the level is compared with; empty of a relation.
        predicted: The direction that the claim predicts, in words.
        found: What the study says, by condition; a condition that it cannot make is not there.
        controls: The conditions under which the prediction must hold, beside the end of training.
        seeds: About how many seeds it takes to see a difference like this one, where the study cannot tell; None where
            it can, and infinite where more than ``MOST_SEEDS`` would be needed.
    """

    quantity: str
    other: str
    reference: str
    predicted: str
    found: dict[str, Finding]
    controls: tuple[str, ...] = ()
    seeds: float | None = None

    @property
    def verdict(self) -> str:
        """What the study says of it."""
        end = self.found[END].favor
        if end <= 0:
            return CONTRADICTED if end else CANNOT_TELL
        made = [self.found[control].favor for control in self.controls if control in self.found]
        if any(favor <= 0 for favor in made):
            return ONLY_AT_END
        return HOLDS if len(made) == len(self.controls) else UNCONTROLLED


@dataclass(frozen=True)
class Judged:
    """A claim and what a study says of it.

    Attributes:
        claim: The claim.
        tests: What the study can test of it.
        untested: What it predicts of levels that the study does not have, in words.
    """

    claim: Claim
    tests: tuple[TestedPrediction, ...]
    untested: tuple[str, ...] = field(default_factory=tuple)

    @property
    def counts(self) -> dict[str, int]:
        """How many tests have each verdict, the strongest first."""
        counted = Counter(test.verdict for test in self.tests)
        order = (HOLDS, UNCONTROLLED, ONLY_AT_END, CONTRADICTED, CANNOT_TELL)
        return {verdict: counted[verdict] for verdict in order if counted[verdict]}

    @property
    def verdict(self) -> str:
        """The verdict on the whole: a claim about several things holds if it holds for all of them."""
        counts = self.counts
        if not counts:
            return CANNOT_TELL
        if len(counts) == 1:
            return next(iter(counts))
        if CONTRADICTED in counts:
            return CONTRADICTED_IN_PART
        if CANNOT_TELL in counts:
            return IN_PART
        return ONLY_AT_END if ONLY_AT_END in counts else UNCONTROLLED


def judge(results: StudyResults) -> list[Judged]:
    """Return what a study says of each claim that it names."""
    values = Values(results)
    return [_judged(values, claim) for claim in results.claims]


def _judged(values: Values, claim: Claim) -> Judged:
    contrasts = claim.contrasts
    tests = [*_of_contrasts(values, claim, contrasts)]
    tests += [test for one in claim.predictions if isinstance(one, Relation) for test in _of_relation(values, one)]
    lacking = {level for one in contrasts for level in one.levels if level != ALL and not _named(values, [level])}
    lacking |= {one.reference for one in contrasts if one.reference and not _named(values, [one.reference])}
    return Judged(claim, tuple(tests), tuple(sorted(lacking)))


@dataclass(frozen=True)
class _Asked:
    """A difference that a claim predicts."""

    quantity: str
    level: str
    reference: str
    predicted: str


def _of_contrasts(values: Values, claim: Claim, contrasts: Iterable[Contrast]) -> Iterator[TestedPrediction]:
    """Yield the tests of all contrasts of a claim; under each condition they are one family."""
    asked = [
        _Asked(quantity, level, reference, one.direction)
        for one in contrasts
        for reference in _named(values, [one.reference or values.results.reference])
        for level in _levels(values, one, reference)
        for quantity in one.quantities
        if quantity in values.results.measured
    ]
    under = {condition: _found(values, asked, condition) for condition in (END, *claim.controls)}
    for i, one in enumerate(asked):
        found = {condition: of[i] for condition, of in under.items() if i in of}
        if END in found:
            yield TestedPrediction(
                *(one.quantity, one.level, one.reference, one.predicted, found, claim.controls),
                seeds=None if found[END].favor else _seeds(_differences(values, one, one.quantity)),
            )


def _levels(values: Values, one: Contrast, reference: str) -> list[str]:
    named = values.levels if ALL in one.levels else _named(values, one.levels)
    return [level for level in named if level != reference]


def _named(values: Values, levels: Iterable[str]) -> list[str]:
    """Return the levels of the study that a claim means: by their whole name, or without their options."""
    return [level for level in values.levels if any(one in (level, level.partition("(")[0]) for one in levels)]


def _found(values: Values, asked: list[_Asked], condition: str) -> dict[int, Finding]:
    """Return what the study says of each difference under one condition, by its place among those asked for."""
    columns = {i: _column(values.results, one, condition) for i, one in enumerate(asked)}
    kept = {i: column for i, column in columns.items() if column is not None}
    differences = {i: _differences(values, asked[i], column) for i, column in kept.items()}
    kept = {i: column for i, column in kept.items() if np.isfinite(differences[i]).any()}
    if not kept:
        return {}
    p = westfall_young(np.stack([differences[i] for i in kept]), _STREAM, alpha=ALPHA)
    found = {}
    for (i, column), adjusted in zip(kept.items(), p, strict=True):
        scaled = values.scaled(column)
        sign = _sign(values.results.quantities[column], asked[i].predicted)
        found[i] = _contrast(differences[i], scaled, sign, float(adjusted), _loss_of(values.results, column, condition))
    return found


def _contrast(differences: np.ndarray, scaled: Scaled, sign: int, p: float, at: str) -> Finding:
    interval = hodges_lehmann(differences, np.zeros(len(differences)))
    favor = int(np.sign(interval.value)) * sign if p <= ALPHA else 0
    low, high = (scaled.back(end) for end in (interval.low, interval.high))
    return Finding(scaled.scale, scaled.back(interval.value), low, high, interval.n, favor, at)


def _column(results: StudyResults, one: _Asked, condition: str) -> str | None:
    """Return the column that has a quantity under a condition; None where the study has none.

    At equal train loss it is the loss that most runs of the two levels have reached, of several the smallest.
    """
    if condition == END:
        return one.quantity
    if condition == CONFIDENCE:
        of_twins = (twin_column(results, one.quantity, twin) for twin in CLOSEST)
        return next((column for column in of_twins if column is not None), None)
    runs = results.runs[results.runs[results.factor.name].isin([one.level, one.reference])]
    columns = [column for loss, column in results.across(one.quantity).items() if loss]
    return max(columns, key=lambda column: runs[column].count(), default=None) if columns else None


def _loss_of(results: StudyResults, column: str, condition: str) -> str:
    return results.quantities[column].matched_loss if condition == LOSS else ""


def _differences(values: Values, one: _Asked, column: str) -> np.ndarray:
    """Return level minus reference of each seed over all settings, on the quantity's scale."""
    own = values.results.reference
    # What is compared with another level than the study's reference differs from it as both differ from that.
    parts = [(sign, name) for sign, name in ((1, one.level), (-1, one.reference)) if name != own]
    by_setting = sum(sign * values.differences(column, name) for sign, name in parts)
    return study_wide(np.asarray(by_setting)).values


def _sign(quantity: Quantity, predicted: str) -> int:
    """Return whether larger values are what is predicted, +1, or smaller ones, -1."""
    sign = 1 if predicted in _UP else -1
    if predicted in ("larger", "smaller"):
        return sign
    return sign * (quantity.orientation or 1)


def _seeds(differences: np.ndarray) -> float:
    """Return about how many seeds it takes to find a difference like the one observed in four of five studies."""
    present = differences[np.isfinite(differences)]
    spread = float(present.std(ddof=1)) if len(present) > 1 else 0.0
    if not spread > 0:
        return math.inf
    effect, found = abs(float(present.mean())) / spread, found_by_signed_rank(ALPHA)
    enough = (n for n in _TRIED if n > len(present) and power(found, n, effect, _STREAM.child("power")) >= POWER)
    return next(enough, math.inf)


def _of_relation(values: Values, one: Relation) -> Iterator[TestedPrediction]:
    """Yield the tests of how quantities move with outcomes within a level, given the train loss where that is asked."""
    results = values.results
    names = [name for name in one.quantities if name in results.measured]
    outcomes = [name for name in one.outcomes if name in results.measured]
    runs = results.runs
    loss = "train_loss"
    settings, levels, seeds = values.places
    for name in names:
        for outcome in outcomes:
            table = runs[[name, outcome, loss]].to_numpy(float)
            rows = np.flatnonzero(np.isfinite(table).all(axis=1))
            if len(rows) < 2:
                continue
            x, y, given = table[rows].T
            design = Design(seeds[rows], levels[rows], settings[rows])
            found = within_cells(x[None], y[None], given, design, _STREAM.child("relations", name, outcome))
            bounds = found.partial if one.given_loss else found.plain
            value, low, high = (float(part[0, 0]) for part in (bounds.value, bounds.low, bounds.high))
            favor = (int(low > 0) - int(high < 0)) * (1 if one.sign == "positive" else -1)
            n = len(np.unique(seeds[rows]))
            if math.isfinite(value):
                yield TestedPrediction(
                    name, outcome, "", one.sign, {END: Finding("correlation", value, low, high, n, favor)}
                )


def rows_of(judged: Iterable[Judged]) -> list[dict[str, Any]]:
    """Return every test as a row of a table: what is claimed, what was found under each condition, and the verdict."""
    rows = []
    for one in judged:
        for test in one.tests:
            row: dict[str, Any] = {"claim": one.claim.name, "quantity": test.quantity, "level_or_outcome": test.other}
            row |= {"reference": test.reference, "predicted": test.predicted}
            for condition in CONDITIONS:
                found = test.found.get(condition)
                for part in ("value", "low", "high", "n", "favor"):
                    row[f"{condition}_{part}"] = getattr(found, part) if found is not None else None
            scale = test.found[END].scale
            loss = test.found[LOSS].at if LOSS in test.found else ""
            rows.append({**row, "scale": scale, "matched_loss": loss, "seeds": test.seeds, "verdict": test.verdict})
    return rows
