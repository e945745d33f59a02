import math
from fractions import Fraction

import pytest
from torch import nn

from sharpscope.errors import SpecError
from sharpscope.spec import Regime, Training
from sharpscope.training import SCHEDULES, Recipe
from sharpscope.training.averaging import MeanOfEpochs
from sharpscope.training.observers import Progress
from sharpscope.training.schedules import cosine, warmed_up


@pytest.mark.parametrize(
    ("name", "factors"),
    [
        ("constant", [1, 1, 1, 1]),
        ("linear", [1, 3 / 4, 2 / 4, 1 / 4]),
        ("step", [1, 1, 0.1, 0.01]),
        # (1 + cos(k pi / 4)) / 2
        ("cosine", [1, (1 + 0.5**0.5) / 2, 1 / 2, (1 - 0.5**0.5) / 2]),
    ],
)
def test_schedules_follow_their_formulas(name, factors):
    assert [SCHEDULES[name](step, 4) for step in range(4)] == pytest.approx(factors)


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_every_schedule_begins_at_the_learning_rate_and_stays_positive(name):
    factors = [SCHEDULES[name](step, 100) for step in range(100)]
    assert factors[0] == 1
    assert all(0 < factor <= 1 for factor in factors)
    assert SCHEDULES[name].summary


def test_a_warmup_rises_linearly_and_leaves_the_rest_to_the_schedule():
    factors = [warmed_up(cosine, 4)(step, 12) for step in range(12)]
    assert factors[:4] == [0.25, 0.5, 0.75, 1.0]
    assert factors[4:] == [cosine(step, 8) for step in range(8)]


def test_a_share_of_a_training_is_exact_where_it_is_a_whole_number():
    for whole in (25, 50, 75, 90, 100, 150, 180):
        for percent in range(1, 100):
            exact = Fraction(percent, 100) * whole
            assert SCHEDULES["step"](math.ceil(exact), whole, milestones=(percent / 100,)) < 1
            assert SCHEDULES["step"](math.ceil(exact) - 1, whole, milestones=(percent / 100,)) == 1
            average = MeanOfEpochs(nn.Linear(1, 1), list, start=percent / 100)
            average.after_epoch(Progress(whole, whole, epoch=math.floor(exact)))
            assert average.taken == 0
            average.after_epoch(Progress(whole, whole, epoch=math.floor(exact) + 1))
            assert average.taken == 1


def test_no_warmup_is_the_schedule_itself():
    assert warmed_up(cosine, 0) is cosine


def test_the_milestones_of_a_study_reach_the_recipe():
    training = Training(schedule="step", schedule_options={"milestones": [0.25], "factor": 0.5}, epochs=4)
    made = Recipe.from_spec(training, Regime.model_validate("baseline"))
    assert [made.schedule(step, 4) for step in range(4)] == [1, 0.5, 0.5, 0.5]
    with pytest.raises(SpecError, match="unknown option 'mile' of schedule 'step'") as caught:
        Recipe.from_spec(Training(schedule="step", schedule_options={"mile": 1}), Regime.model_validate("baseline"))
    assert caught.value.loc == ("training", "schedule_options", "mile")
