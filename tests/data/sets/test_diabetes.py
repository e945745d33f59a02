"""The regression that comes with scikit-learn."""

import pytest
import torch
from sklearn.datasets import load_diabetes

from sharpscope.data import DATASETS, Dataset, DataSource
from sharpscope.errors import DataError
from sharpscope.task import REGRESSION

OFFLINE = DataSource(download=False)


@pytest.fixture(scope="module")
def diabetes():
    return DATASETS["diabetes"](OFFLINE)


def rows(inputs):
    return {tuple(row) for row in inputs.tolist()}


def test_it_is_the_data_of_scikit_learn_split_without_overlap(diabetes):
    inputs, targets = load_diabetes(return_X_y=True, scaled=False)
    found = torch.cat([diabetes.train_inputs, diabetes.test_inputs])
    assert (len(diabetes.train_inputs), len(diabetes.test_inputs)) == (300, 142)
    assert sorted(found.tolist()) == sorted(torch.from_numpy(inputs).float().tolist())
    # Standardizing keeps the order of the targets, which belong to their inputs.
    of = {tuple(row): target for row, target in zip(torch.from_numpy(inputs).float().tolist(), targets, strict=True)}
    originals = torch.tensor([of[tuple(row)] for row in found.tolist()], dtype=torch.float64)
    scaled = torch.cat([diabetes.train_targets, diabetes.test_targets]).double()
    mean, std = originals[:300].mean(), originals[:300].std(correction=0)
    torch.testing.assert_close(scaled, (originals - mean) / std, rtol=1e-5, atol=1e-6)


def test_inputs_and_targets_have_no_mean_and_unit_variance_in_training(diabetes):
    inputs = diabetes.normalize(diabetes.train_inputs).double()
    assert inputs.mean(dim=0).tolist() == pytest.approx([0.0] * 10, abs=1e-5)
    assert inputs.std(dim=0, correction=0).tolist() == pytest.approx([1.0] * 10, rel=1e-5)
    assert diabetes.train_targets.dtype == torch.float32
    assert float(diabetes.train_targets.double().mean()) == pytest.approx(0, abs=1e-6)
    assert float(diabetes.train_targets.double().square().mean()) == pytest.approx(1, rel=1e-5)
    assert (diabetes.task, diabetes.outputs, diabetes.input_shape) == (REGRESSION, 1, (10,))


def test_the_test_split_is_fixed_and_training_sets_are_nested(diabetes):
    small = DATASETS["diabetes"](OFFLINE, train_size=100)
    other = DATASETS["diabetes"](OFFLINE, train_size=100, subset_seed=1)
    assert small.test_inputs.equal(diabetes.test_inputs)
    assert small.test_targets.equal(diabetes.test_targets)
    assert rows(small.train_inputs) < rows(DATASETS["diabetes"](OFFLINE, train_size=200).train_inputs)
    assert rows(other.train_inputs) != rows(small.train_inputs)
    assert small.normalize(small.test_inputs).equal(diabetes.normalize(diabetes.test_inputs))
    assert small.digest != other.digest


@pytest.mark.parametrize("size", [0, 301])
def test_a_training_set_that_it_cannot_give_is_refused(size):
    with pytest.raises(DataError, match=f"a subset of {size} was asked for; 300 samples give 1 to 300"):
        DATASETS["diabetes"](OFFLINE, train_size=size)


def test_targets_of_other_shapes_in_training_and_test_are_refused():
    inputs, targets = torch.randn(4, 2), torch.randn(4, 3)
    with pytest.raises(DataError, match=r"needs targets of one shape, got \(3,\) for training and \(\) for the test"):
        Dataset("points", inputs, targets, inputs, targets[:, 0], (), (0.0,) * 2, (1.0,) * 2, task=REGRESSION)


def test_several_numbers_are_several_outputs():
    inputs, targets = torch.randn(4, 2), torch.randn(4, 3)
    data = Dataset("points", inputs, targets, inputs, targets, (), (0.0,) * 2, (1.0,) * 2, task=REGRESSION)
    assert data.outputs == 3
