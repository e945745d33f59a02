import numpy as np
import pytest
import torch

from sharpscope.data import stratified
from sharpscope.errors import DataError
from sharpscope.seeding import Stream

TARGETS = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)


@pytest.mark.parametrize(("size", "counts"), [(10, [6, 3, 1]), (50, [30, 15, 5]), (100, [60, 30, 10])])
def test_every_class_keeps_its_share(size, counts):
    chosen = stratified(TARGETS, size, Stream("test"))
    assert TARGETS[chosen].bincount(minlength=3).tolist() == counts


@pytest.mark.parametrize("size", range(1, 101, 7))
def test_shares_are_kept_within_one_sample(size):
    counts = TARGETS[stratified(TARGETS, size, Stream("test"))].bincount(minlength=3)
    assert np.abs(counts.numpy() - size * np.array([0.6, 0.3, 0.1])).max() <= 1


def test_subsets_are_nested_distinct_and_ascending():
    small = stratified(TARGETS, 30, Stream("test")).tolist()
    large = stratified(TARGETS, 50, Stream("test")).tolist()
    assert set(small) < set(large)
    assert large == sorted(set(large))


def test_the_stream_decides_which_samples():
    assert stratified(TARGETS, 50, Stream("a")).equal(stratified(TARGETS, 50, Stream("a")))
    assert not stratified(TARGETS, 50, Stream("a")).equal(stratified(TARGETS, 50, Stream("b")))


def test_every_sample_is_as_likely_as_any_other():
    counts = torch.zeros(100)
    for seed in range(400):
        counts[stratified(TARGETS, 50, Stream(seed))] += 1
    # Binomial(400, 1/2) has a standard deviation of 10; five of them bound 100 samples with room to spare.
    assert (counts - 200).abs().max() < 50


def test_none_takes_all_in_order():
    assert stratified(TARGETS, None, Stream("test")).equal(torch.arange(100))


@pytest.mark.parametrize("size", [0, -1, 101])
def test_an_impossible_size_is_refused(size):
    with pytest.raises(DataError, match="100 samples give 1 to 100"):
        stratified(TARGETS, size, Stream("test"))
