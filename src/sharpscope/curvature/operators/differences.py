"""Products with the Hessian by central differences of gradients, which take no second derivatives."""

from __future__ import annotations

import math

import torch

from sharpscope.curvature.passes.radial import gradient_of
from sharpscope.curvature.risk import Parameters, Risk
from sharpscope.curvature.risk.batches import Batch

# How often the error is looked at; every look costs as much as a product.
_LOOK_EVERY = 16
# An error that nothing needs to be done about.
_GOOD = 1e-3
# Products below this share of the largest seen are those of a direction without curvature, and all rounding.
_NOTHING = 1e-3


def central_difference(risk: Risk, batch: Batch, direction: Parameters, step: float) -> Parameters:
    """Return ``(g(theta + step d) - g(theta - step d)) / (2 step)``, g the summed gradients in the parameters of d."""
    sides = []
    for signed in (step, -step):
        moved = dict(risk.parameters)
        for name, d in direction.items():
            # As a double backward pass does: no gradient knows of what is cut off.
            alpha = 0 if name in risk.reach.cut else signed
            moved[name] = torch.add(moved[name], d, alpha=alpha).requires_grad_()
        with torch.enable_grad():
            outputs = risk.outputs(batch, moved)
        sides.append(gradient_of(risk, batch, outputs, {name: moved[name] for name in direction}))
    forth, back = sides
    return {name: (forth[name] - back[name]).mul_(1 / (2 * step)) for name in direction}


class Differences:
    """Central differences with a step that balances rounding against curvature, and their error.

    Args:
        precise: Whether to compute in float64 where that is the better, which has smaller steps and meets fewer kinks.

    Attributes:
        error: The largest relative change seen when the step was doubled.
    """

    def __init__(self, *, precise: bool = False) -> None:
        self.error = 0.0
        self._precise = precise
        self._twin: tuple[Risk, Risk] | None = None
        self._made = 0
        self._largest = 0.0

    def product(self, risk: Risk, batch: Batch, direction: Parameters) -> Parameters:
        """Return H d, summed over the samples of the batch, by parameter."""
        if _norm(direction) == 0:
            return {name: torch.zeros_like(d) for name, d in direction.items()}
        look = self._made % _LOOK_EVERY == 0
        self._made += 1
        found, error = None, math.inf
        if self._precise:
            try:
                found, error = self._in_double(risk, batch, direction, look)
            except Exception:  # noqa: BLE001 - whatever a model may raise of a precision unlike its own
                self._precise = False
        if found is None or (self._made == 1 and error > _GOOD):
            own, own_error = self._difference(risk, batch, direction, look)
            if found is None or own_error < error:
                self._precise, found, error = False, own, own_error
        self.error = max(self.error, error)
        return found

    def _in_double(self, risk: Risk, batch: Batch, direction: Parameters, look: bool) -> tuple[Parameters, float]:
        if self._twin is None or self._twin[0] is not risk:
            self._twin = risk, risk.in_double()
        doubles = {name: d.double() for name, d in direction.items()}
        return self._difference(self._twin[1], batch.to(risk.device, torch.float64), doubles, look)

    def _difference(self, risk: Risk, batch: Batch, direction: Parameters, look: bool) -> tuple[Parameters, float]:
        """Return the product and its error, 0.0 where that is not looked at."""
        size = _norm(direction)
        eps = torch.finfo(next(iter(direction.values())).dtype).eps
        scale = _norm({name: risk.parameters[name] for name in direction})
        step = eps ** (1 / 3) * max(scale, 1.0) / size
        found = central_difference(risk, batch, direction, step)
        self._largest = max(self._largest, _norm(found) / size)
        against = max(_norm(found), _NOTHING * self._largest * size)
        if not look or against == 0:
            return found, 0.0
        # Smooth models differ by a third of the error at twice the step; at the kinks of ReLU by all of it.
        coarser = central_difference(risk, batch, direction, 2 * step)
        return found, _norm({name: found[name] - coarser[name] for name in found}) / against


def _norm(tensors: Parameters) -> float:
    return math.sqrt(math.fsum(float(t.norm()) ** 2 for t in tensors.values()))
