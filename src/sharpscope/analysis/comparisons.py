"""How each level of the factor differs from the reference in each setting: a tidy table with tests and intervals.

A setting is a combination of the varying keys other than factor and seed. What decides is the contrast over the whole
study, in ``contrasts``; where there are several settings, what is found in each by itself is secondary.
"""

from __future__ import annotations

import pandas as pd

from sharpscope.analysis.contrasts import contrasts_table
from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.same_runs import same_levels
from sharpscope.analysis.tested import (
    ADJUSTED_COLUMNS,
    COLUMNS,
    REPEATED,
    SECONDARY,
    Tested,
    by_benjamini_hochberg,
    repeat,
    untested,
)
from sharpscope.analysis.values import Values


def comparisons_table(results: StudyResults, contrasts: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return one row a setting, quantity and level other than the reference: the difference there.

    Columns: ``n`` pairs of seeds, of which ``zeros`` do not differ; ``scale``, whether ``difference`` is a ratio (level
    by reference) or a difference (level minus reference), by the Hodges-Lehmann estimate of the paired differences,
    with the interval that inverts the test and its ``ci_level``; ``mean_difference``, which a single seed can carry
    away; ``effect`` (matched-pairs rank-biserial) and ``verdict``, its direction in words; two-sided exact ``p`` of the
    signed-rank test, adjusted over all settings together; the smallest p-values that could be reached; ``method``: what
    entered the test.

    The only setting of a study is the whole study, so that its rows are those of ``contrasts_table``. Levels that are
    the same runs count once, as there.

    Args:
        results: What the study found.
        contrasts: Its contrasts, where they are known already.
    """
    columns = [*results.keys, "quantity", "kind", results.factor.name, *COLUMNS]
    if not results.keys:
        return (contrasts_table(results) if contrasts is None else contrasts)[columns]
    values, same = Values(results), same_levels(results)
    rows = []
    found = {name: values.scaled(name) for name in results.measured}
    differences = {(name, level): values.differences(name, level) for name in found for level in values.others}
    for setting, group in enumerate(values.settings):
        for (name, level), of_settings in differences.items():
            tested = Tested(name, level, found[name], of_settings[setting])
            family = REPEATED if level in same else SECONDARY
            rows.append({**group, **tested.described(results), "family": family})
    table = pd.DataFrame(rows, columns=[c for c in columns if c not in ADJUSTED_COLUMNS])
    counts = table["family"] == SECONDARY
    parts = (by_benjamini_hochberg(table[counts]), untested(table[~counts]))
    whole = pd.concat([part for part in parts if len(part)]) if len(table) else parts[0]
    return repeat(whole.sort_index(), results.factor.name, same)[columns]
