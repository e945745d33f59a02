"""How many seeds a study takes: what its tests would find with more or fewer of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sharpscope.analysis.contrasts import Contrast, primary_contrasts
from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.statistics.power import (
    Decision,
    Rivals,
    detectable,
    found_by_flips,
    found_by_signed_rank,
    power,
    simulated_family,
    simulated_flips,
)
from sharpscope.analysis.tested import ALPHA
from sharpscope.errors import SharpscopeError, suggest
from sharpscope.numpy_stream import NumpyStream

SEEDS = (5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 25, 30)
_STREAM = NumpyStream(0, "analysis", "planner")
_SIMULATIONS = 300  # by which a power is known to 0.03
_HALVINGS = 8


def planned(results: StudyResults, effects: Mapping[str, float], seeds: Sequence[int] = SEEDS) -> pd.DataFrame:
    """Return one row a test of the primary family and number of seeds.

    Columns: the quantity, its ``scale``, the level and ``n``; ``sd``, the spread of the study's seeds on the scale
    (logarithms of ratios); ``effect``, the difference that is asked for, and the ``power`` to find it; ``detectable``,
    the smallest difference found in four of five studies, infinite where none is. A seed's values are taken as normal
    with the spread that the seeds of this study have, and all tests of the family to depend on one another as they do
    here, without a difference in any but the one that is asked for.

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
        for one, sd, (found, values) in zip(family, spreads, _tests(results, family, n), strict=True):
            scaled, effect = one.tested.scaled, effects.get(one.tested.quantity, np.nan)
            size = float(scaled.forward(np.array(effect))) / sd if sd > 0 else np.nan
            rows.append(
                {
                    "quantity": one.tested.quantity,
                    "scale": scaled.scale,
                    results.factor.name: one.tested.level,
                    "n": n,
                    "sd": sd,
                    "effect": effect,
                    "power": power(found, values, size) if np.isfinite(size) else np.nan,
                    "detectable": scaled.back(detectable(found, values, halvings=_HALVINGS) * sd) if sd > 0 else np.nan,
                }
            )
    return pd.DataFrame(rows)


def _check(results: StudyResults, effects: Mapping[str, float], family: Sequence[Contrast]) -> None:
    scales = {one.tested.quantity: one.tested.scaled.scale for one in family}
    for name, effect in effects.items():
        if name not in scales:
            raise SharpscopeError(f"'{name}' is no quantity of the primary family{suggest(name, scales)}")
        if not effect > (1 if scales[name] == "ratio" else 0):
            fit = "a factor above 1, since it is compared by ratio" if scales[name] == "ratio" else "above 0"
            raise SharpscopeError(f"the effect of '{name}' must be {fit}, got {effect:g}")


def _tests(results: StudyResults, family: Sequence[Contrast], n: int) -> Iterator[tuple[Decision, np.ndarray]]:
    """Yield each test of the family as the study corrects it, in a study of ``n`` seeds, with its simulated values."""
    values = _simulated(family, n)
    if results.study.get("correction") == "holm":
        yield from ((found_by_signed_rank(ALPHA / len(family)), of_test) for of_test in values)
        return
    flips = simulated_flips(n, _STREAM)
    rivals = Rivals.of(values, flips)
    for test, of_test in enumerate(values):
        yield found_by_flips(flips, rivals.beside(test), alpha=ALPHA), of_test


def _simulated(family: Sequence[Contrast], n: int) -> np.ndarray:
    """Return the values of all tests in studies of ``n`` seeds without differences, ``[tests, simulations, n]``.

    How the tests depend on one another is known by the seeds that have all of them; of fewer than two such, nothing is,
    and they are taken as independent.
    """
    differences = np.stack([one.tested.values for one in family])
    complete = differences[:, np.isfinite(differences).all(axis=0)]
    known = complete if complete.shape[1] > 1 else np.zeros((len(family), 2))
    return simulated_family(known, n, _STREAM.child("family", n), simulations=_SIMULATIONS)
