"""Levels that are the same runs: they are found where they are, told, and counted once."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tests.analysis.conftest import synthetic, with_pairs_across
from tests.analysis.dosed import KEY, dosed

from sharpscope.analysis.comparisons import comparisons_table
from sharpscope.analysis.contrasts import contrasts_table, primary_contrasts
from sharpscope.analysis.correlations import BETWEEN, correlations_table
from sharpscope.analysis.findings import find
from sharpscope.analysis.report import write_report
from sharpscope.analysis.same_runs import counted_once, once, same_levels, told_same
from sharpscope.analysis.section import Evidence
from sharpscope.analysis.tested import REPEATED, SECONDARY

REGIMES = ("baseline", "sam", "augmentation", "weight_decay")


def copied(results, **same):
    """Return a study in which some regimes have all that was measured of others."""
    ledger, pairs = results.ledger.copy(), results.pairs
    measured = [name for name in ledger.columns if name in results.quantities]
    for regime, other in same.items():
        source = ledger["regime"] == other
        ledger.loc[ledger["regime"] == regime, measured] = ledger.loc[source, measured].to_numpy()
        pairs = pd.concat([pairs[pairs["regime"] != regime], pairs[pairs["regime"] == other].assign(regime=regime)])
    return replace(results, ledger=ledger, pairs=pairs.reset_index(drop=True))


def without(results, *regimes):
    """Return a study in which some regimes have no run, and no pair, though it is about them."""
    ledger, pairs = results.ledger, results.pairs
    return replace(results, ledger=ledger[~ledger["regime"].isin(regimes)], pairs=pairs[~pairs["regime"].isin(regimes)])


def changed(results, value, name, regime, seed=0):
    ledger = results.ledger.copy()
    row = (ledger["regime"] == regime) & (ledger["seed"] == seed)
    ledger.loc[row, name] = value(ledger.loc[row, name])
    return replace(results, ledger=ledger)


@pytest.fixture(scope="module")
def plain():
    return synthetic(REGIMES, seeds=8)


def test_levels_with_equal_values_of_all_that_was_measured_are_the_same(plain):
    assert same_levels(plain) == {}
    assert same_levels(copied(plain, weight_decay="sam")) == {"weight_decay": "sam"}
    assert same_levels(copied(plain, weight_decay="sam", augmentation="sam")) == dict.fromkeys(
        ("augmentation", "weight_decay"), "sam"
    )


def test_a_level_that_does_nothing_is_the_same_as_the_reference_wherever_that_stands(plain):
    assert same_levels(copied(plain, sam="baseline")) == {"sam": "baseline"}
    last = replace(copied(plain, sam="baseline"), study={**plain.study, "compare": {"reference": "sam"}})
    assert same_levels(last) == {"baseline": "sam"}


@pytest.mark.parametrize("name", ["train_loss", "relative_flatness", "nll", "test_accuracy"])
def test_one_bit_of_one_value_makes_two_levels_differ(plain, name):
    results = copied(plain, weight_decay="sam")
    assert same_levels(changed(results, lambda v: np.nextafter(v, np.inf), name, "weight_decay")) == {}


def test_levels_that_agree_in_some_seeds_alone_are_not_the_same(plain):
    results, other = copied(plain, weight_decay="sam"), plain.ledger
    row = (other["regime"] == "weight_decay") & (other["seed"] == 5)
    ledger = results.ledger.copy()
    ledger[row] = other[row]
    assert same_levels(replace(results, ledger=ledger)) == {}


def test_what_both_lack_is_equal_and_what_one_lacks_is_not(plain):
    results = copied(plain, weight_decay="sam")
    both = changed(results, lambda v: v * np.nan, "margin", "sam")
    assert same_levels(both) == {}
    assert same_levels(changed(both, lambda v: v * np.nan, "margin", "weight_decay")) == {"weight_decay": "sam"}


def test_runs_that_one_level_lacks_do_not_count_and_the_level_that_has_most_is_kept(plain):
    results = copied(plain, weight_decay="sam")
    ledger = results.ledger.copy()
    lost = (ledger["regime"] == "sam") & (ledger["seed"] < 3)
    ledger.loc[lost, list(plain.quantities)] = np.nan
    assert same_levels(replace(results, ledger=ledger)) == {"sam": "weight_decay"}
    ledger.loc[(ledger["regime"] == "weight_decay") & (ledger["seed"] >= 3), list(plain.quantities)] = np.nan
    assert same_levels(replace(results, ledger=ledger)) == {}  # they share no seed


def test_quantities_that_are_the_same_everywhere_or_coarse_make_no_levels_the_same(plain):
    """Two regimes that reach a perfect accuracy in each seed need not be one."""
    constant = plain.ledger.assign(**dict.fromkeys(plain.quantities, 0.0))
    assert same_levels(replace(plain, ledger=constant)) == {}
    coarse = constant.assign(test_accuracy=np.where(plain.ledger["regime"] == "sam", 1.0, 0.98))
    assert same_levels(replace(plain, ledger=coarse)) == {}
    told = coarse.assign(train_loss=plain.ledger["seed"] / 7)  # and one that tells seeds apart
    assert same_levels(replace(plain, ledger=told)) == dict.fromkeys(("augmentation", "weight_decay"), "baseline")


def test_with_one_seed_another_level_must_show_that_what_was_measured_varies():
    results = copied(synthetic(REGIMES, seeds=1), weight_decay="sam")
    assert same_levels(results) == {"weight_decay": "sam"}
    assert told_same(results).startswith("The regimes sam and weight_decay are the same runs: ")
    pair = without(results, "baseline", "augmentation")
    assert same_levels(pair) == {}


def test_settings_must_all_agree():
    results = copied(synthetic(REGIMES, seeds=4, training__lr=[0.1, 0.01]), weight_decay="sam")
    assert same_levels(results) == {"weight_decay": "sam"}
    ledger = results.ledger.copy()
    row = (ledger["regime"] == "weight_decay") & (ledger["training.lr"] == 0.1) & (ledger["seed"] == 2)
    ledger.loc[row, "sam_sharpness"] *= 2
    assert same_levels(replace(results, ledger=ledger)) == {}


def test_twins_and_scores_of_pairs_do_not_count(plain):
    """The runs make them together with others: those of another seed, or the reference."""
    results = copied(plain, weight_decay="sam")
    other = results.ledger["regime"] == "weight_decay"
    quantities = dict(results.quantities)
    quantities["ece~matched_confidence"] = replace(quantities["ece"], twin="matched_confidence")
    twins = results.ledger["ece"] + np.where(other, 1e-9, 0)
    ledger = results.ledger.assign(**{"ece~matched_confidence": twins})
    ledger["prediction_disagreement"] += np.where(other, 0.01, 0)
    assert same_levels(replace(results, ledger=ledger, quantities=quantities)) == {"weight_decay": "sam"}


def test_sets_of_levels_are_told_with_what_they_are_levels_of():
    results = dosed(seeds=3)
    ledger, measured = results.ledger.copy(), list(results.quantities)
    for level, first in ((0.7, 0.6), (0.9, 0.8), (0.95, 0.8)):
        ledger.loc[ledger[KEY] == level, measured] = ledger.loc[ledger[KEY] == first, measured].to_numpy()
    assert told_same(replace(results, ledger=ledger)) == (
        "The levels 0.6 and 0.7 of data.factor are the same runs, and so are 0.8, 0.9 and 0.95: in every seed that "
        "they share, all that was measured is equal to the last bit. Each of these sets counts as one level."
    )
    assert told_same(results) == ""


def test_of_levels_that_are_the_same_runs_one_is_kept():
    assert once({"c": "b", "d": "b"}, ["a", "c", "d"]) == ["a", "c"]
    assert once({"c": "b", "d": "b"}, ["a", "b", "c"]) == ["a", "b"]


@pytest.mark.parametrize("correction", ["westfall_young", "holm"])
def test_levels_that_are_the_same_runs_are_tested_once(plain, correction):
    """All p are those of the study without the repeated level, whose rows repeat those of the other one."""
    results = copied(plain, weight_decay="sam")
    results = replace(results, study={**results.study, "correction": correction})
    table, alone = contrasts_table(results), contrasts_table(without(results, "weight_decay"))
    repeated = table[table["regime"] == "weight_decay"]
    assert set(repeated["family"]) == {REPEATED}
    assert set(repeated["same_as"]) == {"sam"}
    kept = table[table["regime"] != "weight_decay"]
    pd.testing.assert_frame_equal(kept.reset_index(drop=True), alone)
    sam = table[table["regime"] == "sam"].drop(columns=["regime", "family", "same_as"])
    pd.testing.assert_frame_equal(
        repeated.drop(columns=["regime", "family", "same_as"]).reset_index(drop=True), sam.reset_index(drop=True)
    )
    assert {one.tested.level for one in primary_contrasts(results)} == {"sam", "augmentation"}


def test_a_level_that_is_the_same_as_the_reference_is_no_test(plain):
    results = copied(plain, sam="baseline")
    table, alone = contrasts_table(results), contrasts_table(without(results, "sam"))
    pd.testing.assert_frame_equal(table[table["regime"] != "sam"].reset_index(drop=True), alone)
    rows = table[table["regime"] == "sam"]
    assert (set(rows["family"]), set(rows["same_as"])) == ({REPEATED}, {"baseline"})
    assert not rows["significant"].any()
    assert (rows["p_adjusted"] == 1).all()


def test_comparisons_in_settings_count_them_once_too():
    results = copied(synthetic(REGIMES, seeds=6, training__lr=[0.1, 0.01]), weight_decay="sam")
    table, alone = comparisons_table(results), comparisons_table(without(results, "weight_decay"))
    pd.testing.assert_frame_equal(table[table["family"] == SECONDARY].reset_index(drop=True), alone)
    first, repeated = (table[table["regime"] == regime] for regime in ("sam", "weight_decay"))
    assert repeated["p_adjusted"].tolist() == first["p_adjusted"].tolist()


def test_correlations_are_over_distinct_levels(plain):
    results = copied(plain, weight_decay="sam")
    found, alone = Evidence(results).correlations, correlations_table(without(results, "weight_decay"))
    pd.testing.assert_frame_equal(found, alone)
    assert found.loc[found["scope"] == BETWEEN, "n"].max() == 3


def test_a_study_without_its_repeated_levels_has_no_run_or_pair_of_them(plain):
    results = with_pairs_across(copied(plain, weight_decay="sam"))
    found = counted_once(results)
    assert found.levels == ["baseline", "sam", "augmentation"]
    assert set(found.pairs["regime"]) == set(found.levels)
    runs = set(found.ledger["run_id"])
    assert not found.pairs_across.empty
    assert set(found.pairs_across["run_a"]) | set(found.pairs_across["run_b"]) <= runs
    assert set(found.reliability["regime"]) == set(found.levels)
    assert counted_once(plain) is plain


def findings_of(results):
    evidence = Evidence(results)
    return find(results, evidence.contrasts, evidence.correlations)


def test_the_findings_say_so_first_and_count_comparisons_once():
    plain = synthetic(REGIMES, seeds=10)
    found = findings_of(copied(plain, weight_decay="augmentation"))
    assert found.sentences[0] == (
        "The regimes augmentation and weight_decay are the same runs: in every seed that they share, all that was "
        "measured is equal to the last bit. They count as one regime."
    )
    assert "weight_decay" not in found.headline
    assert "of the 10 comparisons of the primary family" in " ".join(found.sentences)  # 5 quantities, 2 levels
    assert dict(found.by_level)["weight_decay"] == "the same runs as augmentation."
    alike = findings_of(copied(plain, sam="baseline"))
    assert dict(alike.by_level)["sam"] == "the same runs as baseline."
    assert list(dict(alike.by_level)) == ["sam", "augmentation", "weight_decay"]


def test_a_study_of_one_regime_under_several_names_has_nothing_to_compare(plain):
    found = findings_of(copied(plain, sam="baseline", augmentation="baseline", weight_decay="baseline"))
    assert found.headline == "All regimes of the study are the same runs, so there is nothing to compare."
    assert found.sentences[0].startswith("The regimes baseline, sam, augmentation and weight_decay are the same runs: ")


def test_the_page_says_so_where_levels_are_listed_and_compared(tmp_path):
    results = copied(synthetic(REGIMES, seeds=6), weight_decay="sam")
    page = write_report(results, tmp_path).read_text("utf-8")
    assert page.count(told_same(results)) == 3  # at the top, in the table of regimes, and beside the tests
