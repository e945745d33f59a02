"""Is it loss? On studies in which it is, in which it is not, and in which it cannot be told."""

import re
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from tests.analysis.conftest import synthetic, with_levels
from tests.pages import section_of, words

from sharpscope.analysis.contrasts import contrasts_table
from sharpscope.analysis.correlations import correlations_table
from sharpscope.analysis.explanations.loss import equal_loss, overlap_of
from sharpscope.analysis.findings import find
from sharpscope.analysis.report import contents_of, render
from sharpscope.analysis.section import Evidence
from sharpscope.analysis.values import Values

REGIMES = ("baseline", "sam", "augmentation")
AT = "relative_flatness@0.1"


def study(matched=True, spread=0.1, seeds=10, **options):
    """A study in which SAM is flatter by its loss alone, and augmentation sharper by loss and, for a fifth, by itself.

    At the end SAM has half the logarithm of the loss, augmentation twice of it, and sharpness goes with the loss.
    """
    results = synthetic(regimes=REGIMES, seeds=seeds, **options)
    if matched:
        results = with_levels(results, "0.1")
    rng, ledger = np.random.default_rng(0), results.ledger.copy()
    moved = ledger["regime"].map({"baseline": 0.0, "sam": -1.0, "augmentation": 1.0}).to_numpy()
    direct = ledger["regime"].map({"baseline": 0.0, "sam": 0.0, "augmentation": 0.25}).to_numpy()
    loss = moved + spread * rng.normal(size=len(ledger))
    ledger["train_loss"] = 0.01 * np.exp(loss)
    ledger["relative_flatness"] = np.exp(loss + direct + 0.02 * rng.normal(size=len(ledger)))
    if matched:
        ledger["train_loss@0.1"] = 0.1
        ledger[AT] = 20 * np.exp(direct + 0.05 * rng.normal(size=len(ledger)))
    ratios = ("train_loss", "relative_flatness", "train_loss@0.1", AT)
    quantities = {n: replace(q, scale="ratio") if n in ratios else q for n, q in results.quantities.items()}
    primary = {**results.study, "primary": ["relative_flatness", "ece"]}
    return replace(results, ledger=ledger, quantities=quantities, study=primary)


def tables(results):
    contrasts, correlations = contrasts_table(results), correlations_table(results)
    return contrasts, correlations, equal_loss(results, contrasts, correlations)


def row(remains, level, at, quantity="relative_flatness"):
    found = remains[(remains["regime"] == level) & (remains["at"] == at) & (remains["quantity"] == quantity)]
    assert len(found) == 1
    return found.iloc[0]


def test_what_is_loss_is_gone_and_what_is_not_remains():
    _, _, found = tables(study())
    sam, augmentation = (row(found.remains, level, "0.1") for level in ("sam", "augmentation"))
    assert (sam["became"], augmentation["became"]) == ("not seen", "remains")
    assert sam["difference"] == pytest.approx(1.0, abs=0.05)
    assert sam["retained_low"] <= 0 <= sam["retained_high"]
    assert augmentation["retained"] == pytest.approx(0.25 / 1.25, abs=0.04)
    assert augmentation["retained_low"] < 0.2 < augmentation["retained_high"]


def test_the_headline_says_what_is_left():
    results = study()
    contrasts, correlations, found = tables(results)
    headline = find(results, contrasts, correlations).headline
    assert headline.startswith("Compared with baseline, sam has significantly flatter minima and")
    assert "At equal train loss (0.1), sam shows no difference; augmentation keeps " in headline
    assert re.search(r"augmentation keeps [12]\d% \[\d+, \d+\] of the difference\.$", headline)
    assert headline == find(results, contrasts, correlations, found.remains).headline


def test_a_difference_that_turns_around_is_told():
    results = study()
    ledger = results.ledger.copy()
    sam = ledger["regime"] == "sam"
    ledger.loc[sam, AT] *= 2
    turned = replace(results, ledger=ledger)
    contrasts, correlations, found = tables(turned)
    assert row(found.remains, "sam", "0.1")["became"] == "turned"
    assert "sam turns around by relative flatness (×2" in find(turned, contrasts, correlations).headline


