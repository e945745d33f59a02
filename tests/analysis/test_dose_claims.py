"""Claims about the order of levels, on studies with planted truth."""

from dataclasses import replace

import numpy as np
import pytest
from tests.analysis.dosed import BOTH, KEY, ONLY_LOSS, dosed, row_of, without

from sharpscope.analysis import numbers
from sharpscope.analysis.claims import judge, rows_of
from sharpscope.analysis.dose.trends import dose_table
from sharpscope.analysis.sections.claims.data import cards, sentence
from sharpscope.analysis.verdicts import CANNOT_TELL, CONTRADICTED, HOLDS, IN_PART, ONLY_AT_END, UNCONTROLLED
from sharpscope.spec import Claim, Trend, kind_of
from sharpscope.study.source.claims import judged_by, known_claims


def claiming(results, quantities, trend="sharper", controls=("loss",), at="end"):
    told = {"name": "own.yaml", "title": "Own", "statement": "It is so.", "source": "a note", "factor": KEY}
    where = {"at": at} if at != "end" else {"controls": list(controls)}
    predictions = [{"quantities": quantities, "trend": trend}]
    return replace(results, claimed=({**told, **where, "predictions": predictions},))


def verdict(results, *quantities, **claim):
    (judged,) = judge(claiming(results, list(quantities), **claim))
    return judged.verdict


def test_a_trend_that_is_there_at_equal_loss_holds_and_one_of_the_loss_does_not():
    results = dosed(seeds=20)
    assert verdict(results, BOTH.name) == HOLDS
    assert verdict(results, ONLY_LOSS.name) == ONLY_AT_END
    assert verdict(results, BOTH.name, trend="flatter") == CONTRADICTED
    assert verdict(results, BOTH.name, controls=("loss", "confidence")) == UNCONTROLLED
    assert verdict(dosed(seeds=20, matched=""), BOTH.name) == UNCONTROLLED


def test_what_is_not_there_cannot_be_told():
    nothing = dosed(of_dose=0.0, of_loss=0.0)
    assert verdict(nothing, BOTH.name) == CANNOT_TELL
    assert verdict(dosed(seeds=3), BOTH.name) == CANNOT_TELL
    half = replace(nothing, ledger=nothing.ledger.assign(**{BOTH.name: dosed().ledger[BOTH.name]}))
    assert verdict(half, BOTH.name, ONLY_LOSS.name, controls=()) == IN_PART


def test_a_course_that_turns_cannot_be_told():
    results = dosed(of_dose=0.0, of_loss=0.0, noise=0.05)
    x = (results.ledger[KEY] - 0.5) / 0.45
    arc = np.exp(3 * np.minimum(x, 3 - 2.5 * x))
    turned = replace(results, ledger=results.ledger.assign(**{BOTH.name: arc * results.ledger[BOTH.name]}))
    table = dose_table(turned)
    assert table.loc[(table["quantity"] == BOTH.name) & (table["at"] == "end"), "significant"].item()
    results = claiming(turned, [BOTH.name], controls=())
    (judged,) = judge(results)
    assert judged.verdict == CANNOT_TELL
    (card,) = cards(results, (judged,))
    assert (
        card["rows"][0]["note"] == "Not monotone at the end of training: some steps go significantly up, others down."
    )
    assert cards(claiming(dosed(), [BOTH.name]), judge(claiming(dosed(), [BOTH.name])))[0]["rows"][0]["note"] == ""


def test_a_claim_about_equal_loss_is_judged_there():
    results = dosed(seeds=20)
    assert verdict(results, BOTH.name, at="loss") == HOLDS
    assert verdict(results, ONLY_LOSS.name, at="loss") == CANNOT_TELL
    assert verdict(results, BOTH.name, trend="flatter", at="loss") == CONTRADICTED
    # What goes up and down at the end, or is not there at all, counts for nothing.
    turned = results.ledger[BOTH.name] * (1 + 9 * (results.ledger[KEY] == 0.7))
    assert verdict(replace(results, ledger=results.ledger.assign(**{BOTH.name: turned})), BOTH.name, at="loss") == HOLDS


def test_a_claim_about_equal_loss_cannot_be_told_without_one():
    results = claiming(dosed(matched=""), [BOTH.name], at="loss")
    (judged,) = judge(results)
    assert judged.verdict == CANNOT_TELL
    assert "nothing of it at equal train loss" in sentence(results, judged)


def test_a_claim_about_equal_loss_has_no_controls_and_is_about_levels():
    told = claiming(dosed(), [BOTH.name], at="loss").claimed[0]
    assert Claim.model_validate(told).controls == ()
    with pytest.raises(ValueError, match="has no controls; leave controls out"):
        Claim.model_validate({**told, "controls": ["confidence"]})
    relation = {"quantities": [BOTH.name], "outcomes": ["ece"], "sign": "positive"}
    with pytest.raises(ValueError, match="is about levels, and a relation is not"):
        Claim.model_validate({**told, "predictions": [relation]})


def test_levels_without_an_order_have_no_trend():
    results = dosed()
    plain = replace(results, study={**results.study, "compare": {"factor": KEY, "ordered": False}})
    (judged,) = judge(claiming(plain, [BOTH.name]))
    assert judged.tests == ()


def test_a_trend_is_told_from_end_to_end():
    results = claiming(dosed(), [BOTH.name])
    judged = judge(results)
    table = dose_table(results)
    row = table[(table["quantity"] == BOTH.name) & (table["at"] == "end")].squeeze()
    (saved,) = rows_of(judged)
    assert saved["level_or_outcome"] == "0.5 to 0.95"
    assert (saved["end_value"], saved["end_low"]) == pytest.approx((row["change"], row["ci_low"]))
    assert saved["matched_loss"] == "0.1"
    (card,) = cards(results, judged)
    assert card["rows"][0]["other"] == "0.5 to 0.95, sharper"


def test_a_trend_over_other_levels_at_equal_loss_says_so():
    results = dosed(seeds=20)
    there = [name for name in results.ledger.columns if name.endswith("@0.1")]
    narrow = claiming(without(results, results.ledger[KEY] == 0.95, *there), [BOTH.name])
    row = row_of(narrow, BOTH.name, "0.1")
    end = numbers.change("ratio", row["end_change"], row["end_low"], row["end_high"])
    (test,) = judge(narrow)[0].tests
    assert test.note == f"At equal train loss from 0.5 to 0.9, where the end is {end}."
    # Where the end lacks a level, there is no change over the same ones.
    wide = claiming(without(results, results.ledger[KEY] == 0.95, BOTH.name), [BOTH.name])
    assert judge(wide)[0].tests[0].note == "At equal train loss from 0.5 to 0.95."
    assert judge(claiming(results, [BOTH.name]))[0].tests[0].note == ""


def test_a_claim_about_other_levels_is_not_judged():
    claim = known_claims()["paper/tight-boundaries-are-sharp"]
    assert isinstance(claim.predictions[0], Trend)
    assert judged_by([claim], [BOTH.name], KEY)[0][0].quantities == (BOTH.name,)
    kept, notes = judged_by([claim], [BOTH.name], "regime")
    assert not kept
    assert "it is about levels of data.factor" in notes[0]


def test_a_trend_says_what_it_predicts():
    assert kind_of({"quantities": "ece", "trend": "better"}) is Trend
    assert str(Trend(quantities="ece", trend="better")) == "the higher the level, the better by ece"
    claim = Claim(
        name="x", title="x", statement="x", source="x", predictions=[{"quantities": "ece", "trend": "better"}]
    )
    assert claim.predictions[0].quantities == ("ece",)
