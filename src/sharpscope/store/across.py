"""Which runs of different levels of a study's factor are compared: few of all that could be."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

from sharpscope.spec import REGIME, Factor, changes_test_set, is_option
from sharpscope.store.reading import Reading, StoredRun

PairOfRuns = tuple[str, str]


def across_levels(reading: Reading) -> Iterator[tuple[list[StoredRun], list[PairOfRuns]]]:
    """Yield runs with the pairs of them that differ in their level, such as two regimes, and in no other key but seed.

    Of every two levels each seed is paired with itself, and with both neighbors in a circle of seeds: 3 n pairs of n
    seeds, of n^2 that there are. Runs of one seed share the initial weights and the order of the data, others nothing.
    Between neighbors each level meets each other one, so that levels can be permuted within seeds.

    Runs come a seed at a time with those of the next, so that no more of them need be held. There are none where levels
    are tested on different samples: their outputs say nothing about one another, though the targets may be the same.
    """
    factor = Factor.of(reading.catalog["study"])
    if changes_test_set(factor.name):
        return
    settings: dict[str, dict[int, dict[str, StoredRun]]] = {}
    for run in reading.runs:
        level, setting = _place(run.point, factor)
        settings.setdefault(setting, {}).setdefault(run.point["seed"], {})[level] = run
    for by_seed in settings.values():
        seeds = sorted(by_seed)
        # Of two seeds, each is the neighbor of the other once.
        circle = [*seeds[1:], *(seeds[:1] if len(seeds) > 2 else seeds[-1:])]
        for seed, following in zip(seeds, circle, strict=True):
            one, other = _in_order(by_seed[seed], factor), _in_order(by_seed[following], factor)
            pairs = [(a.run_id, b.run_id) for a, b in itertools.combinations(one.values(), 2)]
            if following != seed:
                for i, j in itertools.combinations(factor.levels, 2):
                    pairs += [
                        (first[i].run_id, second[j].run_id)
                        for first, second in ((one, other), (other, one))
                        if i in first and j in second
                    ]
            runs = {run.run_id: run for run in (*one.values(), *other.values())}
            yield list(runs.values()), pairs


def _place(point: dict[str, Any], factor: Factor) -> tuple[str, str]:
    """Return the level of a run, and its setting: all else that it has in common with runs of other levels."""
    regime, coordinates = point["regime"], point["coordinates"]
    if factor.name == REGIME:
        setting = {key: value for key, value in coordinates.items() if not is_option(key)}
    else:
        others = {key: value for key, value in coordinates.items() if key != factor.name}
        setting = {REGIME: factor.settings[regime], **others}
    return factor.level(regime, coordinates), json.dumps(setting, sort_keys=True)


def _in_order(runs: dict[str, StoredRun], factor: Factor) -> dict[str, StoredRun]:
    """Return the runs of one seed by level, in the order of the study."""
    return {level: runs[level] for level in factor.levels if level in runs}
