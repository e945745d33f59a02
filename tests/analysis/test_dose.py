"""Dose and response on studies with planted truth: what is told apart, in numbers and in sentences."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from tests.analysis.conftest import with_twins
from tests.analysis.dosed import (
    ACCURACY,
    BOTH,
    COMPLEXITY,
    FACTORS,
    KEY,
    LOSS,
    ONLY_LOSS,
    by_level,
    compared,
    dosed,
    row_of,
    told,
    without,
)
from tests.pages import section_of, words

from sharpscope.analysis.dose.bookkeeping import bookkeeping_table, condition_number, shares_table
from sharpscope.analysis.dose.headline import told_dose
from sharpscope.analysis.dose.left import left_told
from sharpscope.analysis.dose.told import verdicts
from sharpscope.analysis.dose.trends import MONOTONE, NOT_MONOTONE, dose_table
from sharpscope.analysis.drawing.figures import files_of
from sharpscope.analysis.statistics import hodges_lehmann, westfall_young
from sharpscope.analysis.statistics.trend import rank_trends
from sharpscope.numpy_stream import NumpyStream


def test_numbers_are_those_of_each_seed():
    results = dosed()
    row, y = row_of(results, BOTH.name), np.log(by_level(results, BOTH.name))
    taus = [stats.kendalltau(range(6), y[:, s]).statistic for s in range(10)]
    lines = [np.polyfit((np.array(FACTORS) - 0.5) / 0.45, y[:, s], 1)[0] for s in range(10)]
    assert row["tau"] == pytest.approx(np.mean(taus))
    assert row["change"] == pytest.approx(np.exp(hodges_lehmann(np.array(lines), np.zeros(10)).value))
    assert (row["levels"], row["first"], row["last"], row["n"], row["rising"]) == (6, "0.5", "0.95", 10, 10)


def test_trends_of_primary_quantities_at_the_end_are_one_family():
    results = dosed()
    table = dose_table(results)
    family = table[table["family"] == "primary"]
    assert list(family["quantity"]) == [BOTH.name, ONLY_LOSS.name, ACCURACY.name]
    assert set(family["at"]) == {"end"}
    values = [by_level(results, name) for name in family["quantity"]]
    trends = np.stack([rank_trends(y) for y in values])
    assert list(family["p_adjusted"]) == list(westfall_young(trends, NumpyStream(0)))
    assert set(table[table["family"] != "primary"]["correction"]) == {"Benjamini-Hochberg"}


def test_settings_are_averaged_within_seeds():
    results = dosed()
    second = results.ledger.assign(**{"training.lr": 0.2, BOTH.name: results.ledger[BOTH.name] * 100})
    ledger = pd.concat([results.ledger.assign(**{"training.lr": 0.1}), second], ignore_index=True)
    ledger["run_id"] = [f"{name}-{k}" for k, name in enumerate(ledger["run_id"])]
    grid = {**results.study["grid"], "training.lr": [0.1, 0.2]}
    both = replace(results, ledger=ledger, study={**results.study, "grid": grid})
    one, two = (row_of(r, BOTH.name) for r in (results, both))
    for name in ("tau", "change", "ci_low", "bend", "n", "partial"):
        assert two[name] == pytest.approx(one[name])


def test_what_grows_with_the_loss_only_is_told_from_what_grows_with_the_dose_too():
    results = dosed(seeds=20)
    both, only = told(results)[BOTH.label], told(results)[ONLY_LOSS.label]
    for text in (both, only):
        assert re.match(r"End to end ×[\d.]+ \[[\d., ]+\], from data.factor 0.5 to 0.95; it rises with", text)
    assert re.search(r"At equal train loss \(0.1\), ×[\d.]+ \[[\d., ]+\] remains, \d+% \[\d+, \d+\] of that", both)
    assert re.search(r"At equal train loss \(0.1\), no change is seen \(×", only)
    rest = bookkeeping_table(results).set_index(["quantity", "part"])
    assert rest.loc[(BOTH.name, "rest"), "ci_low"] > 1.5
    assert rest.loc[(ONLY_LOSS.name, "rest"), "ci_low"] < 1 < rest.loc[(ONLY_LOSS.name, "rest"), "ci_high"]
    moved, at_equal_loss, _ = told_dose(results, dose_table(results))
    assert re.match(r"From data.factor 0.5 to 0.95, relative flatness changes by ×.* \(sharper\)", moved)
    assert re.search(r"of relative flatness ×.* remains.*; of Fisher-Rao norm no change is seen", at_equal_loss)


def test_what_remains_over_fewer_levels_is_compared_with_the_end_over_these():
    results = dosed(of_dose=0.0, loss_rises=0.0, noise=0.05)
    ledger = results.ledger
    there, end = f"{BOTH.name}@0.1", BOTH.name
    x = (ledger[KEY] - 0.5) / 0.45
    # At the end it rises up to 0.8 and falls back; at the matched loss only the way up is there.
    course = np.exp(np.where(x < 0.7, 3 * x, 0.0))
    changed = replace(results, ledger=ledger.assign(**{end: course * ledger[end], there: np.exp(x) * ledger[there]}))
    columns = [name for name in ledger.columns if name.endswith("@0.1")]
    narrow = without(changed, ledger[KEY] >= 0.9, *columns)
    row = row_of(narrow, BOTH.name, "0.1")
    assert row["end_low"] > 5
    assert row_of(narrow, BOTH.name)["change"] < 1.5
    text = told(narrow)[BOTH.label]
    assert re.search(
        r"\(0.1, from 0.5 to 0.8, by straight lines\), ×[\d.]+ \[.*\] of ×[\d.]+ \[.*\] at the end remains \(\d+% \[",
        text,
    )
    assert "relative flatness goes up and down with the levels" in told_dose(narrow, dose_table(narrow))[0]


def test_a_size_that_remains_without_an_order_of_the_levels_says_so():
    results = dosed(seeds=20)
    places = {factor: k for k, factor in enumerate(FACTORS)}
    noise = 0.05 * np.random.default_rng(0).standard_normal(len(results.ledger))

    def with_course(course):
        there = np.exp(results.ledger[KEY].map(places).map(dict(enumerate(course))) + noise)
        changed = replace(results, ledger=results.ledger.assign(**{f"{BOTH.name}@0.1": there}))
        return changed, row_of(changed, BOTH.name, "0.1")

    jumps, row = with_course((0.0, 1.0, 0.97, 0.94, 0.91, 0.88))
    assert row["ci_low"] > 1
    assert not row["significant"]
    no_order = r"remains, \d+% .* at the end, though by the order of the levels no trend is seen there \(mean tau "
    assert re.search(no_order, told(jumps)[BOTH.label])
    assert re.search(no_order, told_dose(jumps, dose_table(jumps))[1])
    falls = {**row, "significant": True, "tau": -0.2, "tau_low": -0.3, "tau_high": -0.1}
    of_falling = left_told(jumps, falls, row_of(jumps, BOTH.name).to_dict())
    assert "though by the order of the levels it falls there (mean tau " in of_falling
    bends, row = with_course((0.0, 0.5, 1.0, 1.5, 1.2, 0.9))
    assert row["shape"] == NOT_MONOTONE
    assert re.search(r"by straight lines\), ×.*, though it goes up and down there\.", told(bends)[BOTH.label])


def test_twins_have_changes_of_their_own():
    results = dosed()
    twins = with_twins(results, "matched_confidence", {BOTH.name: results.ledger[BOTH.name] ** 0.5})
    row = row_of(twins, BOTH.name, "matched_confidence")
    assert row["retained"] == pytest.approx(0.5)
    assert "At equal confidence (by straight lines), of relative flatness ×" in told_dose(twins, dose_table(twins))[2]
    assert re.search(
        r"At equal confidence \(by straight lines\), ×.* of ×.* at the end remains \(50% \[", told(twins)[BOTH.label]
    )
    calibrated = with_twins(results, "calibrated", {BOTH.name: results.ledger[BOTH.name]})
    assert "With all networks calibrated" not in told(calibrated)[BOTH.label]  # no temperature moved it
    moved = with_twins(results, "calibrated", {BOTH.name: results.ledger[BOTH.name] ** 0.9})
    assert "With all networks calibrated (by straight lines), ×" in told(moved)[BOTH.label]
    page, content = section_of("dose_response", twins)
    assert "at equal confidence" in words(page)
    assert len(files_of(content.figures)) == 8


def test_parts_through_a_loss_that_does_not_overlap_are_not_told():
    results = dosed(loss_rises=20.0)
    parts = bookkeeping_table(results).set_index(["quantity", "part"])
    assert np.isfinite(parts.loc[(BOTH.name, "total"), "change"])
    assert np.isnan(parts.loc[(BOTH.name, "rest"), "change"])
    assert parts["overlap"].max() < 0.25
    assert "What goes through the train loss is not told" in told(results)[BOTH.label]


def test_what_grows_with_the_dose_only_is_retained():
    row = row_of(dosed(of_loss=0.0, seeds=20), BOTH.name, "0.1")
    assert row["retained_low"] < 1 < row["retained_high"]
    assert row["retained"] == pytest.approx(1, abs=0.2)


def test_the_parts_make_the_whole():
    parts = bookkeeping_table(dosed()).set_index(["quantity", "part"])["change"]
    total, through, rest = (parts[BOTH.name, part] for part in ("total", "through loss", "rest"))
    assert total == pytest.approx(through * rest)


def test_an_arc_is_not_monotone_and_a_curve_bends():
    results = dosed(of_dose=0.0, of_loss=0.0, noise=0.05)
    x = (results.ledger[KEY] - 0.5) / 0.45
    arc = replace(
        results, ledger=results.ledger.assign(**{BOTH.name: np.exp(8 * x * (1 - x)) * results.ledger[BOTH.name]})
    )
    assert row_of(arc, BOTH.name)["shape"] == NOT_MONOTONE
    assert told(arc)[BOTH.label].startswith("Not monotone: ")
    curve = replace(results, ledger=results.ledger.assign(**{BOTH.name: np.exp(3 * x**2) * results.ledger[BOTH.name]}))
    row = row_of(curve, BOTH.name)
    assert row["shape"] == MONOTONE
    assert row["bend"] == pytest.approx(np.exp(-0.75), rel=0.15)
    assert "Its course bends" in told(curve)[BOTH.label]


def test_the_first_level_that_differs_is_that_of_an_unbroken_sequence():
    results = dosed(of_dose=0.0, of_loss=0.0)
    step = replace(
        results,
        ledger=results.ledger.assign(
            **{BOTH.name: np.where(results.ledger[KEY] >= 0.8, 3, 1) * results.ledger[BOTH.name]}
        ),
    )
    assert row_of(step, BOTH.name)["differs_above"] == "0.8"
    assert "It differs from data.factor 0.5 from 0.8 on." in told(step)[BOTH.label]
    middle = compared(step, reference=0.7)
    assert (row_of(middle, BOTH.name)["differs_below"], row_of(middle, BOTH.name)["differs_above"]) == ("", "0.8")


def test_shares_are_told_in_both_orders():
    results = dosed()
    text = next(iter(verdicts(results, shares_table(results))))
    number = r"[<>]?\d+% \[[<>]?\d+, [<>]?\d+\]"
    assert re.match(
        f"Of the variation of relative flatness within seeds, loss explains {number}, geometric complexity a further "
        f"{number}, data.factor a further {number}. The other way round, geometric complexity explains {number}, loss "
        f"a further {number}, data.factor a further {number}. In the mean over all orders: loss {number}, ",
        text,
    )
    lone = replace(results, ledger=results.ledger.drop(columns=[c for c in results.ledger if COMPLEXITY.name in c]))
    assert "The other way round, data.factor explains" in verdicts(lone, shares_table(lone))[0]


def test_what_goes_together_is_not_told_apart():
    results = dosed(noise=1e-3)
    assert shares_table(results)["share"].isna().all()
    assert "cannot be told apart: within seeds they go together" in verdicts(results, shares_table(results))[0]
    assert shares_table(dosed(factors=(0.5, 0.7, 0.9))).empty


def test_the_condition_is_that_of_predictors_within_groups():
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1, 2], 5)
    x = rng.standard_normal((2, 15))
    moved = x + 10 * rng.standard_normal((2, 3))[:, groups]
    assert condition_number(moved, groups) == pytest.approx(condition_number(x, groups))
    within = np.stack([row - np.array([row[groups == g].mean() for g in range(3)])[groups] for row in x])
    r = abs(np.corrcoef(within)[0, 1])
    assert condition_number(x, groups) == pytest.approx(np.sqrt((1 + r) / (1 - r)))
    assert condition_number(np.stack([x[0], groups]), groups) == np.inf


@pytest.mark.slow
def test_nothing_is_found_where_nothing_is_in_95_of_100_studies():
    found = 0
    for draw in range(500):
        results = dosed(of_dose=0.0, loss_rises=0.0, seed=draw, matched="")
        table = dose_table(results)
        found += bool(table.loc[table["family"] == "primary", "significant"].any())
    assert found / 500 < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 500)
    assert LOSS.name in set(table["quantity"])
