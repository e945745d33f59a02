"""Jacobians of single samples in the parameters, from R backward passes to the outputs of the operations.

For an operation linear in its parameters, a sample's derivative of the contracted output is made of the operation's
input a and of the gradient g in its output: ``sum_t g_t a_t^T`` for linear layers and convolutions, t running over
positions. These factors are often much smaller than their product, and serve many samples at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from sharpscope.curvature.autograd.sensitivity import Operation, OperationRecorder
from sharpscope.curvature.risk import Parameters, Risk
from sharpscope.curvature.risk.batches import Batch
from sharpscope.curvature.risk.reach import half_cotangents, tolerance

_CONVOLUTIONS = {F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d}
_NORMS_BY_CHANNEL = {F.batch_norm, F.group_norm, F.instance_norm}
_NORMS_BY_FEATURE = {F.layer_norm, F.rms_norm}


@dataclass
class Use:
    """One use of parameters: an operation, its input, and the gradients in its output.

    Attributes:
        operation: The call.
        inputs: Its input, ``[B, ...]``; a copy, since models work in place.
        pulled: The gradients in its output, ``[B, ...]`` each, one for every backward pass so far.
    """

    operation: Operation
    inputs: Tensor
    pulled: list[Tensor] = field(default_factory=list)

    def role(self, parameter: str, parameters: Parameters) -> str:
        """Return "weight" or "bias"."""
        return "weight" if self.operation.arguments.get("weight") is parameters[parameter] else "bias"

    def take(self, part: slice) -> Use:
        """Return the use by some of the samples."""
        return Use(self.operation, self.inputs[part], [pulled[part] for pulled in self.pulled])

    @property
    def size(self) -> int:
        """The numbers that the gradients are."""
        return sum(pulled.numel() for pulled in self.pulled)

    @property
    def gradients(self) -> Tensor:
        """The gradients of all R backward passes, ``[B, R, ...]``."""
        return torch.stack(self.pulled, dim=1)

    @property
    def has_factors(self) -> bool:
        """Whether the operation is of the form that ``factors`` knows."""
        call, arguments = self.operation.function, self.operation.arguments
        if call is F.conv2d:
            return arguments.get("groups", 1) == 1 and not isinstance(arguments.get("padding"), str)
        return call is F.linear or call is F.embedding

    def factors(self) -> tuple[Tensor, Tensor] | None:
        """Return inputs a ``[B, T, D]`` and gradients g ``[B, R, T, O]`` by position, if the operation has this form.

        Inputs of an embedding are indices ``[B, T]``, standing for unit vectors.
        """
        if not self.has_factors:
            return None
        call, arguments, gradients = self.operation.function, self.operation.arguments, self.gradients
        if call is F.linear:
            return self.inputs.flatten(1, -2) if self.inputs.ndim > 2 else self.inputs[:, None], _rows(gradients)
        if call is F.conv2d:
            geometry = {k: arguments[k] for k in ("stride", "padding", "dilation") if k in arguments}
            patches = F.unfold(self.inputs, arguments["weight"].shape[2:], **geometry)
            return patches.transpose(1, 2), gradients.flatten(3).transpose(2, 3)
        ids, gradients = self.inputs.reshape(len(self.inputs), -1), _rows(gradients)
        padding = arguments.get("padding_idx")
        return ids, gradients if padding is None else gradients * (ids != padding)[:, None, :, None]

    def rows(self, role: str) -> Tensor:
        """Return the Jacobian rows of one of its parameters, in the parameter's own layout: ``[B, R, numel]``."""
        call = self.operation.function
        if call in _NORMS_BY_CHANNEL or call in _NORMS_BY_FEATURE or role == "bias":
            gradients = self.gradients if role == "bias" else self.gradients * self._normalized()[:, None]
            if call in _CONVOLUTIONS or call in _NORMS_BY_CHANNEL:
                return gradients.reshape(*gradients.shape[:3], -1).sum(dim=3)
            size = self.operation.arguments[role].numel()
            return gradients.reshape(*gradients.shape[:2], -1, size).sum(dim=2)
        found = self.factors()
        if found is None or not found[0].is_floating_point():
            return self._rows_by_transforms(role)
        inputs, gradients = found
        return torch.einsum("brto,btd->brod", gradients, inputs).flatten(2)

    def _normalized(self) -> Tensor:
        """Return what a norm multiplies by its weight."""
        arguments = self.operation.arguments
        own = [value for value in (arguments.get("weight"), arguments.get("bias")) if value is not None]
        return self.operation.call({id(value): None for value in own} | {id(arguments["input"]): self.inputs})

    def _rows_by_transforms(self, role: str) -> Tensor:
        """Differentiate the single operation for each sample by function transforms: any operation, but slower."""
        operation = self.operation
        parameter, whole = operation.arguments[role], operation.arguments["input"]

        def single(sample: Tensor, cotangents: Tensor) -> Tensor:
            def call(own: Tensor) -> Tensor:
                return operation.call({id(parameter): own, id(whole): sample[None]})[0]

            pull = torch.func.vjp(call, parameter)[1]
            return torch.func.vmap(lambda cotangent: pull(cotangent)[0])(cotangents)

        return torch.func.vmap(single)(self.inputs, self.gradients).flatten(2)


