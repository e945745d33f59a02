"""The weights of networks of one shape, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain

import torch
from torch import Tensor, nn

from sharpscope.training.packs.factors import Factor


@dataclass(frozen=True)
class Place:
    """A linear layer that all networks have.

    Attributes:
        name: Of the layer; empty if it is the model.
        inputs: Numbers that it takes.
        outputs: Numbers that it gives.
        bias: Whether it has a bias.
        joined: Whether the bias is a further row of its matrix, that of an input which is always one.
    """

    name: str
    inputs: int
    outputs: int
    bias: bool
    joined: bool = False

    @classmethod
    def of(cls, layer: nn.Linear, name: str) -> Place:
        """Return the place of a layer."""
        return cls(name, layer.in_features, layer.out_features, layer.bias is not None)

    @property
    def size(self) -> int:
        """The number of its weights."""
        return (self.inputs + self.bias) * self.outputs

    @property
    def rows(self) -> int:
        """Rows of its matrix."""
        return self.inputs + self.joined

    @property
    def turned(self) -> bool:
        """Whether its matrix is stored with the outputs first, as PyTorch has it.

        The longer side comes last. A square matrix has its inputs first: the forward pass is twice as fast so.
        """
        return self.inputs > self.outputs

    def key(self, what: str) -> str:
        """Return the name of its weight or bias in the state of the model."""
        return f"{self.name}.{what}" if self.name else what


@dataclass(frozen=True)
class Layer:
    """The weights of a linear layer, of R networks.

    Attributes:
        place: Which layer.
        stored: The matrices as they lie in memory, ``[R, rows, outputs]``, or ``[R, outputs, rows]`` if turned.
        bias: Shape ``[R, 1, outputs]``, or None where there is none beside the matrix.
    """

    place: Place
    stored: Tensor
    bias: Tensor | None

    @cached_property
    def matrix(self) -> Tensor:
        """The matrices, ``[R, rows, outputs]``."""
        return self.stored.mT if self.place.turned else self.stored

    @cached_property
    def transposed(self) -> Tensor:
        """The same, ``[R, outputs, rows]``."""
        return self.matrix.mT

    def of_network(self, number: int) -> Layer:
        """Return the layer of one network, which shares the memory."""
        bias = None if self.bias is None else self.bias[number : number + 1]
        return Layer(self.place, self.stored[number : number + 1], bias)

    def parameters(self, network: int) -> Iterator[tuple[str, Tensor]]:
        """Yield the parameters of one network by their names in its state, as PyTorch has them."""
        matrix = self.matrix[network]
        yield self.place.key("weight"), matrix[: self.place.inputs].mT
        if self.place.bias:
            yield self.place.key("bias"), matrix[-1] if self.bias is None else self.bias[network, 0]

    def tensors(self) -> Iterator[Tensor]:
        """Yield what lies in memory."""
        yield self.stored
        if self.bias is not None:
            yield self.bias

    def add_products(self, values: Tensor, above: Tensor, *, beta: Factor, alpha: float) -> None:
        """Multiply what is there by ``beta`` and add ``alpha`` times the gradient.

        Args:
            values: What the layer was given, ``[R, N, rows]``.
            above: The derivative by what it gave, ``[R, N, outputs]``.
            beta: The factor on what is there; with 0 it may be anything.
            alpha: The factor on the gradient.
        """
        # Not into a view that is turned, which PyTorch makes a copy of.
        left, right = (above.mT, values) if self.place.turned else (values.mT, above)
        _add_products(self.stored, left, right, beta, alpha)
        if self.bias is not None:
            ones = _ones(*above.shape[:2], above.dtype, above.device)
            _add_products(self.bias, ones, above, beta, alpha)


class Weights:
    """A vector for each of R networks of one shape: their weights, or gradients, or moments of these.

    Layer after layer lies in one piece of memory, each with all networks: products into a layer that has gaps between
    networks are several times slower.

    Args:
        flat: All numbers, shape ``[R * P]``.
        places: Of the linear layers.

    Attributes:
        layers: The weights of each, which share the memory of ``flat``.
        tensors: The matrices and biases of all layers, in order; each has the networks in its first dimension.
    """

    def __init__(self, flat: Tensor, places: Sequence[Place]) -> None:
        self.flat = flat
        self.places = tuple(places)
        self._networks = flat.numel() // sum(place.size for place in places)
        self.layers = list(_layers(flat, self.places, self._networks))
        self.tensors = [tensor for layer in self.layers for tensor in layer.tensors()]

    @classmethod
    def of(cls, states: Sequence[Mapping[str, Tensor]], places: Sequence[Place], device: torch.device) -> Weights:
        """Return the weights of models, given by their states."""
        size = len(states) * sum(place.size for place in places)
        dtype = states[0][places[0].key("weight")].dtype
        weights = cls(torch.zeros(size, dtype=dtype, device=device), places)
        for row, state in enumerate(states):
            for name, parameter in weights.parameters(row):
                parameter.copy_(state[name])
        return weights

    @cached_property
    def apart(self) -> list[list[Layer]]:
        """The layers of each network, which share its memory."""
        return [[layer.of_network(row) for layer in self.layers] for row in range(len(self))]

    def __len__(self) -> int:
        """Return the number of networks."""
        return self._networks

    def state(self, row: int) -> dict[str, Tensor]:
        """Return the state of the model of a row; its tensors are contiguous and its own."""
        return {
            name: parameter.clone(memory_format=torch.contiguous_format) for name, parameter in self.parameters(row)
        }

    def parameters(self, row: int) -> Iterator[tuple[str, Tensor]]:
        """Yield the parameters of one network by their names in its state; they share the memory."""
        return chain.from_iterable(layer.parameters(row) for layer in self.layers)

    def row(self, number: int) -> Tensor:
        """Return the vector of one network, shape ``[P]``."""
        return torch.cat([tensor[number].flatten() for tensor in self.tensors])

    def put(self, number: int, vector: Tensor) -> None:
        """Put the vector of one network in its place."""
        parts = vector.split([tensor[0].numel() for tensor in self.tensors])
        for tensor, part in zip(self.tensors, parts, strict=True):
            tensor[number].copy_(part.view_as(tensor[number]))

    def rows(self, chosen: Sequence[int]) -> Weights:
        """Return some of the networks, in memory of their own."""
        index = torch.tensor(chosen, device=self.flat.device)
        return Weights(torch.cat([tensor[index].flatten() for tensor in self.tensors]), self.places)

    def zeros(self) -> Weights:
        """Return as many vectors of zeros."""
        return Weights(torch.zeros_like(self.flat), self.places)

    def pieces(
        self, found: Factor, *others: Weights, which: Sequence[bool] | None = None
    ) -> Iterator[tuple[float, list[Tensor]]]:
        """Yield a factor with the numbers that it is of, here and in others of this shape; together they are all.

        Args:
            found: The factor.
            others: Further vectors.
            which: Which of the ``tensors`` are wanted; None for all.
        """
        if which is None and not isinstance(found, tuple):
            yield found, [self.flat, *(other.flat for other in others)]
            return
        rows = zip(*(each.tensors for each in (self, *others)), which or [True] * len(self.tensors), strict=True)
        for *tensors, wanted in rows:
            if wanted:
                yield from _pieces(found, *tensors)

    def norms(self) -> Tensor:
        """Return the Euclidean norm of each vector, shape ``[R]``."""
        parts = [torch.linalg.vector_norm(tensor.flatten(1), dim=1) for tensor in self.tensors]
        return torch.linalg.vector_norm(torch.stack(parts), dim=0)

    def spread(self, values: Tensor) -> Tensor:
        """Return a number for each network, ``[R]``, at each of the numbers of its vector: shape ``[R * P]``."""
        return torch.cat([values[:, None].expand(-1, tensor[0].numel()).flatten() for tensor in self.tensors])

    def of_each(self, test: Callable[[nn.Parameter], bool]) -> list[bool]:
        """Return what a test says of each of the ``tensors``, as a parameter of a model; no bias may be joined."""
        found = []
        for layer in self.layers:
            place = layer.place
            found.append(test(nn.Parameter(torch.empty(place.outputs, place.inputs))))
            if layer.bias is not None:
                found.append(test(nn.Parameter(torch.empty(place.outputs))))
        return found


@lru_cache(maxsize=8)
def _ones(networks: int, number: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return ones, ``[R, 1, number]``: a row in memory, since a single one expanded is multiplied network by network.

    A view that is made once: where the products are small, what is around them takes as long as they do.
    """
    return torch.ones(1, 1, number, dtype=dtype, device=device).expand(networks, 1, -1)


