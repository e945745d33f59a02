"""The head: the last linear layer whose output enters the model's output linearly, and its input phi.

It is found inside the pass that measures, from what the layers are called with. Where the head is applied at every
position and followed by a selection or a mean over positions, phi is the equally selected or averaged input.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from sharpscope.curvature.risk import Parameters, Risk
from sharpscope.curvature.risk.batches import Batch
from sharpscope.errors import HeadNotFound, suggest

Slopes = tuple[Tensor | None, ...]


@dataclass
class Call:
    """One call of a linear layer: its input ``[B, ..., D]`` and output ``[B, ..., C]``."""

    module: nn.Linear
    inputs: Tensor
    output: Tensor
    version: int

    def is_returned_as(self, outputs: Tensor) -> bool:
        """Tell whether the model returned this call's output itself, or its numbers in the same order."""
        # The outputs of several positions side by side are those of a far larger head, which is tied.
        if self.module.out_features != outputs.shape[1]:
            return False
        if self.output.numel() != outputs.numel() or self.output.shape[0] != outputs.shape[0]:
            return False
        if _version_of(self.output) != self.version:  # a tail worked in place
            return False
        # Not by their addresses: tensors of a forward-mode pass have none.
        mine = self.output.reshape(outputs.shape)
        return torch.allclose(mine, outputs.detach(), rtol=0.0, atol=0.0, equal_nan=True)


