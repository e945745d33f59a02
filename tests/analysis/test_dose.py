"""Dose and response on studies with planted truth: what is told apart, in numbers and in sentences."""

import io
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from tests.analysis.conftest import synthetic, with_twins
from tests.analysis.dosed import ACCURACY, BOTH, COMPLEXITY, FACTORS, KEY, LOSS, ONLY_LOSS, dosed, without
from tests.pages import page_of, section_of, words

from sharpscope.analysis.contrasts import contrasts_table
from sharpscope.analysis.correlations import correlations_table
from sharpscope.analysis.dose.axis import axis_of
from sharpscope.analysis.dose.bookkeeping import bookkeeping_table, condition_number, shares_table
from sharpscope.analysis.dose.headline import told_dose
from sharpscope.analysis.dose.told import sentences, verdicts
from sharpscope.analysis.dose.trends import MONOTONE, NOT_MONOTONE, dose_table
from sharpscope.analysis.drawing.figures import files_of
from sharpscope.analysis.findings import find
from sharpscope.analysis.sections.dose_response.data import chosen_seeds, panels_of, room_for, runs_of
from sharpscope.analysis.statistics import hodges_lehmann, westfall_young
from sharpscope.analysis.statistics.trend import rank_trends
from sharpscope.numpy_stream import NumpyStream


def of(results, name, at="end"):
    table = dose_table(results)
    return table[(table["quantity"] == name) & (table["at"] == at)].squeeze()


def told(results):
    return dict(sentences(results, dose_table(results), bookkeeping_table(results)))


def compared(results, **compare):
    return replace(results, study={**results.study, "compare": {"factor": KEY, **compare}})


def by_level(results, name):
    return results.ledger.pivot_table(index=KEY, columns="seed", values=name).to_numpy()


# What has an order, and where its levels lie.


def test_values_of_a_key_lie_where_they_are():
    axis = axis_of(dosed())
    assert (axis.name, axis.levels, axis.h) == (KEY, ("0.5", "0.6", "0.7", "0.8", "0.9", "0.95"), KEY)
    assert list(axis.positions) == list(FACTORS)
    assert axis.scaled(np.ones(6, dtype=bool)) == pytest.approx((np.array(FACTORS) - 0.5) / 0.45)


def test_levels_are_in_order_whatever_the_study_says_first():
    axis = axis_of(dosed(factors=(0.9, 0.5, 0.7)))
    assert axis.levels == ("0.5", "0.7", "0.9")


def test_there_is_no_axis_without_an_order_or_three_levels():
    assert axis_of(compared(dosed(), ordered=False)) is None
    assert axis_of(dosed(factors=(0.5, 0.9))) is None
    assert axis_of(synthetic()) is None
    assert dose_table(synthetic()).empty
    assert section_of("dose_response", synthetic())[1].page is None


def test_doses_that_span_decades_lie_by_their_ratios_and_a_zero_by_itself():
    axis = axis_of(dosed(factors=(0.0, 0.001, 0.01, 0.1)))
    assert axis.h == f"log10({KEY})"
    assert list(axis.on_line) == [False, True, True, True]
    assert axis.positions[1:] == pytest.approx([-3, -2, -1])
    assert axis.drawn == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_even_steps_lie_by_their_differences_however_far_they_span():
    axis = axis_of(dosed(factors=tuple(k / 10 for k in range(11))))
    assert axis.h == KEY
    assert axis.on_line.all()


def test_words_in_an_order_lie_a_step_apart():
    words_of = {0.5: "low", 0.7: "middle", 0.9: "high"}
    results = dosed(factors=tuple(words_of))
    ledger = results.ledger.assign(**{KEY: results.ledger[KEY].map(words_of)})
    grid = {**results.study["grid"], KEY: list(words_of.values())}
    named = replace(results, ledger=ledger, study={**results.study, "grid": grid, "compare": {"factor": KEY}})
    assert axis_of(named) is None
    axis = axis_of(compared(named, ordered=True))
    assert (axis.levels, axis.h) == (("low", "middle", "high"), f"place of {KEY} in its order")
    rows = [of(one, BOTH.name)["change"] for one in (results, compared(named, ordered=True))]
    assert rows[0] == pytest.approx(rows[1])


