"""Claims that some quantities explain more of an outcome than others."""

import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tests.analysis.planted_claims import (
    NONE,
    SHARP,
    calibrated,
    study,
)

from sharpscope.analysis.claims import judge
from sharpscope.analysis.results import Quantity
from sharpscope.analysis.section import Evidence
from sharpscope.analysis.sections.claims import claims as section
from sharpscope.analysis.sections.claims.data import cards
from sharpscope.analysis.verdicts import (
    CANNOT_TELL,
    CONFIDENCE,
    CONTRADICTED,
    END,
    HOLDS,
    LOSS,
    ONLY_AT_END,
    UNCONTROLLED,
)
from sharpscope.spec import Claim, Rivalry

GAP = Quantity("generalization_gap", "score", "Generalization gap", better="lower")
FUNCTION, CURVED = (replace(SHARP, name=name, label=name, kind="complexity") for name in ("of_function", "curved"))
WEIGHTS, NORM_OF_ALL = (replace(SHARP, name=name, label=name, kind="control") for name in ("of_weights", "norm_of_all"))


def rivalry(*, controls=()):
    one = {"quantities": ["of_function", "curved"], "explain_more_of": "generalization_gap"}
    return {"controls": list(controls), "predictions": [{**one, "than": ["of_weights", "norm_of_all"]}]}


def rivals(of_function, of_weights, claim, *, by_loss=0.0, seed=0, seeds=20):
    """Return a study in which a gap is a sum of what is measured on the function, on the weights, and of the loss.

    With ``by_loss`` the measures of the function are those of the train loss, which moves the gap.
    """
    columns = {SHARP: NONE, GAP: NONE, FUNCTION: NONE, CURVED: NONE, WEIGHTS: NONE, NORM_OF_ALL: NONE}
    results = study(columns, claim, seeds=seeds, seed=seed)
    ledger, rng = results.ledger.copy(), np.random.default_rng(seed + 100)
    loss = np.log(ledger["train_loss"]) / 0.3
    shared, first, second, third, fourth, luck = rng.standard_normal((6, len(ledger)))
    function, weights = shared + first + by_loss * loss, shared + second
    logs = {"of_function": function, "curved": third, "of_weights": weights, "norm_of_all": fourth}
    ledger = ledger.assign(**{name: np.exp(values) for name, values in logs.items()})
    ledger["generalization_gap"] = 0.01 * (of_function * function + of_weights * weights + by_loss * loss + luck)
    return replace(results, ledger=ledger)


def test_what_explains_more_holds_and_what_explains_less_is_contradicted():
    assert judge(rivals(2.0, 0.0, rivalry()))[0].verdict == HOLDS
    assert judge(rivals(0.0, 2.0, rivalry()))[0].verdict == CONTRADICTED
    assert judge(rivals(1.0, 1.0, rivalry()))[0].verdict == CANNOT_TELL


def several(outcomes, *, strength=0.0, seed=0):
    """A study of a claim about several outcomes, both sides of each alike, but for the first."""
    names = [GAP.name, *(f"outcome{k}" for k in range(outcomes - 1))]
    claim = rivalry()
    claim["predictions"][0]["explain_more_of"] = names
    results = rivals(strength, 0.0, claim, seed=seed)
    logs, rng = np.log(results.ledger[["of_function", "of_weights"]]).sum(axis=1), np.random.default_rng(seed + 200)
    columns = {name: logs + rng.standard_normal(len(logs)) for name in names[0 if not strength else 1 :]}
    facts = {name: replace(GAP, name=name) for name in names}
    return replace(results, ledger=results.ledger.assign(**columns), quantities={**results.quantities, **facts})


def test_of_several_rivalries_each_counts_less():
    alone, among = (judge(several(outcomes, strength=0.7, seed=4))[0].tests[0] for outcomes in (1, 6))
    assert (alone.verdict, among.verdict) == (HOLDS, CANNOT_TELL)
    assert among.found[END].low == alone.found[END].low > 0


def test_of_rivalries_of_the_same_worth_a_claim_seldom_finds_one():
    found = [any(test.favor for test in judge(several(5, seed=seed))[0].tests) for seed in range(60)]
    assert np.mean(found) <= 0.1


