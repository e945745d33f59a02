"""Claims of a study: found by name or file, judged as far as it can, and refused where it cannot at all."""

import json

import pytest

from sharpscope.errors import SpecError
from sharpscope.study.planning.plan import make_plan
from sharpscope.study.source.claims import known_claims, parse_claim
from sharpscope.study.source.study import load_source

OWN = """
title: SAM has small norms
statement: The parameters that SAM finds are smaller.
source: a note
controls: [loss]
predictions:
  - {levels: sam, quantities: [parameter_norm, head_norm], direction: smaller}
"""

STUDY = """
name: small
data: {name: digits, train_size: 30}
model: {name: mlp, hidden: [4]}
training: {epochs: 1}
regimes: [baseline, sam]
grid: {seed: 2}
measures: [relative_flatness, parameter_norm]
scores: [accuracy]
"""


RIVALS = """
title: Norms explain the gap
statement: They explain more of it than relative flatness does.
source: a note
predictions:
  - {quantities: parameter_norm, explain_more_of: test_loss, than: [relative_flatness, hessian_trace]}
"""


FUNCTIONS = """
title: Functions differ
statement: Their fits are not equally sharp.
source: a note
factor: data.function
predictions:
  - {quantities: parameter_norm, differ: all}
"""


@pytest.fixture
def planned(tmp_path):
    """Return what plans a study with some more lines."""
    (tmp_path / "own.yaml").write_text(OWN)

    def planned(lines):
        path = tmp_path / "study.yaml"
        path.write_text(STUDY + lines)
        return make_plan(load_source(str(path)))

    return planned


def test_a_claim_is_judged_as_far_as_the_study_measures(planned):
    plan = planned("claims: [paper/sharper-minima, own.yaml]")
    first, own = plan.claims
    assert [one.quantities for one in first.predictions] == [("relative_flatness",)]
    assert [one.quantities for one in own.predictions] == [("parameter_norm",)]
    assert own.name.endswith("/own.yaml")
    assert plan.study.claims == (first.name, own.name)
    assert json.loads(json.dumps(plan.catalog))["claims"][0]["title"] == first.title


def test_a_rivalry_is_judged_with_the_rivals_that_the_study_measures(planned, tmp_path):
    (tmp_path / "rivals.yaml").write_text(RIVALS)
    (found,) = planned("claims: [rivals.yaml]").claims
    assert found.predictions[0].than == ("relative_flatness",)
    without = RIVALS.replace("relative_flatness, ", "")
    (tmp_path / "rivals.yaml").write_text(without)
    assert not planned("claims: [rivals.yaml]").claims


def test_claims_change_no_run(planned):
    assert list(planned("").runs) == list(planned("claims: [paper/sharper-minima]").runs)


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ("claims: [paper/sharper-minma]", "unknown claim 'paper/sharper-minma'; did you mean 'paper/sharper-minima'"),
        ("claims: [own.yaml, own.yaml]", "the claim 'own.yaml' is listed twice"),
        ("claims: [there.yaml]", "cannot be read: No such file"),
        ("claims: [study.yaml]", "unknown key"),
    ],
)
def test_what_is_no_claim_is_refused_at_its_line(planned, lines, sentence):
    with pytest.raises(SpecError, match=r"study.yaml, line 10: ") as refused:
        planned(lines)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[1]", "a claim is a mapping"),
        (OWN.replace("smaller}", "lower}"), "own.yaml, line 7: direction: input should be"),
        (OWN.replace("quantities", "quantity"), "line 7: unknown key 'quantity'"),
        (OWN.replace("title", "name"), "the key 'title' is missing"),
        (OWN.replace("[parameter_norm, head_norm]", "[]"), "line 7: quantities: expected at least one"),
        (RIVALS.replace("than:", "then:"), "line 6: unknown key 'then'; did you mean 'than'"),
        (
            RIVALS.replace(", than: [relative_flatness, hessian_trace]", ""),
            "a rivalry needs quantities",
        ),
        (
            RIVALS.replace("[relative_flatness,", "[parameter_norm,"),
            "and than must name different columns",
        ),
        (
            FUNCTIONS.replace("all}", "sphere}"),
            "line 7: expected 'all', or two levels or more of the claim's factor that differ, not 'sphere'",
        ),
        (FUNCTIONS.replace("all}", "[]}"), "two levels or more of the claim's factor that differ, not none"),
        (FUNCTIONS.replace("all}", "[all, sphere]}"), "'all' stands for every level; write it alone"),
        (FUNCTIONS.replace("all}", "[booth, booth]}"), "and 'booth' is listed twice"),
        (FUNCTIONS.replace("all}", "{booth: 1}}"), "line 7: differ: "),
        (FUNCTIONS.replace("all}", "all, direction: sharper}"), "unknown key 'differ'"),
        (FUNCTIONS.replace("quantities: parameter_norm, ", ""), "line 7: the key 'quantities' is missing"),
    ],
)
def test_a_claim_that_is_none_is_refused_in_a_sentence(text, sentence):
    with pytest.raises(SpecError) as refused:
        parse_claim(text, "own.yaml")
    assert str(refused.value).startswith("own.yaml")
    assert sentence in str(refused.value)


def test_what_cannot_be_judged_at_all_is_told_and_left_out(planned):
    plan = planned("claims: [paper/better-calibration, paper/sharper-minima, paper/tight-boundaries-are-sharp]")
    assert [claim.name for claim in plan.claims] == ["paper/sharper-minima"]
    assert plan.notes == (
        "the claim 'paper/better-calibration' is not judged: it is about ece, which the study does not measure",
        "the claim 'paper/tight-boundaries-are-sharp' is not judged: "
        "it is about levels of data.factor, and the study compares regime",
    )
    # They stay claims of the study, which may measure more the next time.
    assert len(plan.study.claims) == 3


def test_what_is_none_of_the_studys_is_left_out():
    claim = known_claims()["paper/sharper-minima"]
    assert claim.of_columns({"ece"}) is None
    assert claim.of_columns({"ece", "fisher_rao_norm"}).quantities == ("fisher_rao_norm",)