def of_regimes(regimes, labels):
    """The same numbers where the levels are regimes, or options of one."""
    results = dosed(factors=(0.5, 0.7, 0.9))
    map_of = dict(zip((0.5, 0.7, 0.9), labels, strict=True))
    ledger = results.ledger.assign(regime=results.ledger[KEY].map(map_of)).drop(columns=KEY)
    study = {**results.study, "regimes": regimes, "grid": {"seed": results.study["grid"]["seed"]}}
    del study["compare"]
    return replace(results, ledger=ledger, study=study)


def test_regimes_that_differ_in_one_number_have_an_order():
    labels = ["baseline", "sam(rho=0.1)", "sam(rho=0.05)"]
    regimes = [
        {"label": "baseline", "baseline": {}},
        *({"label": n, "sam": {"rho": float(n[8:-1])}} for n in labels[1:]),
    ]
    results = of_regimes(regimes, labels)
    axis = axis_of(results)
    assert (axis.name, axis.levels) == ("regimes.sam.rho", ("baseline", "sam(rho=0.05)", "sam(rho=0.1)"))
    assert list(axis.doses) == [0.0, 0.05, 0.1]
    assert told_dose(results, dose_table(results))[0].startswith("From baseline to sam.rho 0.1, ")


@pytest.mark.parametrize(
    "regimes",
    [
        [{"label": "a"}, {"label": "b", "sam": {"rho": 0.1}}, {"label": "c", "weight_decay": {"rho": 0.2}}],
        [{"label": "a"}, {"label": "b", "sam": {"rho": 0.1}}, {"label": "c", "sam": {"rho": 0.2, "adaptive": True}}],
        [{"label": "a"}, {"label": "b", "sam": {"rho": 0.1}}, {"label": "c", "sam": {}}],
        [{"label": "a"}, {"label": "b", "sam": {"on": "x"}}, {"label": "c", "sam": {"on": "y"}}],
        [{"label": "a"}, {"label": "b"}, {"label": "c", "sam": {"rho": 0.1}}],
    ],
)
def test_other_regimes_have_none(regimes):
    assert axis_of(of_regimes(regimes, ["a", "b", "c"])) is None


def test_an_option_of_the_grid_has_the_regime_without_the_part_as_its_zero():
    results = dosed(factors=(0.05, 0.1, 0.2))
    key = "regimes.sam.rho"
    without_sam = results.ledger[results.ledger[KEY] == 0.05].assign(regime="baseline")
    with_sam = results.ledger[results.ledger[KEY] > 0.05].assign(regime="sam")
    ledger = pd.concat([without_sam.assign(**{KEY: np.nan}), with_sam], ignore_index=True).rename(columns={KEY: key})
    regimes = [{"label": "baseline", "baseline": {}}, {"label": "sam", "sam": {}}]
    study = {**results.study, "regimes": regimes, "grid": {"seed": list(range(10)), key: [0.1, 0.2]}}
    by_key = replace(results, ledger=ledger, study={**study, "compare": {"factor": key}})
    assert (axis_of(by_key).levels, list(axis_of(by_key).doses)) == (("no sam", "0.1", "0.2"), [0.0, 0.1, 0.2])
    by_regime = replace(by_key, study={**study, "compare": {"factor": "regime"}})
    assert axis_of(by_regime).levels == ("baseline", "sam(rho=0.1)", "sam(rho=0.2)")
    assert list(axis_of(by_regime).doses) == [0.0, 0.1, 0.2]


# Numbers.


def test_numbers_are_those_of_each_seed():
    results = dosed()
    row, y = of(results, BOTH.name), np.log(by_level(results, BOTH.name))
    taus = [stats.kendalltau(range(6), y[:, s]).statistic for s in range(10)]
    lines = [np.polyfit((np.array(FACTORS) - 0.5) / 0.45, y[:, s], 1)[0] for s in range(10)]
    assert row["tau"] == pytest.approx(np.mean(taus))
    assert row["change"] == pytest.approx(np.exp(hodges_lehmann(np.array(lines), np.zeros(10)).value))
    assert (row["levels"], row["first"], row["last"], row["n"], row["rising"]) == (6, "0.5", "0.95", 10, 10)


