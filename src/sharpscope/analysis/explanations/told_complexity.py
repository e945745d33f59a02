"""Is it complexity? The answer in a sentence."""

from __future__ import annotations

import math

import pandas as pd

from sharpscope.analysis.explanations.complexity import COMPLEXITY_FIRST, COMPLEXITY_LAST, Complexity
from sharpscope.analysis.explanations.concluded import concluded, share
from sharpscope.analysis.explanations.told_remains import sharp_differences
from sharpscope.analysis.results import StudyResults, by
from sharpscope.analysis.wording import label_of
from sharpscope.store.snapshots import END


def told_complexity(results: StudyResults, family: pd.DataFrame, found: Complexity) -> str:
    """Return how much complexity explains of the first measure of sharpness that differs: first, and last.

    It is told at the smallest matched train loss that has it, or else at the end of training; empty where no sharpness
    differs significantly, or nothing may be concluded about complexity.
    """
    real = sharp_differences(results, family)
    if real.empty:
        return ""
    shares = concluded(results, found.moves, found.shares)
    measures = [name for name in real["quantity"].unique() if (shares["measure"] == name).any()]
    rows = shares[(shares["twin"] == "") & (shares["predictor"] == "complexity") & shares["measure"].isin(measures[:1])]
    places = sorted((at for at in rows["at"].unique() if at != END), key=float)
    for at in (*places, END):
        for name, part in rows[rows["at"] == at].groupby("complexity", sort=False):
            of = by(part, "order")
            if math.isfinite(of[COMPLEXITY_LAST]["ci_low"]):
                ends = (share(of[order]) for order in (COMPLEXITY_FIRST, COMPLEXITY_LAST))
                return _sentence(results, (measures[0], str(name), str(at)), *ends)
    return ""


def _sentence(results: StudyResults, key: tuple[str, str, str], first: str, last: str) -> str:
    measure, complexity, at = key
    sharp, function = label_of(results, measure), label_of(results, complexity)
    where = "" if at == END else f" at train loss {at}"
    return (
        f"Of the variation of {sharp} between runs of one seed{where}, {function} explains {first}, and {last} beside "
        f"loss and {results.factor.noun}."
    )