def test_a_difference_of_shares_is_that_of_least_squares():
    results = rivals(2.0, 1.0, rivalry(controls=["loss"]))
    (test,) = judge(results)[0].tests
    ledger = results.ledger
    seeds = pd.get_dummies(ledger["seed"]).to_numpy(float)

    def explained(*names):
        columns = [np.log(ledger[name].to_numpy()) for name in names]

        def variance(*more):
            x = np.column_stack([seeds, *more])
            beta, _, rank, _ = np.linalg.lstsq(x, ledger["generalization_gap"].to_numpy(), rcond=None)
            return np.sum((ledger["generalization_gap"] - x @ beta) ** 2) / (len(ledger) - rank)

        return 1 - variance(*columns) / variance()

    sides = (("of_function", "curved"), ("of_weights", "norm_of_all"))
    alone = [explained(*names) for names in sides]
    given = [explained("train_loss", *names) for names in sides]
    assert test.found[END].value == pytest.approx(alone[0] - alone[1])
    assert test.found[LOSS].value == pytest.approx(given[0] - given[1])
    assert test.found[END].n == 20
    first, second = (round(100 * share) for share in alone)
    label = "of_function and curved"
    assert test.told == f"more by {label} ({first}%) than by of_weights and norm_of_all ({second}%)"


def test_what_the_loss_explains_is_not_counted_for_what_moves_with_it():
    claim = rivalry(controls=["loss"])
    assert judge(rivals(0.0, 0.0, claim, by_loss=3.0))[0].verdict == ONLY_AT_END
    assert judge(rivals(2.0, 0.0, claim))[0].verdict == HOLDS


def test_a_rivalry_is_judged_by_what_the_study_has_of_it():
    results = rivals(2.0, 0.0, rivalry())
    fewer = replace(results, ledger=results.ledger.drop(columns=["curved", "norm_of_all"]))
    (test,) = judge(fewer)[0].tests
    assert test.other == "of_function > of_weights"
    none = replace(results, ledger=results.ledger.drop(columns=["of_weights", "norm_of_all"]))
    assert judge(none)[0].verdict == CANNOT_TELL
    few = rivals(2.0, 0.0, rivalry(), seeds=3)
    assert judge(few)[0].verdict == CANNOT_TELL


def with_twins(results, **logs):
    """The same study with twins of some quantities, by the logarithms of these; of the gap by its values."""
    facts = {one.name: one for one in (GAP, FUNCTION, CURVED, WEIGHTS, NORM_OF_ALL)}
    twins = {calibrated(facts[name]).name: calibrated(facts[name]) for name in logs}
    columns = {f"{name}~calibrated": values if facts[name] is GAP else np.exp(values) for name, values in logs.items()}
    return replace(results, ledger=results.ledger.assign(**columns), quantities={**results.quantities, **twins})


def test_under_the_control_of_confidence_quantities_are_those_of_the_twins():
    results = rivals(2.0, 0.0, rivalry(controls=["confidence"]))
    function, weights = (np.log(results.ledger[name]) for name in ("of_function", "of_weights"))
    gap = results.ledger["generalization_gap"]
    as_before = {"generalization_gap": gap, "of_function": function, "of_weights": weights}
    assert judge(with_twins(results, **as_before))[0].verdict == HOLDS
    turned = {"generalization_gap": gap, "of_function": weights, "of_weights": function}
    (test,) = judge(with_twins(results, **turned))[0].tests
    assert test.verdict == ONLY_AT_END
    assert test.found[CONFIDENCE].favor == -1
    for lacking in as_before:
        fewer = {name: values for name, values in as_before.items() if name != lacking}
        (test,) = judge(with_twins(results, **fewer))[0].tests
        assert test.verdict == UNCONTROLLED
        assert CONFIDENCE not in test.found


def test_the_section_tells_a_difference_of_shares_in_points():
    results = rivals(2.0, 0.0, rivalry(controls=["loss"]))
    (card,) = cards(results, judge(results))
    assert card["of_what"] == "Explained"
    (row,) = card["rows"]
    assert re.fullmatch(r"\+\d+ \[\+\d+, \+\d+\] points", row["found"][0]["text"])
    assert row["other"].startswith("more by of_function and curved (")
    content = section(Evidence(results))
    assert b"rivalry,generalization_gap,of_function + curved > of_weights + norm_of_all" in content.tables["claims.csv"]


@pytest.mark.slow
def test_of_two_that_explain_as_much_neither_is_said_to_explain_more():
    false = sum(judge(rivals(1.0, 1.0, rivalry(), seed=seed, seeds=8))[0].verdict != CANNOT_TELL for seed in range(200))
    assert false / 200 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)


def test_a_claim_reads_back_from_plain_values():
    claim = Claim(name="a", title="t", statement="s", source="n", **rivalry(controls=["loss"]))
    again = Claim.model_validate(claim.model_dump(mode="json"))
    assert again == claim
    assert isinstance(again.predictions[0], Rivalry)
    assert str(again.predictions[0]) == (
        "of_function, curved explain more of generalization_gap than of_weights, norm_of_all do"
    )
