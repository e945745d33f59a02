"""Relative flatness of any linear or convolutional layer, by Hessian-vector products.

With W the layer's weight as a matrix and B any factor with ``B B^T = W W^T``, a probe ``v = vec(B Z)`` with random
signs Z has ``E[v^T H v] = sum_{s,s'} <w_s, w_s'> Tr(H_ss')``. Independent Z for every layer let one product serve all
layers.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from sharpscope.curvature.estimate import Estimate, mean_of
from sharpscope.curvature.estimators.sequential_sampling import draw_rounds, judged
from sharpscope.curvature.operators import Hessian, Products, Space, of_products
from sharpscope.curvature.passes import Evaluation, Need, Reduction
from sharpscope.curvature.passes.reductions import ColumnMoments
from sharpscope.curvature.risk import Risk
from sharpscope.errors import SharpscopeError, suggest

# Vectors held at a time: each is as large as the layers together.
_PROBES_A_PASS = 16


@dataclass(frozen=True)
class Layer:
    """A linear or convolutional layer.

    Attributes:
        name: Its name within the model.
        module: The layer.
        weight: The name of its weight among the parameters.
    """

    name: str
    module: nn.Module
    weight: str

    @property
    def groups(self) -> int:
        """Parts of the layer that read different inputs."""
        return self.module.groups if isinstance(self.module, _ConvNd) else 1

    def matrices(self, weight: Tensor) -> Tensor:
        """Return the weight as one matrix a group: ``[groups, outputs, inputs * kernel]``."""
        if isinstance(self.module, _ConvTransposeNd):
            return weight.unflatten(0, (self.groups, -1)).transpose(1, 2).flatten(2)
        return weight.unflatten(0, (self.groups, -1)).flatten(2)

    def weight_of(self, matrices: Tensor, shape: torch.Size) -> Tensor:
        """Return matrices in the form of the weight: the inverse of ``matrices``."""
        if isinstance(self.module, _ConvTransposeNd):
            inputs, outputs, *kernel = shape
            parts = matrices.reshape(self.groups, outputs, inputs // self.groups, *kernel)
            return parts.transpose(1, 2).reshape(shape)
        return matrices.reshape(shape)

    def channels(self, inputs: Tensor) -> Tensor:
        """Return the layer's inputs as rows of channels ``[n, channels]``, samples and positions alike."""
        if isinstance(self.module, _ConvNd):
            spatial = len(self.module.kernel_size)
            return inputs.movedim(-spatial - 1, -1).reshape(-1, inputs.shape[-spatial - 1])
        return inputs.reshape(-1, inputs.shape[-1])

    def by_entry(self, channels: Tensor) -> Tensor:
        """Return one number a channel as one a column of the matrices: ``[groups, 1, inputs * kernel]``."""
        kernel = 1
        if isinstance(self.module, _ConvNd):
            for size in self.module.kernel_size:
                kernel *= size
        return channels.reshape(self.groups, 1, -1, 1).expand(-1, -1, -1, kernel).flatten(2)


