"""Is it complexity? Relations and shares on studies with planted truth."""

import re
from dataclasses import replace
from html import unescape

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from tests.analysis.conftest import synthetic, with_twins
from tests.analysis.explanations.planted import COMPLEXITY, FEW, FLATNESS, at_loss, study, turned
from tests.pages import section_of, with_few, words

from sharpscope.analysis.explanations.complexity import (
    COMPLEXITY_FIRST,
    COMPLEXITY_LAST,
    LOSS_FIRST,
    MEAN,
    partial_table,
    variation_table,
)
from sharpscope.analysis.results import Quantity

WITH = "complexity, given loss"
WITH_LOSS = "loss, given complexity"


def shares(results, order=LOSS_FIRST, twin="", at="end"):
    table = variation_table(results)
    found = table[(table["order"] == order) & (table["twin"] == twin) & (table["at"] == at)]
    return found.set_index("predictor")


def partials(results, twin="", at="end", beside=""):
    table = partial_table(results)
    return table[(table["twin"] == twin) & (table["at"] == at) & (table["beside"] == beside)].set_index("relation")


@pytest.mark.parametrize(
    ("planted", "tells"),
    [
        ((1.0, 0.0), (False, True)),
        ((0.0, 1.0), (True, False)),
        ((1.0, 1.0), (True, True)),
        ((0.0, 0.0), (False, False)),
    ],
)
def test_the_relations_tell_what_was_planted(planted, tells):
    found = partials(study(*planted, noise=0.3, seeds=16))
    excludes = [bool(found.loc[relation, "ci_low"] > 0) for relation in (WITH, WITH_LOSS)]
    assert tuple(excludes) == tells


def test_all_loss():
    results = study(1.0, 0.0)
    first, second = (shares(results, order)["share"] for order in (LOSS_FIRST, COMPLEXITY_FIRST))
    assert first["loss"] > 0.9
    assert first["complexity"] < 0.02
    assert second["loss"] > 0.4
    assert first.sum() == pytest.approx(second.sum())


def test_all_complexity():
    results = study(0.0, 1.0)
    first, second = (shares(results, order)["share"] for order in (LOSS_FIRST, COMPLEXITY_FIRST))
    assert second["complexity"] > 0.9
    assert second["loss"] < 0.02
    assert first["complexity"] > 0.4


def test_both():
    results = study(1.0, 1.0)
    for order, then in ((LOSS_FIRST, "complexity"), (COMPLEXITY_FIRST, "loss")):
        found = shares(results, order)
        assert found.loc[then, "ci_low"] > 0.05
    mean = shares(results, MEAN)["share"]
    assert mean["loss"] == pytest.approx(mean["complexity"], abs=0.2)


def test_none():
    found = shares(study(0.0, 0.0, noise=1.0))
    assert (found["share"] < 0.2).all()
    assert (found["ci_low"] < 0).all()


def test_what_the_level_adds_is_its_own():
    found = shares(study(1.0, 0.0, on_level=2.0))
    assert found.loc["level", "ci_low"] > 0.1
    assert shares(study(1.0, 0.0)).loc["level", "ci_low"] < 0.001


def test_shares_are_those_of_least_squares_on_logarithms():
    results = study(1.0, 1.0)
    ledger = results.ledger
    y, loss, complexity = np.log(ledger[[FLATNESS, "train_loss", COMPLEXITY]].to_numpy()).T
    seeds, levels = (pd.get_dummies(ledger[name]).to_numpy(float) for name in ("seed", "regime"))

    def left(*columns):
        x = np.column_stack([seeds, *columns])
        beta, _, rank, _ = np.linalg.lstsq(x, y, rcond=None)
        return np.sum((y - x @ beta) ** 2) / (len(y) - rank)

    steps = [left(), left(loss), left(loss, complexity), left(loss, complexity, levels)]
    wanted = -np.diff(steps) / steps[0]
    assert shares(results)["share"].to_numpy() == pytest.approx(wanted)


