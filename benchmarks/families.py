"""What the corrections of the primary family hold and find, over thousands of ledgers whose truth is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.noises import CONTINUOUS, Noise, accuracy
from sharpscope.analysis.statistics import holm, signed_rank_test, westfall_young
from sharpscope.numpy_stream import NumpyStream

QUANTITIES, REGIMES, ALPHA = 5, 5, 0.05
_STREAM = NumpyStream(0, "benchmark", "families")

NOISES = {**CONTINUOUS, "accuracy on 500 images": accuracy(500, mean=0.94, spread=0.008)}


def ledgers(noise: Noise, seeds: int, settings: int, count: int, shift: float = 0.0) -> Iterator[np.ndarray]:
    """Yield the study-wide differences of ``count`` ledgers, each ``[tests, seeds]``; the first half is shifted.

    A seed has luck of its own in each quantity, which all its runs share, and quantities of a run go together.
    """
    rng = np.random.default_rng(NumpyStream(0, "ledgers", seeds, settings, count).seed)
    for _ in range(count):
        run = noise(rng, (settings, 1, REGIMES + 1, seeds)) + noise(rng, (settings, QUANTITIES, REGIMES + 1, seeds))
        values = run + noise(rng, (1, QUANTITIES, 1, seeds))
        differences = (values[:, :, 1:] - values[:, :, :1]).mean(axis=0).reshape(-1, seeds)
        differences[: len(differences) // 2] += shift * differences.std()
        yield differences


def of_holm(differences: np.ndarray) -> np.ndarray:
    """Return the adjusted p of exact signed-rank tests."""
    zeros = np.zeros(differences.shape[1])
    return holm(np.array([signed_rank_test(row, zeros).p for row in differences]))


def of_flips(differences: np.ndarray) -> np.ndarray:
    """Return the adjusted p of flips of whole seeds."""
    return westfall_young(differences, _STREAM)


def error(noise: Noise, seeds: int, settings: int, count: int, missing: float = 0.0) -> float:
    """Return in what share of ledgers without any effect something is found."""
    rng, found = np.random.default_rng(1), 0
    for differences in ledgers(noise, seeds, settings, count):
        differences[rng.uniform(size=differences.shape) < missing] = np.nan
        found += bool(np.nanmin(of_flips(differences)) <= ALPHA)
    return found / count


def error_of_skewed(seeds: int, count: int) -> float:
    """Return in what share a test by itself finds something in skewed differences (exponential) of mean zero."""
    rng = np.random.default_rng(3)
    differences = rng.exponential(1, (count, 1, seeds)) - 1
    return float(np.mean([of_flips(row)[0] <= ALPHA for row in differences]))


def error_of_settings(seeds: int, settings: int, count: int) -> float:
    """Return in what share of ledgers something is found where every setting has a family of its own, with Holm."""
    rng, found = np.random.default_rng(2), 0
    for _ in range(count):
        values = rng.standard_normal((settings, QUANTITIES, REGIMES + 1, seeds))
        differences = (values[:, :, 1:] - values[:, :, :1]).reshape(settings, -1, seeds)
        found += any(of_holm(family).min() <= ALPHA for family in differences)
    return found / count


def power(correct: Callable[[np.ndarray], np.ndarray], seeds: int, shift: float, count: int) -> float:
    """Return the share of the true effects that are found, of ``shift`` standard deviations of the differences."""
    tests = QUANTITIES * REGIMES // 2
    drawn = ledgers(NOISES["normal"], seeds, settings=1, count=count, shift=shift)
    return float(np.mean([np.mean(correct(differences)[:tests] <= ALPHA) for differences in drawn]))


def main() -> None:
    """Print the level and the power of the primary family."""
    print(f"Family of {QUANTITIES} quantities x {REGIMES} regimes at {ALPHA}.\n")
    count = 4000
    margin = np.sqrt(ALPHA * (1 - ALPHA) / count)
    print(f"Share of {count} ledgers without effects in which something is found (+- {margin:.4f})")
    print("| values | seeds | settings | missing | flips of seeds |\n|---|---|---|---|---|")
    for name, noise in NOISES.items():
        for settings in (1, 4):
            for missing in (0.0, 0.05):
                share = error(noise, 10, settings, count, missing)
                print(f"| {name} | 10 | {settings} | {missing:.0%} | {share:.4f} |", flush=True)
    for seeds in (6, 10, 20):
        print(f"One test, differences skewed about a mean of zero, {seeds} seeds: {error_of_skewed(seeds, count):.4f}")
    for settings in (1, 4):
        print(f"A family a setting, Holm, {settings} settings: {error_of_settings(10, settings, 1000):.3f}")
    print("\nShare of true effects found, half of the tests shifted\n| seeds | shift / sd | flips of seeds | Holm |")
    print("|---|---|---|---|")
    for seeds in (6, 8, 10):
        for shift in (1.0, 1.5, 2.0, 3.0):
            shares = [power(correct, seeds, shift, 400) for correct in (of_flips, of_holm)]
            print(f"| {seeds} | {shift} | {shares[0]:.2f} | {shares[1]:.2f} |", flush=True)
