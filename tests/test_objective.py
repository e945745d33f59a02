"""Tasks: losses against arithmetic, and what is refused as targets."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from sharpscope.curvature.risk.custom_losses import resolve_loss
from sharpscope.errors import DataError
from sharpscope.objective import OBJECTIVES
from sharpscope.seeding import Stream
from sharpscope.task import REGRESSION, TASKS, Task

CLASSES = ("a", "b", "c")
CLASSIFICATION, NUMBERS = OBJECTIVES["classification"], OBJECTIVES["regression"]


def normal(*shape):
    return torch.randn(*shape, generator=Stream("objective").torch(), dtype=torch.float64)


DATA = {
    "classes": (CLASSIFICATION, normal(7, 3), torch.arange(7) % 3),
    "one number": (NUMBERS, normal(7, 1), normal(7).flip(0)),
    "three numbers": (NUMBERS, normal(7, 3), normal(7, 3).flip(0)),
}
every_data = pytest.mark.parametrize(("objective", "outputs", "targets"), DATA.values(), ids=DATA)


def test_every_task_has_an_objective_of_its_own():
    assert list(OBJECTIVES) == list(TASKS)
    assert all(OBJECTIVES[name].task is task for name, task in TASKS.items())


@every_data
def test_the_loss_is_the_one_that_measures_are_told(objective, outputs, targets):
    measured = resolve_loss(objective.task.loss).values(outputs, targets)
    torch.testing.assert_close(objective.loss(outputs, targets), measured.mean(), rtol=1e-14, atol=0)
    torch.testing.assert_close(objective.total(outputs, targets), measured.sum(), rtol=1e-14, atol=0)


@every_data
def test_the_losses_of_samples_are_those_of_batches_of_one(objective, outputs, targets):
    found = torch.func.vmap(objective.loss)(outputs[:, None], targets[:, None])
    torch.testing.assert_close(found, resolve_loss(objective.task.loss).values(outputs, targets))


def test_the_squared_error_is_that_of_arithmetic():
    outputs, targets = torch.tensor([[1.0, 2.0], [0.0, 4.0]]), torch.tensor([[1.0, 0.0], [3.0, 4.0]])
    assert NUMBERS.loss(outputs, targets).item() == (0 + 4 + 9 + 0) / 4
    assert NUMBERS.total(outputs, targets).item() == (4 / 2) + (9 / 2)
    # A target [N] and an output [N, 1] must not be broadcast to [N, N].
    assert NUMBERS.loss(torch.tensor([[1.0], [3.0]]), torch.tensor([1.0, 2.0])).item() == 0.5


def test_cross_entropy_takes_probabilities_and_smoothing():
    probabilities = normal(7, 3).softmax(dim=1)
    logits = normal(7, 3)
    expected = -(probabilities * logits.log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(CLASSIFICATION.loss(logits, probabilities), expected)
    smoothed = 0.7 * functional.one_hot(torch.arange(7) % 3, 3) + 0.1
    expected = -(smoothed * logits.log_softmax(dim=1)).sum(dim=1).mean()
    found = CLASSIFICATION.loss(logits, torch.arange(7) % 3, label_smoothing=0.3)
    torch.testing.assert_close(found, expected)


def test_what_is_right_is_counted_where_there_are_classes():
    outputs = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0]])
    assert CLASSIFICATION.right(outputs, torch.tensor([0, 0, 0])) == 2
    mixed = torch.tensor([[0.4, 0.6], [0.1, 0.9], [0.8, 0.2]])
    assert CLASSIFICATION.right(outputs, mixed) == 2
    assert NUMBERS.right(outputs, outputs) is None


def test_a_model_has_as_many_outputs_as_there_are_classes_or_numbers():
    assert CLASSIFICATION.outputs(torch.arange(3), CLASSES) == 3
    assert NUMBERS.outputs(torch.zeros(5), ()) == 1
    assert NUMBERS.outputs(torch.zeros(5, 4), ()) == 4


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (torch.zeros(6), r"needs float32 targets of shape \[7\] or \[7, D\] for its 7 test inputs, got .* \(6,\)"),
        (torch.zeros(7, 0), "needs float32 targets"),
        (torch.zeros(7, 2, 2), "needs float32 targets"),
        (torch.zeros(7).double(), "got torch.float64"),
        (torch.zeros(7).long(), "got torch.int64"),
        (torch.zeros(7).index_fill(0, torch.tensor([2]), np.nan), "has test targets that are NaN or infinite"),
        (torch.zeros(7, 2).index_fill(0, torch.tensor([2]), np.inf), "has test targets that are NaN or infinite"),
    ],
)
def test_targets_that_are_no_numbers_are_refused(targets, message):
    with pytest.raises(DataError, match=message):
        NUMBERS.check_targets("points", "test", targets, 7, ())


def test_targets_that_are_all_alike_have_no_r2():
    with pytest.raises(DataError, match="has test targets that are all alike, so R2 is not defined"):
        NUMBERS.check_varied("points", "test", torch.ones(5, 2))
    NUMBERS.check_varied("points", "test", torch.tensor([[1.0, 2.0], [1.0, 3.0]]))
    CLASSIFICATION.check_varied("points", "test", torch.zeros(5, dtype=torch.int64))


def test_a_regression_declares_no_classes():
    with pytest.raises(DataError, match="is one of regression, and declares 2 classes; leave them out"):
        NUMBERS.check_declared("points", ("a", "b"))


def test_the_catalog_of_a_study_says_its_task():
    assert Task.of({"task": "regression"}) is REGRESSION
    assert Task.of({}) is TASKS["classification"], "as all were before there were tasks"
