"""What rounding leaves of small changes of the risk."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from sharpscope.curvature.estimate import Estimate
from sharpscope.curvature.passes.perturbation import relative_rounding
from sharpscope.curvature.passes.reductions import norm_of
from sharpscope.curvature.risk import Risk

_LOST = "the perturbations are lost in the rounding of the parameters"
_DROWNED = "the changes of the loss are no larger than its rounding"
_ADVICE = "choose a larger rho, or measure the model in double precision"


def with_rounding(
    estimate: Estimate, risk: Risk, scale: float | Callable[[Tensor], Tensor], rounding: float
) -> Estimate:
    """Return an estimate from changes of the risk whose error holds their rounding.

    Draws share the rounding of the risk at theta, so that their spread does not tell of it. Perturbations that are
    smaller than the rounding of the parameters are other ones than were meant, or none at all; what that makes of the
    value is not known.

    Args:
        estimate: From draws.
        risk: The risk.
        scale: The size of the noise on each coordinate, as of ``Noise``.
        rounding: That of the changes, in the unit of the value.

    Returns:
        The estimate; not converged, with the reason, where rounding is all that it may be.
    """
    parameters = list(risk.parameters.values())
    noise = norm_of(scale(p) if callable(scale) else torch.full_like(p, scale, dtype=risk.precise) for p in parameters)
    if noise <= relative_rounding(risk) * norm_of(p.to(risk.precise) for p in parameters):
        return _not_converged(replace(estimate, stderr=math.nan), _LOST)
    estimate = replace(estimate, stderr=math.hypot(estimate.stderr, rounding))
    return _not_converged(estimate, _DROWNED) if rounding >= abs(estimate.value) > 0 else estimate


def _not_converged(estimate: Estimate, reason: str) -> Estimate:
    return replace(estimate, converged=False, details={**estimate.details, "reason": f"{reason}; {_ADVICE}"})
