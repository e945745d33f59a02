"""The headline of a study of ordered levels, where trends and differences of levels do not say the same."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
from tests.analysis.conftest import with_twins
from tests.analysis.dosed import ACCURACY, BOTH, FACTORS, KEY, ONLY_LOSS, dosed, without

from sharpscope.analysis.contrasts import contrasts_table
from sharpscope.analysis.correlations import correlations_table
from sharpscope.analysis.findings import Findings, find

JUMPS = dict(zip(FACTORS, (0.0, 1.0, 0.955, 0.91, 0.865, 0.82), strict=True))


def found(results) -> Findings:
    return find(results, contrasts_table(results), correlations_table(results))


def jumping(*, accuracy: float = 0.0, only_loss: float = 1.0):
    """Return a study in which sharpness jumps after the first level and drifts back, too slowly for a step to be seen.

    All levels differ from the first one, and tau is about zero.

    Args:
        accuracy: How much the accuracy rises with the levels.
        only_loss: How much of the jump is left of the second measure at equal loss.
    """
    results = dosed(of_dose=0.0, of_loss=0.0, loss_rises=0.0, noise=0.05)
    ledger, rng = results.ledger, np.random.default_rng(4)
    jump = ledger[KEY].map(JUMPS)
    parts = {BOTH.name: 1.0, f"{BOTH.name}@0.1": 1.0, ONLY_LOSS.name: 1.0, f"{ONLY_LOSS.name}@0.1": only_loss}
    changed = {name: np.exp(part * jump + 0.07 * rng.standard_normal(len(ledger))) for name, part in parts.items()}
    changed[ACCURACY.name] = 0.8 + accuracy * ledger[KEY] + 0.01 * rng.standard_normal(len(ledger))
    return replace(results, ledger=ledger.assign(**changed))


def test_levels_that_differ_without_a_trend_are_told():
    headline = found(jumping()).headline
    assert headline.startswith(
        "No trend with data.factor is seen in any of relative flatness, Fisher-Rao norm and test accuracy. "
        "Compared with data.factor 0.5, data.factor 0.6, 0.7, 0.8, 0.9 and 0.95 have significantly sharper minima. "
        "At equal train loss (0.1), data.factor 0.6 keeps "
    )


def test_what_is_left_of_levels_after_a_trend_names_what_they_are_compared_with():
    results = jumping(accuracy=0.2)
    headline = found(results).headline
    assert re.match(r"From data.factor 0.5 to 0.95, test accuracy changes by \+", headline)
    assert "At equal train loss (0.1), compared with data.factor 0.5, data.factor 0.6 keeps " in headline
    twins = with_twins(results, "matched_confidence", {BOTH.name: results.ledger[BOTH.name]})
    assert "At equal confidence, compared with data.factor 0.5, data.factor 0.6" in found(twins).headline


def test_measures_that_do_not_agree_have_differences_of_their_own():
    headline = found(jumping(only_loss=0.0)).headline
    number = r"\d+% \[\d+, \d+\]"
    assert re.search(
        rf"data.factor 0.6 keeps {number} of its difference by relative flatness, and shows none by Fisher-Rao norm;",
        headline,
    )


def test_seeds_that_tie_are_told():
    results = jumping()
    ledger = results.ledger
    last, seed = ledger[KEY] == 0.95, ledger["seed"]

    def by_level(lower):
        return dict(found(replace(results, ledger=ledger.assign(**{ACCURACY.name: 0.9 - lower}))).by_level)

    levels = by_level(np.where(last & (seed < 7), 0.1, 0.0))
    assert "worse test accuracy" in levels["0.95"]
    assert levels["0.95"].endswith("all 7 seeds that differ, of 10).")
    assert "10 of 10 seeds)" in levels["0.6"]
    levels = by_level(np.where(last, np.select([seed < 8, seed == 8], [0.1, -0.01], 0.0), 0.0))
    assert "8 of the 9 seeds that differ, of 10)" in levels["0.95"]


def test_one_seed_that_is_left_out_is_one():
    results = jumping()
    settings = [results.ledger.assign(**{"training.lr": rate}) for rate in (0.1, 0.2)]
    ledger = pd.concat(settings, ignore_index=True)
    ledger["run_id"] = [f"{name}-{k}" for k, name in enumerate(ledger["run_id"])]
    grid = {**results.study["grid"], "training.lr": [0.1, 0.2]}
    both = replace(results, ledger=ledger, study={**results.study, "grid": grid})
    lost = (ledger[KEY] == 0.95) & (ledger["seed"] == 3) & (ledger["training.lr"] == 0.2)
    told = "Where runs of data.factor 0.95 or of the reference are missing, this seed is left out: 3."
    assert told in found(without(both, lost)).sentences
    lost |= (ledger[KEY] == 0.95) & (ledger["seed"] == 4) & (ledger["training.lr"] == 0.1)
    told = "Where runs of data.factor 0.95 or of the reference are missing, these seeds are left out: 3, 4."
    assert told in found(without(both, lost)).sentences
