"""Worst-case sharpness: the largest rise of the risk in a ball around the parameters."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Generator, Sequence
from typing import Any

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from sharpscope.curvature.estimate import Estimate
from sharpscope.curvature.measure import MeasureFacts, Steps, measure, run_together
from sharpscope.curvature.passes.ascent import Ascent, Ball, Norm
from sharpscope.curvature.passes.groups import Groups
from sharpscope.curvature.passes.perturbation import (
    GradientAt,
    PerturbedLosses,
    with_normalized_logits,
)
from sharpscope.curvature.passes.reductions import GradientSum
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.losses import Loss
from sharpscope.sharpness.rounding import with_rounding

# An ascent has arrived when its last step raised the value by no more than this share of it.
_STILL = 0.01
# Random points of the ball that an ascent is compared with.
_ELSEWHERE = 2
_FLAT = (
    "the gradient at theta is zero within rounding and leads nowhere, so the first ascent began in a random direction; "
    "more steps and restarts come nearer to the maximum"
)
_HIGHER = (
    "a random point of the ball is higher than where the ascents ended, and gives the value; more steps and restarts "
    "come nearer to the maximum"
)


@measure(
    MeasureFacts(
        label="Worst-case sharpness",
        symbol=r"S^{max}_\rho",
        sharper_is="larger",
        invariances=frozenset({"b+c", "W+1u"}),
        variants=(({"adaptive": True}, frozenset({"LW", "NW"})),),
        cost="one gradient a step and ascent, one forward pass a step, and 4 more; about 7 forward passes by default",
        exact=True,
        scale="ratio",
        reference=(
            'Foret et al., "Sharpness-Aware Minimization for Efficiently Improving Generalization", ICLR 2021, '
            'Equation 1; adaptive: Kwon et al., "ASAM", ICML 2021; logit_normalized: Andriushchenko et al., "A Modern '
            'Look at the Relationship between Sharpness and Generalization", ICML 2023'
        ),
        caveats=(
            "A lower bound of the maximum: the risk at the best point found. One step ends where SAM looks, not there.",
            "For small rho one step is rho times the gradient norm (l2).",
            "Where the gradient is zero it leads nowhere: one step is then a random one, and not converged.",
            "With restarts, another seed may end at another point; the details have where each ascent ended.",
            "At a minimum, where the gradients of the samples cancel, a subset leaves a gradient of its own, and a "
            "value that may be many times that of all data.",
            "With m, groups follow the order of the data: a loader that shuffles makes other groups every time.",
        ),
        unit="loss",
    )
)
def worst_case_sharpness(
    risk: Risk,
    *,
    rho: PositiveFloat = 0.05,
    steps: PositiveInt = 1,
    restarts: NonNegativeInt = 0,
    norm: Norm = "l2",
    adaptive: bool = False,
    logit_normalized: bool = False,
    m: PositiveInt | None = None,
) -> Steps:
    r"""Largest rise of the risk found within distance rho of the parameters (larger is sharper).

    .. math:: S^{max}_\rho = \max_{\|\epsilon\| \le \rho} L(\theta + \epsilon) - L(\theta)

    By projected gradient ascent on all N samples jointly, from theta and from random points. The value is that of the
    best point seen, theta included, so it is never negative and never above the maximum. One step from theta is that of
    sharpness-aware minimization, :math:`\rho \, g / \|g\|`; where g is zero, it goes in a random direction. Two random
    points of the ball are looked at besides, so that what lies below the average case is told.

    Args:
        risk: Model, loss and N samples.
        rho: The radius of the ball.
        steps: Steps of each ascent; one gradient of all data each.
        restarts: Further ascents, from random points of the ball (its sphere for "l2").
        norm: "l2" over all parameters jointly, or "linf".
        adaptive: Measure distances relative to each weight, :math:`\|\epsilon / |\theta|\| \le \rho`; one step is
            :math:`\rho \, \theta^2 g / \|\theta g\|` then. Weights that are zero stay.
        logit_normalized: Divide the logits of each sample by their standard deviation over the outputs.
        m: Take the maximum for each group of m samples, and the mean over groups, weighted by their sizes. Groups are m
            consecutive samples in the order of the data, whatever the batches; the last has what is left. Holds m
            samples in memory and needs a single pass over the data. Each group is a measurement of its own, so that
            groups of few samples cost far more than the passes over them: m = 1 a hundred times as much on small
            networks.

    Returns:
        The value (``stderr`` 0 but for rounding). ``converged`` is false where the last of several steps still raised
        it by more than 1%, where a random point was higher than all ascents, where one step began without a gradient,
        and at a rho so small that rounding may be all of the value; the last three are told in
        ``details["reason"]``. ``details["last_gain"]`` is the share of the last step, ``details["ends"]``
        has the value of each ascent (the first is from theta and not random), ``details["random"]`` that of the higher
        random point, ``details["groups"]`` the number of groups under m.
    """
    loss = with_normalized_logits(risk.loss) if logit_normalized else None
    search = functools.partial(
        _search, rho=rho, steps=steps, restarts=restarts, norm=norm, adaptive=adaptive, loss=loss
    )
    if m is None:
        return (yield from search(risk))
    groups = Groups(m, lambda part: run_together(part, {"group": (search, {})}).estimates["group"])
    yield groups
    groups.finish()
    return Estimate(
        groups.mean,
        stderr=groups.stderr,
        samples=sum(e.samples for e in groups.estimates),
        converged=all(e.converged for e in groups.estimates),
        details={
            "rho": rho,
            "norm": norm,
            "steps": steps,
            "groups": len(groups.estimates),
            **_reasons(groups.estimates),
        },
    )


def _search(
    risk: Risk, *, rho: float, steps: int, restarts: int, norm: Norm, adaptive: bool, loss: Loss | None
) -> Generator[Any, Any, Estimate]:
    ball = Ball(risk, rho, norm, adaptive)
    stream = risk.stream.child("worst_case_sharpness")
    starts = [ball.center(), *(ball.random(stream.child(k)) for k in range(restarts))]
    ascents = [Ascent(ball, start, stream.child("ascent", k)) for k, start in enumerate(starts)]
    for step in range(steps):
        looks: list[GradientAt | GradientSum] = [GradientAt(a.point, loss) for a in ascents]
        if step == 0 and loss is None:
            looks[0] = GradientSum()  # at theta itself, for which other measures may ask too
        yield tuple(looks)
        for ascent, look in zip(ascents, looks, strict=True):
            ascent.climb(0.0 if isinstance(look, GradientSum) else look.difference, look.value)
    elsewhere = [ball.shift(ball.random(stream.child("elsewhere", k))) for k in range(_ELSEWHERE)]
    points = [*(a.point for a in ascents), *elsewhere]
    last = PerturbedLosses(points, loss.values if loss is not None else None)
    yield last
    changes = last.differences
    for ascent, change in zip(ascents, changes, strict=False):
        ascent.arrive(change)
    best = max(ascents, key=lambda a: _height(a.best))
    highest = max(changes[len(ascents) :], key=_height)
    gain = best.gain / best.best if best.best > 0 else 0.0
    details: dict[str, Any] = {
        "rho": rho,
        "norm": norm,
        "steps": steps,
        "restarts": restarts,
        "last_gain": gain,
        "ends": [ascent.best for ascent in ascents],
        "random": highest,
    }
    flat = ascents[0].slope * rho <= last.rounding
    value, converged = best.best, gain <= _STILL if steps > 1 else not flat
    if flat:
        details["reason"] = _FLAT
    if _height(highest) > _height(value):
        value, converged = highest, False
        details["reason"] = _HIGHER
    size = rho / math.sqrt(risk.parameter_count) if norm == "l2" else rho
    found = Estimate(value, samples=last.samples, converged=converged, details=details)
    return with_rounding(found, risk, (lambda p: size * p.abs()) if adaptive else size, last.rounding)


def _reasons(estimates: Sequence[Estimate]) -> dict[str, str]:
    """Return what groups say of their values, with the number of those that say it."""
    said = Counter(e.details["reason"] for e in estimates if "reason" in e.details)
    told = "; ".join(f"in {count} of {len(estimates)} groups {reason}" for reason, count in said.items())
    return {"reason": told} if told else {}


def _height(change: float) -> float:
    """Return a change by which points are ranked: a risk that overflowed is above all others."""
    return math.inf if math.isnan(change) else change