def _rows(gradients: Tensor) -> Tensor:
    return gradients.flatten(2, -2) if gradients.ndim > 3 else gradients[:, :, None]


class UseRecorder(OperationRecorder):
    """Keeps what the Jacobians of chosen parameters are made of.

    Args:
        parameters: The tensors in use as parameters, by name.
        size: The number of samples B of the batch.
        wanted: Names of the parameters whose uses are kept; all when None.

    Attributes:
        uses: The uses, in the order of the forward pass.
    """

    def __init__(self, parameters: Parameters, size: int, wanted: Sequence[str] | None = None) -> None:
        super().__init__(parameters, size)
        self.uses: list[Use] = []
        self._wanted = None if wanted is None else set(wanted)

    def _record(self, operation: Operation, result: Tensor) -> Tensor:
        if self._wanted is None or self._wanted.intersection(operation.parameters):
            # Operations before the first one wanted stay outside the graph, so backward passes end there.
            result = self._anchored(result)
            use = Use(operation, operation.arguments["input"].detach().clone())
            self.uses.append(use)
            result.register_hook(use.pulled.append)
        return result

    @property
    def complete(self) -> bool:
        """Whether the uses are all that there is of the parameters."""
        return self.uncovered is None and not self.unseen

    def run(self, risk: Risk, batch: Batch) -> Tensor:
        """Run a batch forward; return the outputs ``[B, C]`` with the graph that leads to them from the uses."""
        with torch.enable_grad(), self:
            return risk.outputs(batch)

    def pull(self, outputs: Tensor, cotangent: Tensor) -> None:
        """Run once backward, from the outputs of ``run`` to those of the operations."""
        if outputs.requires_grad:
            torch.autograd.grad(outputs, self.anchor, cotangent, retain_graph=True, allow_unused=True)


def pull_uses(risk: Risk, batch: Batch, cotangents: Tensor, wanted: Sequence[str] | None = None) -> UseRecorder:
    """Run a batch forward and R times backward to the outputs of its operations.

    Args:
        risk: The model.
        batch: B samples.
        cotangents: In the outputs, ``[B, R, C]``.
        wanted: Names of the parameters whose uses are kept; all when None.

    Returns:
        The recorder; where a parameter is used in another way, it says so and its uses are incomplete.
    """
    recorder = UseRecorder(risk.parameters, batch.size, wanted)
    outputs = recorder.run(risk, batch)
    if recorder.complete:
        for cotangent in cotangents.to(outputs).unbind(dim=1):
            recorder.pull(outputs, cotangent)
    recorder.uses = [use for use in recorder.uses if use.pulled]
    return recorder


def accounts_for_gradient(risk: Risk, batch: Batch) -> bool:
    """Tell whether what uses say of the samples of a batch is, parameter by parameter, what autograd says.

    The samples of the second half have no part in what is pulled back, so their gradients must be zero: where a model
    puts samples in another order, rows would be given to the wrong ones.
    """
    leaves = {name: p.detach().requires_grad_() for name, p in risk.parameters.items()}
    recorder = UseRecorder(leaves, batch.size)
    with torch.enable_grad(), recorder:
        outputs = risk.outputs(batch, leaves)
    if not (recorder.complete and outputs.requires_grad):
        return False
    cotangents = half_cotangents(risk, outputs)
    found = torch.autograd.grad(outputs, list(leaves.values()), cotangents, allow_unused=True, materialize_grads=True)
    uses = [use for use in recorder.uses if use.pulled]
    asked = (batch.size + 1) // 2
    if any(bool((pulled[asked:] != 0).any()) for use in uses for pulled in use.pulled):
        return False
    for (name, leaf), expected in zip(leaves.items(), found, strict=True):
        rest = expected.detach().flatten()
        for use in uses:
            if name in use.operation.parameters:
                # One by one, since a row is as large as the parameter.
                for n in range(asked):
                    rest = rest - use.take(slice(n, n + 1)).rows(use.role(name, leaves)).flatten()
        if bool(rest.norm() > tolerance(leaf.dtype) * expected.norm()):
            return False
    return True


def pull_rows(risk: Risk, batch: Batch, cotangents: Tensor, wanted: Sequence[str]) -> Tensor:
    """Return Jacobian rows of chosen parameters by plain backward passes, sample by sample: fit for every model.

    Args:
        risk: The model.
        batch: B samples.
        cotangents: In the outputs, ``[B, R, C]``.
        wanted: Names of the parameters, whose entries stand one after the other.

    Returns:
        Shape ``[B, R, P]``.
    """
    parameters = {n: p.detach().requires_grad_(n in wanted) for n, p in risk.parameters.items()}
    chosen = [parameters[name] for name in wanted]
    rows = []
    for n in range(batch.size):
        with torch.enable_grad():
            outputs = risk.outputs(batch.take(slice(n, n + 1)), parameters)
        if not outputs.requires_grad:
            rows.append(outputs.new_zeros(cotangents.shape[1], sum(p.numel() for p in chosen)))
            continue
        single = []
        for cotangent in cotangents[n].to(outputs):
            found = torch.autograd.grad(outputs, chosen, cotangent[None], retain_graph=True, allow_unused=True)
            single.append(
                torch.cat(
                    [(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(chosen, found, strict=True)]
                )
            )
        rows.append(torch.stack(single))
    return torch.stack(rows)
