"""Is it complexity? What sharpness has to do with the complexity of the function, beside what it has with the loss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from sharpscope.analysis.correlations import LOSS
from sharpscope.analysis.equal_confidence import TWINS, primary_at_end, twin_column
from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.statistics import Bounds, Partition, partition
from sharpscope.analysis.statistics.relations import Design, within_cells
from sharpscope.analysis.values import Values
from sharpscope.numpy_stream import NumpyStream

ON_COMPLEXITY, ON_LOSS = "complexity, given loss", "loss, given complexity"
LOSS_FIRST, COMPLEXITY_FIRST, MEAN = "loss first", "complexity first", "mean over orders"
PREDICTORS = ("loss", "complexity", "level")
_ORDERS = {LOSS_FIRST: (0, 1, 2), COMPLEXITY_FIRST: (1, 0, 2)}

_STREAM = NumpyStream(0, "analysis", "complexity")


def asked(results: StudyResults) -> tuple[list[str], list[str]]:
    """Return the primary measures of sharpness and the measures of complexity, both at the end of training."""
    return primary_at_end(results, "sharpness"), [
        name for name in results.of_kind("complexity") if not results.quantities[name].twin
    ]


def partial_table(results: StudyResults) -> pd.DataFrame:
    """Return one row a measure of sharpness, of complexity, twin and relation: Spearman's coefficient within cells.

    The relations are that of sharpness with complexity given the train loss, and that with the loss given the
    complexity; ``twin`` is empty of the models themselves. ``n`` counts the runs that have all three, ``cells`` those
    of five runs or more that have a coefficient; intervals resample seeds.
    """
    columns = ["measure", "complexity", "twin", "relation", "n", "cells", "spearman", "ci_low", "ci_high"]
    return pd.DataFrame(_partials(results), columns=columns)


def _partials(results: StudyResults) -> Iterator[dict[str, Any]]:
    settings, levels, seeds = Values(results).places
    whole = Design(seeds, levels, settings)
    for measure, complexity, twin, columns in _triples(results):
        rows, (sharp, function, loss) = _numbers(results, columns)
        for relation, other, given in ((ON_COMPLEXITY, function, loss), (ON_LOSS, loss, function)):
            found = within_cells(sharp[None], other[None], given, whole.of(rows), _STREAM)
            yield {
                **{"measure": measure, "complexity": complexity, "twin": twin, "relation": relation},
                **{"n": len(rows), "cells": int(found.cells[0, 0])},
                "spearman": float(found.partial.value[0, 0]),
                "ci_low": float(found.partial.low[0, 0]),
                "ci_high": float(found.partial.high[0, 0]),
            }


def variation_table(results: StudyResults) -> pd.DataFrame:
    """Return one row a measure of sharpness, of complexity, twin, order and predictor: the share that it explains.

    Shares are of the variation of sharpness between runs of one seed and setting, by least squares on the logarithms of
    what is compared by ratio, and on the levels of the factor: of ``loss``, ``complexity`` and ``level``, each after
    those before it, with the loss or the complexity first and the level last, and in the mean over all orders (LMG).
    They are adjusted for what as many useless numbers would add, so that one of nothing is zero in the mean.
    """
    columns = ["measure", "complexity", "twin", "order", "predictor", "runs", "share", "ci_low", "ci_high"]
    return pd.DataFrame(_shares(results), columns=columns)


def _shares(results: StudyResults) -> Iterator[dict[str, Any]]:
    values = Values(results)
    settings, levels, seeds = values.places
    for measure, complexity, twin, columns in _triples(results):
        rows, (sharp, function, loss) = _numbers(results, columns)
        if not len(rows):
            continue
        of_level = (levels[rows, None] == np.unique(levels[rows])[1:]).astype(float)
        group = settings[rows] * len(values.seeds) + seeds[rows]
        found = partition(sharp, [loss[:, None], function[:, None], of_level], group, seeds[rows], _STREAM)
        key = {"measure": measure, "complexity": complexity, "twin": twin, "runs": len(rows)}
        yield from ({**key, **row} for row in _of_partition(found))


def _of_partition(found: Partition) -> Iterator[dict[str, Any]]:
    for name, order in _ORDERS.items():
        steps = found.steps.at(found.orders.index(order))
        for place, index in enumerate(order):
            yield {"order": name, "predictor": PREDICTORS[index], **_share(steps, place)}
    for place, predictor in enumerate(PREDICTORS):
        yield {"order": MEAN, "predictor": predictor, **_share(found.mean, place)}


def _share(bounds: Bounds, place: int) -> dict[str, float]:
    value, low, high = (float(part[place]) for part in (bounds.value, bounds.low, bounds.high))
    return {"share": value, "ci_low": low, "ci_high": high}


def _triples(results: StudyResults) -> Iterator[tuple[str, str, str, tuple[str, str, str]]]:
    """Yield each measure of sharpness and of complexity with the columns of both and of the loss, and so each twin."""
    if LOSS not in results.measured:
        return
    measures, complexities = asked(results)
    for measure in measures:
        for complexity in complexities:
            yield measure, complexity, "", (measure, complexity, LOSS)
            for twin in TWINS:
                found = [twin_column(results, name, twin) for name in (measure, complexity, LOSS)]
                known = [name for name in found if name is not None]
                if len(known) == len(found):
                    yield measure, complexity, twin, (known[0], known[1], known[2])


def _numbers(results: StudyResults, columns: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the runs that have all of some columns, and these on the scales on which they are compared."""
    values = Values(results)
    table = results.runs[list(columns)].to_numpy(float)
    rows = np.flatnonzero(np.isfinite(table).all(axis=1))
    return rows, np.stack([values.scaled(name).forward(results.runs[name].to_numpy(float)[rows]) for name in columns])
