"""Calls of a model, and a look at each: that it is a function of what it was called with, and of nothing else."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from sharpscope.curvature.autograd.functions import functions_behind
from sharpscope.curvature.risk.batches import Batch, tensors_of
from sharpscope.curvature.risk.network import Caller, Forward, as_matrix, as_tensor
from sharpscope.curvature.risk.point import Point
from sharpscope.curvature.risk.random_state import random_fingerprint
from sharpscope.errors import FAULTS, NotDeterministic, SharpscopeError

_RECOMPUTES = (
    "the model computes activations again in the backward pass (activation checkpointing), or hooks what is saved for "
    "it, and derivatives away from its weights would then mix two sets of weights; switch that off to measure"
)


class Calls:
    """Calls of one model; what is learned of it in one serves the next.

    Args:
        model: The model.
        forward: How to call it on the inputs of a batch, if in a way of its own.
        device: Where it computes.

    Attributes:
        caller: The model with the way it is called.
    """

    def __init__(self, model: nn.Module, forward: Forward | None, device: torch.device) -> None:
        self.caller = Caller(model, forward)
        self._device = device
        self._writes_inputs: bool | None = None
        self._traced = False
        self._stacks = True
        self._places: dict[str, list[str]] | None = None

    def outputs(self, batch: Batch, point: Point) -> Tensor:
        """Return the outputs ``[B, C]``.

        Raises:
            NotDeterministic: If the model draws random numbers, or writes to its buffers or parameters.
            SharpscopeError: If the outputs are not a matrix with one row a sample, or activations are computed again in
                the backward pass.
        """
        versions = _versions((*point.parameters.values(), *point.buffers.values()))
        before = random_fingerprint(self._device)
        outputs = self.unchecked(batch, point)
        if random_fingerprint(self._device) != before:
            raise NotDeterministic(
                "the model draws random numbers in eval mode (dropout that is always on?), so its risk is not a "
                "function of its parameters; turn the randomness off to measure it"
            )
        if not self._traced and outputs.requires_grad:
            self._traced = True
            if "CheckpointFunctionBackward" in functions_behind([outputs]):
                raise SharpscopeError(_RECOMPUTES)
        _refuse_written(point, versions)
        return outputs

    def unchecked(self, batch: Batch, point: Point) -> Tensor:
        """Return the outputs ``[B, C]`` like ``outputs``, unchecked for randomness: fit for function transforms."""
        state = self._state(point)
        if self._writes_inputs is not False:
            # The first call is on a copy, which shows whether the model works in place on its inputs.
            batch = batch.map(Tensor.clone)
        versions = _versions(tensors_of(batch.inputs))
        try:
            with torch.autograd.graph.disable_saved_tensors_hooks(_RECOMPUTES):
                outputs = as_tensor(functional_call(self.caller, state, (batch.inputs,), tie_weights=False))
        except RuntimeError as error:
            if str(error) == _RECOMPUTES:
                raise SharpscopeError(_RECOMPUTES) from error
            if point.dtype is None or "dtype" not in str(error):
                raise
            raise SharpscopeError(
                f"a model in half precision is measured in {point.dtype}, and this one casts by itself: {error}; "
                "convert it with model.float() and take casts out of its forward"
            ) from error
        if self._writes_inputs is None:
            self._writes_inputs = versions != _versions(tensors_of(batch.inputs))
        return as_matrix(outputs, batch.size)

    def _state(self, point: Point) -> dict[str, Tensor]:
        """Return what the caller is to have at a point, under all names of each tensor.

        ``functional_call`` would look for those that are tied in every call, which takes longer than a small network.
        """
        if self._places is None:
            self._places = _places(self.caller)
        given = {f"model.{name}": tensor for name, tensor in (*point.parameters.items(), *point.buffers.items())}
        return {place: tensor for name, tensor in given.items() for place in self._places.get(name, [name])}

    def stacked(self, batch: Batch, points: Sequence[Point]) -> Tensor | None:
        """Return the outputs ``[K, B, C]`` at K points, computed side by side; None if this model cannot be called so.

        A call of a small model costs more than its arithmetic. The points differ in parameters alone.
        """
        if not self._stacks:
            return None
        names = points[0].parameters.keys()
        parameters = {name: torch.stack([point.parameters[name] for point in points]) for name in names}
        try:
            with warnings.catch_warnings():
                # What has no rule of its own is computed one point after the other.
                warnings.filterwarnings("ignore", message="There is a performance drop")
                return torch.func.vmap(lambda own: self.unchecked(batch, points[0].at(own)))(parameters)
        except FAULTS:
            # Such as control flow that depends on values. What is wrong with the model itself shows point by point.
            self._stacks = False
            return None


def _places(module: nn.Module) -> dict[str, list[str]]:
    """Return all names of each parameter and buffer, those of one tensor together, by each of them."""
    named = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    of_one: dict[int, list[str]] = {}
    for name, tensor in named:
        of_one.setdefault(id(tensor), []).append(name)
    return {name: of_one[id(tensor)] for name, tensor in named}


def _versions(tensors: Iterable[Tensor]) -> list[int]:
    return [tensor._version for tensor in tensors]


def written_parameter(name: str) -> NotDeterministic:
    """Return what to say of a model that writes to a parameter while it is evaluated."""
    return NotDeterministic(
        f"the model changes its parameter '{name}' in its forward pass, so its risk is not a function of its "
        "parameters; constrain weights after optimizer.step(), not in forward"
    )


def _refuse_written(point: Point, versions: list[int]) -> None:
    """Refuse a model that has written to a parameter or a buffer since their versions were taken."""
    state = {**point.parameters, **point.buffers}
    for (name, tensor), version in zip(state.items(), versions, strict=True):
        if tensor._version == version:
            continue
        if name in point.parameters:
            raise written_parameter(name)
        raise NotDeterministic(
            f"the model changes its buffer '{name}' in eval mode (BatchNorm kept in train mode?), so each sample's "
            "loss depends on its batch; let eval() reach every module"
        )