class _InputMoments(Reduction):
    """The moments of the inputs of layers, by channel."""

    needs = Need.NOTHING

    def __init__(self, layers: list[Layer]) -> None:
        self._layers = layers
        self.of = {layer.name: ColumnMoments() for layer in layers}

    def update(self, evaluation: Evaluation) -> None:
        """Run the batch once more with the layers watched."""
        risk = evaluation.risk

        def record(layer: Layer, args: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
            inputs = args[0] if args else named["input"]
            self.of[layer.name].add(layer.channels(inputs.detach()), risk.precise)

        handles = [
            layer.module.register_forward_pre_hook(
                lambda _, args, named, layer=layer: record(layer, args, named), with_kwargs=True
            )
            for layer in self._layers
        ]
        try:
            with torch.no_grad():
                risk.outputs(evaluation.batch)
        finally:
            for handle in handles:
                handle.remove()


def layer_flatness(
    risk: Risk, layer: str | nn.Module, *, normalize: bool, probes: int
) -> Generator[Any, Any, Estimate]:
    """Estimate the relative flatness of a layer, given as itself or by name, or of "all"; see ``relative_flatness``."""
    layers = _chosen(risk, layer)
    scales: dict[str, Tensor] = {}
    about: dict[str, Any] = {}
    if layer == "all" and (left_out := sorted(_layers(risk).keys() - {chosen.name for chosen in layers})):
        about["left_out"] = left_out
    if normalize:
        moments = _InputMoments(layers)
        yield moments
        called = [chosen for chosen in layers if moments.of[chosen.name].rows]
        if len(called) < len(layers):
            about["not_called"] = [chosen.name for chosen in layers if chosen not in called]
        if not called:
            raise SharpscopeError(
                f"the model does not call the layer '{layers[0].name}', so it has no inputs to normalize; pass "
                "normalize=False if its weight is used in another way"
            )
        layers = called
        for chosen in layers:
            found = moments.of[chosen.name]
            # A constant input is left out: its scale is zero, and so is what divides by it.
            deviation = torch.where(found.constant, 0.0, found.variance.sqrt())
            scales[chosen.name] = chosen.by_entry(deviation)
    operator = Hessian(Space(risk, [chosen.weight for chosen in layers]))
    factors = [_Factor(chosen, risk.parameters[chosen.weight], scales.get(chosen.name)) for chosen in layers]
    factors = sorted(factors, key=lambda f: operator.space.names.index(f.layer.weight))
    stream = risk.stream.child("layer_flatness")
    by_layer: dict[str, list[float]] = {factor.layer.name: [] for factor in factors}
    samples = 0

    def joint_probe(number: int) -> Tensor:
        generator = stream.child(number).torch(risk.device)
        return operator.space.join([factor.probe(generator) for factor in factors])

    def make(start: int, count: int) -> Generator[Any, Any, list[float]]:
        nonlocal samples
        sums: list[float] = []
        for first in range(start, start + count, _PROBES_A_PASS):
            numbers = range(first, min(first + _PROBES_A_PASS, start + count))
            vectors = torch.stack([joint_probe(k) for k in numbers])
            products = Products(operator, vectors)
            yield products
            samples = products.samples
            for vector, image in zip(vectors, products.value, strict=True):
                parts = [(v * h).double().sum().item() for v, h in _by_parameter(operator.space, vector, image)]
                for factor, part in zip(factors, parts, strict=True):
                    by_layer[factor.layer.name].append(part)
                sums.append(sum(parts))
        return sums

    draws = yield from draw_rounds(make, probes, risk.rtol)
    each = {name: mean_of(values, samples) for name, values in by_layer.items()}
    details = {name: {"value": e.value, "stderr": e.stderr} for name, e in each.items()}
    return judged(of_products(operator, mean_of(draws, samples, layers=details, **about)), risk.rtol)


class _Factor:
    """Draws probes ``B Z`` of one layer, with ``B B^T = (W S)(W S)^T`` by group."""

    def __init__(self, layer: Layer, weight: Tensor, scale: Tensor | None) -> None:
        self.layer = layer
        self._shape = weight.shape
        matrices = layer.matrices(weight).double()
        self._inverse: Tensor | None = None
        if scale is not None:
            scale = scale.to(matrices)
            matrices = matrices * scale
            self._inverse = torch.where(scale > 0, 1 / scale, 0.0).to(weight)
        left, singular, _ = torch.linalg.svd(matrices, full_matrices=False)
        self._left = (left * singular[:, None, :]).to(weight)
        self._columns = matrices.shape[2]

    def probe(self, generator: torch.Generator) -> Tensor:
        """Return one probe in the form of the weight."""
        shape = (self._left.shape[0], self._left.shape[2], self._columns)
        signs = torch.randint(0, 2, shape, generator=generator, device=generator.device).to(self._left) * 2 - 1
        matrices = self._left @ signs
        if self._inverse is not None:
            matrices = matrices * self._inverse
        return self.layer.weight_of(matrices, self._shape)


def _by_parameter(space: Space, *vectors: Tensor) -> list[tuple[Tensor, ...]]:
    return list(zip(*(space.split(vector).values() for vector in vectors), strict=True))


def _layers(risk: Risk) -> dict[str, Layer]:
    return {
        name: Layer(name, module, f"{name}.weight" if name else "weight")
        for name, module in risk.model.named_modules()
        if isinstance(module, nn.Linear | _ConvNd)
    }


def _chosen(risk: Risk, layer: str | nn.Module) -> list[Layer]:
    known = {name: found for name, found in _layers(risk).items() if found.weight in risk.parameters}
    if isinstance(layer, nn.Module):
        found = [candidate for candidate in known.values() if candidate.module is layer]
        if not found:
            raise SharpscopeError(
                f"the layer given, a {type(layer).__name__}, is no linear or convolutional layer of this model"
            )
        return found
    if layer == "all" and known:
        return list(known.values())
    if layer not in known:
        raise SharpscopeError(f"no linear or convolutional layer is called '{layer}'{suggest(layer, known)}")
    return [known[layer]]
