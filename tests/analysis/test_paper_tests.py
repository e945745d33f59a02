"""The scheme of the paper, against SciPy."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from sharpscope.analysis.comparisons import comparisons_table
from sharpscope.analysis.sections.paper_tests.data import FAMILIES, paper_tests_table, shown_tests


def by_seed(results, regime, quantity):
    runs = results.ledger[results.ledger["regime"] == regime].sort_values("seed")
    return runs[quantity].to_numpy(float)


@pytest.fixture(scope="module")
def table(results):
    return paper_tests_table(results)


@pytest.mark.parametrize(
    ("quantity", "alternative", "hypothesis"),
    [
        ("ece", "less", "better"),
        ("corruption_accuracy", "greater", "better"),
        ("relative_flatness", "greater", "sharper"),
        ("sam_sharpness", "greater", "sharper"),
    ],
)
def test_a_test_is_in_the_direction_that_is_expected(quantity, alternative, hypothesis, results, table):
    for regime in results.levels[1:]:
        (row,) = table[(table["quantity"] == quantity) & (table["regime"] == regime)].to_dict("records")
        x, y = by_seed(results, regime, quantity), by_seed(results, "baseline", quantity)
        assert row["p"] == pytest.approx(stats.wilcoxon(x, y, alternative=alternative, method="exact").pvalue)
        assert (row["hypothesis"], row["n"]) == (hypothesis, 10)


def test_corrected_within_a_family_for_each_regime(table):
    assert {family: set(part["quantity"]) for family, part in table.groupby("family")} == {
        family: set(names) for family, names in FAMILIES.items()
    }
    for _, family in table.groupby(["regime", "family"]):
        assert len(family) == 3
        np.testing.assert_allclose(family["p_adjusted"], stats.false_discovery_control(family["p"], method="by"))
    assert (table["significant"] == (table["p_adjusted"] <= 0.05)).all()


def test_settings_are_families_of_their_own(make_results):
    both = paper_tests_table(make_results(training__lr=[0.01, 0.1]))
    alone = paper_tests_table(make_results(training__lr=[0.01]))
    part = both[both["training.lr"] == 0.01]
    np.testing.assert_array_equal(part["p_adjusted"], alone["p_adjusted"])


def test_what_moves_the_other_way_is_not_found(results):
    """A regime far worse than the reference is significant to two-sided tests alone."""
    ledger = results.ledger.copy()
    ledger.loc[ledger["regime"] == "sam", "ece"] += 0.5
    worse = replace(results, ledger=ledger)
    table = paper_tests_table(worse)
    shown = shown_tests(worse, table, comparisons_table(worse))
    (row,) = (r for r in shown if (r["level"], r["label"]) == ("sam", "Expected calibration error"))
    assert (row["verdict"], row["ours"]) == ("", "worse")


def test_nothing_to_test(make_results):
    assert paper_tests_table(make_results(regimes=("sam",))).empty
