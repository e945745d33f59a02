"""The error of having measured a random subset of the data instead of all of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import torch

from sharpscope.curvature.batches import Batch
from sharpscope.curvature.estimate import Estimate
from sharpscope.seeding import Stream

# More groups know their own spread better; larger groups are more like the whole subset.
_GROUPS = 16
_SMALLEST_GROUP = 8


class RandomGroup:
    """The samples of one of several random groups of equal size, in the batches that they come in.

    Args:
        batches: All samples.
        labels: The group of each sample.
        group: Which group.
    """

    def __init__(self, batches: Iterable[Batch], labels: np.ndarray, group: int) -> None:
        self._batches = batches
        self._chosen = labels == group

    def __iter__(self) -> Iterator[Batch]:
        start = 0
        for batch in self._batches:
            rows = np.flatnonzero(self._chosen[start : start + batch.size])
            start += batch.size
            if len(rows):
                yield batch.take(torch.from_numpy(rows))


def sampling_errors(
    run: Callable[[Iterable[Batch]], Mapping[str, Estimate]],
    batches: Iterable[Batch],
    samples: int,
    population: int,
    stream: Stream,
) -> dict[str, float]:
    """Return the standard error that measuring ``samples`` of ``population`` data points leaves, by key.

    By the method of random groups: the subset is divided at random into up to 16 groups, everything is measured on
    each, and the spread of the values over the groups tells that of the subset. It holds for any measure whose value
    is a smooth function of means over samples, and costs as much as the measurement itself.

    Args:
        run: Measures some samples, with the same random numbers each time.
        batches: The subset.
        samples: Its size.
        population: What it was drawn from, without replacement.
        stream: Where the groups are drawn from.

    Reference: Wolter, "Introduction to Variance Estimation", 2nd edition, 2007, chapter 2.
    """
    groups = min(_GROUPS, samples // _SMALLEST_GROUP)
    if groups < 2 or samples >= population:
        return {}
    labels = stream.numpy().permutation(np.arange(samples) % groups)
    values: dict[str, list[float]] = {}
    for group in range(groups):
        for key, estimate in run(RandomGroup(batches, labels, group)).items():
            values.setdefault(key, []).append(estimate.value)
    # Without replacement nothing is left to chance once all data points are drawn.
    left = math.sqrt(1 - samples / population)
    return {key: left * float(np.std(found, ddof=1)) / math.sqrt(groups) for key, found in values.items()}
