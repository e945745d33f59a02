"""The section of robustness: contrasts by case, and levels under corruption, against arithmetic."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tests.analysis.conftest import CORRUPTIONS, SEVERITIES, with_conditions

from sharpscope.analysis.conditions import CALIBRATED_VALUES
from sharpscope.analysis.drawing.figures import files_of
from sharpscope.analysis.section import Evidence
from sharpscope.analysis.sections.robustness import robustness
from sharpscope.analysis.sections.robustness.data import Accuracies, courses
from sharpscope.analysis.sections.robustness.heat import greatest, heat_maps, told_apart
from sharpscope.analysis.sections.robustness.summary import summaries
from sharpscope.analysis.statistics import hodges_lehmann

REGIMES = ("baseline", "sam", "augmentation")


@pytest.fixture(scope="module")
def study(make_results):
    return with_conditions(make_results(seeds=7, regimes=REGIMES))


@pytest.fixture(scope="module")
def found(study):
    return Accuracies.of(study)


def of(study, regime, **where):
    """The accuracies of a regime by seed, averaged over what is asked for."""
    rows = study.conditions[study.conditions["regime"] == regime]
    for column, value in where.items():
        rows = rows[rows[column].isin(value if isinstance(value, list) else [value])]
    return rows.groupby("seed")["accuracy"].mean().to_numpy()


def test_cases_are_in_order_and_numbers_in_their_places(study, found):
    assert [case.severity for case in found.cases if case.condition == "quantized"] == [8, 4, 3]
    assert [case.severity for case in found.cases if case.condition == "fog"] == [1, 2, 3, 4, 5]
    assert list(found.corruptions) == ["defocus_blur", "elastic_transform", "shot_noise", "fog", "snow"]
    assert found.samples == 500
    sam = found.values.levels.index("sam")
    for index, case in enumerate(found.cases):
        expected = of(study, "sam", condition=case.condition, severity=case.severity)
        np.testing.assert_array_equal(found.under[0, sam, :, index], expected)
    np.testing.assert_array_equal(found.clean[0, sam], of(study, "sam", condition="clean"))


def test_a_cell_is_the_difference_within_seeds(study, found):
    maps = heat_maps(found)
    assert [one.level for one in maps] == ["sam", "augmentation"]
    for one in maps:
        assert one.corruptions == ["defocus_blur", "elastic_transform", "shot_noise", "fog", "snow"]
        for name, row in zip(one.corruptions, one.cells, strict=True):
            for severity, cell in zip(one.severities, row, strict=True):
                where = {"condition": name, "severity": severity}
                assert cell == hodges_lehmann(of(study, one.level, **where), of(study, "baseline", **where))
    cells = [cell for one in maps for cell in one.intervals]
    assert greatest(maps) == max(abs(cell.value) for cell in cells if cell.low > 0 or cell.high < 0)


def test_what_was_trained_on_the_like_of_is_left_out_of_the_summary(study, found):
    (baseline, sam, augmentation), effective = summaries(found)
    assert (baseline.alike, sam.alike, augmentation.alike) == ([], [], ["elastic_transform"])
    kept = [name for name in CORRUPTIONS if name != "elastic_transform"]
    for one, names in ((sam, list(CORRUPTIONS)), (augmentation, kept)):
        own, other = (of(study, regime, condition=names) for regime in (one.level, "baseline"))
        assert one.accuracy.value == pytest.approx(own.mean())
        assert one.difference.value == pytest.approx(hodges_lehmann(own, other).value)
        errors = [
            (1 - of(study, one.level, condition=name)) / (1 - of(study, "baseline", condition=name)).mean()
            for name in names
        ]
        assert one.error.value == pytest.approx(np.mean(errors))
        lost = {regime: of(study, regime, condition="clean") for regime in REGIMES}
        relative = [
            (lost[one.level] - of(study, one.level, condition=name))
            / (lost["baseline"] - of(study, "baseline", condition=name)).mean()
            for name in names
        ]
        assert one.relative.value == pytest.approx(np.mean(relative))
        left = [
            hodges_lehmann(
                *(
                    of(study, r, condition=[n for n in names if CORRUPTIONS[n] != family])
                    for r in (one.level, "baseline")
                )
            ).value
            for family in {CORRUPTIONS[name] for name in names}
        ]
        assert (one.least, one.most) == pytest.approx((min(left), max(left)))
    assert baseline.error.value == pytest.approx(1.0)
    assert not effective.reason
    # The line goes through all runs of the study, so on average none lies above it by much.
    assert abs(np.mean([baseline.effective.value, sam.effective.value, augmentation.effective.value])) < 1e-3


def test_what_the_reference_was_trained_on_the_like_of_is_left_out_for_all(study):
    like = study.conditions["like"] | (
        (study.conditions["regime"] == "baseline") & (study.conditions["condition"] == "fog")
    )
    told, _ = summaries(Accuracies.of(replace(study, conditions=study.conditions.assign(like=like))))
    assert [one.alike for one in told] == [["fog"], ["fog"], ["elastic_transform", "fog"]]


def test_too_few_runs_have_no_effective_robustness(make_results):
    page = robustness(Evidence(with_conditions(make_results(seeds=3, regimes=REGIMES)))).page
    assert page["no_effective"] == "a line needs 20 runs, and there are 9"
    assert page["short"] == "75"


def test_a_line_is_the_mean_over_seeds(study, found):
    drawn = {course.family: course for course in courses(found)}
    assert list(drawn) == ["blur", "digital", "noise", "weather", "quantization"]
    assert drawn["quantization"].severities == [8, 4, 3]
    assert drawn["quantization"].kind == "weights"
    (sam,) = (line for line in drawn["weather"].lines if line.level == "sam")
    expected = [of(study, "sam", family="weather", severity=severity).mean() for severity in range(1, 6)]
    clean = of(study, "sam", condition="clean").mean()
    assert [point.value for point in sam.points] == pytest.approx([clean, *expected])
    assert all(point.low < point.value < point.high for point in sam.points)


def test_cells_have_a_color_where_their_interval_excludes_zero(study):
    page = robustness(Evidence(study)).page
    maps = heat_maps(Accuracies.of(study))
    for shown, one in zip(page["maps"], maps, strict=True):
        for row, cells in zip(shown["rows"], one.cells, strict=True):
            for told, cell in zip(row["cells"], cells, strict=True):
                assert bool(told["sign"]) == told_apart(cell) == (told["strength"] >= 0.25)
                assert told["interval"].startswith("[")
    assert [row["like"] for row in page["maps"][1]["rows"]] == [False, True, False, False, False]
    assert max(cell["strength"] for one in page["maps"] for row in one["rows"] for cell in row["cells"]) == 1.0


def test_settings_are_averaged_within_seeds(make_results):
    study = with_conditions(make_results(seeds=4, regimes=REGIMES, training__lr=[0.01, 0.1]))
    found = Accuracies.of(study)
    rows = study.conditions.query("condition == 'fog' and severity == 3").groupby(["regime", "seed"])["accuracy"].mean()
    place = next(i for i, case in enumerate(found.cases) if (case.condition, case.severity) == ("fog", 3))
    difference = found.difference(found.values.levels.index("sam"), place)
    assert difference.value == pytest.approx(hodges_lehmann(rows["sam"].to_numpy(), rows["baseline"].to_numpy()).value)
    assert difference.n == 4


def test_each_setting_is_averaged_over_the_corruptions_that_its_data_have(make_results):
    study = with_conditions(make_results(seeds=4, regimes=REGIMES, training__lr=[0.01, 0.1]))
    # As of two datasets: what one comes under has another name with the other, and one comes under more.
    table, other = study.conditions, study.conditions["training.lr"] == 0.1
    table = table.assign(condition=table["condition"].where(~other | (table["condition"] != "fog"), "mist"))
    study = replace(study, conditions=table[~other | (table["condition"] != "snow")])
    found = Accuracies.of(study)
    corrupted = study.conditions.query("kind == 'inputs'")
    by_corruption = corrupted.groupby(["regime", "seed", "training.lr", "condition"])["accuracy"].mean()
    rows = by_corruption.groupby(["regime", "seed", "training.lr"]).mean().groupby(["regime", "seed"]).mean()
    _, sam, _ = summaries(found)[0]
    assert sam.accuracy.value == pytest.approx(rows["sam"].mean())
    assert sam.difference.value == pytest.approx(
        hodges_lehmann(*(rows[r].to_numpy() for r in ("sam", "baseline"))).value
    )
    errors = 1 - by_corruption
    multiples = errors["sam"] / errors["baseline"].groupby(["training.lr", "condition"]).mean()
    assert sam.error.value == pytest.approx(multiples.groupby("training.lr").mean().mean())
    weather = next(course for course in courses(found) if course.family == "weather")
    (line,) = (line for line in weather.lines if line.level == "sam")
    at = corrupted.query("family == 'weather' and regime == 'sam' and severity == 2")
    assert line.points[2].value == pytest.approx(at.groupby("training.lr")["accuracy"].mean().mean())


def test_a_reference_without_an_error_is_told(study):
    table = study.conditions
    right = (table["regime"] == "baseline") & (table["condition"] == "fog")
    page = robustness(Evidence(replace(study, conditions=table.assign(accuracy=table["accuracy"].where(~right, 1.0)))))
    assert page.page["faultless"] == ["fog"]


def test_a_run_that_lacks_a_case_costs_its_seed_there_alone(study):
    table = study.conditions
    lost = (table["regime"] == "sam") & (table["seed"] == 2) & (table["condition"] == "fog")
    (one, *_) = heat_maps(Accuracies.of(replace(study, conditions=table[~lost])))
    counts = {name: {cell.n for cell in row} for name, row in zip(one.corruptions, one.cells, strict=True)}
    assert counts == {name: {6 if name == "fog" else 7} for name in CORRUPTIONS}


def test_tables(study):
    content = robustness(Evidence(study))
    table = pd.read_csv(io.BytesIO(content.tables["robustness.csv"]))
    assert len(table) == 2 * 25
    assert set(table.query("trained_on_the_like")["corruption"]) == {"elastic_transform"}
    means = pd.read_csv(io.BytesIO(content.tables["severities.csv"]))
    assert len(means) == 3 * (1 + 4 * 5 + 3)
    row = means.query("regime == 'sam' and family == 'weather' and severity == 2")
    assert row["accuracy"].item() == pytest.approx(of(study, "sam", family="weather", severity=2).mean())
    assert row["runs"].item() == 7
    assert b"Relative mCE" in content.tables["robustness.tex"]


def test_runs_without_a_calibrated_twin_are_counted_out_of_its_means(study):
    table, lacking = study.conditions, study.conditions["seed"] < 2
    twin = {name: np.where(lacking, np.nan, 0.1 + 0.01 * table["seed"]) for name in CALIBRATED_VALUES.values()}
    content = robustness(Evidence(replace(study, conditions=table.assign(**twin))))
    means = pd.read_csv(io.BytesIO(content.tables["severities.csv"]))
    assert set(means["runs"]) == {7}
    assert set(means["runs_calibrated"]) == {5}
    assert means["ece~calibrated"].to_numpy() == pytest.approx(0.14)


@pytest.mark.slow
def test_figures_are_drawn(study):
    drawn = files_of(robustness(Evidence(study)).figures)
    assert set(drawn) == {f"{name}.{kind}" for name in ("robustness", "severities") for kind in ("pdf", "svg")}


def test_a_study_without_conditions_says_so(make_results):
    results = make_results(seeds=2, regimes=REGIMES)
    assert robustness(Evidence(results)).page is None
    clean = with_conditions(results)
    clean = replace(clean, conditions=clean.conditions.query("kind == 'clean'"))
    assert robustness(Evidence(clean)).page is None


def test_runs_of_earlier_versions_are_told(study):
    last = study.ledger["run_id"].iloc[-1]
    older = replace(study, conditions=study.conditions[study.conditions["run_id"] != last])
    assert robustness(Evidence(older)).page["waiting"] == 1


def test_weights_alone_have_lines_and_no_table(study):
    content = robustness(Evidence(replace(study, conditions=study.conditions[study.conditions["kind"] != "inputs"])))
    assert content.page["rows"] == content.page["maps"] == []
    (panel,) = content.page["panels"]
    assert (panel["family"], panel["kind"]) == ("quantization", "weights")
    assert [text for _, text in panel["labels"]] == ["clean", *map(str, SEVERITIES["quantized"])]
    assert content.figures["robustness"]() is None


def test_without_runs_of_the_reference_nothing_is_compared(study):
    left = replace(study, ledger=study.ledger[study.ledger["regime"] != "baseline"])
    found = Accuracies.of(left)
    assert found.values.levels == ["sam", "augmentation"]
    np.testing.assert_array_equal(found.clean[0, 0], of(study, "sam", condition="clean"))
    assert heat_maps(found) == []
    told, _ = summaries(found)
    assert all(np.isnan(one.error.value) and np.isnan(one.difference.value) for one in told)
    assert told[0].accuracy.value == pytest.approx(of(study, "sam", condition=list(CORRUPTIONS)).mean())
    assert robustness(Evidence(left)).figures["robustness"]() is None
