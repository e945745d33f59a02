"""One contrast for a whole study: differences of seeds, averaged over the settings in which they were made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats

from sharpscope.numpy_stream import NumpyStream

DRAWS = 9_999
_ROUNDING = 1e-12
_AT_ONCE = 2_000_000  # numbers held at once while orders are drawn


@dataclass(frozen=True)
class StudyWide:
    """The values of one contrast over a whole study.

    Attributes:
        values: The mean difference of each seed over the settings that count; NaN where a seed is left out, shape
            ``[seeds]``.
        settings: Which settings count, shape ``[settings]``.
    """

    values: np.ndarray
    settings: np.ndarray


def study_wide(differences: np.ndarray) -> StudyWide:
    """Return the difference of each seed to the reference, averaged over settings.

    A seed counts if it has all settings that count, so that every seed speaks of the same average. A setting counts if
    at least half of the seeds have it: one in which nearly all runs failed would leave nearly no seed.

    Args:
        differences: Of one quantity and level, shape ``[settings, seeds]``; NaN where one of the two runs has none.
    """
    present = np.isfinite(differences)
    seeds = present.any(axis=0)
    settings = present.any(axis=1) & (2 * present.sum(axis=1) >= seeds.sum())
    complete = present[settings].all(axis=0) & settings.any()
    values = np.full(differences.shape[1], np.nan)
    if complete.any():
        counted = differences[settings][:, complete]
        sums, sizes = counted.sum(axis=0), np.abs(counted).sum(axis=0)
        # Differences that cancel on paper leave a rest in the last bits, which has no sign.
        values[complete] = np.where(np.abs(sums) > _ROUNDING * sizes, sums, 0.0) / len(counted)
    return StudyWide(values, settings)


def heterogeneity(differences: np.ndarray, stream: NumpyStream, *, draws: int = DRAWS) -> np.ndarray:
    """Return the p of Friedman's test of whether differences are the same in all settings, with seeds as blocks.

    The settings are permuted within each seed, so p needs no large number of seeds.

    Args:
        differences: Shape ``[tests, settings, seeds]``; a seed counts for a test where it has all its settings, a
            setting as in ``study_wide``.
        stream: Where the orders are drawn from.
        draws: How many orders are drawn beside that observed.

    Returns:
        Shape ``[tests]``; NaN where fewer than two settings or two seeds count.

    Reference: Friedman, "The Use of Ranks to Avoid the Assumption of Normality", JASA 1937.
    """
    tests, settings, seeds = differences.shape
    p = np.full(tests, np.nan)
    kept = [study_wide(of_test) for of_test in differences]
    counted = np.array([found.settings for found in kept]).reshape(tests, settings)
    for used in np.unique(counted, axis=0):
        if used.sum() < 2:
            continue
        these = [t for t in range(tests) if (counted[t] == used).all() and np.isfinite(kept[t].values).sum() > 1]
        ranks = np.zeros((len(these), int(used.sum()), seeds))
        for row, t in enumerate(these):
            complete = np.isfinite(kept[t].values)
            # Centered, so that a seed that does not count adds nothing to any setting.
            ranks[row][:, complete] = stats.rankdata(differences[t][used][:, complete], axis=0) - (used.sum() + 1) / 2
        p[these] = _permuted(ranks, stream, draws)
    return p


def _permuted(ranks: np.ndarray, stream: NumpyStream, draws: int) -> np.ndarray:
    """Return the share of orders whose sums of ranks by setting, shape ``[tests, settings, seeds]``, vary as much."""
    observed = np.sum(ranks.sum(axis=2) ** 2, axis=1) - 1e-9
    reached = np.ones(len(ranks))
    for orders in random_orders(ranks.shape, stream, draws):
        reached += np.sum(np.sum(ordered_sums(ranks, orders) ** 2, axis=1) >= observed, axis=0)
    return reached / (draws + 1)


def random_orders(shape: tuple[int, ...], stream: NumpyStream, draws: int) -> Iterator[np.ndarray]:
    """Yield random orders of the places within each seed, a part of them at a time, shape ``[part, seeds, places]``.

    Args:
        shape: How many tests, places and seeds there are.
        stream: Where the orders are drawn from.
        draws: How many orders are drawn.
    """
    tests, places, seeds = shape
    rng, chunk = stream.numpy(), max(1, _AT_ONCE // (places * max(places * seeds, tests)))
    for start in range(0, draws, chunk):
        count = min(chunk, draws - start)
        yield rng.permuted(np.broadcast_to(np.arange(places), (count, seeds, places)), axis=2)


def ordered_sums(values: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """Return the sums over seeds at each place, with the values of each seed in another order.

    Args:
        values: Shape ``[tests, places, seeds]``.
        orders: Shape ``[orders, seeds, places]``: which value of a seed comes to stand at each place.

    Returns:
        Shape ``[orders, places, tests]``.
    """
    tests, places, seeds = values.shape
    chosen = np.zeros((len(orders), places, seeds, places))
    np.put_along_axis(chosen, orders.transpose(0, 2, 1)[..., None], 1.0, axis=3)
    flat = values.transpose(2, 1, 0).reshape(seeds * places, tests)
    return (chosen.reshape(len(orders) * places, -1) @ flat).reshape(len(orders), places, tests)
