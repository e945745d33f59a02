"""Sharpness at matched train loss beside that at the end: what is drawn, told and counted."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tests.pages import figures_of, with_few

from sharpscope.analysis.comparisons import comparisons_table
from sharpscope.analysis.contrasts import contrasts_table
from sharpscope.analysis.drawing.scale import Scale
from sharpscope.analysis.levels import levels_table
from sharpscope.analysis.report import contents_of, render
from sharpscope.analysis.section import Evidence
from sharpscope.analysis.sections.matched_loss.agreement import at_matched_loss
from sharpscope.analysis.sections.matched_loss.data import closeness_table, panel_sets, shown


@pytest.fixture(scope="module")
def tables(matched):
    return levels_table(matched), comparisons_table(matched)


def test_closeness_is_told_of_the_runs_that_reached_the_level(matched):
    table = closeness_table(matched).set_index(["matched_loss", "regime"])
    assert len(table) == 2 * 6
    assert table.loc[("0.1", "weight_decay"), "reached"] == 0
    assert np.isnan(table.loc[("0.1", "weight_decay"), "loss"])
    of_sam = matched.ledger[matched.ledger["regime"] == "sam"]
    row = table.loc[("0.5", "sam")]
    assert (row["runs"], row["reached"]) == (10, 10)
    assert row["loss"] == of_sam["train_loss@0.5"].mean()
    assert row["loss_least"] == of_sam["train_loss@0.5"].min()
    assert row["loss_greatest"] == of_sam["train_loss@0.5"].max()
    assert (row["step"], row["step_least"], row["step_greatest"]) == (204.5, 200, 209)
    assert row["loss_at_end"] == of_sam["train_loss"].mean()


def test_a_run_that_never_came_there_counts_at_the_end_of_no_level(matched):
    ledger = matched.ledger.copy()
    late = ledger.index[(ledger["regime"] == "sam") & (ledger["seed"] > 1)]
    ledger.loc[late, "train_loss@0.1"] = np.nan
    row = closeness_table(replace(matched, ledger=ledger)).set_index(["matched_loss", "regime"]).loc[("0.1", "sam")]
    assert (row["runs"], row["reached"]) == (10, 2)
    first = ledger[(ledger["regime"] == "sam") & (ledger["seed"] <= 1)]
    assert row["loss_at_end_greatest"] == first["train_loss"].max()


def test_a_panel_has_a_lane_for_every_moment_of_every_regime_that_reached_it(matched, tables):
    (section,) = panel_sets(matched, *tables, closeness_table(matched))
    assert [panel["quantity"].name for panel in section["panels"]] == shown(matched)
    assert shown(matched)[:2] == ["train_loss", "relative_flatness"]
    panel = section["panels"][1]
    lanes = {row["level"]: row["lanes"] for row in panel["rows"]}
    assert [lane is None for lane in lanes["weight_decay"]] == [False, True, False]
    assert all(None not in lanes[regime] for regime in lanes if regime != "weight_decay")
    ends = [lane[end] for row in lanes.values() for lane in row if lane for end in ("low", "high")]
    assert (min(ends), max(ends)) == (0, 100)
    tip = dict(panel["rows"][1]["tip"])
    assert {"At train loss 0.5", "At train loss 0.1", "At the end of training", "Difference to baseline"} <= set(tip)


def test_each_setting_has_panels_of_its_own(make_results, at_levels):
    results = at_levels(make_results(seeds=2, training__lr=[0.01, 0.1]), "0.1")
    evidence = Evidence(results)
    found = panel_sets(results, evidence.levels, evidence.comparisons, closeness_table(results))
    assert [section["title"] for section in found] == ["training.lr = 0.01", "training.lr = 0.1"]


def test_sentence_counts_differences_that_are_there_too(matched, tables):
    # At a level every measure is a growing function of what it is at the end, so that no difference turns around.
    first, second = at_matched_loss(matched, tables[1])
    real = tables[1].query("significant and kind == 'sharpness' and not quantity.str.contains('@')")
    assert first.startswith("At train loss 0.5, 10 of 10 differences in sharpness to baseline have the direction")
    assert second.startswith("At train loss 0.1, 8 of 8 differences")
    assert f"of the {len(real)} that are significant at the end" in first
    turned = matched.ledger.copy()
    turned["relative_flatness@0.5"] *= -1
    (sentence, _) = at_matched_loss(matched, contrasts_table(replace(matched, ledger=turned)))
    assert sentence.startswith("At train loss 0.5, 5 of 10 differences")
    assert re.search(r"in the same direction and \d in the opposite one\.", sentence)


def test_figures_are_drawn_at_every_level(matched, tables):
    few = [name for name, q in matched.quantities.items() if q.base in ("train_loss", "ece", "relative_flatness")]
    study = {**matched.study, "sections": ["matched_loss", "scatter"]}
    drawn = figures_of(replace(with_few(matched, *few), study=study))
    assert {"matched_loss.pdf", "measures_at_loss_0.5_vs_ece.svg", "measures_at_loss_0.1_vs_train_loss.svg"} <= set(
        drawn
    )
    assert drawn["measures_at_loss_0.5_vs_ece.svg"] != drawn["measures_at_loss_0.1_vs_ece.svg"]


def test_page_and_tables_tell_of_it_where_there_is_a_level(matched_report, report):
    page = matched_report.read_text("utf-8")
    assert '<section id="matched_loss">' in page
    assert "differences in sharpness to baseline have the direction" in page
    assert "4 of 4" in page
    table = pd.read_csv(matched_report.parent / "tables" / "matched_loss.csv")
    assert list(table["matched_loss"].unique()) == [0.1]
    assert "3 of 3" in (matched_report.parent / "tables" / "matched_loss.tex").read_text()
    assert "No run was measured at a matched train loss." in report.read_text("utf-8")
    assert not (report.parent / "tables" / "matched_loss.csv").exists()


def test_page_stands_where_one_regime_alone_reached_a_level(matched):
    ledger = matched.ledger.copy()
    columns = [name for name in matched.quantities if name.endswith("@0.1")]
    ledger.loc[ledger["regime"] != "sam", columns] = np.nan
    alone = replace(matched, ledger=ledger)
    evidence = Evidence(alone)
    assert len(at_matched_loss(alone, evidence.contrasts)) == 1
    assert "0 of 10" in render(evidence, contents_of(evidence))


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0.0, 1.0], ["0", "0.25", "0.5", "0.75", "1"]),
        ([28.3, 30.1], ["28.5", "29", "29.5", "30"]),
        ([3.0, 3.0], ["3"]),
        ([1e-9, 3e-2], ["10⁻⁸", "10⁻⁶", "0.0001", "0.01"]),
        ([0.04, 0.9], ["0.05", "0.1", "0.2", "0.5"]),
    ],
)
def test_marks_of_an_axis_are_few_and_round(values, texts):
    assert [text for _, text in Scale.of(np.array(values)).ticks()] == texts


def test_a_setting_in_which_no_run_has_a_measure_has_no_panel_of_it(make_results, at_levels):
    results = at_levels(make_results(seeds=2, training__lr=[0.01, 0.1]), "0.1")
    lacking = results.ledger["training.lr"] == 0.1
    columns = ["relative_flatness", "relative_flatness@0.1"]
    ledger = results.ledger.copy()
    ledger.loc[lacking, columns] = np.nan
    results = replace(results, ledger=ledger)
    evidence = Evidence(results)
    first, second = panel_sets(results, evidence.levels, evidence.comparisons, closeness_table(results))
    names = [[panel["quantity"].name for panel in section["panels"]] for section in (first, second)]
    assert [name for name in names[0] if name not in names[1]] == ["relative_flatness"]
    render(evidence, contents_of(evidence))
