"""Every claim of the package speaks of what there is: columns that studies have, and levels that they compare."""

import pytest

import sharpscope.measurement  # noqa: F401 - registers the measures
from sharpscope.curvature.measure import MEASURES
from sharpscope.safety import SCORES
from sharpscope.spec import Contrast, Regime, Trend
from sharpscope.study.planning.explaining import explanation
from sharpscope.study.planning.listing import listing
from sharpscope.study.source.claims import known_claims
from sharpscope.task import TASKS
from sharpscope.training import REGIMES

CLAIMS = known_claims()
COLUMNS = {*MEASURES, *SCORES, *(name for task in TASKS.values() for name in task.basics)}


@pytest.mark.parametrize("name", CLAIMS)
def test_it_speaks_of_columns_that_a_study_can_have(name):
    assert set(CLAIMS[name].quantities) <= COLUMNS


@pytest.mark.parametrize("name", CLAIMS)
def test_its_levels_are_regimes_that_there_are(name):
    claim = CLAIMS[name]
    levels = {level for one in claim.predictions for level in one.named}
    if claim.factor == "regime":
        assert all(part.name in REGIMES for level in levels for part in Regime.model_validate(level).parts)
    elif claim.factor.startswith("regimes."):
        _, part, option = claim.factor.split(".")
        assert option in REGIMES[part].defaults


@pytest.mark.parametrize("name", CLAIMS)
def test_a_direction_is_one_that_its_quantities_have(name):
    for one in CLAIMS[name].predictions:
        for quantity in one.quantities if isinstance(one, Contrast) else ():
            assert_has(quantity, one.direction)
        for quantity in one.quantities if isinstance(one, Trend) else ():
            assert_has(quantity, one.trend)


def assert_has(quantity, direction):
    if direction in ("sharper", "flatter"):
        assert MEASURES[quantity].facts.kind == "sharpness"
    if direction in ("better", "worse"):
        assert quantity in SCORES or quantity.startswith("test_")


def test_they_are_listed_and_explained():
    listed = listing("claims")
    assert list(listed) == list(CLAIMS)
    for name, claim in CLAIMS.items():
        told = explanation(name)
        assert claim.title in told
        assert claim.source in told
        assert listed[name] == claim.title
        assert len(claim.title) <= 80
        assert not claim.title.endswith(".")
