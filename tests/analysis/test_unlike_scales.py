"""What is a ratio at the end of training and none where something is held equal: like is told beside like."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from tests.analysis.conftest import synthetic, with_twins
from tests.analysis.dosed import BOTH, KEY, by_level, dosed, row_of, told
from tests.analysis.explanations.planted import at_loss
from tests.analysis.planted_claims import BIG, SHARP, at, calibrated, sharper, study
from tests.analysis.test_dose_claims import claiming
from tests.pages import section_of, with_few, words

from sharpscope.analysis import numbers
from sharpscope.analysis.claims import judge
from sharpscope.analysis.contrasts import contrasts_table
from sharpscope.analysis.correlations import correlations_table
from sharpscope.analysis.dose.headline import told_dose
from sharpscope.analysis.dose.trends import dose_table
from sharpscope.analysis.explanations.confidence import confidence_table
from sharpscope.analysis.explanations.loss import remains_table
from sharpscope.analysis.findings import find
from sharpscope.analysis.sections.sizes.data import panels_of
from sharpscope.analysis.sizes import sizes_table
from sharpscope.analysis.statistics import hodges_lehmann
from sharpscope.analysis.values import Values

FLATNESS = "relative_flatness"
TWIN = f"{FLATNESS}~matched_confidence"


def sharp(zeros=2, *, at_end=0):
    """A study in which augmentation is sharper, at equal confidence too, where some runs have a value of zero."""
    results = with_few(synthetic(("baseline", "sam", "augmentation"), seeds=10), FLATNESS, "train_loss", "ece")
    rng, ledger = np.random.default_rng(0), results.ledger.copy()
    more = ledger["regime"].map({"baseline": 0.0, "sam": 0.0, "augmentation": 1.5})
    ledger[FLATNESS] = np.exp(3 + more + 0.1 * rng.normal(size=len(ledger)))
    there = np.exp(more + 0.1 * rng.normal(size=len(ledger)))
    ledger.loc[ledger["run_id"].isin([f"baseline-{s:02d}" for s in range(at_end)]), FLATNESS] = 0.0
    there[ledger["run_id"].isin([f"baseline-{s:02d}" for s in range(zeros)])] = 0.0
    quantities = {**results.quantities, FLATNESS: replace(results.quantities[FLATNESS], scale="ratio", unit="nats")}
    results = replace(results, ledger=ledger, quantities=quantities, study={**results.study, "primary": [FLATNESS]})
    return with_twins(results, "matched_confidence", {FLATNESS: there})


def sizes_of(results):
    return sizes_table(results, remains_table(results, contrasts_table(results)), confidence_table(results))


def by_seed(results, name):
    return results.ledger.pivot(index="seed", columns="regime", values=name)


def found(table, level="augmentation"):
    return table[(table["regime"] == level) & (table["at"] == "matched_confidence")].squeeze()


def test_beside_a_column_that_gives_up_ratios_its_other_columns_do_too():
    values = Values(sharp())
    assert values.scaled(FLATNESS).scale == "ratio"
    assert (values.scaled(TWIN).not_positive, values.scaled(TWIN).values) == (2, 30)
    assert values.alike(FLATNESS, TWIN) == values.alike(TWIN, FLATNESS) == values.scaled(TWIN)
    ratios = Values(sharp(0))
    assert ratios.alike(FLATNESS, TWIN).scale == ratios.alike(TWIN, FLATNESS).scale == "ratio"
    assert Values(sharp(0, at_end=3)).alike(TWIN, FLATNESS).scale == "difference"


def test_a_difference_at_equal_confidence_has_that_at_the_end_beside_it():
    results = sharp()
    row, nothing = found(confidence_table(results)), np.zeros(10)
    there, end = (by_seed(results, name) for name in (TWIN, FLATNESS))
    assert (row["scale"], row["not_positive"], row["values"]) == ("difference", 2, 30)
    assert row["difference"] == hodges_lehmann((there["augmentation"] - there["baseline"]).to_numpy(), nothing).value
    of_end = hodges_lehmann((end["augmentation"] - end["baseline"]).to_numpy(), nothing)
    ends = [row[name] for name in ("end_difference", "end_low", "end_high")]
    assert ends == pytest.approx([of_end.value, of_end.low, of_end.high])
    assert np.isnan(row["retained"])  # a difference has no scale of its own
    like = found(confidence_table(sharp(0)))
    assert like["scale"] == "ratio"
    assert np.isnan(like["end_difference"])


def test_zeros_at_the_end_alone_make_both_differences():
    row = found(confidence_table(sharp(0, at_end=2)))
    assert row["scale"] == "difference"
    assert np.isnan(row["end_difference"])


def test_zeros_at_a_matched_loss_do_the_same():
    results = sharp(0)
    there = results.ledger[TWIN].mask(results.ledger["seed"] == 3, 0.0)
    results = at_loss(results, relative_flatness=there)
    table = remains_table(results, contrasts_table(results))
    row = table[(table["regime"] == "augmentation") & (table["at"] == "0.1")].squeeze()
    assert (row["scale"], row["not_positive"]) == ("difference", 3)
    end = by_seed(results, FLATNESS)
    expected = hodges_lehmann((end["augmentation"] - end["baseline"]).to_numpy(), np.zeros(10)).value
    assert row["end_difference"] == pytest.approx(expected)


def test_the_headline_says_why_and_gives_both_with_their_unit():
    results = sharp()
    headline = find(results, contrasts_table(results), correlations_table(results)).headline
    row = found(confidence_table(results))
    there = numbers.change("difference", row["difference"], row["ci_low"], row["ci_high"])
    end = numbers.change("difference", row["end_difference"], row["end_low"], row["end_high"])
    assert headline.endswith(
        f"At equal confidence, augmentation keeps a difference by relative flatness ({there} nats of {end} nats at the "
        "end, since 2 of 30 runs have no value above 0 there)."
    )


def test_the_page_draws_no_difference_on_an_axis_of_factors():
    results = sharp()
    note = (
        "Relative flatness is told by differences at equal confidence, since 2 of 30 runs have no value above 0 there; "
        "that at the end stands beside"
    )
    sizes, confidence = (words(section_of(name, results)[0]) for name in ("sizes", "is_it_confidence"))
    assert f"{note} in the table, and the picture has no mark of it." in sizes
    assert "log scale" in sizes
    assert f"{note}." in confidence
    assert ">undefined<" not in confidence  # a difference has no share of a ratio
    (drawn,) = panels_of(results, sizes_of(results))
    lanes = {row["label"]: [lane is not None for lane in row["lanes"]] for row in drawn["rows"]}
    assert lanes["augmentation"] == [True, False]  # at the end, and at equal confidence


def dosed_twin(zeros=1):
    results = dosed(seeds=10)
    there = (results.ledger[BOTH.name] * 10).mask((results.ledger[KEY] == 0.5) & (results.ledger["seed"] < zeros), 0.0)
    return with_twins(results, "matched_confidence", {BOTH.name: there})


def line(values):
    x = np.array([0.5, 0.6, 0.7, 0.8, 0.9, 0.95])
    slopes = [stats.linregress((x - 0.5) / 0.45, of_seed).slope for of_seed in values.T]
    return hodges_lehmann(np.array(slopes), np.zeros(len(slopes)))


def test_a_course_is_told_by_differences_beside_one_that_has_no_ratios():
    results = dosed_twin()
    row, end = row_of(results, BOTH.name, "matched_confidence"), line(by_level(results, BOTH.name))
    assert (row["scale"], row["not_positive"], row["values"]) == ("difference", 1, 60)
    assert row["change"] == pytest.approx(line(by_level(results, f"{BOTH.name}~matched_confidence")).value)
    assert [row["end_change"], row["end_low"], row["end_high"]] == pytest.approx([end.value, end.low, end.high])
    assert np.isnan(row["retained"])
    assert row_of(results, BOTH.name)["scale"] == "ratio"


def test_sentences_on_a_course_say_why_it_has_no_ratio_there():
    results = dosed_twin()
    row = row_of(results, BOTH.name, "matched_confidence")
    there = numbers.change("difference", row["change"], row["ci_low"], row["ci_high"])
    end = numbers.change("difference", row["end_change"], row["end_low"], row["end_high"])
    why = "1 of 60 runs has no value above 0 there, so that ratios cannot be told"
    clause = f"changes by {there}, where it is {end} at the end ({why})"
    assert f"At equal confidence (by straight lines), it {clause}." in told(results)[BOTH.label]
    assert f"(by straight lines), relative flatness {clause}" in told_dose(results, dose_table(results))[2]
    assert "so that ratios" not in told(dosed_twin(0))[BOTH.label]


def test_claims_say_it_too():
    results = study(
        {SHARP: BIG, at(SHARP, "0.1"): BIG, calibrated(SHARP): BIG}, sharper(SHARP, controls=["confidence"])
    )
    assert judge(results)[0].tests[0].note == ""
    ledger = results.ledger.copy()
    ledger.loc[ledger["run_id"] == "sam-4", f"{FLATNESS}~calibrated"] = 0.0
    (test,) = judge(replace(results, ledger=ledger))[0].tests
    end = by_seed(results, FLATNESS)
    of_end = hodges_lehmann((end["sam"] - end["baseline"]).to_numpy(), np.zeros(10))
    told_end = numbers.change("difference", of_end.value, of_end.low, of_end.high)
    assert test.note == (
        "Told as a difference at equal confidence, since 1 of 30 runs has no value above 0 there; at the end that is "
        f"{told_end}."
    )
    trend = claiming(dosed_twin(), [BOTH.name], controls=("confidence",))
    row = row_of(trend, BOTH.name, "matched_confidence")
    at_end = numbers.change("difference", row["end_change"], row["end_low"], row["end_high"])
    assert (
        judge(trend)[0]
        .tests[0]
        .note.endswith(f"since 1 of 60 runs has no value above 0 there; at the end that is {at_end}.")
    )
