"""Are levels not all alike, as a claim predicts?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sharpscope.analysis import numbers
from sharpscope.analysis.same_runs import once, same_levels
from sharpscope.analysis.statistics.level_differences import (
    WholeSeeds,
    levels_differ,
    seeds_to_find,
    smallest_order_p,
    typical_difference,
    whole_seeds,
)
from sharpscope.analysis.tested import ALPHA, equivalent
from sharpscope.analysis.values import Scaled, Values
from sharpscope.analysis.verdicts.kinds import KINDS, KindFacts
from sharpscope.analysis.verdicts.order import left_out, order_of
from sharpscope.analysis.verdicts.studied import (
    TRIED_SEEDS,
    column_under,
    levels_named,
    loss_of,
    unlike_at_end,
    unlike_note,
)
from sharpscope.analysis.verdicts.verdict import END, Finding, TestedPrediction
from sharpscope.analysis.wording import joined
from sharpscope.numpy_stream import NumpyStream
from sharpscope.spec import Claim, Distinction
from sharpscope.spec.predictions import ALL

_STREAM = NumpyStream(0, "analysis", "claims", "distinctions")
_MOST_LISTED = 3  # levels that are told by their names; more are counted


@dataclass(frozen=True)
class _Asked:
    """A quantity by which a claim says that levels differ."""

    quantity: str
    levels: tuple[str, ...]


@dataclass(frozen=True)
class _Seen:
    """The values of a quantity under a condition."""

    column: str
    scaled: Scaled
    whole: WholeSeeds


@KINDS.register(facts=KindFacts(""))
def distinction(values: Values, claim: Claim, predictions: Sequence[Distinction]) -> Iterator[TestedPrediction]:
    """Yield the tests of whether levels are not all alike; under each condition they are one family."""
    asked = [
        _Asked(quantity, levels)
        for one in predictions
        if len(levels := _levels(values, one)) > 1
        for quantity in one.quantities
        if quantity in values.results.measured
    ]
    under = {condition: _seen(values, asked, condition) for condition in claim.conditions}
    p = {condition: _corrected(seen) for condition, seen in under.items()}
    for i, one in enumerate(asked):
        seen = {condition: of[i] for condition, of in under.items() if i in of}
        margin = values.results.study.get("margin", {}).get(one.quantity)
        found = {at: _finding(values, what, p[at].get(i, math.nan), at, margin) for at, what in seen.items()}
        yield TestedPrediction(
            *("distinction", one.quantity, ", ".join(one.levels), _told(one)),
            *("", "differ", found, claim.controls),
            seeds=_seeds(seen[claim.at].whole) if claim.at in found and not found[claim.at].favor else None,
            note=_note(values, one, seen, found[END], margin),
            stated=claim.at,
        )


def _unlike(values: Values, one: _Asked, column: str, condition: str) -> Iterator[str]:
    """Yield what is told of a condition under which the size is no factor as it is at the end."""
    scaled = unlike_at_end(values, one.quantity, column)
    if scaled is not None:
        size = typical_difference(_whole(values, one, one.quantity, scaled).values)
        yield unlike_note(values, column, condition, numbers.with_interval(size.value, size.low, size.high))


def _levels(values: Values, one: Distinction) -> tuple[str, ...]:
    named = values.levels if ALL in one.differ else levels_named(values, one.differ)
    # Levels change places in the test, which two that are the same runs cannot do as others do.
    return tuple(once(same_levels(values.results), named))


def _told(one: _Asked) -> str:
    listed = len(one.levels) <= _MOST_LISTED
    return f"{joined(one.levels) if listed else f'the {len(one.levels)} levels'} differ"


def _seen(values: Values, asked: Sequence[_Asked], condition: str) -> dict[int, _Seen]:
    """Return the values of each quantity under a condition, by its place among those asked for."""
    found = {}
    for i, one in enumerate(asked):
        column = column_under(values.results, one.quantity, one.levels, condition)
        if column is not None:
            scaled = values.alike(column, one.quantity)
            found[i] = _Seen(column, scaled, _whole(values, one, column, scaled))
    return found


def _whole(values: Values, one: _Asked, column: str, scaled: Scaled) -> WholeSeeds:
    places = [values.levels.index(level) for level in one.levels]
    return whole_seeds(scaled.forward(values.independent(column)[:, places]))


def _corrected(seen: Mapping[int, _Seen]) -> dict[int, float]:
    """Return the p of each test, corrected for all that are made under one condition.

    Levels change places in the same way for all quantities that have the same levels. Where quantities have different
    ones, as where a measure is not defined at a level, each set of levels is a family, and those are corrected by
    Bonferroni.
    """
    families: dict[bytes, list[int]] = {}
    for i, one in seen.items():
        if one.whole.n and len(one.whole.values) > 1:
            families.setdefault(one.whole.levels.tobytes(), []).append(i)
    found: dict[int, float] = {}
    for members in families.values():
        p = levels_differ(np.stack([seen[i].whole.values for i in members]), _STREAM, alpha=ALPHA / len(families))
        found |= {i: min(1.0, float(q) * len(families)) for i, q in zip(members, p, strict=True)}
    return found


def _finding(values: Values, seen: _Seen, p: float, condition: str, margin: float | None) -> Finding:
    size = typical_difference(seen.whole.values)
    low, value, high = (seen.scaled.back(end) for end in (size.low, size.value, size.high))
    favor = -1 if _all_equivalent(seen, margin) else int(p <= ALPHA)
    scale = "ratio" if seen.scaled.scale == "ratio" else "size"
    can = bool(favor) or smallest_order_p(len(seen.whole.values), seen.whole.n) <= ALPHA
    return Finding(scale, value, low, high, seen.whole.n, favor, loss_of(values.results, seen.column, condition), can)


def _all_equivalent(seen: _Seen, margin: float | None) -> bool:
    """Return whether every two levels differ by less than a margin; each pair is tested by itself, since all must."""
    pairs = list(itertools.combinations(seen.whole.values, 2))
    return bool(pairs) and all(equivalent(first - second, seen.scaled, margin) for first, second in pairs)


def _seeds(whole: WholeSeeds) -> float | None:
    found = seeds_to_find(whole.values, TRIED_SEEDS, alpha=ALPHA)
    return None if math.isnan(found) else found


def _note(values: Values, one: _Asked, seen: Mapping[str, _Seen], end: Finding, margin: float | None) -> str:
    """Return how the levels stand at the end, where they differ, and what does not count anywhere."""
    parts = []
    if end.favor > 0:
        names = [level for level, counts in zip(one.levels, seen[END].whole.levels, strict=True) if counts]
        parts.append(order_of(values.results.quantities[one.quantity], names, seen[END].whole, _STREAM))
    elif end.favor:
        assert margin is not None
        parts.append(f"Every two of them differ by less than {numbers.at_least(seen[END].scaled.scale, margin)}.")
    for condition, what in seen.items():
        parts += _unlike(values, one, what.column, condition)
        parts += left_out(one.levels, values.seeds, what.whole, condition)
    return " ".join(parts)
