"""The section of consistency: means within and across levels, and what independent errors would give."""

from __future__ import annotations

import io
import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tests.analysis.conftest import with_pairs_across

from sharpscope.analysis.drawing.figures import files_of
from sharpscope.analysis.section import Evidence
from sharpscope.analysis.sections.consistency import consistency
from sharpscope.analysis.sections.consistency.data import Alikeness, errors_of, independent, over_seeds

REGIMES = ("baseline", "sam", "augmentation")


@pytest.fixture(scope="module")
def study(make_results):
    results = make_results(seeds=6, regimes=REGIMES)
    return with_pairs_across(results, error_consistency=0.5, js_divergence=0.02, brier_variance=0.01)


@pytest.fixture(scope="module")
def found(study):
    return Alikeness(study)


def across(study, name, a, b, *, same):
    """The scores of pairs of two regimes with the same seed, or with other ones."""
    key = study.ledger.set_index("run_id")[["regime", "seed"]]
    one, other = (key.loc[study.pairs_across[column]].reset_index() for column in ("run_a", "run_b"))
    chosen = (one["regime"] == a) & (other["regime"] == b) & ((one["seed"] == other["seed"]) == same)
    return study.pairs_across.loc[chosen.to_numpy(), name].to_numpy()


def test_means_are_those_of_the_pairs(study, found):
    for name in found.names:
        for k, level in enumerate(REGIMES):
            own = study.pairs.loc[study.pairs["regime"] == level, name]
            assert found.within(name, k).value == pytest.approx(own.mean())
        for (i, a), (j, b) in itertools.combinations(enumerate(REGIMES), 2):
            for seeds in ("same", "other"):
                values = across(study, name, a, b, same=seeds == "same")
                assert len(values) == (6 if seeds == "same" else 12)
                one = found.across(name, i, j, seeds)
                assert one.value == pytest.approx(values.mean())
                assert one == found.across(name, j, i, seeds)
                assert values.min() <= one.low <= one.value <= one.high or seeds == "other"