def test_relations_are_the_mean_of_partial_coefficients_within_cells():
    results = study(1.0, 1.0)

    def partial(rows):
        of = [stats.spearmanr(rows[a], rows[b]).statistic for a, b in pairs]
        return (of[0] - of[1] * of[2]) / np.sqrt((1 - of[1] ** 2) * (1 - of[2] ** 2))

    pairs = [(FLATNESS, COMPLEXITY), (FLATNESS, "train_loss"), (COMPLEXITY, "train_loss")]
    wanted = np.mean([partial(rows) for _, rows in results.ledger.groupby("regime")])
    found = partials(results).loc[WITH]
    assert found["correlation"] == pytest.approx(wanted)
    assert (found["n"], found["cells"]) == (30, 3)


def test_settings_are_apart():
    results = study(1.0, 0.0, training__lr=[0.1, 0.2])
    moved = results.ledger.copy()
    moved.loc[moved["training.lr"] == 0.2, FLATNESS] *= 1000
    same = [shares(one)["share"].to_numpy() for one in (results, replace(results, ledger=moved))]
    np.testing.assert_allclose(*same)


def test_twins_have_relations_and_shares_of_their_own():
    results = study(0.0, 0.3, noise=0.3)
    ledger, rng = results.ledger, np.random.default_rng(5)
    flat = np.exp(np.log(ledger["train_loss"]) + 0.1 * rng.normal(size=len(ledger)))
    changed = {FLATNESS: flat, COMPLEXITY: ledger[COMPLEXITY], "train_loss": ledger["train_loss"]}
    twins = with_twins(results, "calibrated", changed)
    assert partials(twins, "calibrated").loc[WITH_LOSS, "correlation"] > 0.9
    assert shares(twins, twin="calibrated").loc["loss", "share"] > 0.9
    pd.testing.assert_frame_equal(shares(twins), shares(results))
    partly = with_twins(results, "calibrated", {FLATNESS: flat})
    assert set(variation_table(partly)["twin"]) == {""}


def test_one_level_has_no_shares():
    results = study()
    one = replace(results, ledger=results.ledger[results.ledger["regime"] == "baseline"].reset_index(drop=True))
    assert variation_table(one)["share"].isna().all()
    assert "nothing can be told: no two runs of one seed differ in it." in section_of("is_it_complexity", one)[0]


def with_columns(results, **columns):
    """A study with further controls, compared by ratio."""
    quantities = {name: Quantity(name, "control", name.replace("_", " "), scale="ratio") for name in columns}
    return replace(results, ledger=results.ledger.assign(**columns), quantities={**results.quantities, **quantities})


def test_what_is_all_confidence_is_not_found_given_the_entropy():
    results = study(0.0, 0.0, noise=1.0, seeds=16)
    ledger, rng = results.ledger, np.random.default_rng(7)
    confidence = rng.normal(size=len(ledger))
    sharp, function = (confidence + 0.3 * rng.normal(size=len(ledger)) for _ in range(2))
    moved = replace(results, ledger=ledger.assign(**{FLATNESS: np.exp(sharp), COMPLEXITY: np.exp(function)}))
    both = with_columns(moved, prediction_entropy=np.exp(confidence), head_norm=np.exp(rng.normal(size=len(ledger))))
    assert partials(both).loc[WITH, "ci_low"] > 0.5
    assert partials(both, beside="head_norm").loc[WITH, "ci_low"] > 0.5
    given = partials(both, beside="prediction_entropy").loc[WITH]
    assert given["ci_low"] < 0 < given["ci_high"]
    told = words(section_of("is_it_complexity", turned(both))[0])
    assert "given the loss, and so it does given the head norm too; not given the entropy of predictions too" in told


