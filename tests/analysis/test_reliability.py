"""Reliability diagrams: what is put together, and where it is drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from sharpscope.analysis.results import Quantity
from sharpscope.analysis.section import Evidence
from sharpscope.analysis.sections.reliability import reliability
from sharpscope.analysis.sections.reliability.data import (
    Axis,
    over_settings,
    panels_of,
    together,
    waiting,
    without_twin,
)
from sharpscope.analysis.sections.reliability.figure import MOST, diagrams
from sharpscope.safety.reliability import equal_masses, grouped


@pytest.fixture(scope="module")
def few(make_results):
    return make_results(seeds=3, regimes=("baseline", "sam"))


def bins_of(run, counts, confidence, accuracy):
    """Bins of a run, with a band around the accuracy."""
    accuracy = np.array(accuracy)
    told = {"confidence": confidence, "accuracy": accuracy, "low": accuracy - 0.1, "high": accuracy + 0.1}
    return pd.DataFrame({"run_id": run, "bin": range(len(counts)), "count": counts, **told})


def test_bins_of_one_number_are_put_together_by_their_samples():
    rows = pd.concat(
        [bins_of("a", [11, 10, 10], [0.4, 0.8, 0.9], [0.2, 0.5, 1.0]), bins_of("b", [9, 9], [0.6, 1.0], [0.4, 0.8])]
    )
    alike = pd.concat([rows[rows["run_id"] == "a"].assign(run_id=run) for run in "xyz"])
    found = together(alike)
    assert found["count"].tolist() == [33, 30, 30]
    pd.testing.assert_frame_equal(found.drop(columns="count"), alike[:3].drop(columns=["count", "run_id"]))
    # Of 15 places 5 are of each bin of the one, and 8 and 7 of those of the other.
    found = together(rows)
    weights = [[11, 9 * 5 / 8], [6, 9 * 3 / 8], [4, 9 * 2 / 7], [10, 9 * 5 / 7]]
    assert found["count"].tolist() == pytest.approx([sum(of_both) for of_both in weights])
    pairs = [[0.4, 0.6], [0.8, 0.6], [0.8, 1.0], [0.9, 1.0]]
    assert found["confidence"].tolist() == pytest.approx(
        [np.average(pair, weights=of_both) for pair, of_both in zip(pairs, weights, strict=True)]
    )


def test_a_run_of_equal_confidences_turns_no_line_back():
    rng = np.random.default_rng(0)
    plain = np.sort(rng.uniform(0.5, 0.999, 300))
    # Three of four samples of the other run are certain.
    certain = np.where(np.arange(300) < 75, plain, 1.0)
    rows = []
    for run, confidence in (("a", plain), ("b", certain)):
        edges = equal_masses(confidence, 15)
        held = grouped(confidence, rng.random(300) < confidence, edges).filled
        rows.append(bins_of(run, held.count, held.confidence, held.accuracy))
    found = together(pd.concat(rows))
    assert len(rows[1]) < len(rows[0]) == len(found)
    assert (np.diff(found["confidence"]) > 0).all()
    assert found["count"].sum() == pytest.approx(600)


def test_a_panel_tells_the_mean_error_of_its_runs_and_that_of_chance(few):
    baseline, sam = panels_of(few)
    assert (baseline.level, sam.level) == ("baseline", "sam")
    own = few.confidence.query("regime == 'baseline'")
    assert baseline.error.value == pytest.approx(own["ece"].mean())
    assert baseline.null == pytest.approx(own["null"].mean())
    assert baseline.error.low <= own["ece"].mean() <= baseline.error.high
    assert baseline.told.startswith(f"ECE {own['ece'].mean():.3f} [")
    assert baseline.told.endswith(f"by chance {own['null'].mean():.3f}")
    assert baseline.doubt.sum() == pytest.approx(1.0)


def test_the_axis_is_spread_where_most_confidence_is_near_one(few):
    assert not Axis.of(panels_of(few)).spread
    sure = replace(few, confidence=few.confidence.assign(sure=0.85))
    axis = Axis.of(panels_of(sure))
    assert axis.spread
    assert axis.low == pytest.approx(min(panel.bins["confidence"].min() for panel in panels_of(sure)))
    # Even in the logarithm of odds: 0.9 is as far from 0.5 as 0.5 from 0.1.
    assert axis.at(0.9) - axis.at(0.5) == pytest.approx(axis.at(0.99) - axis.at(0.9), rel=0.1)
    assert axis.at(1.0) == 100.0
    assert [text for _, text in axis.ticks][-1] == "0.99"
    assert axis.diagonal(0.5)[0][1] == pytest.approx(0.5)


def test_runs_of_earlier_versions_are_told(few):
    assert waiting(few) == 0
    last = few.ledger["run_id"].iloc[-1]
    older = replace(
        few,
        reliability=few.reliability[few.reliability["run_id"] != last],
        confidence=few.confidence[few.confidence["run_id"] != last],
    )
    assert waiting(older) == 1
    page = reliability(Evidence(older)).page
    assert page is not None
    assert page["waiting"] == 1
    none = replace(few, reliability=few.reliability.iloc[:0], confidence=few.confidence.iloc[:0])
    assert reliability(Evidence(none)).page is None


def test_a_run_has_a_line_and_a_level_a_band(few):
    page = reliability(Evidence(few)).page
    assert page is not None
    ((panels, title),) = [(one["panels"], one["title"]) for one in page["sets"]]
    assert title == ""
    for panel in panels:
        assert len(panel["runs"]) == 3
        assert len(panel["line"].split()) == 15
        assert len(panel["band"].split()) == 30
        assert max(height for *_, height in panel["bars"]) == 18
    corner = page["diagonal"].split()[-1]
    assert corner == "100,0"


def test_a_panel_tells_the_temperature_of_its_twins(few):
    name = "temperature~calibrated"
    temperatures = [0.5, 0.7, 0.0183, 1.0, 2.0, 3.0]
    ledger = few.ledger.assign(**{name: temperatures, f"{name}_converged": [True, True, False, True, True, True]})
    known = {**few.quantities, name: Quantity(name, "training", "Temperature", twin="calibrated")}
    results = replace(few, ledger=ledger, quantities=known)
    assert without_twin(few) == 0
    assert without_twin(results) == 1
    page = reliability(Evidence(results)).page
    assert page is not None
    assert page["untwinned"] == 1
    baseline, sam = panels_of(results)
    assert baseline.told.endswith(", T 0.60")
    assert sam.told.endswith(", T 2.00")


def test_a_figure_of_many_settings_has_a_panel_a_level(make_results):
    rates = [0.01 * k for k in range(1, MOST // 2 + 2)]
    results = make_results(seeds=3, regimes=("baseline", "sam"), training__lr=rates)
    panels = panels_of(results)
    assert len(panels) == 2 * len(rates) > MOST
    baseline, _ = over_settings(results)
    own = results.confidence.query("regime == 'baseline'")
    assert baseline.error.value == pytest.approx(own["ece"].mean())
    assert baseline.error.n == 3  # the unit is the seed, with its runs in all settings
    assert baseline.bins["count"].sum() == sum(p.bins["count"].sum() for p in panels if p.level == "baseline")
    figure = diagrams(results, panels)
    assert len(figure.axes) == 2 * 2
    assert "all settings together" in figure.get_supxlabel()
    assert len(diagrams(results, panels[:4]).axes) == 2 * 4
