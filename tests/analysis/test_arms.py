"""Two studies of ordered levels on one figure: how far apart they are where loss or complexity is equal."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator
from tests.analysis.conftest import synthetic
from tests.analysis.dosed import BOTH, COMPLEXITY, KEY, LOSS, ONLY_LOSS, dosed
from tests.pages import section_of, words

from sharpscope.analysis.dose.arms import arms_of, arms_table
from sharpscope.analysis.drawing.figures import files_of
from sharpscope.analysis.sections.two_arms import set_beside
from sharpscope.analysis.statistics.between import mean_between


def named(results, name, **changed):
    ledger = results.ledger.assign(**{column: make(results.ledger) for column, make in changed.items()})
    return replace(results, study={**results.study, "name": name}, ledger=ledger)


def beside(first, second):
    return replace(named(first, "tight"), beside=named(second, "noise"))


def raised(results, factor=2.0):
    """The same study with a sharper measure, at the end and at the matched loss."""
    columns = (BOTH.name, f"{BOTH.name}@0.1")
    return replace(results, ledger=results.ledger.assign(**{c: factor * results.ledger[c] for c in columns}))


def table_of(results):
    return arms_table(*arms_of(results)).set_index(["quantity", "x", "at"])


def test_arms_that_lie_on_one_curve_do_not_differ_and_a_raised_one_does():
    same = table_of(beside(dosed(), dosed(seed=1)))
    place = (BOTH.name, COMPLEXITY.name, "0.1")
    assert same.loc[place, "ci_low"] < 1 < same.loc[place, "ci_high"]
    up = table_of(beside(dosed(), raised(dosed(seed=1))))
    assert up.loc[place, "ci_low"] > 1.5
    assert up.loc[place, "difference"] / same.loc[place, "difference"] == pytest.approx(2)
    of_loss = table_of(beside(dosed(), dosed(seed=2))).loc[(ONLY_LOSS.name, LOSS.name, "end")]
    assert of_loss["ci_low"] < 1 < of_loss["ci_high"]


def test_places_are_those_that_both_have():
    table = table_of(beside(dosed(), dosed(seed=1)))
    assert list(table.index)[:3] == [
        (BOTH.name, LOSS.name, "end"),
        (BOTH.name, COMPLEXITY.name, "end"),
        (BOTH.name, COMPLEXITY.name, "0.1"),
    ]
    alone = table_of(beside(dosed(), dosed(seed=1, matched="")))
    assert set(alone.index.get_level_values("at")) == {"end"}


def test_seeds_are_those_that_both_have():
    table = table_of(beside(dosed(seeds=8), dosed(seeds=12, seed=1)))
    assert set(table["n"]) == {8}


def test_arms_that_do_not_overlap_are_not_compared():
    far = dosed(seed=1)
    far = replace(far, ledger=far.ledger.assign(**{LOSS.name: 1e6 * far.ledger[LOSS.name]}))
    results = beside(dosed(), far)
    row = table_of(results).loc[(BOTH.name, LOSS.name, "end")]
    assert np.isnan(row["difference"])
    page, _ = section_of("two_arms", results)
    told = "Against train loss at the end, tight and noise do not overlap, so relative flatness is not compared there."
    assert told in words(page)


@pytest.mark.parametrize(
    ("against", "told"),
    [
        ([COMPLEXITY.name], "Against geometric complexity at the end, one of the curves turns back, "),
        (
            [LOSS.name, COMPLEXITY.name],
            "Against train loss at the end and geometric complexity at the end, one of the curves turns back, ",
        ),
    ],
)
def test_a_curve_that_turns_back_is_not_compared(against, told):
    bent = dosed(seed=1)
    course = np.exp(1 - 4 * ((bent.ledger[KEY] - 0.5) / 0.45 - 0.5) ** 2)
    there = {x: course / course.mean() * bent.ledger[x].mean() for x in against}
    bent = replace(bent, ledger=bent.ledger.assign(**there))
    results = beside(dosed(), bent)
    row = table_of(results).loc[(BOTH.name, COMPLEXITY.name, "end")]
    assert row["order"] < 0.8
    assert np.isnan(row["difference"])
    page, _ = section_of("two_arms", results)
    assert told + "so relative flatness is not compared there." in words(page)


def test_a_mean_between_is_that_of_a_fine_grid():
    rng = np.random.default_rng(0)
    x, y = np.sort(rng.standard_normal((6, 5)), axis=0), rng.standard_normal((6, 5))
    y[2, 1] = np.nan
    low, high = x[1], x[4] + 0.1 * (x[5] - x[4])
    found = mean_between(y[::-1], x[::-1], low, high)
    for seed in range(5):
        rows = np.isfinite(y[:, seed])
        grid = np.linspace(low[seed], high[seed], 20_001)
        curve = PchipInterpolator(x[rows, seed], y[rows, seed])(grid)
        assert found[seed] == pytest.approx(np.trapezoid(curve, grid) / (high[seed] - low[seed]), abs=1e-6)


def test_a_mean_is_of_what_lies_between_levels_alone():
    x, y = np.arange(4.0)[:, None], np.array([0.0, 1.0, 4.0, 9.0])[:, None]
    assert mean_between(y, x, np.zeros(1), np.array([3.0])) == pytest.approx(3, abs=0.1)
    assert np.isnan(mean_between(y, x, np.zeros(1), np.array([3.1]))).all()
    assert np.isnan(mean_between(y, x, np.ones(1), np.ones(1))).all()
    assert np.isnan(mean_between(y, np.ones((4, 1)), np.ones(1), np.ones(1))).all()
    assert mean_between(y[:3], np.array([[0.0], [0.0], [1.0]]), np.zeros(1), np.ones(1)) == pytest.approx(2.25)


def stretch(low, high, seed, curve, raised=0.0, noise=0.05):
    """A study in which relative flatness lies on a curve of the log loss, which goes from low to high."""
    results, rng = dosed(matched="", seed=seed), np.random.default_rng(seed)
    x = (results.ledger[KEY] - 0.5) / 0.45
    loss = low + (high - low) * x + noise * rng.standard_normal(len(x))
    sharp = curve(loss) + raised + 0.05 * rng.standard_normal(len(x))
    return replace(results, ledger=results.ledger.assign(**{LOSS.name: np.exp(loss), BOTH.name: np.exp(sharp)}))


CURVES = {"line": lambda z: 0.8 * z, "parabola": lambda z: 0.25 * (z + 4) ** 2, "exponential": lambda z: np.exp(z + 1)}
STRETCHES = [((-4, 0), (-2.5, -1.5)), ((-4, 0), (-3, 1)), ((-4, -1), (-2, 2))]


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize(("first", "second"), STRETCHES)
def test_two_stretches_of_one_curve_seldom_differ_and_a_raised_one_does(curve, first, second):
    place, held, studies = (BOTH.name, LOSS.name, "end"), 0, 20
    for seed in range(studies):
        arms = stretch(*first, 2 * seed, CURVES[curve]), stretch(*second, 2 * seed + 1, CURVES[curve])
        row = table_of(beside(*arms)).loc[place]
        assert row["n"] == 10
        held += row["ci_low"] <= 1 <= row["ci_high"]
    assert held >= 15
    row = table_of(beside(arms[0], stretch(*second, 99, CURVES[curve], raised=np.log(1.5)))).loc[place]
    assert row["p"] <= 0.05
    assert row["difference"] == pytest.approx(1.5, rel=0.06)


def test_what_lies_between_two_levels_of_an_arm_is_not_compared():
    results = beside(stretch(-4, 0, 0, CURVES["line"], noise=0), stretch(-0.4, -0.05, 1, CURVES["line"], noise=0))
    row = table_of(results).loc[(BOTH.name, LOSS.name, "end")]
    assert row["levels"] == 2
    assert np.isnan(row["difference"])
    told = (
        "Against train loss at the end, too few levels lie where tight and noise overlap, so relative flatness is not"
    )
    assert told in words(section_of("two_arms", results)[0])


def test_both_are_on_one_page_and_in_one_figure():
    results = beside(dosed(), raised(dosed(seed=1, factors=(0.1, 0.2, 0.3))))
    page, content = section_of("two_arms", results)
    told = words(page)
    assert "train loss 0.1), relative flatness of noise is ×" in told
    assert "that of tight." in told
    assert f"noise: {KEY}" in told
    assert set(files_of(content.figures)) == {"two_arms.pdf", "two_arms.svg"}
    assert b"geometric_complexity,0.1,tight,noise" in content.tables["two_arms.csv"]


def test_a_study_that_names_its_sections_has_this_one_too():
    results = dosed()
    named = replace(results, study={**results.study, "sections": ["levels"]})
    assert set_beside(named, dosed()).study["sections"] == ["levels", "two_arms"]
    assert "sections" not in set_beside(results, dosed()).study
    assert set_beside(results, dosed()).beside is not None


def test_few_seeds_are_said_to_be_few():
    page, _ = section_of("two_arms", beside(dosed(seeds=3), raised(dosed(seeds=3, seed=1))))
    assert "that of tight (3 seeds, too few for a test)." in words(page)


def test_a_study_alone_has_no_such_section_and_one_without_order_says_so():
    page, content = section_of("two_arms", dosed())
    assert content.page is None
    assert "Two arms" not in page
    page, _ = section_of("two_arms", beside(dosed(), synthetic(seeds=2)))
    assert "The levels of one of the two studies have no order" in words(page)
