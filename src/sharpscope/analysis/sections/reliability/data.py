"""Reliability of a level of the factor: the bins of its runs, and what a calibrated model would show."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from sharpscope.analysis.results import StudyResults, select
from sharpscope.analysis.statistics.bootstrap import mean_interval
from sharpscope.analysis.statistics.interval import Interval
from sharpscope.numpy_stream import NumpyStream
from sharpscope.safety.diagram import BINS
from sharpscope.store.record import TEMPERATURE
from sharpscope.store.snapshots import CALIBRATED, END, column, twin_at

# An axis of confidence is spread at its end where more than this share of it is sure.
_MOSTLY_SURE = 0.8
# Its last place: what is surer is drawn there.
_SUREST = 1 - 1e-6
_NINES = (0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999)


@dataclass(frozen=True)
class Axis:
    """An axis of confidence.

    Attributes:
        low: Its first value.
        high: Its last value.
        spread: Whether it is even in the logarithm of odds, so that 0.9, 0.99 and 0.999 are apart.
    """

    low: float
    high: float
    spread: bool

    @classmethod
    def of(cls, panels: list[Panel]) -> Axis:
        """Return the one axis that suits all panels."""
        if not panels or np.mean([panel.sure for panel in panels]) <= _MOSTLY_SURE:
            return cls(0.0, 1.0, spread=False)
        confidence = np.concatenate([panel.bins["confidence"] for panel in panels])
        high = min(max(float(confidence.max()), 0.99), _SUREST)
        return cls(min(float(confidence.min()), 0.9), high, spread=True)

    def at(self, confidence: float) -> float:
        """Return where a confidence lies, in hundredths of the axis.

        >>> Axis(0.0, 1.0, spread=False).at(0.25), Axis(0.5, 0.99, spread=True).at(0.9)
        (25.0, 47.82)
        """
        first, last, here = map(self._even, (self.low, self.high, min(max(confidence, self.low), self.high)))
        return round(100 * (here - first) / (last - first), 2)

    def _even(self, confidence: float) -> float:
        return math.log(confidence / (1 - confidence)) if self.spread else confidence

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """A few round values on it: where each lies, and its text."""
        shown = [at for at in (_NINES if self.spread else (0.0, 0.5, 1.0)) if self.low <= at <= self.high]
        return [(self.at(value), f"{value:g}") for value in shown]

    def diagonal(self, foot: float) -> list[tuple[float, float]]:
        """Return where confidence is right, from an accuracy on: places on the axis, in hundredths, with accuracies."""
        places = np.linspace(self._even(max(foot, self.low)), self._even(self.high), 40)
        right = (1 / (1 + np.exp(-places)) if self.spread else places).tolist()
        return [(self.at(value), value) for value in right]


@dataclass(frozen=True)
class Panel:
    """What is shown of the runs of one level in one setting.

    Attributes:
        group: The setting.
        level: The level.
        runs: Bins of each run: columns ``run_id, bin, count, confidence, accuracy, low, high``.
        facts: One row a run: ``ece``, ``null``, ``sure``, ``doubt``.
        temperature: The mean temperature of the calibrated twins of the runs; NaN where there are none.
    """

    group: dict[str, object]
    level: str
    runs: pd.DataFrame
    facts: pd.DataFrame
    temperature: float = math.nan

    @cached_property
    def bins(self) -> pd.DataFrame:
        """The bins of all runs together, each the mean over its runs weighted with their samples."""
        return together(self.runs)

    @cached_property
    def error(self) -> Interval:
        """The mean calibration error of the runs; its interval tells the luck of the seeds."""
        of_seeds = self.facts.groupby("seed", sort=False)["ece"].mean().to_numpy(float)
        return mean_interval(of_seeds, NumpyStream("reliability", "bootstrap"))

    @property
    def null(self) -> float:
        """The mean calibration error that the runs would have if they were calibrated."""
        return float(self.facts["null"].mean())

    @property
    def sure(self) -> float:
        """The share of confidence above 0.9."""
        return float(self.facts["sure"].mean())

    @property
    def told(self) -> str:
        """The error in words: "ECE 0.012 [0.011, 0.014], by chance 0.012, T 0.8"."""
        found = self.error
        interval = "" if math.isnan(found.low) else f" [{found.low:.3f}, {found.high:.3f}]"
        heat = "" if math.isnan(self.temperature) else f", T {self.temperature:.2f}"
        return f"ECE {found.value:.3f}{interval}, by chance {self.null:.3f}{heat}"

    @property
    def doubt(self) -> np.ndarray:
        """The share of predictions in each half decade of 1 - confidence, shape ``[16]``; see ``safety.diagram``."""
        counts = np.sum([list(counts) for counts in self.facts["doubt"]], axis=0)
        return counts / max(counts.sum(), 1)


def together(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the bins of several runs put together: columns ``bin, count, confidence, accuracy, low, high``.

    Bins are put together by the share of samples that are less sure. Where no confidences are equal, these are the bins
    of one number, which hold equally many samples; a bin that holds many samples of one confidence stands in several
    places.

    Args:
        rows: The same columns and ``run_id``, a row for each bin of each run.
    """
    runs = [run.sort_values("bin") for _, run in rows.groupby("run_id", sort=False)]
    places = min(BINS, max(int(run["count"].sum()) for run in runs))
    middle = (np.arange(places) + 0.5) / places
    held = np.stack([np.searchsorted(np.cumsum(run["count"]) / run["count"].sum(), middle) for run in runs])
    # Places at which all runs have the bins of the place before are one.
    number = np.concatenate([[0], np.cumsum((np.diff(held, axis=1) != 0).any(axis=0))])
    columns = ["confidence", "accuracy", "low", "high"]
    spread = []
    for run, which in zip(runs, held, strict=True):
        found = run.iloc[which][["count", *columns]].reset_index(drop=True).assign(bin=number)
        found["count"] /= np.bincount(which)[which]
        found[columns] = found[columns].mul(found["count"], axis=0)
        spread.append(found)
    bins = pd.concat(spread).groupby("bin", as_index=False).sum()
    bins[columns] = bins[columns].div(bins["count"], axis=0)
    return bins[["bin", "count", *columns]]


