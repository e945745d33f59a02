"""What dose and response finds and holds, over hundreds of ledgers whose truth is known."""

from __future__ import annotations

import numpy as np

from benchmarks.noises import CONTINUOUS, Noise, accuracy
from sharpscope.analysis.statistics import hodges_lehmann, signed_rank_test, westfall_young
from sharpscope.analysis.statistics.loss import retained
from sharpscope.analysis.statistics.trend import (
    complete,
    course_band,
    fixed_sequence,
    partial_correlations,
    rank_trends,
    slopes,
    through,
    turns,
)
from sharpscope.numpy_stream import NumpyStream

COUNT, ALPHA, QUANTITIES = 500, 0.05, 4
X = np.array([0.0, 0.22, 0.44, 0.67, 0.89, 1.0])
OF_DOSE, OF_LOSS, LOSS_RISES = np.log(2.0), 0.8, 1.0
_STREAM = NumpyStream(0, "benchmark", "doses")

NOISES = {**CONTINUOUS, "accuracy on 50 points": accuracy(50, mean=0.97, spread=0.02)}


def ledger(rng: np.random.Generator, noise: Noise, seeds: int, *, missing: float = 0.0) -> np.ndarray:
    """Return quantities by level and seed in which nothing moves; those of a run go together, as do those of a seed."""
    run = noise(rng, (1, len(X), seeds)) + noise(rng, (QUANTITIES, len(X), seeds))
    values = run + noise(rng, (QUANTITIES, 1, seeds))
    values[rng.uniform(size=values.shape) < missing] = np.nan
    return values


def null_shares(noise: Noise, seeds: int, missing: float) -> list[float]:
    """Return in what shares of such ledgers a trend, a first level, a slope and a turn are found."""
    rng, found = np.random.default_rng(seeds), np.zeros(4)
    for _ in range(COUNT):
        values = ledger(rng, noise, seeds, missing=missing)
        first = values[0]
        p = (signed_rank_test(first[level], first[0]).p for level in range(len(X) - 1, 0, -1))
        slope = hodges_lehmann(slopes(first, X), np.zeros(seeds))
        trends = westfall_young(rank_trends(values), _STREAM)
        found += [
            np.nanmin(trends) <= ALPHA if np.isfinite(trends).any() else False,
            fixed_sequence(p, ALPHA) > 0,
            not slope.low <= 0 <= slope.high,
            turns(first, _STREAM),
        ]
    return [float(share) for share in found / COUNT]


def planted(rng: np.random.Generator, seeds: int, of_dose: float, spread: float) -> tuple[np.ndarray, ...]:
    """Return a measure at the end and at a matched loss, and the loss: the measure moves with dose and loss."""
    loss = LOSS_RISES * X[:, None] + spread * (rng.standard_normal(seeds) + rng.standard_normal((len(X), seeds)))
    end, there = (0.1 * (rng.standard_normal(seeds) + rng.standard_normal((len(X), seeds))) for _ in range(2))
    dose = of_dose * X[:, None]
    return end + dose + OF_LOSS * loss, there + dose, loss


def planted_shares(seeds: int, of_dose: float, spread: float = 0.4) -> dict[str, float]:
    """Return how often what was planted is seen at the end and at equal loss, and how often intervals hold it."""
    rng, found = np.random.default_rng(100 + seeds), dict.fromkeys(PLANTED, 0.0)
    total = of_dose + OF_LOSS * LOSS_RISES
    for _ in range(COUNT):
        end, there, loss = planted(rng, seeds, of_dose, spread)
        at_end, matched = (hodges_lehmann(slopes(y, X), np.zeros(seeds)) for y in (end, there))
        share = retained(slopes(there, X), slopes(end, X), _STREAM)
        rest = through(end, loss, X, _STREAM)[0]
        found["trend seen"] += westfall_young(rank_trends(end)[None], _STREAM)[0] <= ALPHA
        found["size held"] += at_end.low <= total <= at_end.high
        found["seen at equal loss"] += not matched.low <= 0 <= matched.high
        found["size there held"] += matched.low <= of_dose <= matched.high
        found["share held"] += bool(share.low <= of_dose / total <= share.high)
        found["rest held"] += bool(rest.low[2] <= of_dose <= rest.high[2])
        partial = partial_correlations(end, X, loss)
        found["mean partial"] += float(np.nanmean(partial)) if np.isfinite(partial).any() else 0.0
    return {name: value / COUNT for name, value in found.items()}


PLANTED = (
    *("trend seen", "size held", "seen at equal loss", "size there held"),
    *("share held", "rest held", "mean partial"),
)


def held_by_band(noise: Noise, seeds: int) -> float:
    """Return in what share the band holds the whole true course, by the mean of the noise."""
    rng, held = np.random.default_rng(7 + seeds), 0
    center = float(np.mean(noise(np.random.default_rng(0), (1_000_000,))))
    for _ in range(COUNT):
        values = noise(rng, (len(X), seeds)) + noise(rng, (1, seeds))
        band = course_band(values, _STREAM, resamples=2000)
        held += bool(np.all((band.low <= 2 * center) & (band.high >= 2 * center)))
    return held / COUNT


def main() -> None:
    """Print what is found where nothing is, and what is held where something is."""
    margin = np.sqrt(ALPHA * (1 - ALPHA) / COUNT)
    print(f"{len(X)} levels. Share of {COUNT} ledgers in which nothing moves, and something is found (+- {margin:.3f})")
    print("| values | seeds | missing | trend (of 4) | first level | slope | turn |\n|---|---|---|---|---|---|---|")
    for name, noise in NOISES.items():
        for seeds, missing in ((6, 0.0), (10, 0.0), (10, 0.1), (30, 0.0)):
            shares = " | ".join(f"{share:.3f}" for share in null_shares(noise, seeds, missing))
            print(f"| {name} | {seeds} | {missing:.0%} | {shares} |", flush=True)
    print(
        f"\nPlanted: the loss rises by {LOSS_RISES} from end to end, in logarithms\n| effect of the dose | seeds | ",
        end="",
    )
    print(" | ".join(PLANTED), "|\n" + "|---" * (2 + len(PLANTED)) + "|")
    for of_dose in (0.0, OF_DOSE):
        for seeds in (6, 10, 30):
            found = planted_shares(seeds, of_dose)
            print(
                f"| {of_dose:.2f} | {seeds} | " + " | ".join(f"{value:.3f}" for value in found.values()),
                "|",
                flush=True,
            )
    print("\nShare of bands that hold the whole course\n| values | seeds | held |\n|---|---|---|")
    for name in ("normal", "lognormal, sigma 1"):
        for seeds in (4, 6, 10, 30):
            print(f"| {name} | {seeds} | {held_by_band(NOISES[name], seeds):.3f} |", flush=True)
    lost = ledger(np.random.default_rng(0), NOISES["normal"], 1000, missing=0.1)
    print(f"\nWith 10% of runs missing {complete(lost).mean():.0%} of seeds count.")