def _add_products(into: Tensor, left: Tensor, right: Tensor, beta: Factor, alpha: float) -> None:
    """Multiply by ``beta`` what is there, and add ``alpha`` times the products of matrices."""
    if not isinstance(beta, tuple):
        into.baddbmm_(left, right, beta=beta, alpha=alpha)
        return
    for first, last, share in beta:
        into[first:last].baddbmm_(left[first:last], right[first:last], beta=share, alpha=alpha)


def _pieces(found: Factor, *tensors: Tensor) -> Iterator[tuple[float, list[Tensor]]]:
    """Yield each number of a factor with the networks of tensors that it is of."""
    if not isinstance(found, tuple):
        yield found, list(tensors)
        return
    for first, last, value in found:
        yield value, [tensor[first:last] for tensor in tensors]


def _layers(flat: Tensor, places: Sequence[Place], networks: int) -> Iterator[Layer]:
    start = 0
    for place in places:
        rows, outputs = place.rows, place.outputs
        shape = (networks, outputs, rows) if place.turned else (networks, rows, outputs)
        middle, end = start + networks * rows * outputs, start + networks * place.size
        bias = flat[middle:end].view(networks, 1, outputs) if end > middle else None
        yield Layer(place, flat[start:middle].view(shape), bias)
        start = end