def test_trends_of_primary_quantities_at_the_end_are_one_family():
    results = dosed()
    table = dose_table(results)
    family = table[table["family"] == "primary"]
    assert list(family["quantity"]) == [BOTH.name, ONLY_LOSS.name, ACCURACY.name]
    assert set(family["at"]) == {"end"}
    values = [by_level(results, name) for name in family["quantity"]]
    trends = np.stack([rank_trends(y) for y in values])
    assert list(family["p_adjusted"]) == list(westfall_young(trends, NumpyStream(0)))
    assert set(table[table["family"] != "primary"]["correction"]) == {"Benjamini-Hochberg"}


def test_settings_are_averaged_within_seeds():
    results = dosed()
    second = results.ledger.assign(**{"training.lr": 0.2, BOTH.name: results.ledger[BOTH.name] * 100})
    ledger = pd.concat([results.ledger.assign(**{"training.lr": 0.1}), second], ignore_index=True)
    ledger["run_id"] = [f"{name}-{k}" for k, name in enumerate(ledger["run_id"])]
    grid = {**results.study["grid"], "training.lr": [0.1, 0.2]}
    both = replace(results, ledger=ledger, study={**results.study, "grid": grid})
    one, two = (of(r, BOTH.name) for r in (results, both))
    for name in ("tau", "change", "ci_low", "bend", "n", "partial"):
        assert two[name] == pytest.approx(one[name])


def test_what_grows_with_the_loss_only_is_told_from_what_grows_with_the_dose_too():
    results = dosed(seeds=20)
    both, only = told(results)[BOTH.label], told(results)[ONLY_LOSS.label]
    for text in (both, only):
        assert re.match(r"End to end ×[\d.]+ \[[\d., ]+\], from data.factor 0.5 to 0.95; it rises with", text)
    assert re.search(r"At equal train loss \(0.1\), ×[\d.]+ \[[\d., ]+\] remains, \d+% \[\d+, \d+\] of that", both)
    assert re.search(r"At equal train loss \(0.1\), no change is seen \(×", only)
    rest = bookkeeping_table(results).set_index(["quantity", "part"])
    assert rest.loc[(BOTH.name, "rest"), "ci_low"] > 1.5
    assert rest.loc[(ONLY_LOSS.name, "rest"), "ci_low"] < 1 < rest.loc[(ONLY_LOSS.name, "rest"), "ci_high"]
    moved, at_equal_loss, _ = told_dose(results, dose_table(results))
    assert re.match(r"From data.factor 0.5 to 0.95, relative flatness changes by ×.* \(sharper\)", moved)
    assert re.search(r"of relative flatness ×.* remains.*; of Fisher-Rao norm no change is seen", at_equal_loss)


def test_what_remains_over_fewer_levels_is_compared_with_the_end_over_these():
    results = dosed(of_dose=0.0, loss_rises=0.0, noise=0.05)
    ledger = results.ledger
    there, end = f"{BOTH.name}@0.1", BOTH.name
    x = (ledger[KEY] - 0.5) / 0.45
    # At the end it rises up to 0.8 and falls back; at the matched loss only the way up is there.
    course = np.exp(np.where(x < 0.7, 3 * x, 0.0))
    changed = replace(results, ledger=ledger.assign(**{end: course * ledger[end], there: np.exp(x) * ledger[there]}))
    columns = [name for name in ledger.columns if name.endswith("@0.1")]
    narrow = without(changed, ledger[KEY] >= 0.9, *columns)
    row = of(narrow, BOTH.name, "0.1")
    assert row["end_low"] > 5
    assert of(narrow, BOTH.name)["change"] < 1.5
    text = told(narrow)[BOTH.label]
    assert re.search(r"\(0.1, from 0.5 to 0.8\), ×[\d.]+ \[.*\] of ×[\d.]+ \[.*\] at the end remains \(\d+% \[", text)
    assert "relative flatness goes up and down with the levels" in told_dose(narrow, dose_table(narrow))[0]


