"""Routes to the radial derivatives <theta, grad l_n> = d/da l(f(a theta, x_n), y_n) at a = 1.

``sensitivity``: one backward pass to the outputs of the operations (see ``sensitivity.py``), shared with the gradient.
``forward_mode``: a directional derivative along theta; where an operation has no forward mode, the same derivative as
that of a vector-Jacobian product in its cotangent.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from sharpscope.curvature.autograd_graph import ONLY_ONCE, functions_behind
from sharpscope.curvature.batches import Batch
from sharpscope.curvature.risk import Parameters, Risk
from sharpscope.curvature.sensitivity import RadialRecorder
from sharpscope.curvature.twice import TwiceDifferentiable
from sharpscope.errors import NotDefined

WHOLE = "all"
# How far two ways to one inner product may differ, relative to the size of the derivative.
_ADJOINT = 1e-2


def output_gradient(risk: Risk, batch: Batch, outputs: Tensor) -> Tensor:
    """Return dl/df ``[B, C]``, computed in float64 and rounded once to the precision of the outputs."""
    precise = risk.exact(outputs)
    return risk.loss.gradient(precise, batch.targets.to(precise.device)).to(outputs)


def gradient_of(risk: Risk, batch: Batch, outputs: Tensor, parameters: Parameters) -> Parameters:
    """Return the sum of the samples' gradients by one backward pass; zeros where a parameter is not used."""
    seed = output_gradient(risk, batch, outputs)
    found = torch.autograd.grad(outputs, list(parameters.values()), seed, allow_unused=True)
    return {
        name: torch.zeros_like(p) if g is None else g for (name, p), g in zip(parameters.items(), found, strict=True)
    }


def tangent(risk: Risk, batch: Batch, direction: Parameters) -> tuple[Tensor, Tensor]:
    """Return the outputs and their derivative along ``direction`` in parameter space, both ``[B, C]``.

    Forward mode where every operation has it (attention in its plain form, since its fast kernels have none); elsewhere
    the derivative of a vector-Jacobian product in its cotangent.
    """

    def run(parameters: Parameters) -> Tensor:
        # Weight normalization in its plain form has a forward mode.
        with TwiceDifferentiable(fast=False):
            return risk.call(batch, {**risk.parameters, **parameters})

    with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
        # At its first use, forward mode compiles its formulas with torch.jit.script, which warns of its own age.
        warnings.filterwarnings("ignore", message=".*torch.jit.script", category=DeprecationWarning)
        try:
            point = {name: risk.parameters[name] for name in direction}
            outputs, pushed, *_ = torch.func.jvp(run, (point,), (direction,))
            return outputs, pushed
        except (NotImplementedError, RuntimeError) as error:
            if not _lacks_forward_mode(error):
                raise
        try:
            return _tangent_by_double_backward(risk, batch, direction)
        except NotImplementedError as error:
            raise NotDefined(f"an operation of the model has no derivative along a direction: {error}") from error


def _lacks_forward_mode(error: Exception) -> bool:
    message = str(error).lower()
    return isinstance(error, NotImplementedError) or "forward" in message or "functorch" in message or "vmap" in message


def _tangent_by_double_backward(risk: Risk, batch: Batch, direction: Parameters) -> tuple[Tensor, Tensor]:
    parameters = {name: risk.parameters[name].detach().requires_grad_() for name in direction}
    with torch.enable_grad():
        outputs = risk.outputs(batch, {**risk.parameters, **parameters})
        cotangent = torch.zeros_like(outputs, requires_grad=True)
        pulled = torch.autograd.grad(
            outputs, list(parameters.values()), cotangent, create_graph=True, allow_unused=True
        )
        used = [(g, direction[name]) for name, g in zip(parameters, pulled, strict=True) if g is not None]
        if ONLY_ONCE in functions_behind(g for g, _ in used):
            raise NotDefined(
                "an operation of the model has neither forward mode nor a second derivative (once_differentiable), so "
                "derivatives along a direction do not exist"
            )
        if not used:
            return outputs.detach(), torch.zeros_like(outputs)
        product = torch.stack([(g * d).sum() for g, d in used]).sum()
        (pushed,) = torch.autograd.grad(product, cotangent, retain_graph=True, materialize_grads=True)
        _check_adjoint(outputs, parameters, direction, pushed)
    return outputs.detach(), pushed