def test_intervals_over_other_seeds_hold_their_level():
    """Pairs of neighbors in a circle share seeds, so that as many independent values they would not be."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        a, b = rng.standard_normal((2, 8))
        matrix = np.full((1, 8, 8), np.nan)
        for s in range(8):
            t = (s + 1) % 8
            matrix[0, s, t] = matrix[0, t, s] = 1.0 + a[s] + b[t] + 0.1 * rng.standard_normal()
        one = over_seeds(matrix)
        held += one.low <= 1.0 <= one.high
    assert held / 300 > 0.9


def test_settings_are_averaged(make_results):
    study = with_pairs_across(make_results(seeds=3, regimes=REGIMES, training__lr=[0.01, 0.1]))
    found = Alikeness(study)
    name = "prediction_disagreement"
    assert found.within(name, 1).value == pytest.approx(study.pairs.query("regime == 'sam'")[name].mean())
    values = across(study, name, "baseline", "augmentation", same=True)
    assert len(values) == 2 * 3
    assert found.across(name, 0, 2, "same").value == pytest.approx(values.mean())
    assert found.across(name, 0, 2, "same").n == 3


def test_two_seeds_have_a_mean_and_no_interval(make_results):
    found = Alikeness(with_pairs_across(make_results(seeds=2, regimes=REGIMES)))
    one = found.within("prediction_disagreement", 0)
    assert one.value == found.results.pairs["prediction_disagreement"].iloc[0]
    assert np.isnan([one.low, one.high]).all()


def test_the_band_is_where_independent_errors_lie():
    rng = np.random.default_rng(0)
    for error, classes in ((0.1, 3), (0.3, 3), (0.3, 50), (0.6, 10)):
        wrong = rng.random((2, 200_000)) < error
        said = np.where(wrong, rng.integers(1, classes, wrong.shape), 0)
        low, high = independent(np.array(error))
        # Those that both err agree by chance with one of the wrong classes.
        assert low - 0.005 < np.mean(said[0] != said[1]) < high + 0.005
        assert np.mean(said[0] != said[1]) == pytest.approx(high - error**2 / (classes - 1), abs=0.005)
    assert independent(np.array(0.5)) == (0.5, 0.75)


def test_points_are_pairs_by_their_mean_error(study, found):
    (baseline, *_) = errors_of(found)
    rows = study.ledger.query("regime == 'baseline'").set_index("seed")["test_accuracy"]
    pairs = study.pairs.query("regime == 'baseline'")
    expected = {(1 - (rows[p.seed_a] + rows[p.seed_b]) / 2, p.prediction_disagreement) for p in pairs.itertuples()}
    points = zip(baseline.error, baseline.disagreement, strict=True)
    assert sorted(points) == [pytest.approx(point) for point in sorted(expected)]


def test_the_page_has_both_matrices_with_one_scale_for_each_score(study):
    page = consistency(Evidence(study)).page
    same, other = page["matrices"]
    assert (same["title"], other["title"]) == ("The same seed", "Other seeds")
    assert (page["below"].name, page["above"].name) == ("error_consistency", "js_divergence")
    strengths = {"positive": [], "negative": []}
    for matrix in (same, other):
        for a, row in enumerate(matrix["rows"]):
            for b, cell in enumerate(row["cells"]):
                assert cell["sign"] == ("" if a == b else "positive" if a > b else "negative")
                assert len(cell["parts"]) == (2 if a == b else 1)
                if a != b:
                    strengths[cell["sign"]].append(cell["strength"])
    assert all(max(values) == 1.0 and min(values) > 0 for values in strengths.values())


def test_the_ensemble_gains_what_varies(study, found):
    rows = consistency(Evidence(study)).page["rows"]
    gain = found.within("brier_variance", 0).value * 5 / 6
    assert float(rows[0]["cells"][-1].split()[0]) == pytest.approx(gain, rel=0.02)
    assert len(rows[0]["cells"]) == len(found.names) + 1


def test_one_seed_makes_no_ensemble(make_results):
    alone = with_pairs_across(make_results(seeds=1, regimes=REGIMES), brier_variance=0.01)
    page = consistency(Evidence(alone)).page
    assert not page["gains"]
    assert all(len(row["cells"]) == len(page["scores"]) for row in page["rows"])


def test_whether_levels_are_told_apart_is_tested_by_their_names(study, found):
    content = consistency(Evidence(study))
    rows = {row["label"]: row for row in content.page["tests"]}
    # Within levels the scores are smaller, which is more alike here.
    assert rows["Prediction disagreement"]["says"] == "more alike than those of different regimes"
    table = pd.read_csv(io.BytesIO(content.tables["consistency_tests.csv"])).set_index("quantity")
    assert list(table.index) == found.names
    scores = found.between("brier_variance")
    assert scores.shape == (3, 3, 6, 6)
    assert np.array_equal(scores, scores.transpose(1, 0, 3, 2), equal_nan=True)
    assert table.loc["brier_variance", "pairs_of_seeds"] == 6
    own = np.mean([scores[k, k, s, (s + 1) % 6] for k in range(3) for s in range(6)])
    assert table.loc["brier_variance", "own"] == pytest.approx(own)
    assert table.loc["brier_variance", "p_own"] < 0.05
    assert table.loc["brier_variance", "p_levels"] > 0.01


@pytest.mark.parametrize(("seeds", "few"), [(5, True), (6, False)])
def test_too_few_seeds_are_not_said_to_see_no_difference(make_results, seeds, few):
    results = with_pairs_across(make_results(seeds=seeds, regimes=REGIMES[:2]), js_divergence=0.02)
    told = {row["says"] for row in consistency(Evidence(results)).page["tests"]}
    assert told
    assert ("too few seeds to tell" in told) == few


def test_without_all_pairs_levels_are_not_tested(study):
    some = replace(study, pairs_across=study.pairs_across.iloc[:3])
    assert consistency(Evidence(some)).page["tests"] == []


def test_a_study_with_one_score_has_the_upper_half(make_results):
    page = consistency(Evidence(with_pairs_across(make_results(seeds=3, regimes=REGIMES)))).page
    assert (page["below"], page["above"].name) == (None, "prediction_disagreement")
    assert [len(cell["parts"]) for cell in page["matrices"][0]["rows"][1]["cells"]] == [0, 1, 1]


def test_without_pairs_across_there_are_those_within(make_results):
    page = consistency(Evidence(make_results(seeds=3, regimes=REGIMES))).page
    assert page["matrices"] == []
    assert len(page["rows"]) == 3


def test_without_scores_of_pairs_it_says_so(make_results):
    results = make_results(seeds=3, regimes=REGIMES)
    assert consistency(Evidence(replace(results, pairs=results.pairs[["regime", "seed_a", "seed_b"]]))).page is None


def test_tables(study, found):
    content = consistency(Evidence(study))
    table = pd.read_csv(io.BytesIO(content.tables["consistency.csv"]))
    assert len(table) == len(found.names) * (3 + 2 * 3)
    assert set(table.loc[table["level_a"] == table["level_b"], "seeds"]) == {"other"}
    assert b"Error consistency" in content.tables["consistency.tex"]


@pytest.mark.slow
def test_figures_are_drawn(study):
    assert set(files_of(consistency(Evidence(study)).figures)) == {
        f"{name}.{kind}" for name in ("consistency", "disagreement") for kind in ("pdf", "svg")
    }