def test_twins_have_changes_of_their_own():
    results = dosed()
    twins = with_twins(results, "matched_confidence", {BOTH.name: results.ledger[BOTH.name] ** 0.5})
    row = of(twins, BOTH.name, "matched_confidence")
    assert row["retained"] == pytest.approx(0.5)
    assert "At equal confidence, of relative flatness ×" in told_dose(twins, dose_table(twins))[2]
    assert re.search(r"At equal confidence, ×.* remains, 50% \[", told(twins)[BOTH.label])
    calibrated = with_twins(results, "calibrated", {BOTH.name: results.ledger[BOTH.name]})
    assert "With all networks calibrated" not in told(calibrated)[BOTH.label]  # no temperature moved it
    moved = with_twins(results, "calibrated", {BOTH.name: results.ledger[BOTH.name] ** 0.9})
    assert "With all networks calibrated, ×" in told(moved)[BOTH.label]
    page, content = section_of("dose_response", twins)
    assert "at equal confidence" in words(page)
    assert len(files_of(content.figures)) == 8


def test_parts_through_a_loss_that_does_not_overlap_are_not_told():
    results = dosed(loss_rises=20.0)
    parts = bookkeeping_table(results).set_index(["quantity", "part"])
    assert np.isfinite(parts.loc[(BOTH.name, "total"), "change"])
    assert np.isnan(parts.loc[(BOTH.name, "rest"), "change"])
    assert parts["overlap"].max() < 0.25
    assert "What goes through the train loss is not told" in told(results)[BOTH.label]


def test_what_grows_with_the_dose_only_is_retained():
    row = of(dosed(of_loss=0.0, seeds=20), BOTH.name, "0.1")
    assert row["retained_low"] < 1 < row["retained_high"]
    assert row["retained"] == pytest.approx(1, abs=0.2)


def test_the_parts_make_the_whole():
    parts = bookkeeping_table(dosed()).set_index(["quantity", "part"])["change"]
    total, through, rest = (parts[BOTH.name, part] for part in ("total", "through loss", "rest"))
    assert total == pytest.approx(through * rest)


def test_an_arc_is_not_monotone_and_a_curve_bends():
    results = dosed(of_dose=0.0, of_loss=0.0, noise=0.05)
    x = (results.ledger[KEY] - 0.5) / 0.45
    arc = replace(
        results, ledger=results.ledger.assign(**{BOTH.name: np.exp(8 * x * (1 - x)) * results.ledger[BOTH.name]})
    )
    assert of(arc, BOTH.name)["shape"] == NOT_MONOTONE
    assert told(arc)[BOTH.label].startswith("Not monotone: ")
    curve = replace(results, ledger=results.ledger.assign(**{BOTH.name: np.exp(3 * x**2) * results.ledger[BOTH.name]}))
    row = of(curve, BOTH.name)
    assert row["shape"] == MONOTONE
    assert row["bend"] == pytest.approx(np.exp(-0.75), rel=0.15)
    assert "Its course bends" in told(curve)[BOTH.label]


def test_the_first_level_that_differs_is_that_of_an_unbroken_sequence():
    results = dosed(of_dose=0.0, of_loss=0.0)
    step = replace(
        results,
        ledger=results.ledger.assign(
            **{BOTH.name: np.where(results.ledger[KEY] >= 0.8, 3, 1) * results.ledger[BOTH.name]}
        ),
    )
    assert of(step, BOTH.name)["differs_above"] == "0.8"
    assert "It differs from data.factor 0.5 from 0.8 on." in told(step)[BOTH.label]
    middle = compared(step, reference=0.7)
    assert (of(middle, BOTH.name)["differs_below"], of(middle, BOTH.name)["differs_above"]) == ("", "0.8")


# What is missing.


def test_a_level_that_diverged_is_left_out_and_named():
    results = dosed()
    gone = (results.ledger[KEY] == 0.95) & (results.ledger["seed"] > 2)
    results = without(results, gone)
    row = of(results, BOTH.name)
    assert (row["levels"], row["last"], row["levels_left_out"], row["n"]) == (5, "0.9", "0.95", 10)
    assert "Fewer than half of the seeds have it at 0.95, which is left out." in told(results)[BOTH.label]


