"""How often the intervals of explained shares hold the truth, over ledgers whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sharpscope.analysis.statistics import LEVEL, Bounds, Partition, partition
from sharpscope.numpy_stream import NumpyStream

LEVELS, REPEATS, RESAMPLES, MANY_SEEDS = 6, 1000, 1000, 50_000
_STREAM = NumpyStream(0, "benchmark", "shares")
# What is told of each ledger: its name, the order, and the place of the predictor in it.
_TOLD = (
    *(("loss", 0, 0), ("then complexity", 0, 1), ("level, last", 0, 2)),
    *(("complexity first", 2, 0), ("loss, then", 2, 1)),
)
_NAMES = ("loss", "complexity", "level")


@dataclass(frozen=True)
class Ledger:
    """What the logarithm of sharpness is a sum of.

    Attributes:
        on_loss: Times the logarithm of the loss.
        on_complexity: Times that of complexity; the two go together.
        on_level: Times an effect of the level.
        noise: Times the luck of a run.
        slopes: How much the slope on the loss differs from seed to seed.
        tails: Degrees of freedom of Student's t, which all luck is drawn from; None for normal luck.
    """

    on_loss: float = 0.0
    on_complexity: float = 0.0
    on_level: float = 0.0
    noise: float = 1.0
    slopes: float = 0.0
    tails: int | None = None


LEDGERS = {
    "nothing": Ledger(),
    "loss alone": Ledger(on_loss=1.0, noise=0.15),
    "loss, some complexity": Ledger(1.0, 0.7, 0.15, 0.3),
    "loss and complexity, no level": Ledger(1.0, 0.8),
    "all three": Ledger(1.0, 0.8, 1.5),
    "slopes of seeds": Ledger(1.0, 0.5, 0.5, 0.5, slopes=0.5),
    "heavy tails": Ledger(1.0, 0.5, 0.5, tails=3),
}


def shares_of(ledger: Ledger, seeds: int, rng: np.random.Generator, resamples: int = RESAMPLES) -> Partition:
    """Return the shares of loss, complexity and level in a study of so many seeds; without resamples, no intervals."""

    def luck(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape) if ledger.tails is None else rng.standard_t(ledger.tails, shape)

    effects = np.random.default_rng(0).standard_normal((3, LEVELS))
    shared = luck(seeds, LEVELS)
    loss, complexity = (0.7 * (shared + luck(seeds, LEVELS)) + luck(seeds, 1) + effects[i] for i in (0, 1))
    slope = ledger.on_loss + ledger.slopes * luck(seeds, 1)
    y = slope * loss + ledger.on_complexity * complexity + ledger.on_level * effects[2]
    y = y + ledger.noise * luck(seeds, LEVELS) + luck(seeds, 1)
    seed, level = (part.ravel() for part in np.meshgrid(np.arange(seeds), np.arange(LEVELS), indexing="ij"))
    of_level = (level[:, None] == np.arange(1, LEVELS)).astype(float)
    predictors = [loss.reshape(-1, 1), complexity.reshape(-1, 1), of_level]
    units = seed if resamples else np.zeros_like(seed)
    return partition(y.ravel(), predictors, seed, units, _STREAM, resamples=resamples or 1)


def _parts(found: Partition) -> Bounds:
    """Return what is told of a ledger in a row: shares in two orders, means over all, and loss minus complexity."""

    def of(name: str) -> np.ndarray:
        steps, mean, differences = (getattr(part, name) for part in (found.steps, found.mean, found.differences))
        return np.array([*(steps[order, place] for _, order, place in _TOLD), *mean, differences[0, 1]])

    return Bounds(of("value"), of("low"), of("high"))


def main() -> None:
    """Print the share of intervals that hold the truth, and the mean error of the shares."""
    header = [*(told for told, _, _ in _TOLD), *(f"mean, {name}" for name in _NAMES), "loss minus complexity"]
    print(f"Share of {REPEATS} intervals at {LEVEL:.0%} that hold the truth (its value), {LEVELS} levels")
    print(f"| ledger | seeds | {' | '.join(header)} | largest bias |\n|{'---|' * (len(header) + 3)}")
    for name, ledger in LEDGERS.items():
        truth = _parts(shares_of(ledger, MANY_SEEDS, np.random.default_rng(1), resamples=0)).value
        for seeds in (6, 10):
            rng = np.random.default_rng(seeds)
            found = [_parts(shares_of(ledger, seeds, rng)) for _ in range(REPEATS)]
            near = 2e-4  # by which the truth, of many seeds, may be off
            held = np.mean([(one.low <= truth + near) & (truth - near <= one.high) for one in found], axis=0)
            bias = np.mean([one.value for one in found], axis=0) - truth
            cells = " | ".join(f"{share:.2f} ({true:.2f})" for share, true in zip(held, truth, strict=True))
            print(f"| {name} | {seeds} | {cells} | {bias[np.argmax(np.abs(bias))]:+.3f} |", flush=True)


if __name__ == "__main__":
    main()
