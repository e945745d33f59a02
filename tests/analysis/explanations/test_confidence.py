"""Is it confidence? On studies in which it is, in which it is not, and in which it cannot be told."""

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tests.analysis.conftest import synthetic, with_twins
from tests.pages import section_of, with_few, words

from sharpscope.analysis.contrasts import contrasts_table
from sharpscope.analysis.correlations import correlations_table
from sharpscope.analysis.drawing.figures import files_of
from sharpscope.analysis.explanations.confidence import confidence_table, twin_column
from sharpscope.analysis.findings import find
from sharpscope.analysis.statistics import hodges_lehmann

FEW = ("train_loss", "test_accuracy", "ece", "relative_flatness")
REGIMES = ("baseline", "sam", "augmentation")
FLATNESS = "relative_flatness"


def study(*twins, seeds=10, **options):
    """A study in which SAM is flatter by confidence alone, and augmentation sharper by it and, to a half, by itself.

    ECE differs at the end, by confidence alone.
    """
    results = with_few(synthetic(regimes=REGIMES, seeds=seeds, **options), *FEW)
    rng, ledger = np.random.default_rng(0), results.ledger.copy()
    sure = ledger["regime"].map({"baseline": 0.0, "sam": -1.0, "augmentation": 1.0})
    direct = ledger["regime"].map({"baseline": 0.0, "sam": 0.0, "augmentation": 1.0})

    def noise(size):
        return size * rng.normal(size=len(ledger))

    ledger[FLATNESS] = np.exp(sure + direct + noise(0.05))
    ledger["ece"] = 0.1 + 0.02 * sure + noise(0.001)
    quantities = dict(results.quantities)
    quantities[FLATNESS] = replace(quantities[FLATNESS], scale="ratio")
    primary = {**results.study, "primary": [FLATNESS, "test_accuracy", "ece"]}
    results = replace(results, ledger=ledger, quantities=quantities, study=primary)
    for twin in twins:
        changed = {FLATNESS: np.exp(3 + direct + noise(0.05)), "ece": 0.01 + noise(0.001)}
        results = with_twins(results, twin, changed)
    return results


def row(table, level, at, quantity=FLATNESS):
    found = table[(table["regime"] == level) & (table["at"] == at) & (table["quantity"] == quantity)]
    assert len(found) == 1
    return found.iloc[0]


def headline(results):
    return find(results, contrasts_table(results), correlations_table(results)).headline


@pytest.mark.parametrize("twin", ["calibrated", "matched_confidence"])
def test_what_is_confidence_is_gone_and_what_is_not_remains(twin):
    table = confidence_table(study(twin))
    sam, augmentation = (row(table, level, twin) for level in ("sam", "augmentation"))
    assert (sam["became"], augmentation["became"]) == ("not seen", "remains")
    assert sam["retained_low"] <= 0 <= sam["retained_high"]
    assert augmentation["retained"] == pytest.approx(0.5, abs=0.05)
    assert augmentation["retained_low"] < 0.5 < augmentation["retained_high"]
    ece = row(table, "augmentation", twin, "ece")
    assert (ece["scale"], ece["became"]) == ("difference", "not seen")
    assert ece["retained_low"] <= 0 <= ece["retained_high"]


def test_differences_and_shares_are_those_of_loops():
    results = study("calibrated")
    wide = results.ledger.pivot(index="seed", columns="regime", values=[FLATNESS, f"{FLATNESS}~calibrated"])
    logs = np.log(wide)
    there, end = (logs[name]["augmentation"] - logs[name]["baseline"] for name in (f"{FLATNESS}~calibrated", FLATNESS))
    found = row(confidence_table(results), "augmentation", "calibrated")
    assert found["difference"] == pytest.approx(np.exp(hodges_lehmann(there, np.zeros(10)).value))
    assert found["retained"] == pytest.approx(there.mean() / end.mean())


