"""How each level of the factor differs from the reference over the whole study: the tests that decide.

A contrast is a difference within a seed, averaged over the settings of the study. The declared quantities by the levels
are one family, however many settings there are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sharpscope.analysis.results import StudyResults, describe_group
from sharpscope.analysis.same_runs import same_levels
from sharpscope.analysis.statistics import (
    StudyWide,
    flip_test,
    heterogeneity,
    hodges_lehmann,
    holm,
    sign_test,
    smallest_reachable,
    study_wide,
    westfall_young,
)
from sharpscope.analysis.statistics.power import (
    Decision,
    detectable,
    found_by_flips,
    found_by_signed_rank,
    normal_values,
    rivals_of,
    simulated_flips,
)
from sharpscope.analysis.tested import (
    ADJUSTED_COLUMNS,
    ALPHA,
    COLUMNS,
    PRIMARY,
    REPEATED,
    SECONDARY,
    Tested,
    adjusted,
    by_benjamini_hochberg,
    equivalent,
    one_way,
    repeat,
    untested,
)
from sharpscope.analysis.values import Scaled, Values
from sharpscope.numpy_stream import NumpyStream
from sharpscope.spec.study import Correction

_STREAM = NumpyStream(0, "analysis", "contrasts")
CORRECTIONS: dict[Correction, str] = {"westfall_young": "Westfall-Young", "holm": "Holm"}

WIDE_COLUMNS = (
    *("settings", "same_direction", "settings_left_out", "seeds_left_out", "not_positive"),
    *("risen", "differ", "p_sign", "p_heterogeneity", "detectable", "equivalent", "same_as"),
)


@dataclass(frozen=True)
class Contrast:
    """One quantity and level over the whole study.

    Attributes:
        tested: Its differences, one a seed.
        by_setting: Its differences in each setting, shape ``[settings, seeds]``.
        wide: Which settings and seeds count.
    """

    tested: Tested
    by_setting: np.ndarray
    wide: StudyWide

    def same_direction(self) -> int:
        """Return in how many of the settings that count the difference has the direction that it has over all."""
        nothing = np.zeros(self.by_setting.shape[1])
        signs = [np.sign(hodges_lehmann(row, nothing).value) for row in self.by_setting[self.wide.settings]]
        return int(np.sum(np.array(signs) == np.sign(hodges_lehmann(self.tested.values, nothing).value)))

    def equivalent(self, margin: float | None) -> bool | None:
        """Return whether the difference is smaller than a margin on the scale as told; None where that is not asked."""
        return equivalent(self.tested.values, self.tested.scaled, margin)


def contrast(values: Values, name: str, level: str, scaled: Scaled | None = None) -> Contrast:
    """Return the contrast of one quantity and level, on a scale or, where it is None, on that of the quantity."""
    scaled = scaled or values.scaled(name)
    by_setting = values.differences(name, level, scaled)
    wide = study_wide(by_setting)
    return Contrast(Tested(name, level, scaled, wide.values), by_setting, wide)


def primary_contrasts(results: StudyResults) -> list[Contrast]:
    """Return the contrasts of the primary family; levels that are the same runs count once."""
    values, same = Values(results), same_levels(results)
    others = [level for level in values.others if level not in same]
    return [contrast(values, name, level) for name in results.primary for level in others]


def contrasts_table(results: StudyResults) -> pd.DataFrame:
    """Return one row a quantity and level other than the reference: the difference over the whole study.

    Beside the columns of ``comparisons_table``: ``settings`` that count, in how many of them the difference has the
    ``same_direction``, and which settings and seeds are left out since runs or values are missing, there or of the
    reference; ``not_positive`` values for
    which a quantity of ratios is compared by differences; the exact sign test (``risen`` of those that ``differ``, and
    ``p_sign``); ``p_heterogeneity`` of Friedman's test over settings; of primary tests that are not significant, the
    smallest difference that would have been found in four of five studies (``detectable``; infinite where none would);
    and whether the level is ``equivalent`` where the study declares a margin.

    A level whose runs are those of another one is ``same_as`` that: it belongs to no family, and its rows repeat those
    of the other one. See ``same_levels``.

    ``p`` is that of the test that is corrected: of flips of seeds in the primary family with the correction of Westfall
    and Young, of the signed-rank test elsewhere. Flips test the mean, and a verdict is the way of most ranks: where the
    two are opposite, no way is ``significant``, whatever p is.
    """
    values, same = Values(results), same_levels(results)
    found = [contrast(values, name, level) for name in results.measured for level in values.others]
    columns = ["quantity", "kind", results.factor.name, *COLUMNS, *WIDE_COLUMNS]
    rows = [
        {
            **one.tested.described(results),
            **_over_settings(values, one),
            "same_as": same.get(one.tested.level, ""),
            **({"family": REPEATED} if one.tested.level in same else {}),
        }
        for one in found
    ]
    table = pd.DataFrame(rows, columns=[c for c in columns if c not in ADJUSTED_COLUMNS])
    if found:
        signs = sign_test(np.stack([one.tested.values for one in found]))
        varies = heterogeneity(np.stack([one.by_setting for one in found]), _STREAM.child("settings"))
        table = table.assign(risen=signs.risen, differ=signs.differ, p_sign=signs.p, p_heterogeneity=varies)
    of = {family: table[table["family"] == family] for family in (PRIMARY, SECONDARY, REPEATED)}
    family = [found[i] for i in of[PRIMARY].index]
    parts = [_primary(results, of[PRIMARY], family), by_benjamini_hochberg(of[SECONDARY]), untested(of[REPEATED])]
    whole = pd.concat([part for part in parts if len(part)]) if found else parts[0]
    return repeat(whole.sort_index(), results.factor.name, same)[columns]


def _over_settings(values: Values, one: Contrast) -> dict[str, Any]:
    counted = one.wide.settings
    tried = np.isfinite(one.by_setting).any(axis=1)
    margin = values.results.study.get("margin", {}).get(one.tested.quantity)
    runs = values.results.runs
    # A seed of which no run is done may be still to come; where nothing is compared, nothing is left out.
    known = np.isin(values.seeds, runs.loc[runs["state"] == "done", "seed"])
    without = known & ~np.isfinite(one.wide.values) & np.isfinite(one.wide.values).any()
    return {
        "settings": int(counted.sum()),
        "same_direction": one.same_direction(),
        "settings_left_out": "; ".join(describe_group(values.settings[i]) for i in np.flatnonzero(tried & ~counted)),
        "seeds_left_out": ", ".join(str(values.seeds[i]) for i in np.flatnonzero(without)),
        "not_positive": one.tested.scaled.not_positive,
        "detectable": np.nan,
        "equivalent": one.equivalent(margin),
    }


def _primary(results: StudyResults, table: pd.DataFrame, family: list[Contrast]) -> pd.DataFrame:
    """Return the primary family, corrected as the study says."""
    correction: Correction = results.study.get("correction", "westfall_young")
    differences = np.stack([one.tested.values for one in family]) if family else np.empty((0, 0))
    if correction == "holm":
        p, smallest = (holm(table[column].to_numpy(float)) for column in ("p", "p_smallest"))
    else:
        smallest = smallest_reachable(differences)
        p = westfall_young(differences, _STREAM, alpha=ALPHA)
        table = table.assign(p=flip_test(differences, _STREAM), p_smallest=smallest)
    table = adjusted(table, CORRECTIONS[correction], p, smallest)
    if correction == "westfall_young":
        table = table.assign(significant=table["significant"].to_numpy(bool) & one_way(table))
    left = np.flatnonzero(~table["significant"].to_numpy(bool) & np.isfinite(p))
    sizes = dict(_detectable(correction, [family[i] for i in left]))
    tests = zip(table["quantity"], table[results.factor.name], strict=True)
    return table.assign(detectable=[sizes.get(test, np.nan) for test in tests])


def _detectable(correction: Correction, left: list[Contrast]) -> Iterator[tuple[tuple[str, str], float]]:
    """Yield what could have been found of each test that is not significant, beside the others that are not."""
    if not left:
        return
    differences = np.stack([one.tested.values for one in left])
    flips = simulated_flips(differences.shape[1], _STREAM)
    reachable = smallest_reachable(differences) <= ALPHA
    rivals = rivals_of(differences[reachable], flips)
    in_sds: dict[bytes, float] = {}
    for one in left:
        present = np.isfinite(one.tested.values)
        test: Decision = found_by_signed_rank(ALPHA / len(left))
        if correction == "westfall_young":
            test = found_by_flips(flips[:, present], rivals, alpha=ALPHA)
        key = present.tobytes()
        if key not in in_sds:
            in_sds[key] = detectable(test, normal_values(int(present.sum()), _STREAM.child("power")))
        values = one.tested.values[present]
        sd = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        size = in_sds[key] * sd if sd > 0 else math.nan
        yield (one.tested.quantity, one.tested.level), one.tested.scaled.back(size)
