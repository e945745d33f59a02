"""Dose and response where runs, levels, losses or seeds are missing."""

import re
from dataclasses import replace

import numpy as np
import pytest
from tests.analysis.dosed import ACCURACY, BOTH, KEY, by_level, dosed, row_of, told, without
from tests.pages import section_of

from sharpscope.analysis.contrasts import contrasts_table
from sharpscope.analysis.correlations import correlations_table
from sharpscope.analysis.dose.axis import axis_of
from sharpscope.analysis.dose.headline import told_dose
from sharpscope.analysis.dose.trends import dose_table
from sharpscope.analysis.drawing.figures import files_of
from sharpscope.analysis.findings import find
from sharpscope.analysis.sections.dose_response.data import panels_of


def test_a_level_that_diverged_is_left_out_and_named():
    results = dosed()
    gone = (results.ledger[KEY] == 0.95) & (results.ledger["seed"] > 2)
    results = without(results, gone)
    row = row_of(results, BOTH.name)
    assert (row["levels"], row["last"], row["levels_left_out"], row["n"]) == (5, "0.9", "0.95", 10)
    assert "Fewer than half of the seeds have it at 0.95, which is left out." in told(results)[BOTH.label]


def test_seeds_that_lack_an_end_are_left_out_and_named_and_those_that_lack_a_level_between_are_not():
    results = dosed()
    ledger = results.ledger
    gone = ((ledger[KEY] == 0.95) & (ledger["seed"] == 3)) | ((ledger[KEY] == 0.7) & (ledger["seed"] == 4))
    row = row_of(without(results, gone), BOTH.name)
    assert (row["n"], row["seeds_left_out"]) == (9, "3")


def test_a_loss_that_no_run_of_a_level_came_to_narrows_the_range():
    results = dosed()
    columns = [name for name in results.ledger.columns if name.endswith("@0.1")]
    narrow = without(results, results.ledger[KEY] >= 0.9, *columns)
    there, end = row_of(narrow, BOTH.name, "0.1"), row_of(narrow, BOTH.name)
    assert (there["line_last"], end["line_last"]) == ("0.8", "0.95")
    assert "At equal train loss (0.1, from 0.5 to 0.8, by straight lines), " in told(narrow)[BOTH.label]
    # The share is of the change over the same levels.
    y, x = (np.log(by_level(results, name))[:4] for name in (f"{BOTH.name}@0.1", BOTH.name))
    at = np.array([0, 1 / 3, 2 / 3, 1])
    shares = [np.mean([np.polyfit(at, v[:, s], 1)[0] for s in range(10)]) for v in (y, x)]
    assert there["retained"] == pytest.approx(shares[0] / shares[1])


def test_a_loss_that_too_few_came_to_has_no_row():
    results = dosed()
    columns = [name for name in results.ledger.columns if name.endswith("@0.1")]
    bare = without(results, results.ledger[KEY] >= 0.7, *columns)
    assert set(dose_table(bare)["at"]) == {"end"}
    assert "At equal train loss" not in told(bare)[BOTH.label]


def test_ties_are_no_trend():
    results = dosed()
    same = replace(results, ledger=results.ledger.assign(**{ACCURACY.name: 1.0}))
    row = row_of(same, ACCURACY.name)
    assert (row["tau"], row["change"], row["rising"], row["falling"]) == (0, 0, 0, 0)
    assert not row["significant"]
    assert "; no seed moves with the levels." in told(same)[ACCURACY.label]


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_few_seeds_have_sizes_and_no_tests(seeds):
    results = dosed(seeds=seeds)
    assert told_dose(results, dose_table(results)) == ("", "", "")
    text = told(results)[BOTH.label]
    assert "no trend could be significant" in text
    assert not re.search(r"remains|no change is seen", text)
    assert seeds == 1 or "too few for a test" in text
    assert ("hardly overlap" in text) == (seeds > 1)  # one seed has no range of losses
    if seeds == 3:
        assert "the range of 3 seeds, which holds the truth in 75% of cases" in text
    content = section_of("dose_response", results)[1]
    assert len(files_of(content.figures)) == 8
    assert find(results, contrasts_table(results), correlations_table(results)).headline.startswith(
        "No difference could"
    )


def test_with_many_seeds_the_size_comes_first():
    results = dosed(of_dose=0.06, of_loss=0.0, seeds=100)
    row = row_of(results, BOTH.name)
    assert row["significant"]
    assert row["change"] < 1.15
    assert told(results)[BOTH.label].startswith("End to end ×1.")
    assert len(panels_of(results, axis_of(results))[0].seeds) == 30
