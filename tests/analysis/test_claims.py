"""Verdicts on claims, on studies whose truth is planted."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tests.analysis.planted_claims import (
    BIG,
    ECE,
    NONE,
    NORM,
    SHARP,
    at,
    calibrated,
    sharper,
    study,
    verdict,
)

from sharpscope.analysis.claims import judge, rows_of
from sharpscope.analysis.section import Evidence
from sharpscope.analysis.sections.claims import claims as section
from sharpscope.analysis.sections.claims.data import cards
from sharpscope.analysis.verdicts import (
    CANNOT_TELL,
    CONFIDENCE,
    CONTRADICTED,
    CONTRADICTED_AT_END,
    CONTRADICTED_IN_PART,
    END,
    HOLDS,
    IN_PART,
    LOSS,
    ONLY_AT_END,
    ONLY_AT_END_IN_PART,
    UNCONTROLLED,
    UNCONTROLLED_IN_PART,
)
from sharpscope.analysis.verdicts.kinds import KINDS
from sharpscope.spec.predictions import KINDS as PREDICTIONS


def test_what_is_there_at_equal_loss_too_holds():
    assert verdict({SHARP: BIG, at(SHARP, "0.1"): BIG}, sharper(SHARP)) == HOLDS


def test_what_equal_loss_takes_away_holds_only_at_the_end():
    assert verdict({SHARP: BIG, at(SHARP, "0.1"): NONE}, sharper(SHARP)) == ONLY_AT_END


def test_what_equal_loss_turns_around_holds_only_at_the_end():
    assert verdict({SHARP: BIG, at(SHARP, "0.1"): (-0.5, 0)}, sharper(SHARP)) == ONLY_AT_END


def test_what_confidence_takes_away_holds_only_at_the_end():
    columns = {SHARP: BIG, at(SHARP, "0.1"): BIG, calibrated(SHARP): NONE}
    assert verdict(columns, sharper(SHARP, controls=["loss", "confidence"])) == ONLY_AT_END
    assert verdict(columns, sharper(SHARP)) == HOLDS  # the claim does not ask for it


def test_without_its_controls_a_claim_is_not_said_to_hold():
    assert verdict({SHARP: BIG}, sharper(SHARP)) == UNCONTROLLED
    assert verdict({SHARP: BIG}, sharper(SHARP, controls=[])) == HOLDS


def test_a_claim_about_equal_loss_is_judged_there_alone():
    there = sharper(SHARP, controls=[], at="loss")
    assert verdict({SHARP: (-0.5, 0), at(SHARP, "0.1"): BIG}, there) == HOLDS
    assert verdict({SHARP: BIG, at(SHARP, "0.1"): (-0.5, 0)}, there) == CONTRADICTED
    (found,) = judge(study({SHARP: BIG, at(SHARP, "0.1"): (0.02, 0.0)}, there))
    assert found.verdict == CANNOT_TELL
    assert found.tests[0].seeds > 10
    (found,) = judge(study({SHARP: BIG}, there))
    assert (found.verdict, found.tests[0].seeds) == (CANNOT_TELL, None)


def test_flatter_is_the_opposite_of_sharper_and_better_is_lower_where_lower_is_better():
    flatter = {"controls": [], "predictions": [{"levels": "sam", "quantities": SHARP.name, "direction": "flatter"}]}
    assert verdict({SHARP: BIG}, flatter) == CONTRADICTED
    better = {"controls": [], "predictions": [{"levels": "sam", "quantities": "ece", "direction": "better"}]}
    assert verdict({ECE: (-0.4, 0.0)}, better) == HOLDS
    larger = {"controls": [], "predictions": [{"levels": "sam", "quantities": "ece", "direction": "larger"}]}
    assert verdict({ECE: (-0.4, 0.0)}, larger) == CONTRADICTED


@pytest.mark.parametrize("direction", ["sharper", "flatter"])
def test_a_mean_that_few_seeds_carry_against_the_others_tells_no_direction(direction):
    results = study({SHARP: NONE}, sharper(SHARP, controls=[]), seeds=22, spread=0.0)
    moved = np.concatenate([np.zeros(22), 4 + 0.01 * np.arange(6), -0.02 - 1e-4 * np.arange(16), np.zeros(22)])
    results = replace(results, ledger=results.ledger.assign(**{SHARP.name: np.exp(moved)}))
    prediction = {**results.claimed[0]["predictions"][0], "direction": direction}
    (found,) = judge(replace(results, claimed=({**results.claimed[0], "predictions": [prediction]},)))
    assert found.verdict == CANNOT_TELL


def test_what_cannot_be_told_says_how_many_seeds_it_would_take():
    results = study({SHARP: (0.05, 0.0)}, sharper(SHARP), seeds=10, seed=3)
    (test,) = judge(results)[0].tests
    assert test.verdict == CANNOT_TELL
    values = np.log(results.ledger.pivot_table(index="seed", columns="regime", values=SHARP.name))
    effect = (values["sam"] - values["baseline"]).mean() / (values["sam"] - values["baseline"]).std(ddof=1)
    # Of a normal sample: ((z_0.975 + z_0.8) / effect)^2, over the efficiency of signed ranks.
    expected = (2.80 / abs(effect)) ** 2 * math.pi / 3
    assert expected / 1.5 <= test.seeds <= 1.5 * expected or (math.isinf(test.seeds) and expected > 150)


def test_where_seeds_have_no_spread_nothing_is_said_of_how_many_would_tell():
    """One seed has none, and neither have seeds that all differ by the same."""
    results = study({SHARP: BIG}, sharper(SHARP), seeds=1)
    (test,) = judge(results)[0].tests
    assert (test.seeds, test.note) == (None, "One seed has no spread by which to judge how many seeds would tell.")
    (row,) = cards(results, judge(results))[0]["rows"]
    assert (row["seeds"], row["note"]) == ("", test.note)
    results = study({ECE: NONE}, sharper(ECE), seeds=3)
    better = {"levels": ["sam"], "quantities": [ECE.name], "direction": "better"}
    claim = {**results.claimed[0], "controls": [], "predictions": [better]}
    for differs in (0.0, 0.25):
        ledger = results.ledger.assign(ece=results.ledger["regime"].map(lambda r, d=differs: d if r == "sam" else 0.0))
        (test,) = judge(replace(results, ledger=ledger, claimed=(claim,)))[0].tests
        assert (test.verdict, test.seeds) == (CANNOT_TELL, None)
        assert test.note.startswith("The difference is the same in all 3 seeds")


def test_levels_that_are_the_same_runs_are_judged_once():
    levels = ("sam", "augmentation")
    claim = sharper(SHARP, levels=levels, controls=[])
    claim["predictions"].append({"quantities": [SHARP.name], "outcomes": ["ece"], "sign": "positive"})
    results = study({SHARP: BIG, ECE: NONE}, claim)
    ledger = results.ledger.copy()
    for name in results.quantities:
        ledger.loc[ledger["regime"] == "augmentation", name] = ledger.loc[ledger["regime"] == "sam", name].to_numpy()
    two = replace(results, ledger=ledger[ledger["regime"] != "augmentation"])
    assert judge(replace(results, ledger=ledger))[0].tests == judge(two)[0].tests


def test_tests_of_one_verdict_are_said_to_say_so_or_to_be_unable_to_tell():
    claim = sharper(SHARP, NORM, controls=[])
    for effect, told in ((BIG, "All 2 of its tests say so."), (NONE, "None of its 2 tests can tell.")):
        results = study({SHARP: effect, NORM: effect}, claim)
        assert cards(results, judge(results))[0]["sentence"] == told


def test_a_claim_about_several_things_holds_if_it_holds_for_all():
    levels = ("sam", "augmentation")
    assert verdict({SHARP: BIG, NORM: BIG}, sharper(SHARP, NORM, levels=levels, controls=[])) == HOLDS
    assert verdict({SHARP: (0.5, 0.0), NORM: BIG}, sharper(SHARP, NORM, levels=levels, controls=[])) == IN_PART
    mixed = sharper(SHARP, NORM, levels=levels, controls=[])
    assert verdict({SHARP: (0.5, -0.5), NORM: BIG}, mixed) == CONTRADICTED_IN_PART


def test_levels_are_meant_whatever_their_options_and_all_means_all_but_the_reference():
    every = sharper(SHARP, levels=("all",), controls=[])
    (found,) = judge(study({SHARP: BIG}, every))
    assert [test.other for test in found.tests] == ["sam", "augmentation"]
    (found,) = judge(study({SHARP: BIG}, sharper(SHARP, levels=("sam", "weight_decay"), controls=[])))
    assert [test.other for test in found.tests] == ["sam"]
    assert found.untested == ("weight_decay",)


def test_another_reference_than_the_studys_is_compared_directly():
    claim = sharper(SHARP, controls=[])
    claim["predictions"][0]["reference"] = "augmentation"
    results = study({SHARP: (0.9, 0.4)}, claim)
    (test,) = judge(results)[0].tests
    values = np.log(results.ledger.pivot_table(index="seed", columns="regime", values=SHARP.name))
    difference = (values["sam"] - values["augmentation"]).to_numpy()
    walsh = [(a + b) / 2 for i, a in enumerate(difference) for b in difference[i:]]
    assert test.found[END].value == pytest.approx(math.exp(np.median(walsh)))
    assert test.verdict == HOLDS


def test_at_equal_loss_means_the_loss_that_most_runs_have_reached_and_of_several_the_smallest():
    results = study({SHARP: BIG, at(SHARP, "1"): BIG, at(SHARP, "0.1"): NONE}, sharper(SHARP))
    (test,) = judge(results)[0].tests
    assert test.found[LOSS].at == "0.1"
    ledger = results.ledger.copy()
    ledger.loc[ledger["seed"] > 1, "relative_flatness@0.1"] = np.nan
    (test,) = judge(replace(results, ledger=ledger))[0].tests
    assert test.found[LOSS].at == "1"


@pytest.mark.slow
def test_of_claims_that_are_not_so_few_hold():
    claim = sharper(SHARP, NORM, levels=("sam", "augmentation"), controls=[])
    columns = {SHARP: NONE, NORM: NONE}
    false = 0
    for seed in range(300):
        (found,) = judge(study(columns, claim, seed=seed))
        false += any(test.verdict != CANNOT_TELL for test in found.tests)
    assert false / 300 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)


def relation(sign, *, given=False, controls=()):
    one = {"quantities": [SHARP.name], "outcomes": ["ece"], "sign": sign, "given_loss": given}
    return {"controls": list(controls), "predictions": [one]}


def related(strength, claim, *, by_loss=0.0, seed=0):
    """Return a study in which the error moves with the logarithm of sharpness, and both with the train loss."""
    results = study({SHARP: NONE, ECE: NONE}, claim, seeds=20, seed=seed)
    ledger, rng = results.ledger.copy(), np.random.default_rng(seed + 100)
    loss = np.log(ledger["train_loss"])
    sharpness = rng.standard_normal(len(ledger)) + by_loss * loss
    ledger[SHARP.name] = np.exp(0.1 * sharpness)
    ledger["ece"] = 1 + 0.01 * (strength * sharpness + rng.standard_normal(len(ledger)) + by_loss * loss)
    return replace(results, ledger=ledger)


def test_a_relation_within_levels_holds_or_is_contradicted_by_its_sign():
    assert judge(related(2.0, relation("positive")))[0].verdict == HOLDS
    assert judge(related(2.0, relation("negative")))[0].verdict == CONTRADICTED
    assert judge(related(0.0, relation("negative")))[0].verdict == CANNOT_TELL


def test_a_relation_that_is_all_train_loss_is_not_found_given_it():
    by_loss = {"by_loss": 20.0}
    assert judge(related(0.0, relation("positive"), **by_loss))[0].verdict == HOLDS
    assert judge(related(0.0, relation("positive", given=True), **by_loss))[0].verdict == CANNOT_TELL


def several(count):
    """A claim that none of several quantities bears out, and the study of it: count measures by as many outcomes."""
    x, y = ([replace(one, name=f"{one.name}_{i}") for i in range(count)] for one in (SHARP, ECE))
    names = {"quantities": [one.name for one in x], "outcomes": [one.name for one in y]}
    return dict.fromkeys([*x, *y], NONE), {"controls": [], "predictions": [{**names, "sign": "positive"}]}


@pytest.mark.slow
def test_of_relations_that_are_not_a_claim_seldom_finds_one():
    columns, claim = several(3)
    false = sum(judge(study(columns, claim, seed=seed))[0].verdict != CANNOT_TELL for seed in range(200))
    assert false / 200 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)


def test_one_relation_among_several_is_found():
    columns, claim = several(3)
    results = study(columns, claim, seeds=20, seed=1)
    rng, ledger = np.random.default_rng(1), results.ledger
    moved = 1 + 0.01 * (np.log(ledger[f"{SHARP.name}_1"]) + 0.05 * rng.standard_normal(len(ledger)))
    (judged,) = judge(replace(results, ledger=ledger.assign(ece_2=moved)))
    assert [(t.quantity, t.other) for t in judged.tests if t.verdict == HOLDS] == [(f"{SHARP.name}_1", "ece_2")]


def test_a_relation_that_its_controls_take_away_holds_only_at_the_end():
    loss, both = relation("positive", controls=["loss"]), relation("positive", controls=["loss", "confidence"])
    assert judge(related(0.0, loss, by_loss=20.0))[0].verdict == ONLY_AT_END
    assert judge(related(2.0, loss))[0].verdict == HOLDS
    assert judge(related(2.0, both))[0].verdict == UNCONTROLLED
    sure = related(2.0, both)
    for error, expected in ((sure.ledger["ece"], HOLDS), (-sure.ledger["ece"], ONLY_AT_END)):
        columns = {f"{SHARP.name}~calibrated": sure.ledger[SHARP.name], "ece~calibrated": error}
        twins = {calibrated(quantity).name: calibrated(quantity) for quantity in (SHARP, ECE)}
        results = replace(sure, ledger=sure.ledger.assign(**columns), quantities={**sure.quantities, **twins})
        (test,) = judge(results)[0].tests
        assert test.verdict == expected
    (given,) = judge(related(0.0, relation("positive", given=True, controls=["loss"]), by_loss=20.0))[0].tests
    assert given.found[END] == given.found[LOSS]


def test_a_contradiction_that_its_controls_take_away_is_one_only_at_the_end():
    flatter = (-0.5, -0.5)
    assert verdict({SHARP: flatter, at(SHARP, "0.1"): flatter}, sharper(SHARP)) == CONTRADICTED
    for there in (NONE, BIG):
        assert verdict({SHARP: flatter, at(SHARP, "0.1"): there}, sharper(SHARP)) == CONTRADICTED_AT_END


def test_a_claim_holds_in_part_only_if_it_holds_for_something():
    gone = {SHARP: BIG, at(SHARP, "0.1"): NONE, NORM: NONE, at(NORM, "0.1"): NONE}
    assert verdict(gone, sharper(SHARP, NORM)) == ONLY_AT_END_IN_PART
    assert verdict({SHARP: BIG, NORM: NONE}, sharper(SHARP, NORM)) == UNCONTROLLED_IN_PART
    assert verdict({**gone, NORM: BIG, at(NORM, "0.1"): BIG}, sharper(SHARP, NORM)) == IN_PART


@pytest.mark.parametrize(("seeds", "expected"), [(0, UNCONTROLLED), (3, UNCONTROLLED), (5, UNCONTROLLED), (6, HOLDS)])
def test_a_control_that_too_few_seeds_have_takes_nothing_away(seeds, expected):
    results = study({SHARP: BIG, at(SHARP, "0.1"): BIG}, sharper(SHARP))
    late = (results.ledger["regime"] == "sam") & (results.ledger["seed"] >= seeds)
    ledger = results.ledger.assign(**{f"{SHARP.name}@0.1": results.ledger[f"{SHARP.name}@0.1"].mask(late)})
    results = replace(results, ledger=ledger)
    (found,) = judge(results)
    assert found.verdict == expected
    told = "What too few seeds have at equal train loss for a test, is not judged by that."
    assert (told in cards(results, [found])[0]["sentence"]) == (0 < seeds < 6)


def test_every_test_is_a_row_of_the_table():
    columns = {SHARP: BIG, at(SHARP, "0.1"): NONE, calibrated(SHARP): BIG}
    results = study(columns, sharper(SHARP, levels=("sam", "augmentation"), controls=["loss", "confidence"]))
    table = pd.DataFrame(rows_of(judge(results)))
    assert table["verdict"].tolist() == [ONLY_AT_END] * 2
    assert (table["end_favor"] == 1).all()
    assert (table["loss_favor"] == 0).all()
    assert (table["confidence_favor"] == 1).all()
    assert table["matched_loss"].tolist() == ["0.1"] * 2


def test_the_section_tells_verdict_and_controls_side_by_side():
    columns = {SHARP: BIG, at(SHARP, "0.1"): NONE, NORM: NONE}
    results = study(columns, sharper(SHARP, NORM, controls=["loss", "confidence"]))
    (card,) = cards(results, judge(results))
    assert card["verdict"] == ONLY_AT_END_IN_PART
    assert card["sentence"] == (
        f"Of 2 tests it {ONLY_AT_END} for 1, {CANNOT_TELL} for 1. The study has nothing of it at equal confidence."
    )
    assert card["conditions"] == ["at the end of training", "at equal train loss"]
    assert card["rows"][0]["found"][0]["text"].startswith("×1.")
    assert section(Evidence(results)).tables["claims.csv"]
    assert CONFIDENCE not in judge(results)[0].tests[0].found


def test_a_study_that_names_no_claim_has_no_section():
    results = replace(study({SHARP: BIG}, sharper(SHARP)), claimed=())
    assert section(Evidence(results)).page is None


def test_every_kind_of_prediction_is_judged():
    assert set(KINDS) == {kind.kind for kind in PREDICTIONS}
    assert len({kind.mark for kind in PREDICTIONS}) == len(PREDICTIONS)
