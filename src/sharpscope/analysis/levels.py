"""What each level of the factor is like: the mean of every quantity with its interval."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.statistics import Interval, mean_interval
from sharpscope.analysis.values import Values
from sharpscope.numpy_stream import NumpyStream

# All means see the same resamples of seeds, so their intervals are comparable.
_STREAM = NumpyStream(0, "analysis", "mean")


def levels_table(results: StudyResults) -> pd.DataFrame:
    """Return one row a group, quantity and level: n, mean, sd and the interval of the mean.

    ``n`` counts seeds, ``unconverged`` those of them whose value did not reach its precision; the sd is over runs (for
    a score of pairs, over the means of the runs' pairs).
    """
    rows = []
    factor, values = results.factor.name, Values(results)
    for name in results.measured:
        of_runs, independent = values.of_runs(name), values.independent(name)
        unconverged = np.zeros(values.shape, dtype=bool)
        unconverged[values.places] = results.unconverged(name)
        for setting, group in enumerate(values.settings):
            for k, level in enumerate(values.levels):
                of_run = of_runs[setting, k][np.isfinite(of_runs[setting, k])]
                interval = mean_interval(independent[setting, k], _STREAM)
                if name in results.of_pairs and not interval.n:
                    interval = _of_one_pair(values.matrices(name)[setting, k])
                rows.append(
                    {
                        **group,
                        "quantity": name,
                        "kind": results.quantities[name].kind,
                        factor: level,
                        "n": len(of_run),
                        "mean": interval.value,
                        "sd": of_run.std(ddof=1) if len(of_run) > 1 else np.nan,
                        "ci_low": interval.low,
                        "ci_high": interval.high,
                        "unconverged": int(unconverged[setting, k].sum()),
                        "setting": setting,
                    }
                )
    columns = [*results.keys, "quantity", "kind", factor, "n", "mean", "sd", "ci_low", "ci_high", "unconverged"]
    table = pd.DataFrame(rows, columns=[*columns, "setting"])
    return table.sort_values("setting", kind="stable", ignore_index=True)[columns]


def means_of(results: StudyResults, levels: pd.DataFrame, name: str) -> dict[str, np.ndarray]:
    """Return ``mean``, ``ci_low`` and ``ci_high`` of a quantity by setting and level, each ``[settings, levels]``.

    Args:
        results: What the study found.
        levels: Its ``levels_table``, which has every setting and level of every quantity.
        name: The quantity.
    """
    part = levels[levels["quantity"] == name]
    return {end: part[end].to_numpy(float).reshape(-1, len(results.levels)) for end in ("mean", "ci_low", "ci_high")}


def _of_one_pair(pairs: np.ndarray) -> Interval:
    """Return the value of the one pair that two seeds have, which stands without an interval."""
    found = pairs[np.triu_indices(len(pairs), 1)]
    found = found[np.isfinite(found)]
    nothing = float("nan")
    return Interval(0, float(found.mean()) if len(found) else nothing, nothing, nothing, 0.0)
