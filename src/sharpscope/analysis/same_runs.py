"""Levels whose runs are the same, as a regime that does nothing and the baseline: they are told, and count once.

A setting may reach nothing: SAM of radius 0, or a share of random labels that alters no label more. Runs are made alike
to the last bit by their seed, so such levels have equal values of all that is measured, and a test that counted them as
several would find one thing several times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.values import Values
from sharpscope.analysis.wording import joined
from sharpscope.spec import REGIME


def same_levels(results: StudyResults) -> dict[str, str]:
    """Return the levels that have the runs of another one, each with that other one, in the order of the study.

    The runs of two levels are the same if, in all settings and seeds that both have, all that was measured of the
    networks is equal to the last bit; a value that both lack is equal. That is taken for chance or for the nature of
    the quantities where nothing measured tells the runs of these levels apart: where each quantity has a value that
    occurs in several of their seeds, as accuracies do, or has the same value in the whole study.

    Of levels that are the same the reference comes first, then that with the most runs, then that which the study names
    first. Scores of pairs and twins do not count: they are made of the runs and of others beside.
    """
    values = Values(results)
    columns = [
        name for name in results.measured if not results.quantities[name].twin and name not in results.pairs.columns
    ]
    if not columns or len(values.levels) < 2:
        return {}
    measured = np.stack([values.of_runs(name) for name in columns], axis=-1)
    present = np.isfinite(measured).any(axis=-1)
    varies = np.array([len(np.unique(one[np.isfinite(one)])) > 1 for one in np.moveaxis(measured, -1, 0)])
    runs = present.sum(axis=(0, 2))
    order = sorted(range(len(values.levels)), key=lambda k: (values.levels[k] != results.reference, -runs[k]))
    groups: list[list[int]] = []
    for k in order:
        found = next((group for group in groups if all(_same(measured[:, [k, m]], varies) for m in group)), None)
        if found is None:
            groups.append([k])
        else:
            found.append(k)
    first = {k: group[0] for group in groups for k in group[1:]}
    return {values.levels[k]: values.levels[first[k]] for k in sorted(first)}


def _same(pair: np.ndarray, varies: np.ndarray) -> bool:
    """Return whether the runs of two levels are the same.

    Args:
        pair: What was measured of both, shape ``[settings, 2, seeds, quantities]``; NaN where there is no value.
        varies: Which quantities have more than one value in the study, shape ``[quantities]``.
    """
    first, second = pair[:, 0], pair[:, 1]
    shared = np.isfinite(first).any(axis=-1) & np.isfinite(second).any(axis=-1)
    x, y = first[shared], second[shared]
    if not np.all((x == y) | (np.isnan(x) & np.isnan(y))):
        return False
    seeds = int(shared.any(axis=0).sum())
    return bool(seeds) and any(len(np.unique(one[np.isfinite(one)])) >= seeds for one in x.T[varies])


def counted_once(results: StudyResults) -> StudyResults:
    """Return a study without the levels that have the runs of another one."""
    same = same_levels(results)
    if not same:
        return results
    gone = set(results.runs.loc[results.runs[results.factor.name].isin(same), "run_id"])

    def without(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
        known = [column for column in columns if column in table.columns]
        return table[~table[known].isin(gone).any(axis=1)].reset_index(drop=True)

    pairs = results.pairs[~results.pairs_compared[results.factor.name].isin(same).to_numpy(bool)]
    return replace(
        results,
        ledger=without(results.ledger, "run_id"),
        reliability=without(results.reliability, "run_id"),
        confidence=without(results.confidence, "run_id"),
        conditions=without(results.conditions, "run_id"),
        pairs=pairs.reset_index(drop=True),
        pairs_across=without(results.pairs_across, "run_a", "run_b"),
    )


def once(same: Mapping[str, str], levels: list[str]) -> list[str]:
    """Return some levels without those that have the runs of another one of them.

    Args:
        same: See ``same_levels``.
        levels: The levels.
    """
    firsts = [same.get(level, level) for level in levels]
    return [level for k, level in enumerate(levels) if firsts[k] not in firsts[:k]]


def told_same(results: StudyResults) -> str:
    """Return which levels are the same runs, in sentences; empty where none are."""
    same = same_levels(results)
    if not same:
        return ""
    groups: dict[str, list[str]] = {}
    for level in results.levels:
        groups.setdefault(same.get(level, level), []).append(level)
    sets = [joined(group) for group in groups.values() if len(group) > 1]
    factor = results.factor
    of = "" if factor.name == REGIME else f" of {factor.name}"
    others = f", and so are {'; '.join(sets[1:])}" if len(sets) > 1 else ""
    count = f"Each of these sets counts as one {factor.noun}" if others else f"They count as one {factor.noun}"
    return (
        f"The {factor.noun}s {sets[0]}{of} are the same runs{others}: in every seed that they share, all that was "
        f"measured is equal to the last bit. {count}."
    )
