"""Does the factor move complexity? On studies in which it does, or does not."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from tests.analysis.conftest import synthetic
from tests.analysis.explanations.planted import COMPLEXITY, FEW, moved, study
from tests.pages import section_of, with_few, words

from sharpscope.analysis.explanations.manipulation import TREND, moves_table


def test_complexity_that_the_regime_moves_is_told_with_the_levels_that_do():
    results = moved(study(1.0, 0.3), (0.0, 0.0, 0.5))
    table = moves_table(results, [COMPLEXITY]).set_index("level")
    assert table["significant"].tolist() == [False, True]
    assert table.loc["augmentation", "difference"] == pytest.approx(math.exp(0.5), rel=0.1)
    told = words(section_of("is_it_complexity", results)[0])
    assert re.search(
        r"Geometric complexity differs at the end of training from that of baseline in augmentation \(×1\.\d+ [^)]*\); "
        r"it is not seen to in sam\.",
        told,
    )
    assert "Loss explains" in told


def test_an_ordered_factor_is_checked_by_its_trend():
    results = _ordered(2.0)
    (row,) = moves_table(results, [COMPLEXITY]).to_dict("records")
    tau = np.mean(
        [
            stats.kendalltau(part["data.factor"], part[COMPLEXITY]).statistic
            for _, part in results.ledger.groupby("seed")
        ]
    )
    assert (row["level"], row["n"]) == (TREND, 8)
    assert row["difference"] == pytest.approx(tau)
    assert row["significant"]
    assert not moves_table(_ordered(0.0), [COMPLEXITY])["significant"].any()


def _ordered(slope):
    """A study of a numeric factor along which complexity rises."""
    results = with_few(synthetic(regimes=("baseline",), seeds=8, data__factor=[0.1, 0.3, 0.5, 0.7]), *FEW)
    rng, ledger = np.random.default_rng(4), results.ledger
    function = np.exp(slope * ledger["data.factor"] + 0.3 * rng.normal(size=len(ledger)))
    study_of = {**results.study, "compare": {"factor": "data.factor"}}
    return replace(results, ledger=ledger.assign(**{COMPLEXITY: function}), study=study_of)


@pytest.mark.slow
def test_complexity_that_is_not_moved_is_seldom_said_to_be():
    rng, results, found = np.random.default_rng(9), study(), 0
    for _ in range(300):
        luck = np.exp(rng.normal(size=len(results.ledger)))
        table = moves_table(replace(results, ledger=results.ledger.assign(**{COMPLEXITY: luck})), [COMPLEXITY])
        found += bool(table["significant"].any())
    assert found / 300 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)