def panels_of(results: StudyResults) -> list[Panel]:
    """Return a panel for each level in each setting that has runs with bins of confidence."""
    if results.reliability.empty:
        return []
    bins, facts, heat = _tables(results)
    found = []
    for group, _ in results.groups:
        of_level, told, degrees = (
            dict(list(select(table, group).groupby(results.factor.name, sort=False))) for table in (bins, facts, heat)
        )
        found += [
            Panel(group, level, of_level[level], told[level], float(degrees[level][_TEMPERATURE].mean()))
            for level in results.levels
            if level in of_level
        ]
    return found


def over_settings(results: StudyResults) -> list[Panel]:
    """Return a panel for each level that has runs with bins of confidence, those of all settings together."""
    if results.reliability.empty:
        return []
    bins, facts, heat = (dict(list(t.groupby(results.factor.name, sort=False))) for t in _tables(results))
    return [
        Panel({}, level, bins[level], facts[level], float(heat[level][_TEMPERATURE].mean()))
        for level in results.levels
        if level in bins
    ]


def _tables(results: StudyResults) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return bins and facts of all runs, and their temperatures as far as they were found within their bounds."""
    keys = [*results.keys, results.factor.name]
    heat = results.runs[keys].assign(**{_TEMPERATURE: math.nan})
    if _TEMPERATURE in results.quantities:
        heat[_TEMPERATURE] = results.runs[_TEMPERATURE].where(~results.unconverged(_TEMPERATURE))
    return results.arranged(results.reliability), results.arranged(results.confidence), heat


_TEMPERATURE = column(TEMPERATURE, twin_at(END, CALIBRATED))


def without_twin(results: StudyResults) -> int:
    """Return how many runs have no calibrated twin, though one was asked for: their temperature is at its bound."""
    return int(results.unconverged(_TEMPERATURE).sum()) if _TEMPERATURE in results.quantities else 0


def waiting(results: StudyResults) -> int:
    """Return how many runs that are done have no bins of confidence yet: those of earlier versions."""
    done = results.ledger.loc[results.ledger["state"] == "done", "run_id"]
    return int((~done.isin(results.reliability["run_id"])).sum()) if "run_id" in results.reliability else len(done)


def accuracies(panels: list[Panel]) -> float:
    """Return the accuracy at the foot of all panels, a tenth below which there is nothing."""
    least = min(float(panel.bins[["accuracy", "low"]].min().min()) for panel in panels)
    return max(math.floor(10 * least) / 10, 0.0) if least < 1 else 0.9
