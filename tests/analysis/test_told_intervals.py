"""Why an interval may exclude equality where nothing is significant."""

from dataclasses import replace

import numpy as np
import pytest
from tests.analysis.test_contrasts import small_study
from tests.pages import words

from sharpscope.analysis.contrasts import contrasts_table
from sharpscope.analysis.findings import find
from sharpscope.analysis.report import contents_of, render
from sharpscope.analysis.section import Evidence
from sharpscope.analysis.told_intervals import told_intervals


def differences(tests, seeds, *, apart):
    """Differences of zero mean, but for the first, which lies above zero in all seeds, or all but the least."""
    found = np.random.default_rng(0).normal(size=(tests, 1, seeds))
    found -= found.mean(axis=2, keepdims=True)
    if apart:
        found[0, 0] = np.linspace(0.2, 2.4, seeds)
        found[0, 0, 0] *= 1 if seeds < 6 else -0.5
    return found


def told(tests, seeds, *, apart=True):
    table = contrasts_table(small_study(differences(tests, seeds, apart=apart)))
    return table, told_intervals(table, len(table))


def test_many_tests_are_the_reason():
    table, sentence = told(60, 9)
    assert not table["significant"].any()
    assert table["ci_low"].iloc[0] > 0
    assert sentence == (
        "Of 60 differences without significance 1 has an interval that excludes equality: an interval is of one "
        "difference alone, and significance is corrected for the 60 tests of the family."
    )
    assert told_intervals(table[:1], 60).startswith("The one difference without significance has an interval")


@pytest.mark.parametrize(("seeds", "p", "never"), [(5, "0.062", True), (7, "0.016", False)])
def test_few_seeds_are_told_with_the_smallest_p(seeds, p, never):
    _, sentence = told(60, seeds)
    assert f"with {seeds} seeds no p is below 2/2^{seeds} = {p}" in sentence
    assert ("so none of them can be significant." in sentence) == never


def test_where_both_agree_nothing_is_told():
    assert told(6, 10, apart=False)[1] == ""
    table, sentence = told(1, 10)
    assert table["significant"].all()
    assert sentence == ""


def test_it_stands_where_intervals_do():
    results = small_study(differences(60, 9, apart=True))
    evidence = Evidence(results)
    _, sentence = told(60, 9)
    assert sentence in find(results, evidence.contrasts, evidence.correlations).sentences
    assert sentence in words(render(evidence, contents_of(evidence)))


def lopsided(far, near):
    """A study of one difference: some seeds rise far, the others fall a little."""
    values = np.concatenate([100 + 0.01 * np.arange(far), -1 - 0.01 * np.arange(near)])
    results = small_study(values[None, None])
    return replace(results, quantities={"q0": replace(results.quantities["q0"], better="higher")})


def found_of(results):
    evidence = Evidence(results)
    return evidence.contrasts.iloc[0], find(results, evidence.contrasts, evidence.correlations)


@pytest.mark.parametrize("near", [14, 16])
def test_no_direction_is_significant_where_few_seeds_carry_the_mean_against_the_others(near):
    row, found = found_of(lopsided(6, near))
    assert row["p_adjusted"] <= 0.05
    assert row["mean_difference"] > 0 >= row["effect"]
    assert not row["significant"]
    assert found.headline.startswith("No regime differs significantly from baseline")
    assert (
        "No direction is called significant of q0 of r0: by flips of seeds its mean differs, but a few seeds carry "
        "that against the way of the others."
    ) in found.sentences


def test_seeds_that_go_the_way_of_the_difference_are_counted_and_not_those_of_the_majority():
    row, found = found_of(lopsided(6, 10))
    assert row["significant"]
    assert row["verdict"] == "better"
    assert "6 of 16 seeds" in dict(found.by_level)["r0"]
    assert (
        "The significant difference has an interval that holds equality: the mean differs by flips of seeds, and the "
        "typical seed, of which the interval is, may not."
    ) in found.sentences


def test_with_holm_the_test_is_of_ranks_and_has_their_direction():
    values = np.concatenate([[400.0, 500.0], -1 - 0.01 * np.arange(18)])
    results = small_study(values[None, None])
    row, _ = found_of(replace(results, study={**results.study, "correction": "holm"}))
    assert row["mean_difference"] > 0 > row["effect"]
    assert row["significant"]


@pytest.mark.parametrize("correction", ["westfall_young", "holm"])
def test_one_difference_of_few_seeds_has_an_interval_of_less_than_its_level(correction):
    results = small_study(np.linspace(0.2, 2.4, 4)[None, None])
    table = contrasts_table(replace(results, study={**results.study, "correction": correction}))
    assert told_intervals(table, 1) == (
        "The one difference is not significant and has an interval that excludes equality: the interval is the range "
        "of the differences, which has less than 95%; and with 4 seeds no p is below 2/2^4 = 0.12, so none of them can "
        "be significant."
    )
