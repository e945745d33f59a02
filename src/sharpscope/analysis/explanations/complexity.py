"""Is it complexity? What sharpness has to do with the complexity of the function, beside what it has with the loss."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sharpscope.analysis.correlations import LOSS
from sharpscope.analysis.explanations.confidence import TWINS, primary_at_end, twin_column
from sharpscope.analysis.explanations.manipulation import moves_table, place_column
from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.same_runs import counted_once
from sharpscope.analysis.statistics import Bounds, Partition, partition
from sharpscope.analysis.statistics.relations import LEAST_RUNS, Design, within_cells, within_seeds
from sharpscope.analysis.values import Values
from sharpscope.numpy_stream import NumpyStream
from sharpscope.store.snapshots import END

ON_COMPLEXITY, ON_LOSS = "complexity, given loss", "loss, given complexity"
LOSS_FIRST, COMPLEXITY_FIRST, COMPLEXITY_LAST = "loss first", "complexity first", "complexity last"
MEAN = "mean over orders"
PREDICTORS = ("loss", "complexity", "level")
# The orders that are told, by the places of predictors in them: what complexity adds last, levels do not tell.
ORDERS = {LOSS_FIRST: (0, 1, 2), COMPLEXITY_FIRST: (1, 0, 2), COMPLEXITY_LAST: (0, 2, 1)}

# What else both may go with, and is held fixed too, one at a time: the confidence, and the weights that they share.
ENTROPY, HEAD_NORM = "prediction_entropy", "head_norm"
BESIDE = (ENTROPY, HEAD_NORM)

_STREAM = NumpyStream(0, "analysis", "complexity")


@dataclass(frozen=True)
class Complexity:
    """What complexity has to do with sharpness.

    Attributes:
        shares: See ``variation_table``.
        partials: See ``partial_table``.
        moves: See ``moves_table``.
    """

    shares: pd.DataFrame
    partials: pd.DataFrame
    moves: pd.DataFrame


def complexity(results: StudyResults) -> Complexity:
    """Return what complexity has to do with sharpness; of levels that are the same runs, relations are over one."""
    distinct = counted_once(results)
    return Complexity(variation_table(distinct), partial_table(distinct), moves_table(results, asked(results)[1]))


def asked(results: StudyResults) -> tuple[list[str], list[str]]:
    """Return the primary measures of sharpness and the measures of complexity, both at the end of training."""
    return primary_at_end(results, "sharpness"), [
        name for name in results.of_kind("complexity") if not results.quantities[name].twin
    ]


def moved_by(results: StudyResults, measure: str, complexity: str) -> list[str]:
    """Return the changes of a model, in words, that move a measure of complexity and leave one of sharpness as it is.

    Where there is one, the two can be made to go together, or not, without another function. Nothing is returned where
    the study does not say under which changes they stay.
    """
    sharp, function = (results.quantities[name].unchanged_by for name in (measure, complexity))
    return [] if sharp is None or function is None else [change for change in sharp if change not in function]


@dataclass(frozen=True)
class _Asked:
    """One relation that is looked at, and where.

    Attributes:
        key: The measure of sharpness, that of complexity, the place (``end``, or a matched train loss) and the twin.
        columns: Of sharpness, complexity and loss there.
    """

    key: dict[str, str]
    columns: tuple[str, str, str]


def over_levels(results: StudyResults) -> bool:
    """Return whether relations are looked at over the levels of a seed, which have an order, and not within cells."""
    return results.factor.ordered and len(results.levels) >= LEAST_RUNS


def partial_table(results: StudyResults) -> pd.DataFrame:
    """Return one row a measure of sharpness, of complexity, place and relation: a mean of partial correlations.

    They are Spearman's within cells, where nothing but the seed varies; where the factor has an order and five levels
    or more, those over the levels of each seed and setting, of values on the scales on which they are compared: what
    the factor does to both. What is given is taken out by its parabola, by a straight line where levels are too few;
    see ``takes_squares``.

    The relations are that of sharpness with complexity given the train loss, and that with the loss given the
    complexity; ``at`` is ``end`` or a matched train loss, ``twin`` is empty of the models themselves, and ``beside`` is
    a quantity that is held fixed too. ``n`` counts the runs that have all of them, ``cells`` the cells, or the seeds
    and settings, of five runs or more that have a coefficient; intervals resample seeds.
    """
    columns = ["measure", "complexity", "at", "twin", "beside", "relation", "n", "cells", "correlation"]
    return pd.DataFrame(_partials(results), columns=[*columns, "ci_low", "ci_high"])


def _partials(results: StudyResults) -> Iterator[dict[str, Any]]:
    settings, levels, seeds = Values(results).places
    whole = Design(seeds, levels, settings)
    related = within_seeds if over_levels(results) else within_cells
    for one in _places(results):
        plain = one.key["at"] == END and not one.key["twin"]
        for beside in ("", *(name for name in BESIDE if plain and name in results.measured)):
            rows, (sharp, function, loss, *more) = _numbers(results, (*one.columns, *([beside] if beside else [])))
            for relation, other, given in ((ON_COMPLEXITY, function, loss), (ON_LOSS, loss, function)):
                found = related(sharp[None], other[None], np.stack([given, *more]), whole.of(rows), _STREAM)
                yield {
                    **{**one.key, "beside": beside, "relation": relation, "n": len(rows)},
                    **{"cells": int(found.cells[0, 0]), "correlation": float(found.partial.value[0, 0])},
                    **{"ci_low": float(found.partial.low[0, 0]), "ci_high": float(found.partial.high[0, 0])},
                }


def variation_table(results: StudyResults) -> pd.DataFrame:
    """Return one row a measure of sharpness, of complexity, place, order and predictor: the share that it explains.

    Shares are of the variation of sharpness between runs of one seed and setting, by least squares on the logarithms of
    what is compared by ratio, and on the levels of the factor: of ``loss``, ``complexity`` and ``level``, each after
    those before it, with the loss or the complexity first and the level last, with the complexity last, and in the
    mean over all orders (LMG).
    They are adjusted for what as many useless numbers would add, so that one of nothing is zero in the mean. ``at`` and
    ``twin`` are as in ``partial_table``.
    """
    columns = ["measure", "complexity", "at", "twin", "order", "predictor", "runs", "share", "ci_low", "ci_high"]
    return pd.DataFrame(_shares(results), columns=columns)


def _shares(results: StudyResults) -> Iterator[dict[str, Any]]:
    values = Values(results)
    settings, levels, seeds = values.places
    for one in _places(results):
        rows, (sharp, function, loss) = _numbers(results, one.columns)
        if not len(rows):
            continue
        of_level = (levels[rows, None] == np.unique(levels[rows])[1:]).astype(float)
        group = settings[rows] * len(values.seeds) + seeds[rows]
        found = partition(sharp, [loss[:, None], function[:, None], of_level], group, seeds[rows], _STREAM)
        yield from ({**one.key, "runs": len(rows), **row} for row in _of_partition(found))


def _of_partition(found: Partition) -> Iterator[dict[str, Any]]:
    for name, order in ORDERS.items():
        steps = found.steps.at(found.orders.index(order))
        for place, index in enumerate(order):
            yield {"order": name, "predictor": PREDICTORS[index], **_share(steps, place)}
    for place, predictor in enumerate(PREDICTORS):
        yield {"order": MEAN, "predictor": predictor, **_share(found.mean, place)}


def _share(bounds: Bounds, place: int) -> dict[str, float]:
    value, low, high = (float(part[place]) for part in (bounds.value, bounds.low, bounds.high))
    return {"share": value, "ci_low": low, "ci_high": high}


def _places(results: StudyResults) -> Iterator[_Asked]:
    """Yield each measure of sharpness with each of complexity: at the end, at matched losses, and of twins at the end.

    A place counts where the study has all of the two and the loss there.
    """
    measures, complexities = asked(results)
    for measure in measures:
        for complexity in complexities:
            names = (measure, complexity, LOSS)
            places = {(at, ""): [place_column(results, name, at) for name in names] for at in (END, *results.losses)}
            places |= {(END, twin): [twin_column(results, name, twin) for name in names] for twin in TWINS}
            for (at, twin), found in places.items():
                known = [name for name in found if name is not None]
                if len(known) == len(names):
                    key = {"measure": measure, "complexity": complexity, "at": at, "twin": twin}
                    yield _Asked(key, (known[0], known[1], known[2]))


def _numbers(results: StudyResults, columns: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the runs that have all of some columns, and these on the scales on which they are compared."""
    values = Values(results)
    table = results.runs[list(columns)].to_numpy(float)
    rows = np.flatnonzero(np.isfinite(table).all(axis=1))
    return rows, np.stack([values.scaled(name).forward(results.runs[name].to_numpy(float)[rows]) for name in columns])
