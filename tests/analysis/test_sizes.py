"""The one picture: every difference raw, at equal loss, at equal confidence, and at both."""

import io
import json
import re
from dataclasses import replace
from html import unescape

import numpy as np
import pandas as pd
import pytest
from tests.analysis.conftest import synthetic, with_levels, with_twins
from tests.pages import section_of, with_few, words

from sharpscope.analysis.drawing.figures import files_of
from sharpscope.analysis.drawing.scale import Scale
from sharpscope.analysis.section import Evidence
from sharpscope.analysis.sections.sizes.data import axis_of, panels_of
from sharpscope.analysis.sizes import sizes_table

MEASURES = ("relative_flatness", "sam_sharpness")
FEW = (*MEASURES, "train_loss", "ece", "step@0.1", "train_loss@0.1", *(f"{name}@0.1" for name in MEASURES))
# By how much, as a logarithm, augmentation is sharper under each condition.
PLANTED = {"end": 2.0, "loss": 1.0, "confidence": 1.5, "both": 0.5}


def study(twins=("matched_confidence",), matched=True):
    """A study in which augmentation is sharper by what is planted, by both measures."""
    results = synthetic(regimes=("baseline", "sam", "augmentation"), seeds=6)
    results = with_few(with_levels(results, "0.1"), *FEW) if matched else with_few(results, *FEW[:4])
    rng, ledger = np.random.default_rng(0), results.ledger.copy()
    quantities = dict(results.quantities)

    def planted(condition):
        size = (ledger["regime"] == "augmentation") * PLANTED[condition]
        return np.exp(size + 0.01 * rng.normal(size=len(ledger)))

    for name in MEASURES:
        ledger[name] = planted("end")
        if matched:
            ledger[f"{name}@0.1"] = planted("loss")
    quantities |= {n: replace(q, scale="ratio") for n, q in quantities.items() if q.kind == "sharpness"}
    primary = {**results.study, "primary": [*MEASURES, "ece"]}
    results = replace(results, ledger=ledger, quantities=quantities, study=primary)
    for twin in twins:
        changed = {name: planted("confidence") for name in MEASURES}
        changed |= {f"{name}@0.1": planted("both") for name in MEASURES if matched}
        results = with_twins(results, twin, changed)
    return results


def table_of(results):
    evidence = Evidence(results)
    return sizes_table(results, evidence.equal_loss.remains, evidence.equal_confidence)


@pytest.mark.parametrize("twin", ["matched_confidence", "calibrated"])
def test_every_condition_has_the_difference_that_was_planted(twin):
    table = table_of(study((twin,)))
    found = table[table["regime"] == "augmentation"].set_index(["quantity", "condition"])
    for name in MEASURES:
        assert np.log(found.loc[name, "difference"]).to_dict() == pytest.approx(PLANTED, abs=0.02)
    assert list(found.loc["sam_sharpness", "at"]) == ["", "0.1", twin, f"0.1~{twin}"]


def test_conditions_that_the_study_cannot_make_are_absent():
    assert set(table_of(study(twins=()))["condition"]) == {"end", "loss"}
    assert "both" not in set(table_of(study(matched=False))["condition"])


def test_a_level_without_a_twin_at_the_matched_loss_has_no_mark_for_both():
    results = study()
    ledger = results.ledger.copy()
    ledger.loc[ledger["regime"] == "augmentation", "sam_sharpness@0.1~matched_confidence"] = np.nan
    table = table_of(replace(results, ledger=ledger)).set_index(["quantity", "regime"])
    assert list(table.loc[("sam_sharpness", "augmentation"), "condition"]) == ["end", "loss", "confidence"]
    assert len(table.loc[("relative_flatness", "augmentation")]) == 4


def test_ratios_share_an_axis_that_holds_no_difference():
    table = table_of(study())
    parts = [part for _, part in table.groupby("quantity")]
    axes = {axis_of(table, part) for part in parts}
    assert len(axes) == 1
    axis = axes.pop()
    assert axis.logarithmic
    assert axis.low <= 1.0 <= axis.high
    assert axis.high == table["ci_high"].max()


def test_a_measure_that_is_not_compared_by_ratio_has_an_axis_of_its_own():
    results = study()
    ledger = results.ledger.assign(sam_sharpness=results.ledger["sam_sharpness"] - 1)
    table = table_of(replace(results, ledger=ledger))
    parts = dict(tuple(table.groupby("quantity")))
    assert not axis_of(table, parts["sam_sharpness"]).logarithmic
    assert axis_of(table, parts["relative_flatness"]).high == parts["relative_flatness"]["ci_high"].max()


def test_marks_lie_where_their_numbers_are():
    results = study()
    table = table_of(results)
    panel = panels_of(results, table)[0]
    row = next(row for row in panel["rows"] if row["label"] == "augmentation")
    axis = axis_of(table, table[table["quantity"] == MEASURES[0]])
    wanted = table[(table["quantity"] == MEASURES[0]) & (table["regime"] == "augmentation")]
    assert [lane["at"] for lane in row["lanes"]] == [axis.at(value) for value in wanted["difference"]]
    assert panel["zero"] == Scale(axis.low, axis.high, logarithmic=True).at(1.0)
    assert all(text.startswith("×") for _, text in panel["ticks"])


def test_the_page_draws_lists_and_tells():
    results = study()
    page, content = section_of("sizes", results)
    assert page.count('<g class="lane"') == 4
    assert page.count("<polyline") == 4
    tip = dict(json.loads(unescape(re.findall(r'class="lane".*?data-tip=\'(.*?)\'', page)[1])))
    assert tip["At equal train loss (0.1)"].startswith("×2.7")
    assert tip["At equal confidence"].startswith("×4.")
    assert tip["At equal train loss and confidence (0.1)"].startswith("×1.6")
    assert "The picture as a table" in page
    assert "at equal train loss and confidence</li>" in words(page)
    saved = pd.read_csv(io.BytesIO(content.tables["sizes.csv"]), keep_default_na=False)
    assert list(saved["difference"].astype(float)) == list(table_of(results)["difference"])
    assert rb"At equal train loss and confidence \\" in content.tables["sizes.tex"]


def test_lanes_with_the_same_numbers_stay_apart():
    results = study()
    same = results.ledger.assign(**{f"{MEASURES[0]}@0.1": results.ledger[MEASURES[0]]})
    page, _ = section_of("sizes", replace(results, ledger=same))
    points = re.findall(r'<polyline[^>]*points="([^"]*)"', page)[1].split()
    assert len({point.split(",")[1] for point in points}) == 4
    assert points[0].split(",")[0] == points[1].split(",")[0]


def test_the_figure_is_drawn():
    _, content = section_of("sizes", study())
    assert set(files_of(content.figures)) == {"sizes.pdf", "sizes.svg"}


def test_a_study_without_primary_sharpness_has_no_such_section():
    results = study()
    page, content = section_of("sizes", replace(results, study={**results.study, "primary": ["ece"]}))
    assert content.page is None
    assert 'id="sizes"' not in page