def test_losses_that_do_not_overlap_are_not_adjusted_for():
    results = study(matched=False)
    contrasts, correlations, found = tables(results)
    assert found.levels.set_index("regime").loc["sam", "overlap"] == 0
    adjusted = row(found.remains, "sam", "adjusted")
    assert adjusted["became"] == "extrapolates"
    assert np.isnan(adjusted["difference"])
    told = "At equal train loss, nothing can be told of sam and augmentation: no loss was matched, and their train"
    assert told in find(results, contrasts, correlations).headline


def test_losses_that_overlap_are():
    results = study(matched=False, spread=1.0)
    contrasts, correlations, found = tables(results)
    sam, augmentation = (row(found.remains, level, "adjusted") for level in ("sam", "augmentation"))
    assert (sam["became"], augmentation["became"]) == ("not seen", "remains")
    assert augmentation["ci_low"] <= np.exp(0.25) <= augmentation["ci_high"]
    assert "sam shows no difference" in find(results, contrasts, correlations).headline or (
        not contrasts.query("quantity == 'relative_flatness' and regime == 'sam'")["significant"].any()
    )


def test_overlap_and_slope_are_those_of_loops():
    results = study(spread=1.0)
    _, _, found = tables(results)
    ledger = results.ledger
    reference = ledger.loc[ledger["regime"] == "baseline", "train_loss"]
    inside = ledger.loc[ledger["regime"] == "sam", "train_loss"].between(reference.min(), reference.max())
    assert overlap_of(Values(results), "sam") == inside.mean()
    logs = np.log(ledger[["train_loss", "relative_flatness"]]).assign(regime=ledger["regime"])
    centered = logs[["train_loss", "relative_flatness"]] - logs.groupby("regime").transform("mean")
    slope = stats.linregress(centered["train_loss"], centered["relative_flatness"]).slope
    measured = found.measures.set_index("measure").loc["relative_flatness"]
    assert measured["slope"] == pytest.approx(slope)
    assert measured["ci_low"] < 1.0 < measured["ci_high"] < 1.2
    assert (measured["spearman"], measured["n"], measured["p"]) == (pytest.approx(1.0), 3, pytest.approx(2 / 6))


def test_no_share_is_given_of_what_may_be_zero_and_none_without_ratios():
    results = study()
    ledger = results.ledger.copy()
    rng = np.random.default_rng(1)
    ledger["relative_flatness"] = np.exp(rng.normal(size=len(ledger)))
    _, _, found = tables(replace(results, ledger=ledger))
    assert np.isnan(row(found.remains, "sam", "0.1")["retained"])
    ledger = results.ledger.copy()
    ledger.loc[0, "relative_flatness"] = -1.0
    _, _, found = tables(replace(results, ledger=ledger))
    assert np.isnan(row(found.remains, "augmentation", "0.1")["retained"])


def test_a_level_that_never_came_to_the_loss_is_told_by_the_adjustment():
    results = study(spread=1.0)
    ledger = results.ledger.copy()
    ledger.loc[ledger["regime"] == "augmentation", [n for n in ledger if n.endswith("@0.1")]] = np.nan
    left = replace(results, ledger=ledger)
    contrasts, correlations, found = tables(left)
    assert row(found.remains, "augmentation", "0.1")["n"] == 0
    headline = find(left, contrasts, correlations).headline
    assert "augmentation keeps a difference by relative flatness (×" in headline
    assert "adjusted for the loss" in headline


def reached_by(seeds, **options):
    """A study in which only some seeds came to the matched loss but in the reference."""
    results = study(**options)
    ledger = results.ledger.copy()
    late = (ledger["regime"] != "baseline") & (ledger["seed"] >= seeds)
    ledger.loc[late, [AT, "train_loss@0.1"]] = np.nan
    return replace(results, ledger=ledger)


