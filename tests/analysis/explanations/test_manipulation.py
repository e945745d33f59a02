"""Does the factor move complexity? On studies in which it does, or does not."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from tests.analysis.conftest import synthetic
from tests.analysis.dosed import KEY, compared, dosed, row_of, without
from tests.analysis.explanations.planted import COMPLEXITY, FEW, moved, study
from tests.pages import section_of, with_few, words

from sharpscope.analysis.explanations.concluded import unmoved
from sharpscope.analysis.explanations.manipulation import TREND, moves_table
from sharpscope.analysis.sections.is_it_complexity.told import checks


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


def along(course, noise=0.05, seed=5, **changed):
    """A study of six levels along which the logarithm of complexity has a course of the position from 0 to 1."""
    results = dosed(seeds=20, matched="", **changed)
    ledger, rng = results.ledger, np.random.default_rng(seed)
    x = (ledger[KEY] - ledger[KEY].min()) / (ledger[KEY].max() - ledger[KEY].min())
    function = np.exp(course(x) + noise * rng.normal(size=len(ledger)))
    return compared(replace(results, ledger=ledger.assign(**{COMPLEXITY: function})), ordered=True)


def told_of(results):
    return checks(results, moves_table(results, [COMPLEXITY]))[0]


def test_complexity_that_rises_and_falls_again_is_moved_and_told_as_not_monotone():
    arc = along(lambda x: -8 * (x - 0.5) ** 2, factors=(0.5, 0.6, 0.7, 0.8, 0.9))
    (row,) = moves_table(arc, [COMPLEXITY]).to_dict("records")
    assert abs(row["difference"]) < 0.2
    assert row["significant"]
    assert not unmoved(moves_table(arc, [COMPLEXITY]))
    told = told_of(arc)
    assert "is not monotone along the level at the end of training" in told
    assert f"it is highest at 0.7 and lowest at {row['lowest']}" in told
    assert "rises" not in told


def test_complexity_that_rises_and_is_lowest_at_the_top_is_told_so():
    factors = tuple(np.linspace(0.5, 0.95, 11).round(3))
    plunges = along(lambda x: np.where(x == 1, -1, 0.2 * x), noise=0.1, seed=8, factors=factors)
    (row,) = moves_table(plunges, [COMPLEXITY]).to_dict("records")
    assert row["difference"] > 0
    assert not row["turns"]
    told = told_of(plunges)
    assert re.search(r"rises with the level .*, though it is highest at 0\.\d+ and lowest at 0\.95\.", told)


def test_seeds_in_which_nothing_moves_count():
    still = along(lambda x: 0 * x, noise=0)
    (row,) = moves_table(still, [COMPLEXITY]).to_dict("records")
    assert (row["n"], row["difference"], row["significant"], row["reachable"]) == (20, 0.0, False, True)
    assert "is not seen to move geometric complexity" in told_of(still)
    seven = still.ledger[COMPLEXITY].where(~((still.ledger["seed"] < 7) & (still.ledger[KEY] > 0.9)), 1.1)
    few = replace(still, ledger=still.ledger.assign(**{COMPLEXITY: seven}))
    (row,) = moves_table(few, [COMPLEXITY]).to_dict("records")
    assert row["n"] == 20
    assert row["difference"] == pytest.approx(row_of(few, COMPLEXITY)["tau"])


def test_two_levels_at_a_matched_loss_have_no_trend():
    results = compared(dosed(seeds=10), ordered=True)
    results = without(results, results.ledger[KEY] > 0.6, f"{COMPLEXITY}@0.1")
    table = moves_table(results, [COMPLEXITY]).set_index("at")
    assert table.loc["0.1", "n"] == 0
    assert not table.loc["0.1", "significant"]
    assert "at train loss 0.1 cannot be tested: no seed has three levels of it there." in told_of(results)


@pytest.mark.slow
def test_an_ordered_factor_that_moves_nothing_is_seldom_said_to():
    rng, results, found = np.random.default_rng(9), along(lambda x: 0 * x), 0
    for _ in range(200):
        luck = np.exp(rng.normal(size=len(results.ledger)))
        table = moves_table(replace(results, ledger=results.ledger.assign(**{COMPLEXITY: luck})), [COMPLEXITY])
        found += bool(table["significant"].any())
    assert found / 200 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)


@pytest.mark.slow
def test_complexity_that_is_not_moved_is_seldom_said_to_be():
    rng, results, found = np.random.default_rng(9), study(), 0
    for _ in range(300):
        luck = np.exp(rng.normal(size=len(results.ledger)))
        table = moves_table(replace(results, ledger=results.ledger.assign(**{COMPLEXITY: luck})), [COMPLEXITY])
        found += bool(table["significant"].any())
    assert found / 300 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)