def test_seeds_that_lack_an_end_are_left_out_and_named_and_those_that_lack_a_level_between_are_not():
    results = dosed()
    ledger = results.ledger
    gone = ((ledger[KEY] == 0.95) & (ledger["seed"] == 3)) | ((ledger[KEY] == 0.7) & (ledger["seed"] == 4))
    row = of(without(results, gone), BOTH.name)
    assert (row["n"], row["seeds_left_out"]) == (9, "3")


def test_a_loss_that_no_run_of_a_level_came_to_narrows_the_range():
    results = dosed()
    columns = [name for name in results.ledger.columns if name.endswith("@0.1")]
    narrow = without(results, results.ledger[KEY] >= 0.9, *columns)
    there, end = of(narrow, BOTH.name, "0.1"), of(narrow, BOTH.name)
    assert (there["line_last"], end["line_last"]) == ("0.8", "0.95")
    assert "At equal train loss (0.1, from 0.5 to 0.8), " in told(narrow)[BOTH.label]
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
    row = of(same, ACCURACY.name)
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
    row = of(results, BOTH.name)
    assert row["significant"]
    assert row["change"] < 1.15
    assert told(results)[BOTH.label].startswith("End to end ×1.")
    assert len(panels_of(results, axis_of(results))[0].seeds) == 30


# Shares.


def test_shares_are_told_in_both_orders():
    results = dosed()
    text = next(iter(verdicts(results, shares_table(results))))
    number = r"[<>]?\d+% \[[<>]?\d+, [<>]?\d+\]"
    assert re.match(
        f"Of the variation of relative flatness within seeds, loss explains {number}, geometric complexity a further "
        f"{number}, data.factor a further {number}. The other way round, geometric complexity explains {number}, loss "
        f"a further {number}, data.factor a further {number}. In the mean over all orders: loss {number}, ",
        text,
    )
    lone = replace(results, ledger=results.ledger.drop(columns=[c for c in results.ledger if COMPLEXITY.name in c]))
    assert "The other way round, data.factor explains" in verdicts(lone, shares_table(lone))[0]


def test_what_goes_together_is_not_told_apart():
    results = dosed(noise=1e-3)
    assert shares_table(results)["share"].isna().all()
    assert "cannot be told apart: within seeds they go together" in verdicts(results, shares_table(results))[0]
    assert shares_table(dosed(factors=(0.5, 0.7, 0.9))).empty


def test_the_condition_is_that_of_predictors_within_groups():
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1, 2], 5)
    x = rng.standard_normal((2, 15))
    moved = x + 10 * rng.standard_normal((2, 3))[:, groups]
    assert condition_number(moved, groups) == pytest.approx(condition_number(x, groups))
    within = np.stack([row - np.array([row[groups == g].mean() for g in range(3)])[groups] for row in x])
    r = abs(np.corrcoef(within)[0, 1])
    assert condition_number(x, groups) == pytest.approx(np.sqrt((1 + r) / (1 - r)))
    assert condition_number(np.stack([x[0], groups]), groups) == np.inf


# The section.


def test_the_section_is_in_the_report_and_its_sentence_at_the_top():
    page = words(page_of(dosed()))
    top = page.partition("<strong>")[2].partition("</strong>")[0]
    assert top.startswith("From data.factor 0.5 to 0.95, relative flatness changes by ×")
    assert "At equal train loss (0.1), of relative flatness ×" in top
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
    row = of(results, BOTH.name)
    assert (row["first"], row["line_first"], row["levels"]) == ("0", "0.001", 4)
    page, content = section_of("dose_response", results)
    assert f"A dose of zero lies nowhere on log10({KEY})" in words(page)
    assert len(files_of(content.figures)) == 8
    two = without(results, results.ledger[KEY] == 0.1)
    assert np.isnan(of(two, BOTH.name)["change"])
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


@pytest.mark.slow
def test_nothing_is_found_where_nothing_is_in_95_of_100_studies():
    found = 0
    for draw in range(500):
        results = dosed(of_dose=0.0, loss_rises=0.0, seed=draw, matched="")
        table = dose_table(results)
        found += bool(table.loc[table["family"] == "primary", "significant"].any())
    assert found / 500 < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 500)
    assert LOSS.name in set(table["quantity"])