def _check_adjoint(outputs: Tensor, parameters: Parameters, direction: Parameters, pushed: Tensor) -> None:
    """Refuse a derivative J d if ``<c, J d>`` is not ``<J^T c, d>``: a backward pass that is not linear by itself.

    One that computes with detached tensors has no derivative in its cotangent, and does not say so.
    """
    cotangent = torch.arange(1, outputs.numel() + 1, dtype=outputs.dtype, device=outputs.device).cos().view_as(outputs)
    pulled = torch.autograd.grad(outputs, list(parameters.values()), cotangent, allow_unused=True)
    parts = [
        (float((g * direction[n]).sum()), float(g.norm() * direction[n].norm()))
        for n, g in zip(parameters, pulled, strict=True)
        if g is not None
    ]
    off = abs(float((cotangent * pushed).sum()) - math.fsum(p for p, _ in parts))
    rounding = 100 * torch.finfo(outputs.dtype).eps * math.fsum(size for _, size in parts)
    if not off <= _ADJOINT * float(pushed.norm()) + rounding:
        raise NotDefined(
            "an operation of the model has no forward mode, and its backward pass is wrongly differentiated in its "
            "cotangent (does it compute with detached tensors?), so derivatives along a direction do not exist"
        )


class RadialRoute:
    """Computes radial derivatives by the cheapest route that serves the model, chosen at the first batch.

    Args:
        risk: The risk.

    Attributes:
        name: The route taken; "sensitivity" until the model shows that it cannot serve.
        reason: Why another route than the first was taken.
    """

    def __init__(self, risk: Risk) -> None:
        self._risk = risk
        self._keep = False
        self._probed = False
        self.name = "sensitivity"
        self.reason = ""

    def evaluate(
        self, batch: Batch, parameters: Parameters, *, gradient: bool
    ) -> tuple[Tensor, dict[str, Tensor], Parameters]:
        """Return outputs, radial derivatives by the part of the model, and the gradient if wanted."""
        if self.name == "sensitivity":
            self._probe(batch)
        if self.name == "sensitivity":
            found = self._by_sensitivity(batch, parameters, gradient)
            if found is not None:
                return found
        outputs, pushed = tangent(self._risk, batch, self._risk.parameters)
        seed = output_gradient(self._risk, batch, outputs).to(self._risk.precise)
        radial = {WHOLE: (seed * pushed.detach()).sum(dim=1)}
        summed: Parameters = {}
        if gradient:
            with torch.enable_grad():
                again = self._risk.outputs(batch, parameters)
                summed = gradient_of(self._risk, batch, again, parameters)
        return outputs.detach(), radial, summed

    def _by_sensitivity(self, batch: Batch, parameters: Parameters, gradient: bool) -> Any:
        recorder = RadialRecorder(parameters, batch.size, self._risk.precise, keep=self._keep)
        with torch.enable_grad(), recorder:
            outputs = self._risk.outputs(batch, parameters)
        if recorder.uncovered or recorder.unseen:
            unseen = (
                f"{len(recorder.unseen)} parameters are used out of sight, such as {min(recorder.unseen, default='')!r}"
            )
            self._leave(recorder.uncovered or unseen)
            return None
        seed = output_gradient(self._risk, batch, outputs)
        wanted = [recorder.anchor, *(parameters.values() if gradient else ())]
        found = torch.autograd.grad(outputs, wanted, seed, allow_unused=True)
        if recorder.overwritten:
            # The model works in place. Once more, with copies, for this batch and all later ones.
            self._keep = True
            return self._by_sensitivity(batch, parameters, gradient)
        summed = {
            name: torch.zeros_like(p) if g is None else g
            for (name, p), g in zip(parameters.items(), found[1:], strict=False)
        }
        return outputs.detach(), recorder.contributions(), summed

    def _probe(self, batch: Batch) -> None:
        """Run one sample, to see that samples are the first dimension wherever a parameter is used.

        In a batch whose size is by chance the length of its sequences, this could not be seen.
        """
        if self._probed:
            return
        self._probed = True
        recorder = RadialRecorder(self._risk.parameters, 1, self._risk.precise)
        try:
            with torch.no_grad(), recorder:
                self._risk.call(batch.take(slice(0, 1)), self._risk.parameters)
        except Exception as error:
            # Whatever else a model may raise is of a batch that is cut wrongly.
            if self._risk.is_of_layout(error):
                self._probed = False
                raise
            self._leave(f"a sample cannot be evaluated alone: {error}")
        if recorder.uncovered:
            self._leave(recorder.uncovered)

    def _leave(self, reason: str) -> None:
        self.name = "forward_mode"
        self.reason = reason
