"""The tables of regimes, comparisons and correlations, against SciPy and pandas on the same numbers."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sharpscope.analysis.comparisons import comparisons_table
from sharpscope.analysis.correlations import POOLED, WITHIN
from sharpscope.analysis.levels import levels_table


def one(table, **where):
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


def by_seed(results, regime, column):
    ledger = results.ledger
    return ledger[ledger["regime"] == regime].sort_values("seed")[column].to_numpy(float)


def test_one_row_a_quantity_and_regime(results, comparisons):
    assert len(comparisons) == len(results.quantities) * 5
    assert not comparisons.duplicated(["quantity", "regime"]).any()
    assert (comparisons["reference"] == "baseline").all()


def test_difference_and_p_are_those_of_paired_seeds(results, comparisons):
    row = one(comparisons, quantity="nll", regime="sam")
    x, y = by_seed(results, "sam", "nll"), by_seed(results, "baseline", "nll")
    averages = [(a + b) / 2 for a, b in itertools.combinations_with_replacement(x - y, 2)]
    assert row["difference"] == pytest.approx(np.median(averages))
    assert row["mean_difference"] == pytest.approx((x - y).mean())
    assert row["p"] == pytest.approx(stats.wilcoxon(x, y, method="exact").pvalue)
    assert row["ci_low"] < row["difference"] < row["ci_high"]
    assert row["ci_level"] == pytest.approx(1 - 2 * 25 / 1024)


def test_seeds_are_paired_by_seed_not_by_position(results, comparisons):
    shuffled = replace(results, ledger=results.ledger.sample(frac=1, random_state=0))
    key = ["quantity", "regime"]
    again = comparisons_table(shuffled).set_index(key).loc[pd.MultiIndex.from_frame(comparisons[key])]
    np.testing.assert_allclose(again["p"], comparisons["p"])


def test_primary_family_is_the_declared_one(results, comparisons):
    primary = comparisons[comparisons["family"] == "primary"]
    assert set(primary["quantity"]) == set(results.study["primary"])
    assert len(primary) == 25
    assert (primary["correction"] == "Westfall-Young").all()
    # As few as the seeds that differ allow, however many tests there are.
    np.testing.assert_allclose(primary["p_adjusted_smallest"], 2 / 2.0 ** (primary["n"] - primary["zeros"]))
    secondary = comparisons[comparisons["family"] == "secondary"]
    expected = stats.false_discovery_control(secondary["p"], method="bh")
    np.testing.assert_allclose(secondary["p_adjusted"], expected)


def test_verdict_follows_the_declared_direction(comparisons):
    assert one(comparisons, quantity="ece", regime="augmentation+sam")["verdict"] == "better"
    assert one(comparisons, quantity="relative_flatness", regime="augmentation+sam")["verdict"] == "sharper"
    assert one(comparisons, quantity="margin", regime="augmentation+sam")["verdict"] == "lower"


@pytest.mark.parametrize("name", ["parameter_norm", "geometric_complexity"])
def test_sharper_is_said_of_sharpness_alone(make_results, name):
    results = make_results(regimes=("baseline", "augmentation+sam"))
    declared = replace(results.quantities[name], sharper_is="larger")
    table = comparisons_table(replace(results, quantities={**results.quantities, name: declared}))
    row = one(table, quantity=name)
    assert row["verdict"] == ("higher" if row["effect"] > 0 else "lower")


def test_one_far_seed_does_not_turn_the_verdict_against_the_test(make_results):
    results = make_results(seeds=14, regimes=("baseline", "sam"))
    ledger = results.ledger.copy()
    sam = ledger["regime"] == "sam"
    ledger.loc[~sam, "relative_flatness"] = 10.0 + 0.3 * np.arange(14)
    ledger.loc[sam, "relative_flatness"] = 9.5 + 0.29 * np.arange(14)
    ledger.loc[sam & (ledger["seed"] == 13), "relative_flatness"] = 90.0
    study = {**results.study, "correction": "holm"}
    row = one(comparisons_table(replace(results, ledger=ledger, study=study)), quantity="relative_flatness")
    assert row["mean_difference"] > 0 > row["ci_high"]
    assert (row["p"] < 0.05, row["verdict"]) == (True, "flatter")
    assert max(row["difference"], row["effect"]) < 0


def test_pairs_that_do_not_differ_raise_the_smallest_p(make_results):
    results = make_results(seeds=8, regimes=("baseline", "sam"))
    ledger = results.ledger.copy()
    same = ledger["seed"] < 3
    ledger.loc[same, "ece"] = 0.02
    row = one(comparisons_table(replace(results, ledger=ledger)), quantity="ece")
    assert (row["n"], row["p_smallest"]) == (8, 2 / 2**5)


def test_scores_of_pairs_keep_the_mean_of_pairs(results, comparisons):
    pairs = results.pairs.groupby("regime")["prediction_disagreement"].mean()
    row = one(comparisons, quantity="prediction_disagreement", regime="sam")
    assert row["mean_difference"] == pytest.approx(pairs["sam"] - pairs["baseline"])
    assert row["method"] == "jackknife values of pairs"
    mean = one(levels_table(results), quantity="prediction_disagreement", regime="sam")
    assert mean["mean"] == pytest.approx(pairs["sam"])


def test_regimes_hold_mean_and_sd_over_runs(results):
    row = one(levels_table(results), quantity="brier", regime="augmentation")
    values = by_seed(results, "augmentation", "brier")
    assert (row["n"], row["mean"], row["sd"]) == (10, pytest.approx(values.mean()), pytest.approx(values.std(ddof=1)))


def test_reference_and_order_are_the_studys_whatever_has_ended(make_results):
    results = make_results(seeds=3, regimes=("sam", "weight_decay", "augmentation"))
    ledger = results.ledger.iloc[::-1]
    interrupted = replace(results, ledger=ledger[(ledger["regime"] != "sam") | (ledger["seed"] > 0)])
    assert interrupted.reference == "sam"
    assert interrupted.levels == ["sam", "weight_decay", "augmentation"]
    assert set(comparisons_table(interrupted)["reference"]) == {"sam"}


def test_failed_runs_shrink_n(make_results):
    table = comparisons_table(make_results(failed=3))
    assert one(table, quantity="ece", regime="weight_decay+sam")["n"] == 7
    assert one(table, quantity="prediction_disagreement", regime="weight_decay")["n"] == 10


def test_settings_are_compared_by_themselves_and_corrected_together(make_results):
    table = comparisons_table(make_results(training__lr=[0.01, 0.1]))
    alone = comparisons_table(make_results(training__lr=[0.01]))
    part = table[table["training.lr"] == 0.01].reset_index(drop=True)
    columns = ["training.lr", "quantity", "regime", "n", "difference", "ci_low", "ci_high", "effect", "p"]
    pd.testing.assert_frame_equal(part[columns], alone[columns])
    assert set(table["family"]) == {"secondary"}
    expected = stats.false_discovery_control(table["p"], method="bh")
    np.testing.assert_allclose(table["p_adjusted"], expected)


def test_too_few_seeds_cannot_be_significant(make_results):
    table = comparisons_table(make_results(seeds=3))
    assert not table["significant"].any()
    assert (table["p_adjusted_smallest"] > 0.05).all()
    assert comparisons_table(make_results(regimes=("baseline",))).empty


def test_correlations_pooled_and_within(results, correlations):
    ledger = results.ledger
    pooled = one(correlations, measure="margin", quantity="ece", scope=POOLED)
    assert pooled["spearman"] == pytest.approx(stats.spearmanr(ledger["margin"], ledger["ece"]).statistic)
    parts = [stats.spearmanr(p["margin"], p["ece"]).statistic for _, p in ledger.groupby("regime")]
    within = one(correlations, measure="margin", quantity="ece", scope=WITHIN)
    assert within["spearman"] == pytest.approx(np.mean(parts))
