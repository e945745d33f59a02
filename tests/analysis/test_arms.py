"""Two studies of ordered levels on one figure: how far apart they are where loss or complexity is equal."""

from dataclasses import replace

import numpy as np
import pytest
from tests.analysis.conftest import synthetic
from tests.analysis.dosed import BOTH, COMPLEXITY, KEY, LOSS, ONLY_LOSS, dosed
from tests.pages import section_of, words

from sharpscope.analysis.dose.arms import arms_of, arms_table
from sharpscope.analysis.drawing.figures import files_of
from sharpscope.analysis.sections.two_arms import set_beside
from sharpscope.analysis.statistics.trend import line_at


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
    assert (
        up.loc[(ONLY_LOSS.name, LOSS.name, "end"), "ci_low"] < 1 < up.loc[(ONLY_LOSS.name, LOSS.name, "end"), "ci_high"]
    )


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


def test_a_line_is_that_of_least_squares():
    rng = np.random.default_rng(0)
    y, x = rng.standard_normal((2, 6, 5))
    y[2, 1] = np.nan
    found = line_at(y, x, 0.3)
    for seed in range(5):
        rows = np.isfinite(y[:, seed])
        assert found[seed] == pytest.approx(np.polyval(np.polyfit(x[rows, seed], y[rows, seed], 1), 0.3))
    assert np.isnan(line_at(y, np.ones((6, 5)), 0.3)).all()


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
