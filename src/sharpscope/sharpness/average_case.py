"""Average-case sharpness: the mean rise of the risk under Gaussian perturbations."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Any

import torch
from pydantic import PositiveFloat

from sharpscope.curvature.estimate import mean_of
from sharpscope.curvature.estimators.sequential_sampling import Draws, draw_rounds, judged
from sharpscope.curvature.measure import MeasureFacts, Steps, measure
from sharpscope.curvature.passes.ascent import Norm
from sharpscope.curvature.passes.perturbation import (
    PerturbedLosses,
    antithetic,
    pair_means,
    uniform,
    with_normalized_logits,
)
from sharpscope.curvature.risk import Risk
from sharpscope.sharpness.rounding import with_rounding


@measure(
    MeasureFacts(
        label="Average-case sharpness",
        symbol=r"S^{avg}_\rho",
        sharper_is="larger",
        invariances=frozenset({"b+c", "W+1u"}),
        variants=(({"adaptive": True}, frozenset({"LW", "NW"})),),
        cost="2 draws + 1 forward passes",
        exact=False,
        scale="ratio",
        reference=(
            'Andriushchenko et al., "A Modern Look at the Relationship between Sharpness and Generalization", '
            "ICML 2023, Section 3; perturbations scaled to norm rho as in Foret et al., ICLR 2021"
        ),
        caveats=(
            "For small rho it is rho^2 tr(H) / (2 P), for linf rho^2 tr(H) / 6: a trace, seen through noise.",
            "It may be negative; away from a minimum the curvature can be.",
            "The paper's eps has deviation rho in each coordinate; here its root mean squared norm is rho.",
        ),
        unit="loss",
    )
)
def average_case_sharpness(
    risk: Risk,
    *,
    rho: PositiveFloat = 0.05,
    draws: Draws = 50,
    norm: Norm = "l2",
    adaptive: bool = False,
    logit_normalized: bool = False,
) -> Steps:
    r"""Mean change of the risk, with its sign, under random perturbations of norm rho (larger is sharper).

    .. math:: S^{avg}_\rho = E_\epsilon L(\theta + \epsilon) - L(\theta), \quad \epsilon \sim N(0, \rho^2 / P \, I)

    Every draw is taken with both signs, which cancels the gradient and all odd orders: what is left is curvature, at a
    small part of the variance. Parameters only are perturbed, and every draw sees the same samples.

    Args:
        risk: Model, loss and N samples.
        rho: The root of the mean squared norm of a perturbation; for "linf" the largest entry that it can have.
        draws: How many pairs +eps, -eps; at least 2. With ``rtol`` of the risk, pairs are drawn in rounds until the
            standard error is that small, at most 64 times as many.
        norm: "l2" as above; "linf" for entries that are independent and uniform between -rho and rho.
        adaptive: Scale the perturbation of each weight by its size, :math:`\epsilon \sim N(0, \rho^2 / P \, \theta^2)`.
        logit_normalized: Divide the logits of each sample by their standard deviation over the outputs.

    Returns:
        The estimate; its standard error is that over pairs and of rounding. Not converged at a rho so small that
        rounding may be all of the value.
    """
    loss = with_normalized_logits(risk.loss).values if logit_normalized else None
    size, draw = (rho / math.sqrt(risk.parameter_count), torch.randn) if norm == "l2" else (rho, uniform)
    stream = risk.stream.child("average_case_sharpness")
    scale = (lambda p: size * p.abs()) if adaptive else size
    samples, rounding = 0, 0.0

    def make(start: int, count: int) -> Generator[Any, Any, list[float]]:
        nonlocal samples, rounding
        perturbed = PerturbedLosses(antithetic(scale, stream, start, count, draw), loss)
        yield perturbed
        samples, rounding = perturbed.samples, perturbed.rounding
        return pair_means(perturbed.differences)

    changes = yield from draw_rounds(make, draws, risk.rtol)
    return with_rounding(judged(mean_of(changes, samples, rho=rho), risk.rtol), risk, scale, rounding)
