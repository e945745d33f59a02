"""The noises of ledgers whose truth is known: near the normal one, and far from it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Noise = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]

CONTINUOUS: dict[str, Noise] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "lognormal, sigma 1": lambda rng, shape: rng.lognormal(0, 1, shape),
    "Student's t, 2 degrees of freedom": lambda rng, shape: rng.standard_t(2, shape),
}


def accuracy(samples: int, mean: float, spread: float) -> Noise:
    """Return the noise of an accuracy on so many samples, which many runs share to the last digit."""
    return lambda rng, shape: np.round(samples * rng.normal(mean, spread, shape)) / samples
