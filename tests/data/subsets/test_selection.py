import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sharpscope.data import stratified
from sharpscope.data.subsets.selection import subsets
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


# Samples of each class: many classes of one sample, rare ones beside large ones, and classes that have none.
COUNTS = st.lists(st.one_of(st.integers(0, 3), st.integers(0, 40)), min_size=1, max_size=12).filter(any)


def labels_of(counts):
    targets = torch.tensor([label for label, count in enumerate(counts) for _ in range(count)])
    return targets[torch.randperm(len(targets), generator=torch.Generator().manual_seed(0))]


def classes_of(targets):
    return set(targets.tolist())


@settings(deadline=None, max_examples=50)
@given(COUNTS, st.data())
def test_a_subset_to_train_on_has_every_class(counts, data):
    targets = labels_of(counts)
    size = data.draw(st.integers(1, len(targets)))
    stream = Stream(data.draw(st.integers(0, 3)))
    classes = classes_of(targets)
    if size < len(classes):
        with pytest.raises(DataError, match=f"cannot have one of each of the {len(classes)} classes"):
            stratified(targets, size, stream, every_class="inside")
        return
    chosen = stratified(targets, size, stream, every_class="inside").tolist()
    assert classes_of(targets[chosen]) == classes
    assert len(set(chosen)) == size
    plain = stratified(targets, size, stream).tolist()
    if classes_of(targets[plain]) == classes:
        assert chosen == plain
    if size > len(classes):
        assert set(stratified(targets, size - 1, stream, every_class="inside").tolist()) < set(chosen)


@settings(deadline=None, max_examples=50)
@given(COUNTS, st.data())
def test_holding_out_leaves_every_class(counts, data):
    targets = labels_of(counts)
    size = data.draw(st.integers(1, len(targets)))
    stream = Stream(data.draw(st.integers(0, 3)))
    classes = classes_of(targets)

    def left(chosen):
        return classes_of(targets[[i for i in range(len(targets)) if i not in set(chosen)]])

    if len(targets) - size < len(classes):
        with pytest.raises(DataError, match=f"does not leave one of each of the {len(classes)} classes"):
            stratified(targets, size, stream, every_class="outside")
        return
    chosen = stratified(targets, size, stream, every_class="outside").tolist()
    assert left(chosen) == classes
    assert len(set(chosen)) == size
    plain = stratified(targets, size, stream).tolist()
    if left(plain) == classes:
        assert chosen == plain


def test_a_class_that_is_tested_and_never_trained_is_told():
    with pytest.raises(DataError, match="'x' has test samples of 2 classes without a training sample, such as class 1"):
        subsets("x", torch.tensor([0, 2]), torch.tensor([0, 1, 3]), None, None, 0)
    # A class of which nothing is tested is not missed.
    assert subsets("x", torch.tensor([0, 2]), torch.tensor([0, 0]), None, None, 0)[0].tolist() == [0, 1]


def test_a_single_sample_of_a_class_is_trained_on():
    # Half of the samples is asked for, and half of one sample is none in one draw of two.
    targets = torch.tensor([0] * 9 + [1])
    for seed in range(20):
        assert 9 in subsets("x", targets, targets, 5, 5, seed)[0].tolist()
        assert 9 not in stratified(targets, 8, Stream(seed), every_class="outside").tolist()
