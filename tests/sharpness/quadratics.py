"""Risks that are exactly quadratic, or linear, in their parameters, with what is known of them by arithmetic."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batches
from sharpscope.seeding import Stream


def half_square(outputs: Tensor, signs: Tensor) -> Tensor:
    """Return t f^2 / 2 + f / 5: quadratic in the parameters of a linear model, convex where all t are positive."""
    return square(outputs, signs) + outputs.squeeze(1) / 5


def square(outputs: Tensor, signs: Tensor) -> Tensor:
    """Return t f^2 / 2."""
    return signs * outputs.squeeze(1).square() / 2


def linear(outputs: Tensor, signs: Tensor) -> Tensor:
    """Return t f."""
    return signs * outputs.squeeze(1)


@dataclass(frozen=True)
class Quadratic:
    """L(theta + e) - L(theta) = g e + e H e / 2, for a linear model with one output and no bias."""

    model: nn.Linear
    x: Tensor
    signs: Tensor

    @classmethod
    def make(cls, curvature: str = "convex", size: int = 6, samples: int = 12) -> Quadratic:
        generator = torch.Generator().manual_seed(11)
        x = torch.randn(samples, size, generator=generator, dtype=torch.float64)
        signs = torch.ones(samples, dtype=torch.float64)
        if curvature == "indefinite":
            signs[::2] = -1
        if curvature == "concave":
            signs = -signs
        model = nn.Linear(size, 1, bias=False).double()
        with torch.no_grad():
            model.weight.copy_(torch.randn(1, size, generator=generator, dtype=torch.float64))
        return cls(model, x, signs)

    @property
    def theta(self) -> np.ndarray:
        return self.model.weight.detach().flatten().numpy()

    @property
    def hessian(self) -> np.ndarray:
        return (self.x.T @ (self.signs[:, None] * self.x)).numpy() / len(self.x)

    @property
    def gradient(self) -> np.ndarray:
        return self.hessian @ self.theta + self.x.mean(dim=0).numpy() / 5

    def rise(self, e: np.ndarray) -> float:
        return float(self.gradient @ e + e @ self.hessian @ e / 2)

    def largest_rise(self, rho: float) -> float:
        """Solve the trust-region problem exactly: (lambda - H) e = g with |e| = rho and lambda >= lambda_max(H)."""
        eigenvalues, vectors = np.linalg.eigh(self.hessian)
        g = vectors.T @ self.gradient
        low = max(eigenvalues[-1], 0.0)
        if eigenvalues[-1] < 0 and np.linalg.norm(g / -eigenvalues) <= rho:
            return self.rise(vectors @ (g / -eigenvalues))
        high = low + np.linalg.norm(g) / rho + 1
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if np.linalg.norm(g / (middle - eigenvalues)) > rho else (low, middle)
        return self.rise(vectors @ (g / (high - eigenvalues)))

    def risk(self, seed: int = 0, rtol: float | None = None, loss: object = half_square) -> Risk:
        batches = Batches((self.x, self.signs))
        return Risk(self.model, batches, loss=loss, stream=Stream(seed), rtol=rtol)  # type: ignore[arg-type]


def rescaled(model: nn.Sequential, *, per_neuron: bool) -> nn.Sequential:
    """Return the same function of a ReLU network with biases, its first two linear layers rescaled."""
    model = copy.deepcopy(model)
    first, _, second, *_ = model
    factor = torch.full((len(first.bias), 1), 3.0, dtype=first.weight.dtype)
    if per_neuron:
        factor = torch.linspace(0.5, 3.0, len(first.bias), dtype=first.weight.dtype)[:, None]
    with torch.no_grad():
        first.weight.mul_(factor)
        first.bias.mul_(factor[:, 0])
        second.weight.div_(factor.T)
    return model
