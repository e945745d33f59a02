"""What is kept of each condition, against the scores that average over them and plain arithmetic."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from sharpscope.condition import Case
from sharpscope.safety import SCORES
from sharpscope.safety.by_condition import VALUES, by_condition

from .conftest import CASES, split_of


def test_each_case_has_its_numbers_as_plain_data(predictions):
    found = by_condition(predictions)
    assert json.loads(json.dumps(found)) == found
    assert found["samples"] == 400
    cases = found["cases"]
    assert cases["condition"] == [case.condition for case in CASES]
    assert (cases["severity"], cases["kind"]) == ([1, 2, 1, 8], ["inputs", "inputs", "inputs", "weights"])
    assert cases["family"] == [case.family for case in CASES]
    for index in range(len(CASES)):
        whole = split_of(400, 7, 1, noise=2 + index)
        assert cases["accuracy"][index] == np.mean(whole.logits.argmax(axis=1) == whole.targets)
        probabilities = np.exp(whole.log_probabilities)
        assert cases["nll"][index] == pytest.approx(-np.log(probabilities[np.arange(400), whole.targets]).mean(), 1e-6)
        wrong = probabilities - np.eye(7)[whole.targets]
        assert cases["brier"][index] == pytest.approx((wrong**2).sum(axis=1).mean(), rel=1e-6)
    assert found["clean"] == pytest.approx(
        {
            "accuracy": predictions.test.correct.mean(),
            **{name: SCORES[name](predictions) for name in ("nll", "ece", "brier")},
        },
        rel=1e-5,
    )


def test_means_over_corruptions_are_those_of_the_scores(predictions):
    cases = pd.DataFrame(by_condition(predictions)["cases"])
    means = cases[cases["kind"] == "inputs"].groupby("condition")[list(VALUES)].mean().mean()
    for name in VALUES:
        assert means[name] == pytest.approx(SCORES[f"corruption_{name}"](predictions), rel=1e-6)


def test_other_data_are_left_out(predictions):
    other = {**predictions.cases, Case("noise images", 1, "data"): split_of(50, 7, 9).condensed()}
    assert by_condition(replace(predictions, cases=other)) == by_condition(predictions)
