"""Statistics for few seeds: exact tests, honest intervals, corrections; pure functions of arrays."""

from __future__ import annotations

from sharpscope.analysis.statistics.bootstrap import mean_interval
from sharpscope.analysis.statistics.corrections import benjamini_hochberg, benjamini_yekutieli, holm
from sharpscope.analysis.statistics.correlation import Correlation, rank_correlation
from sharpscope.analysis.statistics.interval import LEVEL, Interval
from sharpscope.analysis.statistics.pairs import jackknife_values
from sharpscope.analysis.statistics.signed_rank import SignedRank, hodges_lehmann, signed_rank_test, smallest_p

__all__ = [
    "LEVEL",
    "Correlation",
    "Interval",
    "SignedRank",
    "benjamini_hochberg",
    "benjamini_yekutieli",
    "hodges_lehmann",
    "holm",
    "jackknife_values",
    "mean_interval",
    "rank_correlation",
    "signed_rank_test",
    "smallest_p",
]
