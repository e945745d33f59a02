"""How right the power is that a pilot study tells, over made-up studies whose power is known."""

from __future__ import annotations

import numpy as np

from sharpscope.analysis.statistics.power import (
    Rivals,
    found_by_flips,
    power,
    simulated_family,
    simulated_flips,
)
from sharpscope.numpy_stream import NumpyStream

ALPHA, PILOT_SEEDS, PILOTS, STUDIES = 0.05, 10, 60, 3000
_STREAM = NumpyStream(0, "benchmark", "pilots")
# Quantities, regimes beside the reference, and the share of a run's luck that all its quantities have in common.
FAMILIES = ((3, 2, 0.8), (5, 5, 0.0), (5, 5, 0.5), (5, 5, 0.8))
PLANNED = ((9, 1.2), (14, 0.9))  # seeds, and the difference in standard deviations of the seeds' values


def differences(family: tuple[int, int, float], seeds: int, rng: np.random.Generator) -> np.ndarray:
    """Return the differences of a study without effects, each of standard deviation 1, shape ``[tests, seeds]``."""
    quantities, regimes, common = family
    of_run, own = (rng.standard_normal((count, regimes + 1, seeds)) for count in (1, quantities))
    values = np.sqrt(common) * of_run + np.sqrt(1 - common) * own
    return (values[:, 1:] - values[:, :1]).reshape(-1, seeds) / np.sqrt(2)


def told(family: np.ndarray, effect: float) -> float:
    """Return the power to find an effect in the first test of simulated studies, ``[tests, simulations, n]``."""
    flips = simulated_flips(family.shape[2], _STREAM)
    return power(found_by_flips(flips, Rivals.of(family, flips).beside(0), alpha=ALPHA), family[0], effect)


def main() -> None:
    """Print the power that is true, and what pilots tell of it."""
    print(f"Power by {PILOTS} pilot studies of {PILOT_SEEDS} seeds, and that of {STUDIES} fresh studies")
    print("| tests | common luck | seeds | difference | true | told, mean | told, sd |\n|---|---|---|---|---|---|---|")
    for family in FAMILIES:
        for n, effect in PLANNED:
            rng = np.random.default_rng(n)
            true = told(np.stack([differences(family, n, rng) for _ in range(STUDIES)], axis=1), effect)
            pilots = (differences(family, PILOT_SEEDS, rng) for _ in range(PILOTS))
            of_pilots = [
                told(simulated_family(pilot, n, _STREAM.child(i), simulations=300), effect)
                for i, pilot in enumerate(pilots)
            ]
            tests = family[0] * family[1]
            row = f"| {tests} | {family[2]} | {n} | {effect} | {true:.3f} | {np.mean(of_pilots):.3f} |"
            print(f"{row} {np.std(of_pilots):.3f} |", flush=True)


if __name__ == "__main__":
    main()
