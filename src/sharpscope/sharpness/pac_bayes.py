"""PAC-Bayesian flatness: how much Gaussian noise the parameters bear before accuracy or loss gives way."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from sharpscope.curvature.estimate import Estimate, mean_of
from sharpscope.curvature.estimators.sequential_sampling import BUDGET, Draws, further_draws, judged
from sharpscope.curvature.measure import MeasureFacts, Steps, measure
from sharpscope.curvature.passes.perturbation import PerturbedLosses, antithetic, pair_means, zero_one
from sharpscope.curvature.passes.reductions import norm_of
from sharpscope.curvature.risk import Risk

# The bracket of sigma begins at a tenth of the weights' size and moves by this factor, at most so many times.
_FACTOR = 4.0
_MOVES = 8
# Bisection goes on until the bracket is this narrow; inside it the drop is taken as a power of sigma.
_RESOLUTION = 1.05
# The slope of the drop in log sigma is taken between points this factor to both sides of the crossing.
_SIDE = math.sqrt(2)


@measure(
    MeasureFacts(
        label="PAC-Bayes flatness",
        symbol=r"1/\sigma^2",
        sharper_is="larger",
        invariances=frozenset({"b+c", "W+1u"}),
        variants=(
            ({"magnitude_aware": True}, frozenset()),
            ({"magnitude_aware": True, "floor": 0.0}, frozenset({"LW", "NW"})),
        ),
        cost="about 2 draws + 1 forward passes for each of about 10 values of sigma",
        exact=False,
        scale="ratio",
        reference=(
            'Jiang et al., "Fantastic Generalization Measures and Where to Find Them", ICLR 2020, Appendix C.4; after '
            'Neyshabur et al., "Exploring Generalization in Deep Learning", NeurIPS 2017'
        ),
        caveats=(
            "The accuracy may never fall by the tolerance, as where it is near chance already: not converged then.",
            "For a small tolerance t of the loss it is tr(H) / (2 t).",
            "The drop is taken to grow with sigma; where it does not, one crossing of several is found.",
            "The floor breaks the invariance of the magnitude-aware form where weights are as small as it.",
        ),
        unit="inverse square of parameters; none where magnitude-aware",
    )
)
def pac_bayes_flatness(
    risk: Risk,
    *,
    criterion: Literal["accuracy", "loss"] = "accuracy",
    tolerance: PositiveFloat = 0.1,
    draws: Draws = 10,
    magnitude_aware: bool = False,
    floor: NonNegativeFloat = 1e-3,
) -> Steps:
    r"""Inverse square of the largest Gaussian noise that keeps the expected accuracy, or loss (larger is sharper).

    .. math:: 1 / \sigma^2, \quad \sigma = \max \{ s : E_\epsilon D(\theta + \epsilon) \le t \},
        \quad \epsilon \sim N(0, s^2 I)

    with D the drop of the accuracy or the rise of the loss. Found by bisection on the logarithm of sigma, with the same
    draws at every sigma, each with both signs.

    Args:
        risk: Model, loss and N samples; class indices as targets for "accuracy".
        criterion: What the noise must keep: "accuracy" as a fraction, or "loss".
        tolerance: t, by how much it may give way.
        draws: How many pairs +eps, -eps; at least 2. With ``rtol`` of the risk, the search is repeated with more pairs
            until the standard error is that small, at most 64 times as many.
        magnitude_aware: Scale the noise of each weight by its size: standard deviation
            :math:`\sqrt{s^2 w^2 + \text{floor}^2}`.
        floor: The least deviation under ``magnitude_aware``.

    Returns:
        The estimate. ``stderr`` is that of the mean drop at sigma, carried over by the drop's slope there.
        ``details["bracket"]`` holds the two values of sigma between which the drop crosses the tolerance.
        ``converged`` is false where it never does between the ends of the range searched: the value is that at the end
        then, a bound, with an error of its own size.
    """
    noise = _Noise(risk, zero_one if criterion == "accuracy" else None, floor if magnitude_aware else None)
    sigma = 0.1 if magnitude_aware else 0.1 * _root_mean_square(risk)
    count = draws
    while True:
        ends = yield from _bracket(noise, sigma, count, tolerance)
        if isinstance(ends, Estimate):
            return ends
        low, high = yield from _bisect(noise, *ends, tolerance)
        left, right = yield from noise.at([low.sigma / _SIDE, high.sigma * _SIDE], count)
        values = _influences(low, high, _slope(left, right, tolerance), tolerance)
        more = further_draws(values, risk.rtol, BUDGET * draws) if risk.rtol is not None else 0
        if not more:
            break
        sigma, count = low.sigma, count + more
    found = mean_of(values, noise.samples, criterion=criterion, bracket=(low.sigma, high.sigma))
    return judged(found, risk.rtol)


@dataclass(frozen=True)
class _Point:
    """What was found at one sigma.

    Attributes:
        sigma: The scale of the noise.
        drops: The mean drop of each pair.
    """

    sigma: float
    drops: list[float]

    @property
    def drop(self) -> float:
        """The mean over pairs; infinite where it is not a number, since noise made the model overflow."""
        mean = math.fsum(self.drops) / len(self.drops)
        return math.inf if math.isnan(mean) else mean


class _Noise:
    """Evaluates the drop at a scale of the noise, with the same draws at each.

    Args:
        risk: The risk.
        loss: What gives way, if it is not the risk's own loss.
        floor: The least deviation of magnitude-aware noise; None for plain noise.
    """

    def __init__(self, risk: Risk, loss: Callable[[Tensor, Tensor], Tensor] | None, floor: float | None) -> None:
        self._stream = risk.stream.child("pac_bayes_flatness")
        self._loss = loss
        self._floor = floor
        self.samples = 0
        self.base = 0.0

    def at(self, sigmas: Sequence[float], count: int) -> Generator[Any, Any, list[_Point]]:
        """Return what ``count`` pairs of draws find at each sigma, in one pass."""
        asked = [
            PerturbedLosses(antithetic(self._scale(sigma), self._stream, 0, count), self._loss) for sigma in sigmas
        ]
        yield tuple(asked)
        self.samples, self.base = asked[0].samples, asked[0].base
        return [_Point(sigma, pair_means(found.differences)) for sigma, found in zip(sigmas, asked, strict=True)]

    def _scale(self, sigma: float) -> float | Callable[[Tensor], Tensor]:
        floor = self._floor
        if floor is None:
            return sigma
        return lambda weight: (sigma**2 * weight.square() + floor**2).sqrt()


def _bracket(
    noise: _Noise, sigma: float, count: int, tolerance: float
) -> Generator[Any, Any, tuple[_Point, _Point] | Estimate]:
    """Return a point that keeps the tolerance and one, farther out, that does not; or a bound if there are none."""
    (here,) = yield from noise.at([sigma], count)
    if not math.isfinite(noise.base):
        return Estimate(math.nan, math.nan, noise.samples)
    kept = here.drop <= tolerance
    for _ in range(_MOVES):
        (there,) = yield from noise.at([here.sigma * (_FACTOR if kept else 1 / _FACTOR)], count)
        if (there.drop <= tolerance) != kept:
            return (here, there) if kept else (there, here)
        here = there
    side = "up to" if kept else "down to"
    reason = f"the drop stays {'below' if kept else 'above'} the tolerance {side} sigma = {here.sigma:.3g}"
    details = {"draws": count, "bracket": (here.sigma, math.inf) if kept else (0.0, here.sigma), "reason": reason}
    return Estimate(here.sigma**-2, here.sigma**-2, noise.samples, converged=False, details=details)


def _bisect(noise: _Noise, low: _Point, high: _Point, tolerance: float) -> Generator[Any, Any, tuple[_Point, _Point]]:
    """Return a narrow bracket."""
    while high.sigma / low.sigma > _RESOLUTION:
        (middle,) = yield from noise.at([math.sqrt(low.sigma * high.sigma)], len(low.drops))
        low, high = (middle, high) if middle.drop <= tolerance else (low, middle)
    return low, high


def _influences(low: _Point, high: _Point, slope: float, tolerance: float) -> list[float]:
    """Return a number for each pair whose mean is 1/sigma^2 at the crossing, and whose spread is that of its estimate.

    To first order a pair that drops more at sigma moves 1/sigma^2 by twice its excess over the slope of the mean drop
    in log sigma.
    """
    share = _share(low.drop, high.drop, tolerance)
    value = low.sigma**-2 * (low.sigma / high.sigma) ** (2 * share)
    drops = [(1 - share) * a + share * b for a, b in zip(low.drops, high.drops, strict=True)]
    mean = math.fsum(drops) / len(drops)
    return [value * (1 + 2 * (drop - mean) / slope) for drop in drops]


def _slope(left: _Point, right: _Point, tolerance: float) -> float:
    """Return the slope of the mean drop in log sigma where it crosses the tolerance, from a point on either side.

    From nearer points, an accuracy is all steps. The drop is taken as a power of sigma where it is positive.
    """
    distance = math.log(right.sigma / left.sigma)
    # Noise may hide that the drop grows, and overflow how fast: a straight line through the tolerance stands in.
    if not left.drop < right.drop < math.inf:
        return tolerance / distance
    if left.drop > 0:
        return tolerance * math.log(right.drop / left.drop) / distance
    return (right.drop - left.drop) / distance


def _share(low: float, high: float, tolerance: float) -> float:
    """Return how far into the bracket, in log sigma, the drop crosses the tolerance."""
    if not math.isfinite(high):
        return 0.0
    if low > 0:
        return math.log(tolerance / low) / math.log(high / low)
    return (tolerance - low) / (high - low)


def _root_mean_square(risk: Risk) -> float:
    norm = norm_of(p.to(risk.precise) for p in risk.parameters.values())
    return norm / math.sqrt(risk.parameter_count) or 1.0
