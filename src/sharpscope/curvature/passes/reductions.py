"""The sums over samples that several measures share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Self

import torch
from torch import Tensor

from sharpscope.curvature.passes.evaluation import Additive, Evaluation, Need, Reduction
from sharpscope.curvature.passes.radial import WHOLE
from sharpscope.errors import SharpscopeError

# In single precision a sample's features differ by about 1e-6 from batch to batch. What is left of a sum of squares
# after as much is taken out of it may then be nothing.
_STILL = 1e-5
# Sums of a layer taken in another order differ by a few units in the last place.
_ROUNDING = 32


def norm_of(tensors: Iterable[Tensor]) -> float:
    """Return the Euclidean norm of all entries of several tensors."""
    return math.sqrt(sum(float(tensor.square().sum()) for tensor in tensors))


def one_each(values: Any, samples: int, what: str) -> Tensor:
    """Return what a function gave for the samples of a batch, having seen that it is one number of each.

    Args:
        values: What it gave.
        samples: How many samples the batch has.
        what: What gave it, for the message.

    Raises:
        SharpscopeError: If it is no tensor of shape ``[samples]``: a mean over a batch would depend on how the data is
            cut into batches.
    """
    if isinstance(values, Tensor) and values.shape == (samples,):
        return values
    came = f"a tensor of shape {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
    raise SharpscopeError(
        f"{what} must return one number a sample, a tensor of shape ({samples},) for this batch, got {came}; reduce "
        "over the outputs of a sample, and leave the mean over samples to the measure"
    )


class Mean(Additive):
    """The mean over samples of a function of each.

    Args:
        function: Maps an evaluation to one number a sample, shape ``[B]``; anything else is refused.
        needs: What the function reads of the evaluation.
    """

    needs = Need.OUTPUTS

    def __init__(self, function: Callable[[Evaluation], Tensor], needs: Need = Need.OUTPUTS) -> None:
        self.needs = needs
        self.samples = 0
        self._function = function
        self._sum = 0.0

    def update(self, evaluation: Evaluation) -> None:
        """Add a batch."""
        values = one_each(self._function(evaluation), evaluation.batch.size, "the function of Mean")
        self._sum += float(values.double().sum())
        self.samples += evaluation.batch.size

    def rest_of(self, whole: Self, part: Self) -> None:
        """Become the mean over the samples of ``whole`` that are not in ``part``."""
        self._sum = whole._sum - part._sum
        self.samples = whole.samples - part.samples

    @property
    def value(self) -> float:
        """The mean."""
        return self._sum / self.samples


class Count(Additive):
    """The number of samples, for measures that use nothing else of the data."""

    needs = Need.NOTHING

    def __init__(self) -> None:
        self.samples = 0

    def update(self, evaluation: Evaluation) -> None:
        """Count a batch."""
        self.samples += evaluation.batch.size

    def rest_of(self, whole: Self, part: Self) -> None:
        """Become the number of samples of ``whole`` that are not in ``part``."""
        self.samples = whole.samples - part.samples


class Values(Reduction):
    """One number of every sample, 8 bytes each: for quantiles.

    Args:
        function: Maps an evaluation to one number a sample, shape ``[B]``; anything else is refused.
    """

    needs = Need.OUTPUTS

    def __init__(self, function: Callable[[Evaluation], Tensor]) -> None:
        self._function = function
        self._parts: list[Tensor] = []

    def update(self, evaluation: Evaluation) -> None:
        """Keep the numbers of a batch."""
        values = one_each(self._function(evaluation), evaluation.batch.size, "the function of Values")
        self._parts.append(values.double().cpu())

    @property
    def all(self) -> Tensor:
        """All numbers, shape ``[N]``."""
        return torch.cat(self._parts)


class GradientSum(Additive):
    """The gradient of the risk, summed in the precise dtype."""

    needs = Need.GRADIENT

    def __init__(self) -> None:
        self.samples = 0
        self._sums: dict[str, Tensor] = {}

    def update(self, evaluation: Evaluation) -> None:
        """Add a batch."""
        self.samples += evaluation.batch.size
        for name, gradient in evaluation.gradient.items():
            if name in self._sums:
                self._sums[name] += gradient
            else:
                self._sums[name] = gradient.to(evaluation.risk.precise, copy=True)

    def rest_of(self, whole: Self, part: Self) -> None:
        """Become the gradient over the samples of ``whole`` that are not in ``part``."""
        self._sums = {name: total - part._sums[name] for name, total in whole._sums.items()}
        self.samples = whole.samples - part.samples

    @property
    def value(self) -> dict[str, Tensor]:
        """The gradient of the mean loss, by parameter."""
        return {name: total / self.samples for name, total in self._sums.items()}

    def norm(self) -> float:
        """The Euclidean norm over all parameters."""
        return norm_of(self.value.values())


class RadialMoments(Additive):
    """E[<theta, grad l>^2] and the share of each part of the model in it."""

    needs = Need.RADIAL

    def __init__(self) -> None:
        self.samples = 0
        self.route = ""
        self._square = 0.0
        self._shares: dict[str, float] = {}

    def update(self, evaluation: Evaluation) -> None:
        """Add a batch."""
        parts = evaluation.radial
        self.route = evaluation.radial_route
        total = torch.stack(list(parts.values())).sum(dim=0)
        self._square += float(total.square().sum())
        for name, part in parts.items():
            self._shares[name] = self._shares.get(name, 0.0) + float((part * total).sum())
        self.samples += evaluation.batch.size

    def rest_of(self, whole: Self, part: Self) -> None:
        """Become the moments over the samples of ``whole`` that are not in ``part``."""
        self.route = whole.route
        self._square = max(0.0, whole._square - part._square)
        self._shares = {name: share - part._shares.get(name, 0.0) for name, share in whole._shares.items()}
        self.samples = whole.samples - part.samples

    @property
    def mean_square(self) -> float:
        """E[<theta, grad l>^2]."""
        return self._square / self.samples

    @property
    def shares(self) -> dict[str, float]:
        """How much of it each operation carries, by its first parameter; they add up to 1."""
        if self._square == 0 or WHOLE in self._shares:
            return {}
        return {name: share / self._square for name, share in self._shares.items()}


class ColumnMoments:
    """Variance, minimum and maximum of each column, by merging means and squared deviations.

    A one-pass E[x^2] - E[x]^2 would lose all digits where the mean is large against the deviation.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._mean: Tensor | None = None

    def add(self, values: Tensor, precise: torch.dtype) -> None:
        """Merge the rows of ``[n, D]`` in (Chan, Golub and LeVeque 1979).

        Args:
            values: The rows, in the precision that they were computed in.
            precise: The precision of the moments.
        """
        self._epsilon = torch.finfo(values.dtype).eps
        values = values.to(precise)
        n, mean = values.shape[0], values.mean(dim=0)
        squares = (values - mean).square().sum(dim=0)
        low, high = values.amin(dim=0), values.amax(dim=0)
        if self._mean is None:
            self._mean, self._squares, self._low, self._high = mean, squares, low, high
        else:
            total = self.rows + n
            shift = mean - self._mean
            self._mean = self._mean + shift * (n / total)
            self._squares = self._squares + squares + shift.square() * (self.rows * n / total)
            self._low, self._high = torch.minimum(self._low, low), torch.maximum(self._high, high)
        self.rows += n

    def rest_of(self, whole: Self, part: Self) -> None:
        """Become the moments of the rows of ``whole`` that are not in ``part``; the inverse of ``add``.

        Minima and maxima cannot be taken out. A column whose spread is all in ``part`` is known by what is left of it.
        """
        assert whole._mean is not None
        assert part._mean is not None
        self._epsilon = whole._epsilon
        self.rows = whole.rows - part.rows
        self._mean = (whole.rows * whole._mean - part.rows * part._mean) / self.rows
        shift = part._mean - self._mean
        squares = whole._squares - part._squares - shift.square() * (self.rows * part.rows / whole.rows)
        still = squares <= _STILL * whole._squares
        self._squares = squares.masked_fill(still, 0.0)
        self._low, self._high = whole._low, torch.where(still, whole._low, whole._high)

    @property
    def variance(self) -> Tensor:
        """Population variances, shape ``[D]``."""
        return self._squares / self.rows

    @property
    def constant(self) -> Tensor:
        """Which columns have the same value in all rows but for rounding, shape ``[D]``."""
        size = torch.maximum(self._low.abs(), self._high.abs())
        spread = self._high - self._low
        rounding = _ROUNDING * self._epsilon * size
        constant = spread <= rounding
        moving = spread > 0
        if bool(moving.any()) and 2 * int((constant & moving).sum()) > int(moving.sum()):
            # Rounding is relative to the terms of a sum. Of D columns one or another is a D-th of its terms: where most
            # have moved by no more than rounding, such a rest has not either.
            constant = spread <= rounding * len(size)
        return constant


class FeatureMoments(ColumnMoments, Additive):
    """The moments of the features phi over the samples."""

    needs = Need.FEATURES

    def update(self, evaluation: Evaluation) -> None:
        """Add a batch."""
        assert evaluation.features is not None
        self.add(evaluation.features, evaluation.risk.precise)
