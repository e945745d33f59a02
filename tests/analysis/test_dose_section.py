"""Dose and response in the report: the section, its tables and its figures."""

import io

import numpy as np
import pandas as pd
from tests.analysis.dosed import (
    BOTH,
    KEY,
    dosed,
    row_of,
    told,
    without,
)
from tests.pages import page_of, section_of, words

from sharpscope.analysis.dose.trends import dose_table
from sharpscope.analysis.drawing.figures import files_of
from sharpscope.analysis.sections.dose_response.data import chosen_seeds, room_for, runs_of


def test_the_section_is_in_the_report_and_its_sentence_at_the_top():
    page = words(page_of(dosed()))
    top = page.partition("<header")[2].partition("</header>")[0]
    assert "<strong>From data.factor 0.5 to 0.95, relative flatness changes by ×" in top
    assert "At equal train loss (0.1, by straight lines), of relative flatness ×" in top
    assert '<section id="dose_response">' in page


def test_tables_and_figures_have_what_the_page_tells():
    results = dosed()
    page, content = section_of("dose_response", results)
    saved = pd.read_csv(io.BytesIO(content.tables["dose_response.csv"]))
    assert list(saved["quantity"]) == list(dose_table(results)["quantity"])
    assert b"Relative flatness & the end of training & " in content.tables["dose_response.tex"]
    assert page.count('<polyline class="seed"') == 5 * 10
    assert page.count('<circle class="open"') == 5 + 1  # the reference of each panel, and its key
    assert set(files_of(content.figures)) == {
        f"{name}.{end}"
        for name in ("dose_response", "dose_slopes", "dose_loss", "dose_trends")
        for end in ("pdf", "svg")
    }


def test_a_zero_stands_by_itself():
    results = dosed(factors=(0.0, 0.001, 0.01, 0.1))
    row = row_of(results, BOTH.name)
    assert (row["first"], row["line_first"], row["levels"]) == ("0", "0.001", 4)
    page, content = section_of("dose_response", results)
    assert f"A dose of zero lies nowhere on log10({KEY})" in words(page)
    assert len(files_of(content.figures)) == 8
    two = without(results, results.ledger[KEY] == 0.1)
    assert np.isnan(row_of(two, BOTH.name)["change"])
    assert "too few levels lie on log10" in told(two)[BOTH.label]
    assert len(files_of(section_of("dose_response", two)[1].figures)) == 6  # no changes from end to end


def test_labels_have_room():
    at = np.array([0.0, 0.1, 0.5, 0.9, 1.0])
    assert room_for(["0.1", "0.2", "0.5", "0.8", "0.9"], at, 20) == [0, 2, 4]
    assert room_for(["a" * 9] * 5, at, 10) == [0]
    assert room_for(["1", "2", "3", "4", "5"], at, 40) == [0, 1, 2, 3, 4]


def test_lines_break_where_nothing_is():
    found = runs_of(np.array([1.0, 1, np.nan, 1, 1]), np.array([False, True, True, True, True]))
    assert [list(run) for run in found] == [[1], [3, 4]]
    assert list(chosen_seeds(3)) == [0, 1, 2]
    assert len(chosen_seeds(100)) == 30


def test_how_the_loss_is_taken_out_is_said():
    page, _ = section_of("dose_response", dosed())
    assert "Of correlations given the train loss, a parabola in the loss is taken out." in words(page)
    page, _ = section_of("dose_response", dosed(factors=(0.5, 0.6, 0.7, 0.8, 0.9)))
    assert "only a straight line in the loss is taken out, since 5 levels are too few for a curve" in words(page)
    page, _ = section_of("dose_response", dosed(factors=(0.5, 0.6, 0.7, 0.8)))
    assert "Of correlations given the train loss" not in words(page)
