import torch
from scipy import stats

from sharpscope.data.draws import Draws
from sharpscope.seeding import Stream

STREAM = Stream("test")


def test_numbers_follow_their_distributions():
    draws = Draws(STREAM, 0, 5000)
    assert stats.kstest(draws.uniform("u", 2).ravel().numpy(), "uniform").pvalue > 0.001
    assert stats.kstest(draws.normal("n", 2).ravel().numpy(), "norm").pvalue > 0.001


def test_numbers_belong_to_samples_whatever_the_cut():
    for shape in [(), (1,), (3, 5), (4, 4)]:
        whole = Draws(STREAM, 0, 10).normal("n", *shape)
        parts = [Draws(STREAM, first, count).normal("n", *shape) for first, count in ((0, 3), (3, 6), (9, 1))]
        assert torch.cat(parts).equal(whole)


def test_samples_share_no_numbers():
    numbers = Draws(STREAM, 0, 200).uniform("u", 7)
    assert len(numbers.unique()) == numbers.numel()


def test_purposes_and_streams_are_apart():
    draws = Draws(STREAM, 0, 4)
    assert draws.uniform("a", 3).equal(draws.uniform("a", 3))
    assert not draws.uniform("a", 3).equal(draws.uniform("b", 3))
    assert not draws.uniform("a", 3).equal(Draws(STREAM.child(1), 0, 4).uniform("a", 3))
