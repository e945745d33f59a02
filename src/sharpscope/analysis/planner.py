"""How many seeds a study takes: what its tests would find with more or fewer of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sharpscope.analysis.contrasts import Contrast, primary_contrasts
from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.statistics.power import (
    Decision,
    detectable,
    found_by_flips,
    found_by_signed_rank,
    power,
    simulated_flips,
    simulated_rivals,
)
from sharpscope.analysis.tested import ALPHA
from sharpscope.errors import SharpscopeError, suggest
from sharpscope.numpy_stream import NumpyStream

SEEDS = (5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 25, 30)
_STREAM = NumpyStream(0, "analysis", "planner")
_RIVALS = 50  # simulated families
_SIMULATIONS = 10 * _RIVALS


def planned(results: StudyResults, effects: Mapping[str, float], seeds: Sequence[int] = SEEDS) -> pd.DataFrame:
    """Return one row a test of the primary family and number of seeds.

    Columns: the quantity, its ``scale``, the level and ``n``; ``sd``, the spread of the study's seeds on the scale
    (logarithms of ratios); ``effect``, the difference that is asked for, and the ``power`` to find it; ``detectable``,
    the smallest difference found in four of five studies, infinite where none is. A seed's values are taken as normal
    with the spread that the seeds of this study have, and the other tests of the family to depend on one another as
    they do here, but not on it: that makes the power up to 0.05 too high where all of them share a reference.

    Args:
        results: What the study found.
        effects: Differences by quantity: a factor above 1 of a quantity that is compared by ratio.
        seeds: The numbers of seeds.

    Raises:
        SharpscopeError: If an effect is of no primary quantity, or does not fit how it is compared, or no test of the
            family has two seeds.
    """
    family = [one for one in primary_contrasts(results) if np.isfinite(one.tested.values).sum() > 1]
    if not family:
        raise SharpscopeError("no test of the primary family has two seeds, and one tells nothing of their spread")
    _check(results, effects, family)
    spreads = [float(np.nanstd(one.tested.values, ddof=1)) for one in family]
    rows: list[dict[str, Any]] = []
    for n in seeds:
        test = _test(results, family, n)
        seen = detectable(test, n, _STREAM.child("seen"), simulations=_SIMULATIONS)
        for one, sd in zip(family, spreads, strict=True):
            scaled, effect = one.tested.scaled, effects.get(one.tested.quantity, np.nan)
            size = float(scaled.forward(np.array(effect))) / sd if sd > 0 else np.nan
            found = (
                power(test, n, size, _STREAM.child("seen"), simulations=_SIMULATIONS) if np.isfinite(size) else np.nan
            )
            rows.append(
                {
                    "quantity": one.tested.quantity,
                    "scale": scaled.scale,
                    results.factor.name: one.tested.level,
                    "n": n,
                    "sd": sd,
                    "effect": effect,
                    "power": found,
                    "detectable": scaled.back(seen * sd) if sd > 0 else np.nan,
                }
            )
    return pd.DataFrame(rows)


def _check(results: StudyResults, effects: Mapping[str, float], family: Sequence[Contrast]) -> None:
    scales = {one.tested.quantity: one.tested.scaled.scale for one in family}
    for name, effect in effects.items():
        if name not in scales:
            raise SharpscopeError(
                f"'{name}' is no quantity of the primary family{suggest(name, scales)}; it has {', '.join(scales)}"
            )
        if not effect > (1 if scales[name] == "ratio" else 0):
            fit = "a factor above 1, since it is compared by ratio" if scales[name] == "ratio" else "above 0"
            raise SharpscopeError(f"the effect of '{name}' must be {fit}, got {effect:g}")


def _test(results: StudyResults, family: Sequence[Contrast], n: int) -> Decision:
    """Return the test of the family as the study corrects it, in a study of ``n`` seeds."""
    if results.study.get("correction") == "holm":
        return found_by_signed_rank(ALPHA / len(family))
    differences = np.stack([one.tested.values for one in family])
    complete = differences[:, np.isfinite(differences).all(axis=0)]
    flips = simulated_flips(n, _STREAM)
    if len(family) == 1 or complete.shape[1] < 2:
        return found_by_flips(flips, np.zeros(len(flips)), alpha=ALPHA)
    rivals = simulated_rivals(complete[1:], flips, _STREAM.child("rivals", n), simulations=_RIVALS)
    return found_by_flips(flips, np.tile(rivals, (_SIMULATIONS // _RIVALS, 1)), alpha=ALPHA)
