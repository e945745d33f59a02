"""How far samples lie from the decision boundary: to first order, and by search along that direction."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from sharpscope.complexity.input_derivatives import InputDerivatives, Names, map_moving, power_sums
from sharpscope.curvature.estimate import Estimate
from sharpscope.curvature.measure import MeasureFacts, Steps, measure
from sharpscope.curvature.passes import Evaluation
from sharpscope.curvature.passes.ascent import Norm
from sharpscope.curvature.passes.reductions import Values
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batch
from sharpscope.errors import NotDefined

# The search begins at an eighth of the first-order distance and gives up at 1,024 times that distance.
_FIRST, _LAST = -3, 10
_BISECTIONS = 24
# A network that is linear up to the boundary, as those of ReLUs often are, has it at the first-order distance, where
# rounding alone would say on which side a point lies. So the search looks a little beyond, by less than its width.
_BEYOND = 1 + 2.0**-26


@measure(
    MeasureFacts(
        label="Distance to the decision boundary",
        symbol=r"E\,d(x, \partial)",
        sharper_is="smaller",
        kind="complexity",
        of_classes=lambda options: True,
        same_for_twins=True,
        invariances=frozenset({"LW", "NW", "b+c", "W+1u", "BN"}),
        cost="first_order: 2 C forward passes for C outputs; search: 2 + 38 more for each direction",
        exact=True,
        scale="ratio",
        reference='Elsayed et al., "Large Margin Deep Networks for Classification", NeurIPS 2018, Equation 4',
        caveats=(
            "To first order it is exact for linear models only; by search it is an upper bound.",
            "It is the distance from the class predicted, right or wrong, and in units of the input.",
        ),
        unit="units of input",
    )
)
def boundary_distance(
    risk: Risk,
    *,
    norm: Norm = "l2",
    method: Literal["first_order", "search"] = "first_order",
    directions: Annotated[int, Field(ge=1)] = 1,
    quantile: Annotated[float, Field(ge=0, le=1)] = 0.1,
    inputs: Names = None,
) -> Steps:
    r"""Mean distance of the samples to the decision boundary (smaller is closer to another prediction).

    .. math:: d(x) = \min_{c \neq \hat y} \frac{f_{\hat y}(x) - f_c(x)}{\| \nabla_x (f_{\hat y} - f_c) \|_*}

    over all other classes c, since the runner-up is often not the nearest one; the dual norm is l2 for l2 and l1 for
    linf. By search, the point of another class that is the first found on the real model along the steepest direction
    to the class that is nearest to first order: growing steps up to 1,024 times the first-order distance, then
    bisection to a relative width of 6e-8. Every point found has another prediction, so this bounds the true distance
    from above. Keeps one number a sample.

    Args:
        risk: Model and N samples; floating-point inputs with one row a sample move, all others are fixed.
        norm: How the input's movement is measured: "l2" or "linf", over all that moves together.
        method: "first_order" or "search".
        directions: For "search": along the directions to so many classes, the nearest ones to first order.
        quantile: Which quantile ``details`` has beside the mean, linearly interpolated.
        inputs: Which of several inputs move, by name or position, so that a mask of floats does not; all when None.

    Returns:
        The mean over the samples with a finite distance (``stderr`` 0); ``details`` has median, quantile and minimum
        over these, and how many samples had none (``unreached``; ``converged`` is then false).

    Raises:
        NotDefined: If no input is floating-point, or there are fewer than two outputs.
    """

    def distances(evaluation: Evaluation) -> Tensor:
        slopes = _Slopes(evaluation, norm, inputs)
        if method == "first_order":
            return slopes.distances.amin(dim=1)
        return _search(evaluation, slopes, min(directions, slopes.distances.shape[1]))

    kept = Values(distances)
    yield kept
    values = kept.all.numpy()
    reached = values[np.isfinite(values)]
    details: dict[str, object] = {"route": method, "norm": norm, "unreached": len(values) - len(reached)}
    if not len(reached):
        return Estimate(math.inf, samples=len(values), converged=False, details=details)
    details |= {
        "median": float(np.median(reached)),
        "quantile": float(np.quantile(reached, quantile)),
        "min": float(reached.min()),
    }
    return Estimate(float(reached.mean()), 0.0, len(values), len(reached) == len(values), details)


class _Slopes:
    """First-order distances of every sample to each other class, and the directions that lead there.

    Args:
        evaluation: The batch.
        norm: "l2" or "linf".
        names: Which inputs move.

    Attributes:
        names: Which inputs move.
        predicted: The class predicted, shape ``[B]``.
        distances: To the other classes, in the order of ``others``: shape ``[B, C - 1]``; infinite where flat.
    """

    def __init__(self, evaluation: Evaluation, norm: Norm, names: Names) -> None:
        outputs = evaluation.outputs
        size, classes = outputs.shape
        if classes < 2:
            raise NotDefined("a decision boundary needs at least two outputs, got one")
        self.names = names
        self._derivatives = InputDerivatives(evaluation, names)
        self._outputs = outputs
        self._norm = norm
        self._dtype = evaluation.risk.precise
        self.predicted = outputs.argmax(dim=1)
        every = torch.arange(classes, device=outputs.device).expand(size, classes)
        self.others = every[every != self.predicted[:, None]].view(size, classes - 1)
        self.distances = torch.stack([self._distance(c) for c in self.others.unbind(dim=1)], dim=1)

    def _gradients(self, other: Tensor) -> list[Tensor]:
        """Return the gradient of ``f_other - f_predicted`` in each leaf."""
        cotangents = torch.zeros_like(self._outputs).scatter(1, other[:, None], 1.0)
        return self._derivatives.pull(cotangents.scatter(1, self.predicted[:, None], -1.0))

    def _dual_norm(self, gradients: list[Tensor]) -> Tensor:
        if self._norm == "linf":
            return power_sums(gradients, 1, self._dtype)
        return power_sums(gradients, 2, self._dtype).sqrt()

    def _distance(self, other: Tensor) -> Tensor:
        gap = self._outputs.gather(1, self.predicted[:, None]) - self._outputs.gather(1, other[:, None])
        slope = self._dual_norm(self._gradients(other))
        # A tie is on the boundary even where the function is flat.
        return torch.where(gap.squeeze(1) == 0, 0.0, gap.squeeze(1) / slope)

    def direction(self, other: Tensor) -> list[Tensor]:
        """Return, in each leaf, the steepest direction towards a class, of norm 1; zero where the function is flat."""
        gradients = self._gradients(other)
        if self._norm == "linf":
            return [g.sign() for g in gradients]
        length = self._dual_norm(gradients)
        scale = torch.where(length > 0, 1 / length, 0.0)
        return [(g * scale.to(g).view(-1, *[1] * (g.ndim - 1))) for g in gradients]


def _search(evaluation: Evaluation, slopes: _Slopes, directions: int) -> Tensor:
    """Return the smallest distance found along the directions to the nearest classes: shape ``[B]``."""
    nearest = slopes.distances.topk(directions, dim=1, largest=False)
    best = torch.full_like(slopes.distances[:, 0], math.inf)
    for rank in range(directions):
        other = slopes.others.gather(1, nearest.indices[:, rank : rank + 1]).squeeze(1)
        ray = _Ray(evaluation, slopes, other)
        best = torch.minimum(best, ray.first_crossing(nearest.values[:, rank]))
    return best


class _Ray:
    """The half-lines from the samples of a batch along one direction each, as the real model sees them."""

    def __init__(self, evaluation: Evaluation, slopes: _Slopes, other: Tensor) -> None:
        self._evaluation = evaluation
        self._names = slopes.names
        self._direction = slopes.direction(other)
        self._predicted = slopes.predicted

    def first_crossing(self, scale: Tensor) -> Tensor:
        """Return the first distance found at which each sample's prediction is another: shape ``[B]``.

        Args:
            scale: A distance near to which it is expected, shape ``[B]``; where not finite, none is found.
        """
        on_boundary = scale == 0
        scale = torch.where(scale.isfinite(), scale, 0.0)
        low, high = torch.zeros_like(scale), torch.full_like(scale, math.inf)
        for exponent in range(_FIRST, _LAST + 1):
            step = scale * _BEYOND * 2.0**exponent
            crossed = self._differs(step)
            open_ = high.isinf()
            high = torch.where(open_ & crossed, step, high)
            low = torch.where(open_ & ~crossed, step, low)
        found = high.isfinite()
        for _ in range(_BISECTIONS):
            middle = torch.where(found, (low + high) / 2, 0.0)
            crossed = self._differs(middle)
            high = torch.where(found & crossed, middle, high)
            low = torch.where(found & ~crossed, middle, low)
        return torch.where(on_boundary, 0.0, high)

    def _differs(self, distance: Tensor) -> Tensor:
        risk, batch = self._evaluation.risk, self._evaluation.batch
        with torch.no_grad():
            outputs = risk.exact(risk.outputs(self._moved(batch, distance), risk.parameters))
        return outputs.argmax(dim=1) != self._predicted

    def _moved(self, batch: Batch, distance: Tensor) -> Batch:
        directions = iter(self._direction)

        def move(tensor: Tensor) -> Tensor:
            return tensor + distance.to(tensor).view(-1, *[1] * (tensor.ndim - 1)) * next(directions)

        return map_moving(batch, self._names, move)