@dataclass
class HeadFinder:
    """Finds the head at the first batch and returns its features for every batch.

    Args:
        risk: The risk whose model is searched.
    """

    risk: Risk
    module: nn.Linear | None = None
    _direct: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        self._names = {
            m: n for n, m in self.risk.model.named_modules(remove_duplicate=True) if isinstance(m, nn.Linear)
        }
        given = self.risk.head
        if isinstance(given, str):
            given = next((module for module, name in self._names.items() if name == given), given)
        if isinstance(given, str):
            raise HeadNotFound(
                f"the head given, '{given}', is no linear layer (nn.Linear) of this model"
                f"{suggest(given, self._names.values())}"
            )
        if given is not None and given not in self._names:
            raise HeadNotFound("the head given is not a linear layer (nn.Linear) of this model")
        self.module = given

    @property
    def name(self) -> str:
        """The head's name within the model."""
        assert self.module is not None, "the head is known after the first batch"
        return self._names[self.module]

    @property
    def shared_with(self) -> list[str]:
        """The names of other modules that use the head's weight."""
        assert self.module is not None, "the head is known after the first batch"
        own = self.module.weight
        return [
            name
            for name, module in self.risk.model.named_modules()
            if module is not self.module and any(p is own for p in module.parameters(recurse=False))
        ]

    def weight(self) -> Tensor:
        """Return the head's weight ``[C, D]``."""
        return self.risk.parameters[self._parameter("weight")]

    @contextlib.contextmanager
    def watch(self) -> Iterator[list[Call]]:
        """Record the calls of the candidates, in order, while the model runs."""
        calls: list[Call] = []

        def record(module: nn.Module, args: tuple[Tensor, ...], named: dict[str, Tensor], output: Tensor) -> None:
            assert isinstance(module, nn.Linear)
            if self.module is None:
                calls.clear()  # only the last call can be the head; others would be kept alive in vain
            calls.append(Call(module, _input(args, named).detach(), output.detach(), _version_of(output)))

        watched = [self.module] if self.module is not None else list(self._names)
        handles = [module.register_forward_hook(record, with_kwargs=True) for module in watched]
        try:
            yield calls
        finally:
            for handle in handles:
                handle.remove()

    def features(self, batch: Batch, outputs: Tensor, calls: list[Call], parameters: Parameters) -> Tensor:
        """Return phi ``[B, D]`` of a batch whose forward pass was watched.

        Raises:
            HeadNotFound: If the outputs are not linear in the weight of any linear layer called.
        """
        if self._direct and len(calls) == 1 and calls[0].is_returned_as(outputs):
            self.module = calls[0].module
            return calls[0].inputs.reshape(batch.size, -1)
        self._direct = False
        if self.module is not None:
            phi = self._through_tail(self.module, batch, parameters)
            if phi is None:
                raise HeadNotFound(self._explain([self.module], outputs.shape[1]))
            return phi
        return self._search(batch, parameters, outputs.shape[1])

    def _search(self, batch: Batch, parameters: Parameters, classes: int) -> Tensor:
        """Return phi of the only layer whose output enters the model's output linearly."""
        candidates = self._call_order(batch, parameters)
        found: dict[nn.Linear, Tensor] = {}
        for candidate in candidates:
            if candidate.out_features == classes:
                phi = self._through_tail(candidate, batch, parameters)
                if phi is not None:
                    found[candidate] = phi
        if not found:
            raise HeadNotFound(self._explain(candidates, classes))
        if len(found) > 1:
            names = ", ".join(f"'{self._names[module]}'" for module in found)
            raise HeadNotFound(
                f"the model's outputs are linear in the weights of several layers ({names}); pass head=... to say "
                "which of them is meant"
            )
        ((self.module, phi),) = found.items()
        return phi

    def _parameter(self, suffix: str) -> str:
        name = f"{self.name}.{suffix}" if self.name else suffix
        if name in self.risk.parameters:
            return name
        # A tied weight is listed under its first name only.
        own = getattr(self.module, suffix)
        for other, parameter in self.risk.model.named_parameters():
            if parameter is own:
                return other
        raise HeadNotFound(f"the head's {suffix} is computed from other parameters, so no closed form applies")

    def _call_order(self, batch: Batch, parameters: Parameters) -> list[nn.Linear]:
        """Return all linear layers in the reverse order of their last call."""
        order: dict[nn.Linear, None] = {}

        def record(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            assert isinstance(module, nn.Linear)
            order.pop(module, None)
            order[module] = None

        handles = [module.register_forward_hook(record) for module in self._names]
        try:
            with torch.no_grad():
                self.risk.outputs(batch, parameters)
        finally:
            for handle in handles:
                handle.remove()
        return list(reversed(order))

    def _through_tail(self, module: nn.Linear, batch: Batch, parameters: Parameters) -> Tensor | None:
        """Return phi if the outputs are ``sum_t S_nt z_nt`` of the layer's output z, by differentiating in z."""
        inputs: list[Tensor] = []
        leaves: list[Tensor] = []

        def cut(_module: nn.Module, args: tuple[Tensor, ...], named: dict[str, Tensor], output: Tensor) -> Tensor:
            inputs.append(_input(args, named).detach())
            leaves.append(output.detach().requires_grad_())
            torch.set_grad_enabled(True)
            # A tail may work in place, which a leaf forbids.
            return leaves[-1].view_as(leaves[-1]).clone()

        handle = module.register_forward_hook(cut, with_kwargs=True)
        try:
            with torch.no_grad():
                outputs = self.risk.outputs(batch, parameters)
        finally:
            handle.remove()
        if not leaves or not outputs.requires_grad or any(z.shape[0] != batch.size for z in leaves):
            return None
        if any(z.shape[-1] != outputs.shape[1] for z in leaves):
            return None
        probe = torch.linspace(1.0, 2.0, outputs.numel(), dtype=outputs.dtype, device=outputs.device)
        probe = probe.view_as(outputs)
        plain: Slopes = torch.autograd.grad(outputs.sum(), leaves, allow_unused=True, retain_graph=True)
        tilted: Slopes = torch.autograd.grad((outputs * probe).sum(), leaves, allow_unused=True)
        phi: Tensor | None = None
        for x, s, t in zip(inputs, plain, tilted, strict=True):
            if s is None or t is None:
                continue
            rows, flat = s.reshape(batch.size, -1, s.shape[-1]), t.reshape(batch.size, -1, s.shape[-1])
            weights = rows[..., :1]
            # Relative to the largest: the slopes of a saturated tail (softmax) vanish, and are not linear for that.
            atol = 1e-5 * float(weights.abs().max())
            if not atol > 0 or not torch.allclose(rows, weights.expand_as(rows), rtol=1e-4, atol=atol):
                return None
            if not torch.allclose(flat, weights * probe[:, None, :], rtol=1e-4, atol=atol):
                return None
            part = (weights * x.reshape(batch.size, -1, x.shape[-1])).sum(dim=1)
            phi = part if phi is None else phi + part
        return phi

    def _explain(self, candidates: list[nn.Linear], classes: int) -> str:
        if not candidates:
            return (
                "the model calls no linear layer (nn.Linear), so it has no head; measures of the head need one "
                "whose output is the model's output"
            )
        if all(module.out_features != classes for module in candidates):
            last = "the head given" if self.risk.head is not None else "the last linear layer called"
            return (
                f"the model has {classes} outputs a sample, and {last}, '{self._names[candidates[0]]}', has "
                f"{candidates[0].out_features}, so the outputs are not those of a head; leave out the measures of the "
                "head, or let forward=... return the outputs of one position, or their mean over positions"
            )
        tried = ", ".join(f"'{self._names[module]}'" for module in candidates[:5])
        return (
            f"the model's outputs are not linear in the weight of a final linear layer (tried {tried}); "
            "return logits rather than probabilities, or pass head=... or leave out the measures of the head"
        )


def _input(args: tuple[Tensor, ...], named: dict[str, Tensor]) -> Tensor:
    return args[0] if args else named["input"]


def _version_of(tensor: Tensor) -> int:
    """Return how often a tensor was written to; 0 where a model enters inference mode, in which nobody counts."""
    return 0 if tensor.is_inference() else tensor._version