def test_no_share_is_given_of_what_may_be_zero():
    results = study("calibrated")
    ledger = results.ledger.assign(ece=np.random.default_rng(1).normal(0.1, 0.01, len(results.ledger)))
    results = replace(results, ledger=ledger)
    assert np.isnan(row(confidence_table(results), "sam", "calibrated", "ece")["retained"])
    assert "undefined" in section_of("is_it_confidence", results)[0]


def test_a_difference_that_was_not_seen_at_the_end_appears_and_does_not_turn():
    results = study("calibrated")
    rng, size = np.random.default_rng(3), len(results.ledger)
    sam = results.ledger["regime"] == "sam"
    ledger = results.ledger.assign(
        **{FLATNESS: rng.lognormal(size=size), f"{FLATNESS}~calibrated": np.exp(sam + 0.1 * rng.normal(size=size))}
    )
    found = row(confidence_table(replace(results, ledger=ledger)), "sam", "calibrated")
    assert (found["became"], found["ci_low"] > 1) == ("appears", True)
    assert np.isnan(found["retained"])


def test_the_headline_says_what_is_left():
    told = headline(study("calibrated", "matched_confidence"))
    assert "At equal confidence, sam shows no difference; augmentation keeps " in told
    assert told.endswith("] of the difference.")
    assert "With all networks calibrated, sam shows no difference;" in headline(study("calibrated"))


def test_a_level_without_the_closest_twin_is_told_by_the_other():
    results = study("calibrated", "matched_confidence")
    ledger = results.ledger.copy()
    ledger.loc[ledger["regime"] == "augmentation", f"{FLATNESS}~matched_confidence"] = np.nan
    told = headline(replace(results, ledger=ledger))
    assert "At equal confidence, sam shows no difference" in told
    assert "augmentation keeps 5" in told
    ledger.loc[ledger["regime"] == "augmentation", f"{FLATNESS}~calibrated"] = np.nan
    told = headline(replace(results, ledger=ledger))
    assert "nothing can be told of augmentation, for which no temperature was found" in told


def test_a_study_without_twins_says_which_key_brings_them():
    results = study()
    assert confidence_table(results).empty
    assert "confidence" not in headline(results)
    page, content = section_of("is_it_confidence", results)
    assert "<code>twins: [calibrated, matched_confidence]</code>" in page
    assert not content.tables


def test_twins_of_nothing_significant_and_primary_twins_are_not_told():
    results = study("calibrated")
    same = results.ledger.assign(**{FLATNESS: np.random.default_rng(2).lognormal(size=len(results.ledger))})
    assert "calibrated" not in headline(replace(results, ledger=same))
    there = replace(results, study={**results.study, "primary": [f"{FLATNESS}~calibrated"]})
    assert confidence_table(there).empty
    assert "augmentation has significantly sharper minima." in headline(there)


def test_twins_that_no_run_has_are_none():
    results = study("calibrated")
    assert twin_column(results, FLATNESS, "calibrated") == f"{FLATNESS}~calibrated"
    assert twin_column(results, FLATNESS, "calibrated", "0.1") is None
    assert twin_column(results, FLATNESS, "matched_confidence") is None
    none = replace(results, ledger=results.ledger.assign(**{f"{FLATNESS}~calibrated": np.nan}))
    assert twin_column(none, FLATNESS, "calibrated") is None


def test_the_page_and_the_tables_tell_it():
    results = study("calibrated", "matched_confidence")
    page, content = section_of("is_it_confidence", results)
    assert "Is it confidence?" in page
    assert "At matched confidence" in words(page)
    saved = pd.read_csv(io.BytesIO(content.tables["is_it_confidence.csv"]))
    pd.testing.assert_frame_equal(saved, confidence_table(results).replace("", np.nan), check_dtype=False)
    latex = content.tables["is_it_confidence.tex"].decode()
    assert r"Relative flatness & augmentation & $\times$" in latex
    assert r"\%" in latex


def test_shares_are_drawn():
    _, content = section_of("is_it_confidence", study("calibrated", "matched_confidence", seeds=6))
    assert set(files_of(content.figures)) == {"is_it_confidence.pdf", "is_it_confidence.svg"}
