"""The error of having measured a random subset of the data instead of all of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch

from sharpscope.curvature.estimate import Estimate
from sharpscope.curvature.measure import Definitions, Kinds, Measured, on_the_rest
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


def sampling_errors(
    measured: Measured,
    run: Callable[[Iterable[Batch], Definitions], Measured],
    batches: Iterable[Batch],
    population: int,
    stream: Stream,
    noted: Kinds = (),
) -> tuple[dict[str, float], dict[str, BaseException]]:
    """Return the standard error that measuring a subset of ``population`` data points leaves, by key.

    The subset is divided at random into up to 16 groups, and everything is measured on each, which costs as much as
    the measurement itself. A measure that is a function of sums over samples is known without each group, too: the
    delete-a-group jackknife gives its error, bias included. For any other measure the spread over the groups gives it
    (the method of random groups), as if a group were like the subset in all but its size; how far their mean lies from
    the value tells of the bias.

    Args:
        measured: What was measured on the subset.
        run: Measures other samples, with the same random numbers each time.
        batches: The subset.
        population: What it was drawn from, without replacement.
        stream: Where the groups are drawn from.
        noted: Kinds of errors that cost no more than the measure that raises them.

    Returns:
        The errors of the estimates, none where the subset is too small to be divided; and what was raised by measures
        that fail on a group or without it, so that their errors cannot be told.

    Reference: Wolter, "Introduction to Variance Estimation", 2nd edition, 2007, chapters 2 and 4.
    """
    samples = measured.risk.samples
    groups = min(_GROUPS, samples // _SMALLEST_GROUP)
    if groups < 2 or samples >= population:
        return {}, {}
    labels = stream.numpy().permutation(np.arange(samples) % groups)
    inside: dict[str, list[float]] = {key: [] for key in measured.estimates}
    outside: dict[str, list[float]] = {key: [] for key in measured.estimates}
    failed: dict[str, BaseException] = {}
    for group in range(groups):
        asked = {key: measured.asked[key] for key in inside if key not in failed}
        part = run(RandomGroup(batches, labels, group), asked)
        failed |= part.failed
        for key, estimate in part.estimates.items():
            inside[key].append(estimate.value)
            try:
                rest = _without(part, key, measured)
            except noted as error:
                failed[key] = error
                continue
            if rest is not None:
                outside[key].append(rest.value)
    # Without replacement nothing is left to chance once all data points are drawn.
    left = 1 - samples / population
    errors = {}
    for key in measured.estimates.keys() - failed.keys():
        if len(outside[key]) == groups:
            errors[key] = jackknife_error(measured.estimates[key].value, outside[key], left)
        else:
            errors[key] = random_groups_error(measured.estimates[key].value, inside[key], left)
    return errors, failed


def _without(part: Measured, key: str, measured: Measured) -> Estimate | None:
    """Return a measure on the samples that are not in a part, if sums tell of it."""
    if not measured.risk.additive or key not in measured.sums or key not in part.sums:
        return None
    return on_the_rest(measured.risk, *measured.asked[key], measured.sums[key], part.sums[key])


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


def random_groups_error(value: float, values: list[float], left: float = 1.0) -> float:
    """Return the root of the mean squared error of a value from those of groups of its samples.

    It joins the standard error of the mean over the groups and the bias. What cancels over samples, such as the
    gradient at a minimum, falls with the root of their number: the bias of n groups is then that of all samples times
    the root of n, and the difference of the two tells it. Bias that falls faster is stated too large. It is infinite
    where a value is not finite.

    Args:
        value: From all samples.
        values: From each group.
        left: As for the jackknife.
    """
    if not np.isfinite([value, *values]).all():
        return math.inf
    spread = float(np.var(values, ddof=1)) / len(values)
    bias = (float(np.mean(values)) - value) / (math.sqrt(len(values)) - 1)
    return math.hypot(math.sqrt(left * spread), left * bias)
