"""Whether the second derivatives that autograd takes of a model are right.

That a second backward pass does not raise says nothing: an operation whose backward pass computes with detached
tensors, or whose kernel takes for constant what is not, leaves terms out without a word. So its product along one
random direction is compared with differences of gradients, on a few samples and in float64 where the model can. What
is tested are the operations and not the point: parameters are moved a little first, since differences across a kink
that lies exactly at the point, such as that of ReLU at a bias of zero, would say nothing.

A difference across a kink is wrong too. It changes with the step, while those that tell of a wrong second derivative
agree with one another; so a verdict takes two of them that agree.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from sharpscope.curvature.operators.differences import central_difference
from sharpscope.curvature.passes.graph import Graph
from sharpscope.curvature.risk import Parameters, Risk
from sharpscope.curvature.risk.batches import Batch
from sharpscope.curvature.risk.custom_losses import CallableLoss
from sharpscope.curvature.risk.losses import Loss

# Samples that are looked at.
_FEW = 4
# How far parameters are moved first, relative to the size of their tensor.
_AWAY = 2.0**-10
# The relative steps of differences, the relative error that they allow of each tensor, and that of the whole. The fine
# ones meet few kinks; the last of them serves outputs so saturated that little is left of their digits. The coarse ones
# serve models that compute in single precision, of themselves or because their device has no other.
_FINE = ((2.0**-24, 2.0**-27, 2.0**-19), 1e-3, 1e-8)
_COARSE = ((2.0**-11, 2.0**-8), 3e-2, 3e-3)
# Two differences tell of a wrong product if they differ from each other by less than this share of what each differs
# from it.
_AGREE = 0.1


@dataclass(frozen=True)
class Verdict:
    """What was found.

    Attributes:
        wrong: Whether second derivatives are certainly wrong.
        reason: Why they are, or why that could not be told; empty where they are right.
    """

    wrong: bool = False
    reason: str = ""


_known: WeakKeyDictionary[Risk, dict[tuple[str, ...], Verdict]] = WeakKeyDictionary()


def verdict_on(risk: Risk, batch: Batch, names: Sequence[str]) -> Verdict:
    """Tell whether products with the Hessian in some parameters are right; found out once for a risk.

    Args:
        risk: Model and loss.
        batch: Samples, of which a few are looked at.
        names: The parameters.
    """
    known = _known.setdefault(risk, {})
    key = tuple(names)
    if key not in known:
        known[key] = _found_on(risk, batch, names)
    return known[key]


def _found_on(risk: Risk, batch: Batch, names: Sequence[str]) -> Verdict:
    failure: Exception | None = None
    few = batch.take(slice(0, _FEW))
    for samples, precise in itertools.product((few, batch), (True, False)):
        try:
            comparison = _Comparison(risk, samples, names, precise=precise)
            if comparison.silent and samples is few:
                continue
            return comparison.verdict()
        except Exception as error:  # noqa: BLE001 - whatever a model may raise of samples or a precision unlike its own
            failure = error
    return Verdict(reason=f"second derivatives could not be compared with differences of gradients: {failure}")


class _Comparison:
    """A product beside a difference of gradients, both near the parameters, along one random direction.

    Args:
        risk: Model and loss.
        batch: The samples.
        names: The parameters of the direction.
        precise: Whether to compute in float64.
    """

    def __init__(self, risk: Risk, batch: Batch, names: Sequence[str], *, precise: bool) -> None:
        if precise:
            risk = risk.in_double()
            batch = batch.to(risk.device, torch.float64)
        self._names = list(names)
        self._sizes = _sizes({name: risk.parameters[name] for name in names})
        self._direction = self._drawn(risk)
        away = {name: torch.add(risk.parameters[name], d, alpha=_AWAY) for name, d in self._direction.items()}
        self._risk = risk.at({**risk.parameters, **away}).with_loss(_tilted(risk.loss))
        self._batch = batch
        products = Graph(self._risk, batch).product(names, list(self._direction.values()))
        self._product = dict(zip(names, products, strict=True))
        self._fine = self._direction[names[0]].dtype == torch.float64

    def _drawn(self, risk: Risk) -> Parameters:
        """Return a random direction: each entry plus or minus the size of its tensor."""
        generator = risk.stream.child("second_derivatives").torch(risk.device)
        direction = {}
        for name in self._names:
            p = risk.parameters[name]
            bits = torch.randint(0, 2, p.shape, generator=generator, device=p.device, dtype=torch.int8)
            direction[name] = risk.laid_out(bits.to(p.dtype).mul_(2 * self._sizes[name]).sub_(self._sizes[name]))
        return direction

    @property
    def silent(self) -> bool:
        """Whether nothing can be told of these samples, whose gradient does not depend on the parameters."""
        zero = not any(_size(p) for p in self._product.values())
        return zero and not any(_size(d) for d in self._difference(_COARSE[0][0]).values())

    def verdict(self) -> Verdict:
        """Compare with differences of ever other steps until they confirm the product, or one another."""
        made: list[Parameters] = []
        for steps, tolerance, floor in (_FINE, _COARSE) if self._fine else (_COARSE,):
            for step in steps:
                found = self._difference(step)
                if self._confirms(found, tolerance, floor) is None:
                    return Verdict()
                made.append(found)
            for one, other in itertools.combinations(made, 2):
                name = self._confirms(one, tolerance, floor)
                if name is not None and self._agree(one, other, name):
                    off = _size(self._product[name] - one[name]) / max(_size(one[name]), 1e-300)
                    return Verdict(
                        wrong=True,
                        reason="the second derivative of an operation is wrong: in "
                        f"'{name}' a product is off from differences of gradients by {off:.1g} of its size",
                    )
        return Verdict(
            reason="differences of gradients do not settle, so the second derivatives could not be compared with them"
        )

    def _difference(self, step: float) -> Parameters:
        return central_difference(self._risk, self._batch, self._direction, step)

    def _confirms(self, difference: Parameters, tolerance: float, floor: float) -> str | None:
        """Return where the product differs most from a difference; None where it does so nowhere."""
        # By relative changes of each tensor, in which small and large ones are on one footing.
        lengths = {name: self._sizes[name] * _size(d) for name, d in difference.items()}
        whole = math.hypot(*lengths.values())
        excess: dict[str, float] = {}
        for name, d in difference.items():
            off = self._sizes[name] * _size(self._product[name] - d)
            if not off <= tolerance * lengths[name] + floor * whole:
                excess[name] = off
        return max(excess, key=lambda name: excess[name]) if excess else None

    def _agree(self, one: Parameters, other: Parameters, name: str) -> bool:
        off = min(_size(self._product[name] - one[name]), _size(self._product[name] - other[name]))
        return _size(one[name] - other[name]) <= _AGREE * off


def _sizes(parameters: Parameters) -> dict[str, float]:
    """Return the root mean square of each tensor, of those that are nearly zero a share of that of all."""
    squares = {name: _size(p) ** 2 for name, p in parameters.items()}
    count = sum(p.numel() for p in parameters.values())
    least = _AWAY * math.sqrt(math.fsum(squares.values()) / count)
    return {
        name: max(math.sqrt(square / max(parameters[name].numel(), 1)), least) or 1.0
        for name, square in squares.items()
    }


def _size(tensor: Tensor) -> float:
    return float(tensor.norm())


def _tilted(loss: Loss) -> Loss:
    """Return a loss plus a linear function of the outputs, so that something is left of it where it is saturated."""

    def values(outputs: Tensor, targets: Tensor) -> Tensor:
        slope = torch.arange(1, outputs.shape[1] + 1, dtype=outputs.dtype, device=outputs.device).cos()
        return loss.values(outputs, targets) + outputs @ slope

    return CallableLoss(values)
