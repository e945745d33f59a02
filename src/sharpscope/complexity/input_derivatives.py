"""Derivatives of the outputs in the inputs: a backward pass gives a row of the Jacobian of every sample of a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from sharpscope.curvature.passes import Evaluation
from sharpscope.curvature.risk.batches import Batch
from sharpscope.errors import NotDefined

Names = list[str | int] | None
# By how much of itself an input is moved, to see whether the outputs change with it.
_LITTLE = 1e-3


def moves(batch: Batch, tensor: Tensor) -> bool:
    """Tell whether a tensor among the inputs can be differentiated: floating-point, with one row a sample."""
    return tensor.is_floating_point() and batch.has_rows(tensor)


def map_moving(batch: Batch, names: Names, function: Callable[[Tensor], Tensor]) -> Batch:
    """Return a batch with a function applied to the inputs that are differentiated.

    Args:
        batch: The samples.
        names: Which inputs, by name or position; all when None. Of these it is the tensors that can be, also within
            tuples and mappings.
        function: Called with each such tensor, always in the same order.

    Raises:
        NotDefined: If there is no input of a name, or the only input has none.
    """

    def apply(tensor: Tensor) -> Tensor:
        return function(tensor) if moves(batch, tensor) else tensor

    if names is None:
        return batch.map(apply)
    if not isinstance(batch.inputs, Mapping | tuple | list):
        raise NotDefined("the option inputs chooses among several inputs, and the model has one; leave it out")
    named = isinstance(batch.inputs, Mapping)
    entries = dict(batch.inputs) if named else dict(enumerate(batch.inputs))
    for name in names:
        if name not in entries:
            known = ", ".join(map(str, entries))
            raise NotDefined(f"the option inputs names '{name}', and the model's inputs are {known}")
        entries[name] = Batch(entries[name], batch.targets).map(apply).inputs
    return Batch(entries if named else tuple(entries.values()), batch.targets)


class InputDerivatives:
    """The outputs of one batch as a differentiable function of its inputs.

    Floating-point tensors among the inputs with one row a sample are differentiated; all others are held fixed. In eval
    mode no sample's outputs depend on another sample, so a cotangent for the whole batch gives every sample's own
    gradient.

    Args:
        evaluation: The batch; its graph is built anew, since passes keep none in the inputs.
        names: Which inputs are differentiated, by name or position; all when None.

    Attributes:
        leaves: The tensors differentiated, B rows each.

    Raises:
        NotDefined: If no input is floating-point, as with token ids.
    """

    def __init__(self, evaluation: Evaluation, names: Names = None) -> None:
        self.leaves: list[Tensor] = []
        self._evaluation = evaluation
        self._names = names

        def differentiable(tensor: Tensor) -> Tensor:
            self.leaves.append(tensor.detach().requires_grad_())
            # A model may work in place on its input, which a leaf forbids.
            return self.leaves[-1].clone()

        self._checked = False
        with torch.enable_grad():
            moved = map_moving(evaluation.batch, names, differentiable)
            if not self.leaves:
                raise NotDefined(
                    "derivatives in the input need floating-point inputs with one row a sample, got none (integers, "
                    "such as token ids, have no derivative); pass embeddings as inputs, with forward=... to take them"
                )
            self._outputs = evaluation.risk.outputs(moved, evaluation.risk.parameters)

    def pull(self, cotangents: Tensor) -> list[Tensor]:
        """Return the gradient of ``<cotangents_n, f(x_n)>`` in every leaf.

        Args:
            cotangents: Shape ``[B, C]``, in float64; rounded once to the precision of the outputs.

        Raises:
            NotDefined: If the outputs change with an input that no gradient reaches.
        """
        found: tuple[Tensor | None, ...] = (None,) * len(self.leaves)
        if self._outputs.requires_grad:
            found = torch.autograd.grad(
                self._outputs, self.leaves, cotangents.to(self._outputs), retain_graph=True, allow_unused=True
            )
        if not self._checked and any(gradient is None for gradient in found):
            self._checked = True
            self._refuse_cut([gradient is None for gradient in found])
        return [torch.zeros_like(x) if g is None else g for x, g in zip(self.leaves, found, strict=True)]

    def _refuse_cut(self, unreached: list[bool]) -> None:
        """Refuse inputs that gradients do not reach if the outputs change as these move a little."""
        waiting = iter(unreached)

        def move(tensor: Tensor) -> Tensor:
            # By a little, since an input that is compared with something has a derivative, which is zero.
            return tensor * (1 + _LITTLE) if next(waiting) else tensor

        risk, batch = self._evaluation.risk, self._evaluation.batch
        with torch.no_grad():
            moved = risk.outputs(map_moving(batch, self._names, move))
            same = torch.equal(moved, risk.outputs(batch))
        if not same:
            raise NotDefined(
                "no gradient reaches an input that the outputs change with, since the forward pass cuts it off "
                "(no_grad, detach or .data), so derivatives in the input have no value"
            )


def power_sums(gradients: Sequence[Tensor], power: int, dtype: torch.dtype) -> Tensor:
    """Return ``sum_i |g_i|^power`` over all coordinates of each sample's gradient: shape ``[B]``, in ``dtype``."""
    parts = [g.to(dtype).abs().pow(power).flatten(1).sum(dim=1) for g in gradients]
    return torch.stack(parts).sum(dim=0)
