"""The order of levels that are not all alike, in words, and which of them do not count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from sharpscope.analysis.results import Quantity
from sharpscope.analysis.statistics.level_differences import (
    WholeSeeds,
    alike,
    smallest_order_p,
    told_apart,
)
from sharpscope.analysis.statistics.westfall_young import smallest_reachable
from sharpscope.analysis.tested import ALPHA
from sharpscope.analysis.verdicts.verdict import CONDITIONS
from sharpscope.analysis.wording import counted, joined
from sharpscope.numpy_stream import NumpyStream

_FIRST = {"sharpness": "Sharpest", "score": "Best"}


def order_of(quantity: Quantity, names: Sequence[str], whole: WholeSeeds, stream: NumpyStream) -> str:
    """Return the order of levels by their means, and which cannot be told apart: "Sharpest first: a, b, c; ...".

    Args:
        quantity: What they are ordered by; the sharpest or best comes first, or the largest where neither is known.
        names: The levels that count.
        whole: Their values.
        stream: Where patterns of signs are drawn from.
    """
    sign = quantity.orientation or 1
    order = np.argsort(-sign * np.nanmean(whole.values, axis=1), kind="stable")
    first = _FIRST.get(quantity.kind, "Largest") if quantity.orientation else "Largest"
    told = _apart([names[i] for i in order], whole.values[order], stream)
    return f"{first} first: {', '.join(names[i] for i in order)}; {told}."


def _apart(names: Sequence[str], values: np.ndarray, stream: NumpyStream) -> str:
    counts = np.isfinite(values).all(axis=0)
    if smallest_reachable(np.where(counts, 1.0, np.nan)[None]).item() > ALPHA:
        return f"{counted(int(counts.sum()), 'seed')} can tell no two of them apart"
    sets = [_listed(names, one) for one in alike(told_apart(values, stream, alpha=ALPHA)) if len(one) > 1]
    return f"not told apart: {'; '.join(sets)}" if sets else "every two of them are told apart"


def _listed(names: Sequence[str], places: Sequence[int]) -> str:
    """Return some names: "a and b", or "a to d" where more than two follow one another."""
    first, last = places[0], places[-1]
    if len(places) == last - first + 1 > 2:
        return f"{names[first]} to {names[last]}"
    return joined([names[i] for i in places])


def left_out(levels: Sequence[str], seeds: Sequence[int], whole: WholeSeeds, condition: str) -> Iterator[str]:
    """Yield sentences on which levels and seeds do not count under a condition, and whether what is left can tell.

    Args:
        levels: Those that are compared.
        seeds: Those of the study.
        whole: What counts.
        condition: The condition.
    """
    at = f"at {CONDITIONS[condition]}"
    few = [level for level, counts in zip(levels, whole.levels, strict=True) if not counts]
    if few:
        do = "it does" if len(few) == 1 else "they do"
        yield f"Too few runs of {joined(few)} have a value {at}: {do} not count."
    if not whole.n:
        yield f"No seed has all levels {at}."
        return
    without = [str(seed) for seed, dropped in zip(seeds, whole.dropped, strict=True) if dropped]
    if without:
        lack, do = ("Seed {} lacks", "does") if len(without) == 1 else ("Seeds {} lack", "do")
        yield f"{lack.format(joined(without))} a level {at} and {do} not count."
    if len(whole.values) > 1 and smallest_order_p(len(whole.values), whole.n) > ALPHA:
        yield f"With {counted(whole.n, 'seed')} no difference {at} could be significant."
