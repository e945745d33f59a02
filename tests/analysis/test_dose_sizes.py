"""The size of a change along ordered levels: whose number it is, over which levels, and by which seeds."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tests.analysis.dosed import BOTH, KEY, ONLY_LOSS, by_level, dosed, row_of, told, without
from tests.pages import section_of, words

from sharpscope.analysis import numbers
from sharpscope.analysis.dose.headline import told_dose
from sharpscope.analysis.dose.sizes import bends, change, ends_told
from sharpscope.analysis.dose.told import verdicts
from sharpscope.analysis.dose.trends import dose_table
from sharpscope.analysis.statistics import hodges_lehmann

THERE = f"{BOTH.name}@0.1"
NUMBER = r"×[\d.]+ \[[\d.]+, [\d.]+\]"


def quiet(**kwargs):
    """Return a study in which nothing moves, with little noise."""
    return dosed(of_dose=0.0, of_loss=0.0, loss_rises=0.0, noise=0.03, **kwargs)


def dose_of(results):
    return (results.ledger[KEY] - 0.5) / 0.45


def moved(results, **logarithms):
    """Return a study in which columns are multiplied by the exponential of something."""
    ledger = results.ledger
    return replace(
        results, ledger=ledger.assign(**{name: ledger[name] * np.exp(by) for name, by in logarithms.items()})
    )


def headline(results):
    return told_dose(results, dose_table(results))


def size(row, which):
    return numbers.change(row["scale"], *(row[f"{which}_{end}"] for end in ("change", "low", "high")))


def straight_study(there):
    """Return a study that rises straight by a factor e at the end, and otherwise by ``there`` at equal loss."""
    results = quiet()
    return moved(results, **{BOTH.name: dose_of(results), THERE: there * dose_of(results)})


def test_a_course_that_bends_is_told_by_its_ends_beside_its_line():
    results = quiet()
    bent = moved(results, **{BOTH.name: 2 * dose_of(results) ** 4, THERE: 2 * dose_of(results) ** 4})
    row, y = row_of(bent, BOTH.name), np.log(by_level(bent, BOTH.name))
    ends = hodges_lehmann(y[-1] - y[0], np.zeros(10))
    assert [row["ends"], row["ends_low"], row["ends_high"]] == pytest.approx(np.exp([ends.value, ends.low, ends.high]))
    assert row["ends_low"] > row["ci_high"]
    assert bends(row)
    of_line = f"by a straight line {change(row)}"
    assert f"flatness changes by {ends_told(row)} (sharper; {of_line})" in headline(bent)[0]
    assert told(bent)[BOTH.label].startswith(f"End to end {ends_told(row)} ({of_line}), from data.factor 0.5 to 0.95;")
    # What is left is the share of a line: its number is there.
    there = row_of(bent, BOTH.name, "0.1")
    left = f"(0.1, by straight lines), {size(there, 'joint')} of {change(row)} at the end remains ("
    assert left in told(bent)[BOTH.label]
    assert left.replace("), ", "), of relative flatness ") in headline(bent)[1]
    assert f"{ends_told(row)} ({of_line})" in words(section_of("dose_response", bent)[0])


def test_a_straight_course_is_told_by_its_line_alone():
    results = straight_study(there=0.5)
    row = row_of(results, BOTH.name)
    assert not bends(row)
    assert f"relative flatness changes by {change(row)} (sharper)" in headline(results)[0]
    assert re.search(
        rf"At equal train loss \(0.1\), of relative flatness {NUMBER} remains, \d+% .* of that at the end",
        headline(results)[1],
    )


def test_a_bend_of_few_seeds_is_not_told():
    results = quiet(seeds=5)
    assert not bends(row_of(moved(results, **{BOTH.name: 2 * dose_of(results) ** 4}), BOTH.name))


def test_each_quantity_has_its_own_levels_in_the_headline():
    results = quiet()
    both = moved(results, **{BOTH.name: dose_of(results), ONLY_LOSS.name: dose_of(results)})
    top = headline(without(both, both.ledger[KEY] == 0.95, ONLY_LOSS.name))[0]
    assert re.fullmatch(
        rf"From data.factor 0.5 to 0.95, relative flatness changes by {NUMBER} \(sharper\); test accuracy shows no "
        rf"trend\. From data.factor 0.5 to 0.9, Fisher-Rao norm changes by {NUMBER} \(sharper\)\.",
        top,
    )


def test_what_is_left_is_told_of_the_seeds_that_both_have():
    results = straight_study(there=0.5)
    rises_more = moved(results, **{BOTH.name: (results.ledger["seed"] >= 6) * dose_of(results)})
    fewer = without(rises_more, results.ledger["seed"] >= 6, *(c for c in results.ledger if c.endswith("@0.1")))
    row, there = row_of(fewer, BOTH.name), row_of(fewer, BOTH.name, "0.1")
    x = (np.array([0.5, 0.6, 0.7, 0.8, 0.9, 0.95]) - 0.5) / 0.45
    lines = np.polyfit(x, np.log(by_level(fewer, BOTH.name)[:, :6]), 1)[0]
    assert there["end_change"] == pytest.approx(np.exp(hodges_lehmann(lines, np.zeros(6)).value))
    assert there["end_change"] < 0.8 * row["change"]
    assert (there["joint_n"], row["line_n"]) == (6, 10)
    text = f"(0.1, in 6 of 10 seeds), {size(there, 'joint')} of {size(there, 'end')} at the end remains ("
    assert text in told(fewer)[BOTH.label]
    assert text.replace("), ", "), of relative flatness ") in headline(fewer)[1]
    few = without(rises_more, results.ledger["seed"] >= 5, *(c for c in results.ledger if c.endswith("@0.1")))
    assert re.search(
        r"\(0.1\), relative flatness changes by ×[\d.]+ in 5 seeds, too few for a test\.", headline(few)[1]
    )


def test_what_is_left_is_told_over_the_levels_that_both_have():
    results = straight_study(there=0.5)
    last = results.ledger[KEY] == 0.95
    # The end lacks its last level, the matched loss has it, and lacks one between.
    shorter = without(without(results, last, BOTH.name), results.ledger[KEY] == 0.7, THERE)
    there = row_of(shorter, BOTH.name, "0.1")
    assert (there["line_last"], there["joint_last"], there["joint_lacks"]) == ("0.95", "0.9", "0.7")
    y, x = np.log(by_level(shorter, THERE))[[0, 1, 2, 3]], np.array([0.0, 0.25, 0.75, 1.0])
    assert there["joint_change"] == pytest.approx(np.exp(hodges_lehmann(np.polyfit(x, y, 1)[0], np.zeros(10)).value))
    text = f"without 0.7, by straight lines), {size(there, 'joint')} of {size(there, 'end')} at the end remains ("
    assert text in told(shorter)[BOTH.label]
    narrow = without(results, last, *(c for c in results.ledger if c.endswith("@0.1")))
    page = words(section_of("dose_response", narrow)[0])
    assert f"{change(row_of(narrow, BOTH.name, '0.1'))}, from 0.5 to 0.9" in page
    assert "Not all changes are over the same levels. At train loss 0.1, all from 0.5 to 0.9." in page


def test_what_is_larger_than_at_the_end_does_not_remain():
    results = straight_study(there=2.0)
    clause = rf"changes by {NUMBER}, \d+% \[\d+, \d+\] of that at the end"
    assert re.search(rf"\(0.1\), relative flatness {clause}", headline(results)[1])
    assert re.search(rf"\(0.1\), it {clause}", told(results)[BOTH.label])
    bent = moved(results, **{BOTH.name: dose_of(results) ** 4 - dose_of(results)})
    assert re.search(
        rf"\(0.1, by straight lines\), relative flatness changes by {NUMBER}, more than {NUMBER} at the end \(\d+% \[",
        headline(bent)[1],
    )


def test_what_goes_the_other_way_is_the_subject():
    results = straight_study(there=-1.0)
    assert (
        f"(0.1), relative flatness goes the other way ({size(row_of(results, BOTH.name, '0.1'), 'joint')})"
        in (headline(results)[1])
    )
    assert "(0.1), it goes the other way (×" in told(results)[BOTH.label]


def test_an_arc_at_equal_loss_is_not_told_as_no_change():
    results = straight_study(there=0.0)
    x = dose_of(results)
    arc = moved(results, **{THERE: 4 * x * (1 - x) - np.polyfit(x, 4 * x * (1 - x), 1)[0] * x})
    assert re.search(r"no change is seen \(.*\), though it goes up and down there", told(arc)[BOTH.label])


def test_intervals_of_few_seeds_are_left_out_or_named():
    results = dosed(seeds=5, loss_rises=0.4, seed=1)
    text = told(results)[BOTH.label]
    assert re.search(r"\(mean tau [\d.]+, up in 5 of 5 seeds\)", text)
    assert re.search(r"its correlation with data.factor within seeds is [−\d.]+\.", text)
    assert re.search(r"By bookkeeping, ×[\d.]+ of the change goes through the train loss, and ×[\d.]+ does not", text)
    assert "the range of 5 seeds, which holds the truth in 94% of cases" in text
    table = section_of("dose_response", results)[1].tables["dose_response.tex"].decode()
    assert "[" not in table.partition("Relative flatness")[2]
    assert re.search(r"mean tau [\d.]+ \[", told(dosed(seeds=6))[BOTH.label])


def test_one_seed_that_is_left_out_is_one():
    results = dosed()
    lost = (results.ledger[KEY] == 0.95) & (results.ledger["seed"] == 3)
    assert "or all between is missing: seed 3." in told(without(results, lost))[BOTH.label]
    lost |= (results.ledger[KEY] == 0.5) & (results.ledger["seed"] == 4)
    assert "or all between is missing: seeds 3, 4." in told(without(results, lost))[BOTH.label]


def test_shares_lie_between_none_and_all():
    results = dosed()
    shares = [(-0.002, -0.01, 0.004), (1.001, 0.996, 1.004), (0.5, 0.4, 0.6)]
    orders = ("loss > dose", "dose > loss", "mean over orders")
    rows = [
        (order, name, min(2 * k + j, 2)) for k, order in enumerate(orders) for j, name in enumerate(("loss", "dose"))
    ]
    names = ("share", "ci_low", "ci_high")
    told_of = {"measure": BOTH.name, "complexity": "", "factor": KEY, "condition": 1.0}
    table = pd.DataFrame(
        [{**told_of, "order": o, "predictor": p, **dict(zip(names, shares[k], strict=True))} for o, p, k in rows]
    )
    (text,) = verdicts(results, table)
    assert "loss explains 0% [0, <1], data.factor a further 100% [>99, 100]." in text


def test_a_share_that_is_not_that_of_the_numbers_beside_it_says_of_what_it_is():
    results = straight_study(there=0.9)
    seeds = results.ledger["seed"]
    # Two seeds far off move the mean, and the typical size hardly.
    skewed = moved(results, **{THERE: np.where(seeds < 2, -0.8, 0.0) * dose_of(results)})
    share = r"remains, \d+% \[\d+, \d+\] of that at the end"
    assert re.search(rf"\(0.1\), {NUMBER} {share} in the mean logarithm\.", told(skewed)[BOTH.label])
    assert re.search(rf"\(0.1\), {NUMBER} {share}\.", told(results)[BOTH.label])
