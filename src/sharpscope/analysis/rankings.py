"""How well measures rank runs that differ in one thing alone, as the literature on generalization measures asks."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.statistics import mean_interval
from sharpscope.analysis.statistics.granulated import granulated_kendall, sign_error
from sharpscope.analysis.values import Values
from sharpscope.numpy_stream import NumpyStream

_STREAM = NumpyStream(0, "analysis", "rankings")

COLUMNS = ["measure", "quantity", "psi", "ci_low", "ci_high", "axes"]
COLUMNS += ["pairs", "sign_error_greatest", "sign_error_mean", "sign_error_q1", "sign_error_median", "sign_error_q3"]


def rankings_table(results: StudyResults) -> pd.DataFrame:
    """Return one row a measure at the end of training, set against the gap between train and test.

    ``psi`` is Kendall's coefficient over runs of one seed that differ in one axis of the grid alone (the factor, or a
    key), averaged over groups and then over axes, with its interval over seeds; ``axes`` has the mean of each axis. The
    sign errors are the shares of seeds in which measure and gap move in opposite directions, over the ``pairs`` of
    cells that differ in one axis and whose gaps differ beyond the luck of the seeds: ``greatest`` is that of the worst
    pair, which no mean hides.
    """
    gap = results.task.gap
    if gap not in results.measured:
        return pd.DataFrame(columns=COLUMNS)
    values = Values(results)
    names, of_cell = _axes(values)
    settings, levels, _ = values.places
    of_run = of_cell[settings * len(values.levels) + levels]
    seeds, y = results.runs["seed"].to_numpy(), results.runs[gap].to_numpy(float)
    rows = []
    for measure in results.measures():
        x = results.runs[measure].to_numpy(float)
        found = granulated_kendall(x, y, seeds, of_run)
        interval = mean_interval(found.psi, _STREAM)
        errors = sign_error(_by_cell(values, measure), _by_cell(values, gap), of_cell)
        rows.append(
            {
                "measure": measure,
                "quantity": gap,
                "psi": interval.value,
                "ci_low": interval.low,
                "ci_high": interval.high,
                "axes": _means(names, found.of_axis),
                "pairs": errors.pairs,
                "sign_error_greatest": errors.greatest,
                "sign_error_mean": errors.mean,
                **dict(zip(COLUMNS[-3:], errors.quartiles, strict=True)),
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def _by_cell(values: Values, name: str) -> np.ndarray:
    return values.of_runs(name).reshape(-1, len(values.seeds))


def _axes(values: Values) -> tuple[list[str], np.ndarray]:
    """Return the axes of the grid, and the value of each cell on each as a number, shape ``[cells, axes]``."""
    results = values.results
    told = pd.DataFrame(values.settings, columns=results.keys)
    coded = [pd.factorize(told[key], use_na_sentinel=False)[0] for key in results.keys]
    levels = np.arange(len(values.levels))
    rows = [[*(codes[s] for codes in coded), level] for s in range(len(values.settings)) for level in levels]
    return [*results.keys, results.factor.name], np.array(rows, dtype=np.int64).reshape(-1, len(coded) + 1)


def _means(names: list[str], of_axis: np.ndarray) -> str:
    """Return the mean over seeds of each axis as text: "regime 0.61, training.lr 0.12"."""
    told = []
    for name, column in zip(names, of_axis.T, strict=True):
        known = column[np.isfinite(column)]
        if len(known):
            told.append(f"{name} {known.mean():.2f}")
    return ", ".join(told)
