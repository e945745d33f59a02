"""Numbers as a reader wants them: rounding tells neither all nor nothing of what is not."""

import math

import pytest

from sharpscope.analysis import numbers


@pytest.mark.parametrize("share", [1e-7, 0.004, 0.005, 0.994, 0.995, 0.9999, 1.0001, 1.004, -1e-7, -0.004])
def test_only_nothing_is_0_percent_and_only_all_is_100(share):
    text = numbers.percent(share)
    assert text not in ("0%", "100%")
    bound = float(text.strip("<>%").replace(numbers.MINUS, "-"))
    if text[0] in "<>":
        assert 100 * share < bound if text[0] == "<" else 100 * share > bound
    assert abs(100 * share - bound) <= 1


def test_rounding_errors_are_no_difference():
    assert numbers.percent(1 - 1e-14) == numbers.percent(sum([0.1] * 10)) == "100%"
    assert numbers.percent(1e-14) == "0%"
    assert numbers.percent(0.29 / 0.29) == "100%"
    assert numbers.percentage(0.5, 0.0, 1.0) == "50% [0, 100]"
    assert numbers.percent(math.nan) == numbers.percentage(math.nan, 0, 1) == numbers.MISSING


@pytest.mark.parametrize("away", [0.0, 1e-17, 7e-17])
def test_values_that_are_all_the_same_have_no_interval_but_rounding(away):
    assert numbers.with_interval(0.1, 0.1 - away, 0.1 + away) == "0.100 [0.100, 0.100]"
    assert numbers.estimate(0.05, 0.05 - away / 2, 0.05) == "0.0500"
    assert numbers.with_interval(0.1, 0.1 - 1e-4, 0.1 + 1e-4) == "0.10000 [0.09990, 0.10010]"
