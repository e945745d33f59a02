"""The table of correlations and its sentences, on studies in which the relation is known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from tests.analysis.conftest import synthetic
from tests.pages import section_of, words

from sharpscope.analysis.correlations import (
    BETWEEN,
    BETWEEN_LEVELS,
    BETWEEN_SETTINGS,
    PARTIAL,
    POOLED,
    WITHIN,
    correlations_table,
)
from sharpscope.analysis.sections.correlations.data import correlation_tables, every_relation
from sharpscope.analysis.told_relations import told_relations


def one(table, measure, outcome, scope):
    row = table[(table["measure"] == measure) & (table["quantity"] == outcome) & (table["scope"] == scope)]
    assert len(row) == 1
    return row.iloc[0]


def study(within, between, seeds=12, noise=0.3, loss=None, **options):
    """A study whose relative flatness and gap relate in one way within regimes and in another between them."""
    results = synthetic(seeds=seeds, **options)
    rng, ledger = np.random.default_rng(0), results.ledger.copy()
    level = ledger["regime"].map({name: k for k, name in enumerate(ledger["regime"].unique())}).to_numpy(float)
    own = rng.normal(size=len(ledger))
    ledger["relative_flatness"] = 50 + 4 * level + own
    ledger["generalization_gap"] = 4 * between * level + within * own + noise * rng.normal(size=len(ledger))
    if loss is not None:
        ledger["train_loss"] = np.exp(loss * own)
    return replace(results, ledger=ledger)


@pytest.mark.parametrize(
    ("options", "flag", "told"),
    [
        ({"within": -1, "between": 1}, "reversed", "the opposite direction"),
        ({"within": 1, "between": 1}, "", "the same direction"),
        ({"within": 0, "between": 1, "seeds": 40, "noise": 1}, "between only", "one between regimes only"),
        ({"within": 0, "between": 1, "seeds": 5, "noise": 1}, "undecided", "too few runs to tell"),
    ],
)
def test_the_forms_of_simpsons_paradox_are_told(options, flag, told):
    results = study(**options)
    table = correlations_table(results)
    assert one(table, "relative_flatness", "generalization_gap", POOLED)["flag"] == flag
    sentence = told_relations(results, table)[0]
    assert told in sentence
    assert "over all runs, relative flatness and generalization gap correlate" in sentence.lower()


@pytest.mark.parametrize(
    ("regimes", "cells"), [(("baseline", "sam"), "regimes and settings"), (("baseline",), "settings")]
)
def test_a_relation_between_settings_is_not_called_one_between_levels(regimes, cells):
    results = synthetic(seeds=40, regimes=regimes, training__lr=[0.01, 0.1, 1.0])
    rng, ledger = np.random.default_rng(0), results.ledger.copy()
    setting = np.log10(ledger["training.lr"].to_numpy(float))
    for name in ("relative_flatness", "generalization_gap"):
        ledger[name] = 50 + 4 * setting + rng.normal(size=len(ledger))
    results = replace(results, ledger=ledger)
    table = correlations_table(results)
    assert one(table, "relative_flatness", "generalization_gap", POOLED)["flag"] == "between only"
    sentence = told_relations(results, table)[0]
    assert f"; within {cells}, at ρ" in sentence
    assert sentence.endswith(f", so the relation is one between {cells} only.")
    page, _ = section_of("correlations", results)
    assert f"between {cells} only, within them" in words(page)


def test_a_masked_relation_is_told():
    results = study(within=1, between=0)
    ledger = results.ledger.copy()
    names = list(ledger["regime"].unique())
    ledger["generalization_gap"] += ledger["regime"].map(dict(zip(names, (0, 40, -40, -40, 40, 0), strict=True)))
    masked = replace(results, ledger=ledger)
    table = correlations_table(masked)
    assert one(table, "relative_flatness", "generalization_gap", POOLED)["flag"] == "masked"
    assert "mask a relation that is there within them" in told_relations(masked, table)[0]


def test_what_goes_with_the_loss_is_gone_given_it():
    table = correlations_table(study(within=1, between=1, noise=0.5, loss=1))
    assert one(table, "relative_flatness", "generalization_gap", WITHIN)["ci_low"] > 0
    partial = one(table, "relative_flatness", "generalization_gap", PARTIAL)
    assert np.isnan(partial["spearman"]), "the loss is a function of the measure, and leaves nothing"
    assert one(table, "margin", "train_loss", PARTIAL).isna()["spearman"]


def test_cells_with_few_runs_have_no_coefficient_and_are_not_counted(results):
    ledger = results.ledger.copy()
    ledger.loc[(ledger["regime"] == "sam") & (ledger["seed"] > 3), "ece"] = np.nan
    row = one(correlations_table(replace(results, ledger=ledger)), "margin", "ece", WITHIN)
    assert (row["n"], row["cells"]) == (54, 5)
    parts = [p.dropna(subset="ece") for name, p in ledger.groupby("regime") if name != "sam"]
    assert row["spearman"] == pytest.approx(np.mean([stats.spearmanr(p["margin"], p["ece"]).statistic for p in parts]))


def test_between_compares_means_and_tells_levels_from_settings(make_results):
    results = make_results(seeds=5, regimes=("baseline", "sam", "augmentation"), training__lr=[0.01, 0.1, 1.0])
    table = correlations_table(results)
    means = results.ledger.groupby(["training.lr", "regime"], sort=False)[["margin", "ece"]].mean()
    row = one(table, "margin", "ece", BETWEEN)
    assert (row["n"], row["spearman"]) == (9, pytest.approx(stats.spearmanr(*means.to_numpy().T).statistic))
    assert 1 / 6 <= row["p"] <= 1
    for scope, key in ((BETWEEN_LEVELS, "training.lr"), (BETWEEN_SETTINGS, "regime")):
        parts = [stats.spearmanr(p["margin"], p["ece"]).statistic for _, p in means.groupby(key)]
        assert one(table, "margin", "ece", scope)["spearman"] == pytest.approx(np.mean(parts))


def test_the_pooled_relation_is_told_with_its_range_without_one_level(results, correlations):
    row = one(correlations, "margin", "ece", POOLED)
    ledger = results.ledger
    without = [
        stats.spearmanr(p["margin"], p["ece"]).statistic
        for p in (ledger[ledger["regime"] != name] for name in results.levels)
    ]
    assert (row["least"], row["greatest"]) == (pytest.approx(min(without)), pytest.approx(max(without)))


def test_quantities_that_other_runs_have_are_correlated_over_the_runs_that_have_both(results, matched):
    table = correlations_table(matched)
    row = one(table, "relative_flatness@0.1", "ece", POOLED)
    both = matched.ledger.dropna(subset=["relative_flatness@0.1", "ece"])
    expected = stats.spearmanr(both["relative_flatness@0.1"], both["ece"]).statistic
    assert (row["n"], row["spearman"]) == (50, pytest.approx(expected))


def test_runs_too_few_leave_nothing_but_words(make_results):
    table = correlations_table(make_results(seeds=1, regimes=("baseline",)))
    assert table["spearman"].isna().all()
    assert correlations_table(make_results(seeds=2, failed=12)).empty


def test_the_page_has_four_columns_and_flags(results, correlations):
    rows = every_relation(results, correlations)
    assert len(rows) == len(results.measures()) * 10
    assert {"pooled", "within", "between", "partial", "flag"} < set(rows[0])
    cell = correlation_tables(results, correlations)[0]["rows"][0]["cells"][0]
    assert "Pooled without one regime" in dict(cell["tip"])


def test_what_is_constant_has_no_relation_to_decide(make_results):
    results = make_results(regimes=("baseline", "sam"))
    results = replace(results, ledger=results.ledger.assign(ece=0.05))
    row = one(correlations_table(results), "relative_flatness", "ece", POOLED)
    assert np.isnan(row["spearman"])
    assert row["flag"] == ""