@pytest.mark.parametrize("seeds", [1, 2, 5])
def test_of_a_loss_that_few_seeds_came_to_nothing_is_concluded(seeds):
    results = reached_by(seeds)
    contrasts, correlations, found = tables(results)
    assert row(found.remains, "augmentation", "0.1")["became"] == "too few seeds"
    told = f"sam and augmentation have too few seeds to tell (in {seeds} of 10 seeds)."
    assert told in find(results, contrasts, correlations).headline


def test_the_adjustment_counts_where_few_seeds_came_to_the_loss():
    results = reached_by(2, spread=1.0)
    contrasts, correlations, _ = tables(results)
    assert "augmentation keeps a difference by relative flatness (×" in find(results, contrasts, correlations).headline


def test_how_many_seeds_came_to_the_loss_is_told():
    results = reached_by(8)
    contrasts, correlations, _ = tables(results)
    headline = find(results, contrasts, correlations).headline
    assert "sam shows no difference (in 8 of 10 seeds); augmentation keeps " in headline
    assert headline.endswith(" of the difference (in 8 of 10 seeds).")
    evidence = Evidence(results)
    assert "(8 of 10 seeds)</td>" in render(evidence, contents_of(evidence))


def test_a_level_that_no_seed_of_came_to_the_loss_is_not_said_to_have_none_to_match():
    results = reached_by(0)
    contrasts, correlations, _ = tables(results)
    told = "nothing can be told of sam and augmentation: no seed came to a matched loss there and in the reference, and"
    assert told in find(results, contrasts, correlations).headline


def test_what_appears_on_the_other_side_of_a_significant_difference_has_turned():
    results = study(seeds=16)
    ledger = results.ledger.copy()
    reference, sam = (ledger["regime"] == level for level in ("baseline", "sam"))
    carried = np.exp(np.concatenate([4 + 0.1 * np.arange(6), -0.1 - 0.001 * np.arange(10)]))
    ledger.loc[sam, "relative_flatness"] = ledger.loc[reference, "relative_flatness"].to_numpy() * carried
    ledger.loc[sam, AT] = ledger.loc[reference, AT].to_numpy() * np.exp(-0.5)
    results = replace(results, ledger=ledger)
    contrasts, correlations, found = tables(results)
    assert row(found.remains, "sam", "0.1")["became"] == "appears"
    headline = find(results, contrasts, correlations).headline
    assert "sam and augmentation have significantly sharper minima" in headline
    assert "sam turns around by relative flatness (×0.6065" in headline


def test_of_what_is_at_a_matched_loss_already_nothing_is_asked():
    results = study()
    there = replace(results, study={**results.study, "primary": [AT, "ece"]})
    contrasts, correlations, _ = tables(there)
    found = find(there, contrasts, correlations)
    assert "augmentation has significantly sharper minima" in found.headline
    assert "At equal train loss" not in found.headline


def test_studies_without_sharpness_or_loss_have_nothing_to_say(make_results):
    results = make_results(seeds=6)
    for lost in (["train_loss"], results.of_kind("sharpness")):
        bare = replace(results, ledger=results.ledger.drop(columns=lost))
        _, _, found = tables(bare)
        assert found.remains.empty
        evidence = Evidence(bare)
        assert "nothing that train loss could explain" in render(evidence, contents_of(evidence))


def test_the_page_tells_it():
    results = study()
    evidence = Evidence(results)
    page = render(evidence, contents_of(evidence))
    assert "Is it loss?" in page
    assert "not comparable at the end of training" in page
    assert "extrapolates" in page


def test_slopes_are_not_said_to_be_on_logarithms_of_losses_that_have_none():
    results = study()
    page, _ = section_of("is_it_loss", results)
    assert "the slope on the logarithm of the loss within regimes" in words(page)
    ledger = results.ledger.copy()
    ledger.loc[3, "train_loss"] = 0.0
    page = words(section_of("is_it_loss", replace(results, ledger=ledger))[0])
    told = "the loss (not its logarithm: 1 of 30 runs has no value above 0 there)"
    assert f"the slope on {told} within regimes" in page
    assert f"The slope is of the logarithm of the measure on {told} over the seeds" in page
    assert "the logarithm of the loss" not in page