def test_two_covariates_are_both_taken_out():
    results = study(1.0, 1.0)
    norm = np.random.default_rng(3).lognormal(size=len(results.ledger))
    ranked = results.ledger.assign(norm=norm).groupby("regime")[[FLATNESS, COMPLEXITY, "train_loss", "norm"]].rank()

    def partial(rows):
        x, y, *given = (rows[name].to_numpy() for name in (FLATNESS, COMPLEXITY, "train_loss", "norm"))
        given = np.column_stack([np.ones(len(x)), *given])
        left = [v - given @ np.linalg.lstsq(given, v, rcond=None)[0] for v in (x, y)]
        return np.corrcoef(left)[0, 1]

    wanted = np.mean([partial(rows) for _, rows in ranked.groupby(results.ledger["regime"])])
    found = partials(with_columns(results, head_norm=norm), beside="head_norm").loc[WITH, "correlation"]
    assert found == pytest.approx(wanted)


def test_matched_losses_have_relations_and_shares_of_their_own():
    results = study(1.0, 0.0, seeds=16)
    ledger, rng = results.ledger, np.random.default_rng(2)
    level = ledger["regime"].map({"baseline": 0.0, "sam": -1.0, "augmentation": 1.0}).to_numpy()
    function = rng.normal(size=len(ledger)) + 2 * level
    sharp = function + 0.2 * rng.normal(size=len(ledger))
    there = {FLATNESS: np.exp(sharp), COMPLEXITY: np.exp(function), "train_loss": rng.uniform(0.09, 0.1, len(ledger))}
    matched = at_loss(results, **there)
    assert partials(matched, at="0.1").loc[WITH, "ci_low"] > 0.8
    assert shares(matched, COMPLEXITY_LAST, at="0.1").loc["complexity", "ci_low"] > 0.05
    assert shares(matched, at="0.1").loc["loss", "ci_low"] <= 0
    pd.testing.assert_frame_equal(shares(matched), shares(results))
    told = words(section_of("is_it_complexity", turned(matched))[0])
    assert re.search(r"At train loss 0.1, geometric complexity explains >?9\d% \[\d+, >?\d+\] first", unescape(told))


def test_of_an_ordered_factor_relations_are_those_over_its_levels():
    results = with_few(synthetic(regimes=("baseline",), seeds=8, data__factor=[0.1, 0.2, 0.3, 0.5, 0.7, 0.9]), *FEW)
    rng, ledger = np.random.default_rng(4), results.ledger
    function = 4 * ledger["data.factor"] + 0.2 * rng.normal(size=len(ledger))
    sharp = 4 * ledger["data.factor"] + 0.2 * rng.normal(size=len(ledger))  # within a level they have nothing in common
    moved_both = ledger.assign(**{COMPLEXITY: np.exp(function), FLATNESS: np.exp(sharp)})
    study_of = {**results.study, "compare": {"factor": "data.factor"}, "primary": [FLATNESS]}
    ordered = replace(results, ledger=moved_both, study=study_of)
    (row,) = partial_table(ordered)[partial_table(ordered)["relation"] == WITH].to_dict("records")
    assert row["ci_low"] > 0.5
    assert row["cells"] == 8
    told = words(section_of("is_it_complexity", ordered)[0])
    assert "Over the levels of a seed it goes with geometric complexity at r" in told
    assert "Geometric complexity rises with the level at the end of training (Kendall" in told


@pytest.mark.parametrize(
    ("levels", "told"),
    [
        ([0.1, 0.2, 0.3, 0.5, 0.7, 0.9], "What is given is taken out by a parabola."),
        ([0.1, 0.2, 0.3, 0.5, 0.7], "by a straight line, since 5 levels are too few for a curve"),
    ],
)
def test_how_what_is_given_is_taken_out_is_said(levels, told):
    results = with_few(synthetic(regimes=("baseline",), seeds=8, data__factor=levels), *FEW)
    rng, ledger = np.random.default_rng(4), results.ledger
    both = {name: np.exp(4 * ledger["data.factor"] + rng.normal(size=len(ledger))) for name in (COMPLEXITY, FLATNESS)}
    study_of = {**results.study, "compare": {"factor": "data.factor"}, "primary": [FLATNESS]}
    assert told in words(
        section_of("is_it_complexity", replace(results, ledger=ledger.assign(**both), study=study_of))[0]
    )
