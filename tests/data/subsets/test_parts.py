"""Which samples of two splits are used."""

import pytest
import torch

from sharpscope.data.subsets.parts import Sizes
from sharpscope.errors import DataError

POOL, TESTED = torch.arange(1000) % 10, torch.arange(200) % 10


def test_nothing_that_is_trained_on_is_calibrated_on():
    parts = Sizes(train_size=300, test_size=50, calibration_size=200).parts("x", POOL, TESTED)
    assert [len(part) for part in parts] == [300, 50, 200]
    assert not set(parts.train.tolist()) & set(parts.calibration.tolist())
    samples = parts.to_calibrate(lambda chosen: 2 * chosen, POOL)
    assert samples.inputs.equal(2 * parts.calibration)
    assert samples.targets.equal(parts.calibration % 10)


def test_all_is_used_where_no_size_is_asked_for():
    parts = Sizes().parts("x", POOL, TESTED)
    assert parts.train.equal(torch.arange(1000))
    assert parts.test.equal(torch.arange(200))
    assert parts.to_calibrate(lambda chosen: chosen, POOL) is None


def test_a_training_set_that_is_too_large_is_what_is_told():
    with pytest.raises(DataError, match=r"a subset of 1001 was asked for; 1000 samples give 1 to 1000"):
        Sizes(train_size=1001, calibration_size=0).parts("x", POOL, TESTED)
