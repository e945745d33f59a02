"""Temperatures: logits divided by one number, so that confidence changes and no prediction does.

Reference: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import softmax

from sharpscope.condition import Case
from sharpscope.errors import DataError
from sharpscope.numpy_stream import NumpyStream
from sharpscope.safety.predictions import Predictions
from sharpscope.safety.splits import Split, TopSplit

# A temperature is looked for between e^-4 and e^4.
BOUND = 4.0
# How often a test set is halved where there is no calibration split.
REPEATS = 5


class Fit(NamedTuple):
    """A temperature that was fitted.

    Attributes:
        temperature: The number; of halves of a test set the geometric mean of theirs.
        converged: Whether it lies within the bounds. It does not where the predictions are all right, since then the
            likelihood grows without end.
        halves: None, or of each time that the test set was halved the temperatures of its halves, each of which was
            fitted to the other half.
    """

    temperature: float
    converged: bool
    halves: tuple[tuple[float, float], ...] = ()


def fitted(split: Split) -> Fit:
    """Return the temperature at which the negative log-likelihood of a set is least.

    Args:
        split: What the model says about samples that it was neither trained nor tested on.
    """
    logits = split.logits.astype(np.float64)
    # One number a sample may be taken off; then all are 0 or less, and 0 of what is right.
    logits -= logits.max(axis=1, keepdims=True)
    true = np.take_along_axis(logits, split.targets[:, None], axis=1).mean()

    def slope(log_temperature: float) -> float:
        inverse = np.exp(-log_temperature)
        return float((softmax(logits * inverse, axis=1) * logits).sum(axis=1).mean() - true)

    # The likelihood is convex in the inverse, of which this is the slope. Its sign tells a valley from a plateau: where
    # all predictions are right it goes to 0 from below, and the likelihood itself is soon 0 to the last digit.
    return _crossed(slope)


def _crossed(falling: Callable[[float], float]) -> Fit:
    """Return the temperature at which a function of its logarithm that falls goes through 0; a bound if it does not."""
    if falling(-BOUND) <= 0 or falling(BOUND) >= 0:
        return Fit(math.exp(-BOUND if falling(-BOUND) <= 0 else BOUND), converged=False)
    return Fit(math.exp(brentq(falling, -BOUND, BOUND, xtol=1e-10)), converged=True)


def cross_fitted(test: Split) -> Fit:
    """Return temperatures for a test set without a calibration split: each half has the one that suits the other half.

    The halves are stratified, and drawn several times over.

    Args:
        test: What the model says about the test set.

    Raises:
        DataError: If there are fewer than two samples.
    """
    if len(test.targets) < 2:
        raise DataError("a temperature is fitted to half of the test set, which needs two samples or more; got 1")
    fits = []
    for second in _halves(test.targets):
        # The temperature of the first half is that of the second.
        parts = [Split(test.logits[half], test.targets[half]) for half in (second, ~second)]
        fits.append([fitted(part) for part in parts])
    temperatures = [fit.temperature for pair in fits for fit in pair]
    mean = float(np.exp(np.mean(np.log(temperatures))))
    halves = tuple((first.temperature, other.temperature) for first, other in fits)
    return Fit(mean, all(fit.converged for pair in fits for fit in pair), halves)


def _halves(targets: np.ndarray) -> list[np.ndarray]:
    """Return for each repeat which samples are in the second half, shape ``[N]`` each; classes are halved too."""
    found = []
    for repeat in range(REPEATS):
        order = NumpyStream("calibration", "halves", repeat).numpy().permutation(len(targets))
        by_class = order[np.argsort(targets[order], kind="stable")]
        second = np.zeros(len(targets), dtype=bool)
        second[by_class[1::2]] = True
        found.append(second)
    return found


def entropy(split: Split) -> float:
    """Return the mean entropy of the probabilities of a set, in nats: how little a model is sure."""
    return float(-(np.exp(split.log_probabilities) * split.log_probabilities).sum(axis=1).mean())


def as_sure(split: Split, wanted: float) -> Fit:
    """Return the temperature at which a set has a mean entropy.

    Args:
        split: What the model says.
        wanted: The mean entropy in nats.
    """
    # Entropy rises with the temperature.
    return _crossed(lambda log_temperature: wanted - entropy(divided(split, math.exp(log_temperature))))


def divided(split: Split, temperature: float | np.ndarray) -> Split:
    """Return a set with the logits divided by a temperature, in float64, so that no prediction changes.

    Args:
        split: The set.
        temperature: One number, or one for each sample.

    Raises:
        DataError: If a prediction does change, which is that of a number that is no temperature.
    """
    by = np.asarray(temperature, dtype=np.float64)
    found = Split(split.logits.astype(np.float64) / (by[:, None] if by.ndim else by), split.targets)
    if not np.array_equal(found.predicted, split.predicted):
        raise DataError(f"a temperature must be positive and leave each prediction as it is, got {temperature}")
    return found


def divisors(fit: Fit, targets: np.ndarray) -> list[float | np.ndarray]:
    """Return what the logits of the test set are divided by: once, or once for each time that it was halved.

    Args:
        fit: The temperature.
        targets: Of the test set.

    Returns:
        One number, or one for each sample.
    """
    if not fit.halves:
        return [fit.temperature]
    return [
        np.where(second, second_half, first_half)
        for second, (first_half, second_half) in zip(_halves(targets), fit.halves, strict=True)
    ]


def case_readings(case: Case, kept: TopSplit, predictions: Predictions, fit: Fit) -> list[TopSplit]:
    """Return what a model says in one case of a condition at a temperature that was fitted without any condition.

    Each test sample has the temperature of the clean one; samples of other data have that of the fit.

    Args:
        case: The case.
        kept: All classes of what the model says.
        predictions: The clean ones.
        fit: The temperature.

    Returns:
        As many as there are ``readings``.

    Raises:
        DataError: If not all classes are kept.
    """
    classes = predictions.test.logits.shape[1]
    own = divisors(fit, predictions.test.targets)
    return [kept.divided(by if case.kind != "data" else fit.temperature, classes) for by in own]


def readings(
    predictions: Predictions, fit: Fit, cases: Mapping[Case, Sequence[TopSplit]] = MappingProxyType({})
) -> list[Predictions]:
    """Return what a model says at a temperature: once, or once for each time that the test set was halved.

    Args:
        predictions: Of the model as it is; those under conditions are left out.
        fit: The temperature.
        cases: Those under conditions at the temperature, by ``case_readings``.
    """
    held = predictions.calibration
    twin = replace(
        predictions,
        train=divided(predictions.train, fit.temperature),
        calibration=None if held is None else divided(held, fit.temperature),
    )
    return [
        replace(
            twin,
            test=divided(predictions.test, by),
            cases={case: of_each[index] for case, of_each in cases.items()},
        )
        for index, by in enumerate(divisors(fit, predictions.test.targets))
    ]
