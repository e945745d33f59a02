"""The error of having measured a random subset of the data instead of all of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from sharpscope.curvature.estimate import Estimate
from sharpscope.curvature.measure import Asked, Sums, on_the_rest
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batch
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
        self.ordered: bool = getattr(batches, "ordered", False)

    def __iter__(self) -> Iterator[Batch]:
        start = 0
        for batch in self._batches:
            rows = np.flatnonzero(self._chosen[start : start + batch.size])
            start += batch.size
            if len(rows):
                yield batch.take(torch.from_numpy(rows))


@dataclass(frozen=True)
class Measured:
    """What was measured on some samples.

    Attributes:
        risk: The risk on them.
        asked: The measures.
        estimates: What they found, by key.
        sums: The sums over samples that a measure found its value from, where it needed nothing else.
    """

    risk: Risk
    asked: Asked
    estimates: Mapping[str, Estimate]
    sums: Sums

    def without(self, part: Measured) -> dict[str, float]:
        """Return the values on the samples that are not in ``part``, for the measures that sums tell them of."""
        found: dict[str, float] = {}
        if not self.risk.additive:
            return found
        for key in self.sums.keys() & part.sums.keys():
            estimate = on_the_rest(self.risk, *self.asked[key], self.sums[key], part.sums[key])
            if estimate is not None:
                found[key] = estimate.value
        return found


def sampling_errors(
    measured: Measured,
    run: Callable[[Iterable[Batch]], Measured],
    batches: Iterable[Batch],
    population: int,
    stream: Stream,
) -> dict[str, float]:
    """Return the standard error that measuring a subset of ``population`` data points leaves, by key.

    The subset is divided at random into up to 16 groups, and everything is measured on each, which costs as much as
    the measurement itself. A measure that is a function of sums over samples is known without each group, too: the
    delete-a-group jackknife gives its error, bias included. For any other measure the spread over the groups gives it
    (the method of random groups), as if a group were like the subset in all but its size.

    Args:
        measured: What was measured on the subset.
        run: Measures other samples, with the same random numbers each time.
        batches: The subset.
        population: What it was drawn from, without replacement.
        stream: Where the groups are drawn from.

    Reference: Wolter, "Introduction to Variance Estimation", 2nd edition, 2007, chapters 2 and 4.
    """
    samples = measured.risk.samples
    groups = min(_GROUPS, samples // _SMALLEST_GROUP)
    if groups < 2 or samples >= population:
        return {}
    labels = stream.numpy().permutation(np.arange(samples) % groups)
    inside: dict[str, list[float]] = {}
    outside: dict[str, list[float]] = {}
    for group in range(groups):
        part = run(RandomGroup(batches, labels, group))
        for values, found in ((inside, _values(part.estimates)), (outside, measured.without(part))):
            for key, value in found.items():
                values.setdefault(key, []).append(value)
    # Without replacement nothing is left to chance once all data points are drawn.
    left = 1 - samples / population
    errors = {}
    for key, values_inside in inside.items():
        rest = outside.get(key, [])
        if len(rest) == groups:
            errors[key] = jackknife_error(measured.estimates[key].value, rest, left)
        else:
            errors[key] = random_groups_error(values_inside, left)
    return errors


def _values(estimates: Mapping[str, Estimate]) -> dict[str, float]:
    return {key: estimate.value for key, estimate in estimates.items()}


def jackknife_error(value: float, rest: list[float], left: float = 1.0) -> float:
    """Return the root of the mean squared error of a value from those without each of several groups of samples.

    It is infinite where one of them is not finite.

    Args:
        value: From all samples.
        rest: From the samples without each group.
        left: The share of the variance, and of the bias, of independent samples that drawing without replacement
            leaves.
    """
    if not np.isfinite([value, *rest]).all():
        return math.inf
    changes = np.array(rest) - value
    spread = (len(rest) - 1) * float(np.var(changes))
    bias = (len(rest) - 1) * float(np.mean(changes))
    return math.hypot(math.sqrt(left * spread), left * bias)


def random_groups_error(values: list[float], left: float = 1.0) -> float:
    """Return the standard error of the mean over groups of samples; infinite where a group has no finite value.

    Args:
        values: From each group.
        left: As for the jackknife.
    """
    if not np.isfinite(values).all():
        return math.inf
    return math.sqrt(left / len(values)) * float(np.std(values, ddof=1))
