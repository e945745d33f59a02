"""How times on a few samples tell of many."""

from types import SimpleNamespace

import pytest

from sharpscope.study.work import timing


@pytest.fixture
def clock(monkeypatch):
    found = SimpleNamespace(now=0.0, perf_counter=lambda: found.now)
    monkeypatch.setattr(timing, "time", found)
    return found


def reckoned(clock, cost, *, samples=10_000, most=256):
    def action(size):
        clock.now += cost(size)

    return timing.Timing(None, "cpu").extrapolated(action, samples, most)


@pytest.mark.parametrize("by_sample", [1e-5, 1e-3, 0.1])
def test_what_each_sample_takes_is_taken_for_all(clock, by_sample):
    assert reckoned(clock, lambda size: by_sample * size) == pytest.approx(by_sample * 10_000)


def test_what_is_taken_whatever_the_number_of_samples_is_taken_once(clock):
    assert reckoned(clock, lambda size: 0.5) == pytest.approx(0.5)
    assert reckoned(clock, lambda size: 0.5 + 0.01 * size) == pytest.approx(100.5)


def test_what_is_done_but_once_is_not_counted_for_each(clock):
    waits = iter([2.0])
    assert reckoned(clock, lambda size: next(waits, 0.0) + 1e-3 * size) <= 20


def test_few_samples_are_timed_themselves(clock):
    assert reckoned(clock, lambda size: 1.0, samples=4) == pytest.approx(1.0)
