"""The calibration split: never trained on, stratified, and the same whatever else is asked for."""

import pytest
import torch

from sharpscope.data import DATASETS, DataSource
from sharpscope.data.stand_in import stand_in
from sharpscope.data.subsets.calibration import calibration_count, calibration_samples
from sharpscope.errors import DataError
from sharpscope.seeding import Stream
from sharpscope.spec import Component, Run
from sharpscope.study.planning.resolve import reduced

OFFLINE = DataSource(download=False)


def digits(**options):
    return DATASETS["digits"](OFFLINE, **options)


def rows(inputs):
    return {tuple(row) for row in inputs.flatten(1).tolist()}


def test_it_takes_nothing_from_training_unless_it_is_told_to():
    data = digits()
    assert len(data.train_inputs) == 500
    assert len(data.calibration.targets) == 500
    others = [rows(inputs) for inputs in (data.train_inputs, data.test_inputs)]
    assert all(rows(data.calibration.inputs).isdisjoint(other) for other in others)
    assert data.calibration.targets.bincount().tolist() == pytest.approx([50] * 10, abs=3)
    assert digits(calibration_size=0).calibration is None
    assert digits(calibration_size=0).train_inputs.equal(data.train_inputs)
    assert digits(calibration_size=200).train_inputs.equal(data.train_inputs)
    assert digits(train_size=None).calibration is None
    assert digits(train_size=950).calibration is None
    assert len(digits(train_size=900).calibration.targets) == 100


def test_a_size_is_taken_off_the_training_set_that_would_be_all():
    data = digits(train_size=None, calibration_size=300)
    assert (len(data.train_inputs), len(data.calibration.targets)) == (700, 300)
    whole = digits(train_size=None)
    assert rows(data.train_inputs) | rows(data.calibration.inputs) == rows(whole.train_inputs)


def test_it_is_the_same_for_training_sets_of_other_sizes():
    splits = [digits(train_size=size, calibration_size=100).calibration for size in (60, 500, 900, None)]
    assert all(split.inputs.equal(splits[0].inputs) for split in splits)
    # A larger one holds a smaller one.
    assert rows(splits[0].inputs) < rows(digits().calibration.inputs)


def test_names_have_one_too():
    data = DATASETS["names"](OFFLINE, train_size=2000)
    assert len(data.calibration.targets) == 500
    assert rows(data.calibration.inputs).isdisjoint(rows(data.train_inputs))


@pytest.mark.parametrize(
    ("pool", "train", "asked", "expected"),
    [
        (60_000, 2000, None, 5000),
        (60_000, 56_000, None, 4000),
        (20_000, 1000, None, 2000),
        (1000, 900, None, 100),
        (1000, 901, None, 0),
        (1000, None, None, 0),
        (1000, 901, 99, 99),
        (1000, None, 999, 999),
    ],
)
def test_its_size(pool, train, asked, expected):
    assert calibration_count(pool, train, asked) == expected


@pytest.mark.parametrize(("train", "asked", "most"), [(900, 101, 100), (None, 1000, 999), (500, -1, 500)])
def test_what_there_is_not_is_refused(train, asked, most):
    with pytest.raises(DataError, match=f"calibration_size must be from 0 to {most}, got {asked}"):
        calibration_count(1000, train, asked)
    with pytest.raises(DataError, match="calibration_size must be"):
        digits(train_size=train, calibration_size=asked)


def test_each_class_is_left_one_to_train_on():
    targets = torch.tensor([0] * 50 + [1] * 50 + [2])
    held = calibration_samples(targets, 60, Stream("example"))
    assert len(held) == 60
    assert 100 not in held.tolist()
    assert targets[held].bincount().tolist() == [30, 30]


def test_a_stand_in_has_as_many():
    options = {"train_size": 2000, "test_size": 100, "calibration_size": None}
    assert len(stand_in("mnist", options).calibration.targets) == 5000
    held = stand_in("mnist", {"train_size": None, "test_size": 100, "calibration_size": 6000})
    assert (len(held.train_targets), len(held.calibration.targets)) == (54_000, 6000)


def test_it_is_in_the_identity_only_where_a_study_gives_it(digits_run):
    assert digits_run({}).id == digits_run({"calibration_size": None}).id
    assert digits_run({}).id != digits_run({"calibration_size": 200}).id


@pytest.fixture
def digits_run():
    def run(options):
        data = reduced(DATASETS, Component(name="digits", options=options))
        return Run(data=data, model="mlp", training={}, regime="baseline", seed=0)

    return run
