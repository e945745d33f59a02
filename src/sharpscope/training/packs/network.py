"""Networks of one shape as one: what they compute in batched matrix products, and its gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor, nn

from sharpscope.training.packs.activations import ACTIVATIONS, Activation
from sharpscope.training.packs.factors import Factor, of_network
from sharpscope.training.packs.weights import Layer, Place, Weights

# A batch of as many samples goes through the networks one by one, and so many at a time: a product with so many rows is
# as fast for one network as for several, and what is kept for the way back stays in a cache.
CHUNK = 1024
# Numbers of a sample to which a further one may come.
_NARROW = 16


class NotPacked(Exception):
    """Networks, or a recipe, that no pack can have; the text completes "packs take none with ..."."""


@dataclass(frozen=True)
class Affine:
    """A linear layer of all networks.

    Attributes:
        number: Its place among the linear layers.
    """

    number: int


class Differentiable(Protocol):
    """A loss with a derivative.

    Attributes:
        additive: Whether it is a mean over samples, so that the derivative can be made of some of them at a time.
    """

    additive: bool

    def derivative(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the derivative by the outputs ``[R, N, C]`` of N times the loss of the N samples."""


@dataclass(frozen=True)
class Network:
    """The shape of networks: linear layers, and what is applied to each number between them.

    Attributes:
        layers: In order.
        places: Where the weights of each linear layer are.
    """

    layers: tuple[Affine | Activation, ...]
    places: tuple[Place, ...]

    @classmethod
    def of(cls, model: nn.Module) -> Network:
        """Return the shape of a model.

        Raises:
            NotPacked: If it is more than linear layers, each followed by at most one activation that is known here.
        """
        layers: list[Affine | Activation] = []
        places: list[Place] = []
        for name, module in _in_sequence(model, ""):
            if type(module) is nn.Linear:
                places.append(Place.of(module, name))
                layers.append(Affine(len(places) - 1))
                continue
            activation = _activation(module)
            # It may write over what it is given, and so that must be of no other use.
            if not layers or not isinstance(layers[-1], Affine):
                raise NotPacked("an activation that does not follow a linear layer")
            layers.append(activation)
        if sum(parameter.numel() for parameter in model.parameters()) != sum(place.size for place in places):
            raise NotPacked("layers that share weights")
        if any(before.outputs != place.inputs for before, place in pairwise(places)):
            raise NotPacked("layers that take a part of what the layer before gives")
        if not places or not all(parameter.requires_grad for parameter in model.parameters()):
            raise NotPacked("weights that are not trained")
        return cls(tuple(layers), tuple(places))

    @property
    def inputs(self) -> int:
        """Numbers that a sample has."""
        return self.places[0].inputs

    def joined(self) -> Network:
        """Return this with the bias of the first layer as a weight of it, if that is faster: samples get a one each.

        A product less in each direction, where the samples are so narrow that a column more costs nothing.
        """
        first, *others = self.places
        if not first.bias or not first.inputs < first.outputs or first.inputs > _NARROW:
            return self
        return replace(self, places=(replace(first, joined=True), *others))

    def weights(self, models: Sequence[nn.Module], device: torch.device) -> Weights:
        """Return the weights of models of this shape, side by side on a device."""
        return Weights.of([model.state_dict() for model in models], self.places, device)

    def outputs(self, weights: Weights, inputs: Tensor) -> Tensor:
        """Return the outputs ``[R, N, C]`` of inputs ``[R, N, D]``."""
        if inputs.shape[1] < CHUNK:
            return self._forward(weights.layers, inputs)[0]
        return torch.cat(
            [
                torch.cat([self._forward(layers, part)[0] for part in own.split(CHUNK, dim=1)], dim=1)
                for layers, own in zip(weights.apart, inputs.split(1), strict=True)
            ]
        )

    def gradient(
        self,
        weights: Weights,
        inputs: Tensor,
        targets: Tensor,
        loss: Differentiable,
        into: Weights,
        *,
        beta: Factor = 0.0,
        alpha: float = 1.0,
    ) -> Tensor:
        """Go forward and backward, and leave ``beta`` times what was there plus ``alpha`` times the gradient.

        Args:
            weights: Where the gradient is taken.
            inputs: Shape ``[R, N, D]``, where D are the rows of the first matrix.
            targets: Shape ``[R, N]``, or ``[R, N, C]``.
            loss: Of the N samples.
            into: Where the gradient is added; not ``weights``.
            beta: The factor on what is there; with 0 it may be anything.
            alpha: The factor on the gradient.

        Returns:
            Outputs, shape ``[R, N, C]``.
        """
        alpha /= inputs.shape[1]
        if inputs.shape[1] < CHUNK:
            return self._added(weights.layers, inputs, targets, loss, into.layers, beta, alpha)
        found = []
        for row, (here, there) in enumerate(zip(weights.apart, into.apart, strict=True)):
            share = of_network(beta, row)
            size = CHUNK if loss.additive else inputs.shape[1]
            parts = (tensor[row : row + 1].split(size, dim=1) for tensor in (inputs, targets))
            for some, their_targets in zip(*parts, strict=True):
                found.append(self._added(here, some, their_targets, loss, there, share, alpha))
                share = 1.0
        return torch.cat(found, dim=1).view(*inputs.shape[:2], -1)

    def _added(
        self,
        layers: Sequence[Layer],
        inputs: Tensor,
        targets: Tensor,
        loss: Differentiable,
        into: Sequence[Layer],
        beta: Factor,
        alpha: float,
    ) -> Tensor:
        """Add ``alpha`` times the sum over samples of the gradients of their losses; return the outputs."""
        outputs, kept = self._forward(layers, inputs)
        self._backward(layers, loss.derivative(outputs, targets), kept, into, beta, alpha)
        return outputs

    def _forward(self, layers: Sequence[Layer], values: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the outputs, and of each layer what its derivative is made of."""
        kept = []
        for layer in self.layers:
            if isinstance(layer, Affine):
                kept.append(values)
                values = _applied(layers[layer.number], values)
            else:
                found = layer.forward(values)
                kept.append(found if layer.from_output else values)
                values = found
        return values, kept

    def _backward(
        self,
        layers: Sequence[Layer],
        above: Tensor,
        kept: list[Tensor],
        into: Sequence[Layer],
        beta: Factor,
        alpha: float,
    ) -> None:
        for layer in reversed(self.layers):
            # Let go of as it was used, so that what comes next lies where it lay: in the cache.
            values = kept.pop()
            if not isinstance(layer, Affine):
                above = layer.backward(above, values)
                continue
            into[layer.number].add_products(values, above, beta=beta, alpha=alpha)
            if layer.number:
                above = torch.bmm(above, layers[layer.number].transposed)


def _applied(layer: Layer, values: Tensor) -> Tensor:
    return torch.bmm(values, layer.matrix) if layer.bias is None else torch.baddbmm(layer.bias, values, layer.matrix)


def _in_sequence(module: nn.Module, prefix: str) -> list[tuple[str, nn.Module]]:
    """Return the layers of nested sequences in order, with their names; what changes nothing is left out."""
    if _is_hooked(module):
        raise NotPacked("hooks")
    if type(module) is nn.Sequential:
        return [
            layer
            # Not the named children, which name a layer once that is there twice.
            for name, child in module._modules.items()
            if child is not None
            for layer in _in_sequence(child, f"{prefix}.{name}" if prefix else name)
        ]
    if type(module) is nn.Identity or (type(module) is nn.Flatten and (module.start_dim, module.end_dim) == (1, -1)):
        return []
    return [(prefix, module)]


def _is_hooked(module: nn.Module) -> bool:
    hooks: Sequence[Mapping] = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
    return any(hooks)


def _activation(module: nn.Module) -> Activation:
    make: Callable[[nn.Module], Activation | None] | None = ACTIVATIONS.get(type(module))
    found = None if make is None else make(module)
    if found is None:
        raise NotPacked(f"a layer of type {type(module).__name__}")
    return found
