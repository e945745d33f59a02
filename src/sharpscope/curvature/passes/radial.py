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
from torch.overrides import TorchFunctionMode

from sharpscope.curvature.autograd.double_backward import TwiceDifferentiable
from sharpscope.curvature.autograd.functions import ONLY_ONCE, functions_behind, seeded
from sharpscope.curvature.autograd.sensitivity import RadialRecorder
from sharpscope.curvature.risk import Parameters, Risk
from sharpscope.curvature.risk.batches import Batch
from sharpscope.curvature.risk.reach import half_cotangents, tolerance
from sharpscope.errors import NotDefined

WHOLE = "all"
# How far two ways to one inner product may differ, relative to the size of the derivative.
_ADJOINT = 1e-2


def output_gradient(risk: Risk, batch: Batch, outputs: Tensor) -> Tensor:
    """Return dl/df ``[B, C]``, computed in float64 and rounded once to the precision of the outputs."""
    precise = risk.exact(outputs)
    return risk.loss.gradient(precise, batch.targets.to(precise.device)).to(outputs)


def gradient_along(outputs: Tensor, cotangents: Tensor, parameters: Parameters) -> Parameters:
    """Return ``J^T u`` by one backward pass; zeros where no gradient reaches a parameter."""
    if not outputs.requires_grad:
        return {name: torch.zeros_like(p) for name, p in parameters.items()}
    found = torch.autograd.grad(seeded(outputs, cotangents), list(parameters.values()), allow_unused=True)
    return {
        name: torch.zeros_like(p) if g is None else g for (name, p), g in zip(parameters.items(), found, strict=True)
    }


def gradient_of(risk: Risk, batch: Batch, outputs: Tensor, parameters: Parameters) -> Parameters:
    """Return the sum of the samples' gradients by one backward pass; zeros where no gradient reaches a parameter."""
    return gradient_along(outputs, output_gradient(risk, batch, outputs), parameters)


def tangent(risk: Risk, batch: Batch, direction: Parameters) -> tuple[Tensor, Tensor]:
    """Return the outputs and their derivative along ``direction`` in parameter space, both ``[B, C]``.

    It is the adjoint of what backward passes give, also where these stop (``no_grad``, ``detach``). By forward mode
    where every operation has it (attention in its plain form, since its fast kernels have none) and a look at a few
    samples shows that it agrees; elsewhere by the derivative of a vector-Jacobian product in its cotangent.
    """
    with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
        # At its first use, forward mode compiles its formulas with torch.jit.script, which warns of its own age.
        warnings.filterwarnings("ignore", message=".*torch.jit.script", category=DeprecationWarning)
        try:
            if risk.reach.forward_mode is None:
                risk.reach.forward_mode = _forward_mode_agrees(risk, risk.reach.few(batch))
            if risk.reach.forward_mode:
                return _push_forward(risk, batch, direction)
        except (NotImplementedError, RuntimeError) as error:
            if not _lacks_forward_mode(error):
                raise
            risk.reach.forward_mode = False
        try:
            return _tangent_by_double_backward(risk, batch, direction)
        except NotImplementedError as error:
            raise NotDefined(f"an operation of the model has no derivative along a direction: {error}") from error


class _StopsWhereGradientsStop(TorchFunctionMode):
    """Lets forward mode stop where a model switches gradients off, of which it takes no notice by itself."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch._C._set_grad_enabled:
            torch._C._set_fwd_grad_enabled(*args)
        return func(*args, **(kwargs or {}))


def _push_forward(risk: Risk, batch: Batch, direction: Parameters) -> tuple[Tensor, Tensor]:
    def run(parameters: Parameters) -> Tensor:
        # Weight normalization in its plain form has a forward mode.
        with _StopsWhereGradientsStop(), TwiceDifferentiable(fast=False):
            return risk.call(batch, {**risk.parameters, **parameters})

    point = {name: risk.parameters[name] for name in direction}
    # Gradients are on, as in the backward passes that this agrees with; nothing here asks for one.
    with torch.enable_grad():
        outputs, pushed, *_ = torch.func.jvp(run, (point,), (direction,))
    return outputs, pushed


def _forward_mode_agrees(risk: Risk, batch: Batch) -> bool:
    """Tell whether <u, J v> is <J^T u, v> for random u and v, on a few samples."""
    generator = risk.stream.child("tangent").torch(risk.device)
    direction = {
        name: torch.randn(p.shape, generator=generator, dtype=p.dtype, device=p.device)
        for name, p in risk.parameters.items()
    }
    _, pushed = _push_forward(risk, batch, direction)
    leaves = {name: p.detach().requires_grad_() for name, p in risk.parameters.items()}
    with torch.enable_grad():
        outputs = risk.outputs(batch, leaves)
    cotangents = half_cotangents(risk, outputs)
    pulled = gradient_along(outputs, cotangents, leaves)
    forward = (cotangents * pushed).to(risk.precise).flatten()
    backward = torch.cat([(g * direction[name]).to(risk.precise).flatten() for name, g in pulled.items()])
    gap = (forward.sum() - backward.sum()).abs()
    # Products of random signs: their sum is about as large as their norm. What is not finite says nothing.
    return not bool(gap > tolerance(outputs.dtype) * (forward.norm() + backward.norm()))


def _lacks_forward_mode(error: Exception) -> bool:
    message = str(error).lower()
    # The last is what function transforms raise where a model enters inference mode.
    told = ("forward", "functorch", "vmap", "inference tensor")
    return isinstance(error, NotImplementedError) or any(words in message for words in told)


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
            "the model's outputs do not change along a direction as its backward pass says, by any way to tell (an "
            "operation with a backward of its own that computes with detached tensors?), so there is no such derivative"
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
        self.name = "sensitivity"
        self.reason = ""

    def evaluate(
        self, batch: Batch, parameters: Parameters, *, gradient: bool
    ) -> tuple[Tensor, dict[str, Tensor], Parameters]:
        """Return outputs, radial derivatives by the part of the model, and the gradient if wanted."""
        if self.name == "sensitivity" and (reason := self._risk.reach.unfit_for_samples(self._risk, batch)):
            self._leave(reason)
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
        found = torch.autograd.grad(seeded(outputs, seed), wanted, allow_unused=True)
        if recorder.overwritten:
            # The model works in place. Once more, with copies, for this batch and all later ones.
            self._keep = True
            return self._by_sensitivity(batch, parameters, gradient)
        summed = {
            name: torch.zeros_like(p) if g is None else g
            for (name, p), g in zip(parameters.items(), found[1:], strict=False)
        }
        # A batch may reach no parameter at all where another does.
        nothing = {WHOLE: torch.zeros(batch.size, dtype=self._risk.precise, device=outputs.device)}
        return outputs.detach(), recorder.contributions() or nothing, summed

    def _leave(self, reason: str) -> None:
        self.name = "forward_mode"
        self.reason = reason
