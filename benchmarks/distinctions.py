"""How often levels that are alike are said to differ, and how often the size of what they differ by is held."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sharpscope.analysis.statistics.level_differences import levels_differ, told_apart, typical_difference
from sharpscope.numpy_stream import NumpyStream

COUNT, OF_NOTHING, ALPHA = 1000, 3000, 0.05  # studies with planted differences, and without
LEVELS, QUANTITIES, DRAWS = 7, 3, 999
SIZES = (0.0, 0.5, 1.0, 5.0)  # how far two levels typically lie apart, in standard deviations of a run
_STREAM = NumpyStream(0, "benchmark", "distinctions")

Luck = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def _lognormal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return (rng.lognormal(0, 1, shape) - np.exp(0.5)) / np.sqrt(np.exp(2) - np.exp(1))


@dataclass(frozen=True)
class Noise:
    """The luck of runs.

    Attributes:
        luck: Of mean zero; the same kind for all runs.
        spread: What it is multiplied by, from the first level to the last.
        missing: The share of runs that are lost.
    """

    luck: Luck
    spread: tuple[float, ...] = (1.0,) * LEVELS
    missing: float = 0.0


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_normal(shape)


NOISES = {
    "normal": Noise(_normal),
    "normal, 5% of runs lost": Noise(_normal, missing=0.05),
    "lognormal, sigma 1": Noise(_lognormal),
    "Student's t, 2 degrees of freedom": Noise(lambda rng, shape: rng.standard_t(2, shape)),
    "spreads from 0.3 to 1.7": Noise(_normal, tuple(np.linspace(0.3, 1.7, LEVELS))),
    "one level with a spread of 4": Noise(_normal, (4.0, *(1.0,) * (LEVELS - 1))),
}


def drawn(rng: np.random.Generator, noise: Noise, effects: np.ndarray, seeds: int) -> np.ndarray:
    """Return some quantities of one study, which go together, shape ``[quantities, levels, seeds]``."""
    shared, own = (noise.luck(rng, (count, LEVELS, seeds)) for count in (1, QUANTITIES))
    values = effects[:, None] + np.array(noise.spread)[:, None] * (shared + own) / np.sqrt(2) + rng.normal(size=seeds)
    values[:, rng.random((LEVELS, seeds)) < noise.missing] = np.nan
    return np.where(np.isfinite(values).all(axis=1, keepdims=True), values, np.nan)


def effects_of(size: float) -> np.ndarray:
    """Return effects of levels of which two typically lie so far apart; half of the levels are alike."""
    steps = np.maximum(np.arange(LEVELS) - LEVELS // 2, 0.0)
    return size * steps / (np.sqrt(2) * steps.std(ddof=1))


def null_shares(noise: Noise, seeds: int) -> list[float]:
    """Return in what share of studies levels that are alike are said to differ, and two of them are told apart."""
    rng, found = np.random.default_rng([1, seeds]), np.zeros(2)
    for study in range(OF_NOTHING):
        values = drawn(rng, noise, effects_of(0.0), seeds)
        found[0] += (levels_differ(values, _STREAM.child(study), draws=DRAWS) <= ALPHA).any()
        found[1] += told_apart(values[0], _STREAM).any()
    return [float(share) for share in found / OF_NOTHING]


def planted_shares(noise: Noise, seeds: int, size: float) -> list[float]:
    """Return how often a planted size is found and held, and how often two levels that are alike are told apart."""
    rng, effects, found = np.random.default_rng(100 + seeds), effects_of(size), np.zeros(3)
    alike = effects[:, None] == effects
    for study in range(COUNT):
        values = drawn(rng, noise, effects, seeds)[0]
        interval = typical_difference(values)
        found[0] += levels_differ(values[None], _STREAM.child(study), draws=DRAWS)[0] <= ALPHA
        found[1] += interval.low <= size <= interval.high
        found[2] += told_apart(values, _STREAM)[alike].any()
    return [float(share) for share in found / COUNT]


def main() -> None:
    """Print what is found where nothing is, and what is held where something is."""
    margin = np.sqrt(ALPHA * (1 - ALPHA) / OF_NOTHING)
    print(f"{LEVELS} levels that are alike, {QUANTITIES} quantities: share of {OF_NOTHING} studies (+- {margin:.3f})")
    print("| values | seeds | said to differ | two told apart |\n|---|---|---|---|")
    for name, noise in NOISES.items():
        for seeds in (3, 6, 10):
            shares = " | ".join(f"{share:.3f}" for share in null_shares(noise, seeds))
            print(f"| {name} | {seeds} | {shares} |", flush=True)
    print(f"\nThe first half of the levels are alike, and the others are not: share of {COUNT} studies")
    print("| values | seeds | size | said to differ | size held | two alike told apart |\n|---|---|---|---|---|---|")
    for name in ("normal", "lognormal, sigma 1", "spreads from 0.3 to 1.7", "one level with a spread of 4"):
        for seeds in (3, 6, 10):
            for size in SIZES:
                shares = " | ".join(f"{share:.3f}" for share in planted_shares(NOISES[name], seeds, size))
                print(f"| {name} | {seeds} | {size} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
