"""What a report draws of a network whose inputs are points: its predictions on a grid, kept with the run."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sharpscope.analysis.ledger import load_results
from sharpscope.data import DATASETS, DataSource
from sharpscope.models import build
from sharpscope.seeding import Stream

from .conftest import perform_all

POINTS = {"data": {"name": "circles", "samples": 40}, "regimes": ["baseline"], "scores": ["accuracy"]}
NUMBERS = {
    "data": {"name": "objective", "function": "booth", "samples": 30, "standardize": True},
    "regimes": ["baseline"],
    "scores": ["r2"],
}


def drawn(plan, store):
    perform_all(plan, store)
    arrays, unread = load_results(store.path).arrays("plane")
    assert not unread
    assert set(arrays) == set(plan.runs)
    return next(iter(arrays.items()))


def trained(store, run_id, data):
    model = build("mlp", (2,), data.outputs, Stream("other"), hidden=[8])
    model.load_state_dict(load_file(store.run(run_id).path / "weights.safetensors"))
    return model


def test_a_classifier_is_drawn_with_the_points_it_was_trained_on(plan_of, store):
    run_id, arrays = drawn(plan_of(**POINTS), store)
    data = DATASETS["circles"](DataSource(), samples=40)
    left, right, bottom, top = arrays["region"]
    assert left == bottom == pytest.approx(-1 - 0.08 * 2, abs=0.02)
    assert right == top == pytest.approx(1 + 0.08 * 2, abs=0.02)
    np.testing.assert_array_equal(arrays["points"], data.train_inputs.numpy())
    np.testing.assert_array_equal(arrays["labels"], data.train_targets.numpy())
    # Row 10 from below, column 90 from the left.
    point = torch.tensor([[left + 0.9 * (right - left), bottom + 0.1 * (top - bottom)]])
    sure, predicted = trained(store, run_id, data)(point).detach().softmax(dim=1).max(dim=1)
    assert arrays["class"].shape == arrays["confidence"].shape == (101, 101)
    assert arrays["class"][10, 90] == int(predicted)
    assert arrays["confidence"][10, 90] == pytest.approx(255 * float(sure), abs=1)


def test_a_regression_is_drawn_beside_what_it_should_be(plan_of, store):
    run_id, arrays = drawn(plan_of(**NUMBERS), store)
    data = DATASETS["objective"](DataSource(), function="booth", samples=30, standardize=True)
    assert arrays["region"].tolist() == [-3.5, 3.5, -3.5, 3.5]
    point = torch.tensor([[-3.5 + 0.07 * 20, -3.5 + 0.07 * 60]])
    assert arrays["target"][60, 20] == pytest.approx(float(data.truth(point)), rel=1e-4)
    assert arrays["fit"][60, 20] == pytest.approx(float(trained(store, run_id, data)(point).detach()), rel=1e-4)


def test_what_has_no_picture_has_none(plan_of, store):
    plan = plan_of(regimes=["baseline"], grid={"seed": 1})
    perform_all(plan, store)
    assert load_results(store.path).arrays("plane") == ({}, {})


def test_a_picture_that_is_lost_is_made_again_without_training(plan_of, store):
    run_id, _ = drawn(plan_of(**POINTS), store)
    (store.run(run_id).path / "plane-end.safetensors").unlink()
    stages = [outcome.stages for outcome in perform_all(plan_of(**POINTS), store)]
    assert stages == [("plane",), ()]
