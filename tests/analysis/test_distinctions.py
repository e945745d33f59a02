"""Claims that levels are not all alike, on studies whose truth is planted."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tests.analysis.planted import planted

from sharpscope.analysis.claims import judge, rows_of
from sharpscope.analysis.results import Quantity
from sharpscope.analysis.section import Evidence
from sharpscope.analysis.sections.claims import claims as section
from sharpscope.analysis.sections.claims.data import cards
from sharpscope.analysis.statistics.level_differences import typical_difference
from sharpscope.analysis.values import Values
from sharpscope.analysis.verdicts import (
    CANNOT_TELL,
    CONTRADICTED,
    END,
    HOLDS,
    IN_PART,
    LOSS,
    ONLY_AT_END,
    UNCONTROLLED,
)
from sharpscope.spec import Distinction, kind_of
from sharpscope.study.source.claims import judged_by, known_claims

KEY = "data.function"
LEVELS = ("sphere", "booth", "beale", "rastrigin")
SHARP = Quantity("relative_flatness", "sharpness", "Relative flatness", sharper_is="larger", scale="ratio")
NORM = replace(SHARP, name="fisher_rao_norm", label="Fisher-Rao norm")
R2 = Quantity("test_r2", "score", "Test R2", better="higher")
FAR, SAME = (0.0, 0.4, 0.8, 1.2), (0.0, 0.0, 0.0, 0.0)


def at(quantity, loss):
    return replace(quantity, name=f"{quantity.name}@{loss}", matched_loss=loss)


def study(columns, *, seeds=10, seed=1, spread=0.1, settings=(1,), margin=None, levels=LEVELS, **claim):
    """Return a study of functions with planted effects.

    Args:
        columns: For each quantity the effects of the levels: logarithms of factors of ratios.
        seeds: How many.
        seed: Of the noise.
        spread: Of the runs around seed and level.
        settings: Widths of the network.
        margin: What the study declares under that key.
        levels: The functions.
        claim: What the claim has that is not usual.
    """
    rng = np.random.default_rng(seed)
    keys = [(f, w, s) for f in levels for w in settings for s in range(seeds)]
    ledger = pd.DataFrame(keys, columns=[KEY, "model.width", "seed"])
    ledger = ledger.assign(run_id=[f"{f}-{w}-{s}" for f, w, s in keys], state="done", regime="baseline")
    of_seed = rng.standard_normal(seeds)[ledger["seed"]]
    for quantity, effects in columns.items():
        moved = ledger[KEY].map(dict(zip(levels, effects, strict=True)))
        values = moved + of_seed + spread * rng.standard_normal(len(ledger))
        ledger[quantity.name] = np.exp(values) if quantity.scale == "ratio" else values
    predictions = [{"quantities": [q.name for q in columns if not q.matched_loss], "differ": "all"}]
    told = {"name": "own.yaml", "title": "Own", "statement": "It is so.", "source": "a note", "factor": KEY}
    told |= {"controls": ["loss"], "predictions": predictions, **claim}
    grid = {"seed": list(range(seeds)), KEY: list(levels), "model.width": list(settings)}
    return planted("planted", ledger, columns, told, grid=grid, compare={"factor": KEY}, margin=margin or {})


def judged(columns, **options):
    (found,) = judge(study(columns, **options))
    return found


def without(results, column, *lost):
    """Return a study in which a column has no value at some (level, seed)."""
    ledger = results.ledger.copy()
    for level, seed in lost:
        rows = (ledger[KEY] == level) & ((ledger["seed"] == seed) if seed is not None else True)
        ledger.loc[rows, column] = np.nan
    return replace(results, ledger=ledger)


def test_levels_that_differ_at_equal_loss_too_hold():
    assert judged({SHARP: FAR, at(SHARP, "0.1"): FAR}).verdict == HOLDS
    assert judged({SHARP: FAR, at(SHARP, "0.1"): FAR[::-1]}).verdict == HOLDS  # whatever the order


def test_what_is_all_train_loss_is_told_as_only_at_the_end():
    assert judged({SHARP: FAR, at(SHARP, "0.1"): SAME}).verdict == ONLY_AT_END


def test_without_its_control_it_is_not_said_to_hold():
    assert judged({SHARP: FAR}).verdict == UNCONTROLLED
    assert judged({SHARP: FAR}, controls=[]).verdict == HOLDS


def test_no_order_is_predicted_and_none_contradicts():
    turned = {SHARP: (0.0, -0.5, 0.5, -0.2)}
    assert judged(turned, controls=[]).verdict == HOLDS
    sphere = {"quantities": SHARP.name, "levels": "all", "direction": "sharper"}
    assert judged(turned, controls=[], predictions=[sphere]).verdict != HOLDS


def test_levels_that_are_the_same_runs_change_places_as_one():
    results = study({SHARP: (0.0, 0.0, 0.3, 0.3)}, controls=[], seeds=6)
    ledger = results.ledger.copy()
    ledger.loc[ledger[KEY] == "rastrigin", SHARP.name] = ledger.loc[ledger[KEY] == "beale", SHARP.name].to_numpy()
    three = replace(results, ledger=ledger[ledger[KEY] != "rastrigin"])
    (test,), (alone,) = (judge(one)[0].tests for one in (replace(results, ledger=ledger), three))
    assert test == alone
    assert test.other == "sphere, booth, beale"


def test_one_quantity_that_cannot_be_told_leaves_a_part():
    found = judged({SHARP: FAR, NORM: SAME}, controls=[])
    assert found.verdict == IN_PART
    assert [test.verdict for test in found.tests] == [HOLDS, CANNOT_TELL]


def test_the_size_is_the_typical_ratio_of_two_levels():
    (test,) = judged({SHARP: FAR}, controls=[], seeds=40).tests
    found = test.found[END]
    truth = math.exp(math.sqrt(np.mean([(a - b) ** 2 for i, a in enumerate(FAR) for b in FAR[:i]])))
    assert found.scale == "ratio"
    assert found.low <= truth <= found.high
    assert found.value == pytest.approx(truth, rel=0.05)
    (none,) = judged({SHARP: SAME}, controls=[]).tests
    assert none.found[END].low == 1.0
    assert none.found[END].value < 1.1


def test_settings_are_averaged_within_a_seed():
    results = study({SHARP: (0.0, 0.05, 0.1, 0.15)}, controls=[], settings=(1, 2, 3), seeds=6)
    (test,) = judge(results)[0].tests
    averaged = results.ledger.assign(value=np.log(results.ledger[SHARP.name]))
    averaged = averaged.groupby([KEY, "seed"], as_index=False)["value"].mean()
    single = averaged.assign(run_id=range(len(averaged)), state="done", regime="baseline", **{"model.width": 1})
    alone = study({SHARP: SAME}, controls=[], seeds=6)
    alone = replace(alone, ledger=single.assign(**{SHARP.name: np.exp(single["value"])}))
    (expected,) = judge(alone)[0].tests
    assert test.found[END].value == pytest.approx(expected.found[END].value)
    assert test.verdict == expected.verdict


def test_a_claim_may_name_its_levels():
    two = [{"quantities": [SHARP.name], "differ": ["sphere", "booth"]}]
    found = judged({SHARP: (0.0, 0.0, 3.0, 6.0)}, controls=[], predictions=two)
    assert found.verdict == CANNOT_TELL
    assert found.tests[0].told == "sphere and booth differ"
    lacking = [{"quantities": [SHARP.name], "differ": ["sphere", "booth", "himmelblau"]}]
    assert judged({SHARP: FAR}, controls=[], predictions=lacking).untested == ("himmelblau",)
    one = [{"quantities": [SHARP.name], "differ": ["sphere", "himmelblau"]}]
    results = study({SHARP: FAR}, controls=[], predictions=one)
    (none,) = judge(results)
    assert none.verdict == CANNOT_TELL
    assert cards(results, [none])[0]["sentence"] == "The study does not have the levels that it takes to judge it."


def test_what_cannot_be_told_says_how_many_seeds_it_would_take():
    columns = {SHARP: (0.0, 0.03, 0.06, 0.09)}
    (test,) = judged(columns, controls=[], seeds=8, seed=2).tests
    assert test.verdict == CANNOT_TELL
    assert test.found[END].value == pytest.approx(math.exp(math.sqrt(0.003)), abs=0.01)  # near the truth here
    assert test.seeds == 30
    found = [judged(columns, controls=[], seeds=30, seed=s).verdict == HOLDS for s in range(40)]
    assert np.mean(found) > 0.6
    results = study(columns, controls=[], seeds=8, seed=3)
    (none,) = judge(results)[0].tests
    assert none.found[END].value == 1.0  # less than chance alone makes
    assert cards(results, judge(results))[0]["rows"][0]["seeds"] == "more than 200 seeds"


def test_that_levels_are_alike_takes_a_margin():
    alike = {SHARP: SAME, at(SHARP, "0.1"): SAME}
    assert judged(alike, spread=0.02).verdict == CANNOT_TELL
    found = judged(alike, spread=0.02, margin={SHARP.name: 1.2})
    assert found.verdict == CONTRADICTED
    assert found.tests[0].note == "Every two of them differ by less than ×1.20."
    assert judged(alike, spread=0.02, margin={SHARP.name: 1.2}, seeds=4).verdict == CANNOT_TELL
    # More seeds find differences that do not matter; they matter no more for that.
    small = {SHARP: (0.0, 0.02, 0.04, 0.06)}
    assert judged(small, spread=0.02, seeds=30, controls=[]).verdict == HOLDS
    assert judged(small, spread=0.02, seeds=30, controls=[], margin={SHARP.name: 1.2}).verdict == CONTRADICTED
    # One pair beyond the margin is enough for levels that differ.
    assert judged({SHARP: (0.0, 0.0, 0.0, 0.5)}, controls=[], margin={SHARP.name: 1.2}).verdict == HOLDS


def test_the_order_is_told_with_what_cannot_be_told_apart():
    (test,) = judged({SHARP: (0.0, 0.9, 1.8, 0.92)}, controls=[]).tests
    assert test.note == "Sharpest first: beale, rastrigin, booth, sphere; not told apart: rastrigin and booth."
    (test,) = judged({SHARP: (0.0, 0.0, 3.0, 0.0)}, controls=[]).tests
    order, apart = test.note.split("; ")
    levels = order.removeprefix("Sharpest first: ").split(", ")
    assert levels[0] == "beale"
    assert apart == f"not told apart: {levels[1]} to {levels[3]}."
    flat = replace(SHARP, sharper_is="smaller")
    (test,) = judged({flat: (0.0, 2.0, 4.0, 6.0)}, controls=[]).tests
    assert test.note == "Sharpest first: sphere, booth, beale, rastrigin; every two of them are told apart."
    (test,) = judged({R2: (0.0, 2.0, 4.0, 6.0)}, controls=[]).tests
    assert test.note.startswith("Best first: rastrigin")
    plain = replace(SHARP, kind="control", sharper_is=None)
    (test,) = judged({plain: FAR}, controls=[], seeds=4).tests
    assert test.note == "Largest first: rastrigin, beale, booth, sphere; 4 seeds can tell no two of them apart."


def test_a_difference_on_a_plain_scale_has_no_sign():
    results = study({R2: (0.0, 1.0, 2.0, 3.0)}, controls=[])
    (card,) = cards(results, judge(results))
    text = card["rows"][0]["found"][0]["text"]
    assert text[0] in "12"
    assert "+" not in text


@pytest.mark.parametrize(("seeds", "verdict"), [(1, CANNOT_TELL), (2, HOLDS), (3, HOLDS)])
def test_few_seeds_say_what_they_can(seeds, verdict):
    results = study({SHARP: FAR}, controls=[], seeds=seeds)
    (found,) = judge(results)
    assert found.verdict == verdict  # four levels in one order in two seeds: p = 1 / 24
    note = found.tests[0].note
    if seeds == 1:
        assert note == "With 1 seed no difference at the end of training could be significant."
        assert found.tests[0].seeds is None
    else:
        assert note.endswith(f"{seeds} seeds can tell no two of them apart.")
    assert cards(results, [found])[0]["rows"][0]["found"][0]["text"]


def test_two_seeds_of_three_levels_cannot_tell():
    (test,) = judged({SHARP: (0.0, 3.0, 6.0)}, controls=[], seeds=2, levels=LEVELS[:3]).tests
    assert test.verdict == CANNOT_TELL
    assert test.note == "With 2 seeds no difference at the end of training could be significant."


def test_runs_that_are_lost_are_told():
    results = study({SHARP: FAR, at(SHARP, "0.1"): FAR})
    some = without(results, SHARP.name, ("booth", 3), ("beale", 7))
    (test,) = judge(some)[0].tests
    assert test.found[END].n == 8
    assert test.note.endswith("Seeds 3 and 7 lack a level at the end of training and do not count.")
    one = without(results, SHARP.name, ("booth", 3))
    assert judge(one)[0].tests[0].note.endswith("Seed 3 lacks a level at the end of training and does not count.")
    level = without(results, "relative_flatness@0.1", *(("rastrigin", s) for s in range(6)))
    (test,) = judge(level)[0].tests
    assert test.found[LOSS].n == 10
    assert test.note.endswith("Too few runs of rastrigin have a value at equal train loss: it does not count.")


def test_a_level_that_is_lost_altogether_leaves_the_others():
    results = without(study({SHARP: FAR}, controls=[]), SHARP.name, ("rastrigin", None))
    (test,) = judge(results)[0].tests
    assert test.verdict == HOLDS
    assert "rastrigin" not in test.note.partition(";")[0]


def test_no_seed_with_all_levels_cannot_tell():
    lost = [(level, s) for s in range(4) for level in [LEVELS[s]]]
    results = without(study({SHARP: FAR}, controls=[], seeds=4), SHARP.name, *lost)
    (test,) = judge(results)[0].tests
    assert test.verdict == CANNOT_TELL
    assert test.note == "No seed has all levels at the end of training."
    assert test.seeds is None
    (card,) = cards(results, judge(results))
    assert card["rows"][0]["found"][0]["text"] == "–"


def test_quantities_with_other_levels_are_families_of_their_own():
    results = without(study({SHARP: FAR, NORM: FAR}, controls=[]), NORM.name, ("sphere", None))
    assert judge(results)[0].verdict == HOLDS


def test_at_equal_loss_means_the_loss_that_most_runs_have_reached_and_of_several_the_smallest():
    columns = {SHARP: FAR, at(SHARP, "1"): FAR, at(SHARP, "0.1"): SAME, at(SHARP, "0.01"): FAR}
    results = study(columns)
    short = without(results, "relative_flatness@0.01", *((level, 0) for level in LEVELS))
    (test,) = judge(short)[0].tests
    assert test.found[LOSS].at == "0.1"
    assert test.verdict == ONLY_AT_END


@pytest.mark.slow
def test_of_levels_that_are_alike_few_are_said_to_differ():
    columns = {SHARP: SAME, NORM: SAME}
    false = sum(judged(columns, controls=[], seed=seed, seeds=5).verdict != CANNOT_TELL for seed in range(500))
    assert false / 500 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 500)


def test_every_test_is_a_row_with_its_note_and_the_page_shows_it():
    results = study({SHARP: FAR, at(SHARP, "0.1"): FAR})
    (row,) = rows_of(judge(results))
    assert row["level_or_outcome"] == "sphere, booth, beale, rastrigin"
    assert row["predicted"] == "differ"
    assert row["note"].startswith("Sharpest first: ")
    (card,) = cards(results, judge(results))
    assert card["rows"][0]["other"] == "the 4 levels differ"
    assert card["conditions"] == ["at the end of training", "at equal train loss"]
    assert b"Sharpest first" in section(Evidence(results)).tables["claims.csv"]


def test_scores_of_pairs_count_by_their_jackknife_values(make_results):
    results = make_results()
    name = "prediction_disagreement"
    told = {"name": "own.yaml", "title": "Own", "statement": "It is so.", "source": "a note", "controls": []}
    results = replace(results, claimed=({**told, "predictions": [{"quantities": [name], "differ": "all"}]},))
    (test,) = judge(results)[0].tests
    (by_seed,) = Values(results).independent(name)
    assert test.found[END].value == pytest.approx(typical_difference(by_seed).value)
    assert test.found[END].scale == "size"


def test_it_says_what_it_predicts_and_is_of_its_factor():
    assert kind_of({"quantities": "ece", "differ": "all"}) is Distinction
    assert str(Distinction(quantities="ece", differ="all")) == "the levels differ by ece"
    assert str(Distinction(quantities="ece", differ=["sphere", 0.5])) == "sphere, 0.5 differ by ece"
    claim = known_claims()["paper/known-functions-differ"]
    assert isinstance(claim.predictions[0], Distinction)
    kept, notes = judged_by([claim], [SHARP.name], "regime")
    assert not kept
    assert "it is about levels of data.function" in notes[0]
