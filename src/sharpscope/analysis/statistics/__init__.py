"""Statistics for few seeds: exact tests, honest intervals, corrections; pure functions of arrays."""

from __future__ import annotations

from sharpscope.analysis.statistics.bca import Bounds, bca_interval
from sharpscope.analysis.statistics.bootstrap import mean_interval
from sharpscope.analysis.statistics.corrections import benjamini_hochberg, benjamini_yekutieli, holm
from sharpscope.analysis.statistics.interval import LEVEL, Interval
from sharpscope.analysis.statistics.pairs import jackknife_values
from sharpscope.analysis.statistics.partition import Partition, partition
from sharpscope.analysis.statistics.sign_test import SignTests, sign_test
from sharpscope.analysis.statistics.signed_rank import (
    SignedRank,
    hodges_lehmann,
    paired_differences,
    signed_rank_test,
    smallest_p,
)
from sharpscope.analysis.statistics.study_wide import StudyWide, heterogeneity, study_wide
from sharpscope.analysis.statistics.two_way import TwoWay, two_way
from sharpscope.analysis.statistics.westfall_young import flip_test, smallest_reachable, westfall_young

__all__ = [
    "LEVEL",
    "Bounds",
    "Interval",
    "Partition",
    "SignTests",
    "SignedRank",
    "StudyWide",
    "TwoWay",
    "bca_interval",
    "benjamini_hochberg",
    "benjamini_yekutieli",
    "flip_test",
    "heterogeneity",
    "hodges_lehmann",
    "holm",
    "jackknife_values",
    "mean_interval",
    "paired_differences",
    "partition",
    "sign_test",
    "signed_rank_test",
    "smallest_p",
    "smallest_reachable",
    "study_wide",
    "two_way",
    "westfall_young",
]
