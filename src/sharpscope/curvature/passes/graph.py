"""The differentiable evaluation of one batch, kept for as many derivatives as a pass takes of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from sharpscope.curvature.autograd.double_backward import TwiceDifferentiable
from sharpscope.curvature.autograd.functions import saved_behind
from sharpscope.curvature.risk import Parameters, Risk
from sharpscope.curvature.risk.batches import Batch, tensors_of


class Graph:
    """Outputs of a batch with the graph that leads to them from the parameters.

    Attention runs in its plain form, since its fast kernels cannot be differentiated twice.

    Args:
        risk: The risk.
        batch: The samples.
    """

    def __init__(self, risk: Risk, batch: Batch) -> None:
        self.risk = risk
        self.batch = batch
        self.parameters: Parameters = {n: p.detach().requires_grad_() for n, p in risk.parameters.items()}
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            self.outputs = self._evaluate()
        self._gradients: dict[tuple[str, ...], list[Tensor]] = {}
        self._pulled: dict[tuple[str, ...], tuple[Tensor, list[Tensor]]] = {}

    def _evaluate(self) -> Tensor:
        with TwiceDifferentiable() as fast:
            try:
                outputs = self.risk.outputs(self.batch, self.parameters)
            except RuntimeError:
                if fast.served:
                    raise
        if fast.served:
            return outputs
        with TwiceDifferentiable(fast=False):
            return self.risk.outputs(self.batch, self.parameters)

    @property
    def derivatives(self) -> int:
        """How many graphs of derivatives have been built; what is held in memory grows with them alone."""
        return len(self._gradients) + len(self._pulled)

    @property
    def size_in_memory(self) -> int:
        """The bytes that are held beside the parameters: the batch, and what derivatives so far have kept.

        Raises:
            RuntimeError: If something was written to since it was kept.
        """
        sizes = {_address(parameter): 0 for parameter in self.parameters.values()}
        for tensor in (*tensors_of(self.batch.inputs), self.batch.targets):
            # Not the whole storage, which may be that of all data.
            sizes.setdefault(_address(tensor), tensor.nbytes)
        ends = [self.outputs, *(gradient for found in self._gradients.values() for gradient in found)]
        ends += [product for _, found in self._pulled.values() for product in found]
        for tensor in (*ends, *saved_behind(ends)):
            sizes.setdefault(_address(tensor), tensor.untyped_storage().nbytes())
        return sum(sizes.values())

    def gradient(self, names: Sequence[str]) -> list[Tensor]:
        """Return the gradient of the summed losses in some parameters, to be differentiated once more; computed once.

        Only its graph is good: values that no second derivative needs are not computed.
        """
        key = tuple(names)
        if key not in self._gradients:
            with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
                precise = self.outputs if self.risk.device.type == "mps" else self.outputs.double()
                total = self.risk.loss.values(precise, self.batch.targets).sum()
                chosen = [self.parameters[name] for name in names]
                self._gradients[key] = list(
                    torch.autograd.grad(total, chosen, create_graph=True, materialize_grads=True)
                )
        return self._gradients[key]

    def product(self, names: Sequence[str], direction: Sequence[Tensor]) -> list[Tensor]:
        """Return the Hessian of the summed losses in some parameters times a direction, both by parameter."""
        chosen = [self.parameters[name] for name in names]
        # An entry of the gradient that does not depend on the parameters, as in a linear loss, has no graph.
        live = [(g, d) for g, d in zip(self.gradient(names), direction, strict=True) if g.requires_grad]
        if not live:
            return [torch.zeros_like(p) for p in chosen]
        outputs, seeds = zip(*live, strict=True)
        return list(torch.autograd.grad(outputs, chosen, seeds, retain_graph=True, materialize_grads=True))

    def pulled(self, names: Sequence[str]) -> tuple[Tensor, list[Tensor]]:
        """Return cotangents ``u`` of the outputs and ``sum_n J_n^T u_n``, to be differentiated in ``u``; computed once.

        It is linear in ``u``, so that its derivative along a vector v is ``J v``. Only its graph is good, as that of
        ``gradient`` is.
        """
        key = tuple(names)
        if key not in self._pulled:
            cotangents = torch.zeros_like(self.outputs, requires_grad=True)
            chosen = [self.parameters[name] for name in names]
            with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
                found = torch.autograd.grad(self.outputs, chosen, cotangents, create_graph=True, materialize_grads=True)
            self._pulled[key] = cotangents, list(found)
        return self._pulled[key]

    def pull_back(self, cotangents: Tensor, names: Sequence[str]) -> list[Tensor]:
        """Return the sum over samples of ``J_n^T u_n`` for cotangents ``u`` of shape ``[B, C]``, by parameter."""
        chosen = [self.parameters[name] for name in names]
        seed = cotangents.to(self.outputs)
        return list(torch.autograd.grad(self.outputs, chosen, seed, retain_graph=True, materialize_grads=True))


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
