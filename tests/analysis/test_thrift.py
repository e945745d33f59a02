"""Thrift begins and ends with what it is for."""

import gc

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from sharpscope.analysis.thrift import thrifty
from sharpscope.cli.steps import write_all
from sharpscope.store.reading import Reading


def threads():
    return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}


@pytest.fixture
def usual():
    """Settings of the user's own, as they were before and after."""
    before = gc.get_threshold()
    with threadpool_limits(limits=2, user_api="blas"):
        gc.set_threshold(600, 7, 8)
        yield (600, 7, 8), {2}
        gc.set_threshold(*before)


def test_everything_is_afterwards_as_it_was(usual):
    with thrifty():
        assert threads() == {1}
        assert gc.get_threshold()[0] > 10_000
        assert gc.get_threshold()[1:] == (7, 8)
    assert (gc.get_threshold(), threads()) == usual


def test_so_it_is_where_something_fails(usual):
    with pytest.raises(ZeroDivisionError), thrifty():
        1 / 0  # noqa: B018
    assert (gc.get_threshold(), threads()) == usual


def test_collections_that_are_off_stay_off():
    before = gc.get_threshold()
    gc.set_threshold(0)
    try:
        with thrifty():
            assert gc.get_threshold()[0] == 0
    finally:
        gc.set_threshold(*before)


def test_a_report_is_written_so(usual, monkeypatch, tmp_path):
    def of(store):
        assert gc.get_threshold()[0] > 10_000
        assert threads() == {1}
        raise KeyboardInterrupt

    (tmp_path / "runs").mkdir()
    monkeypatch.setattr(Reading, "of", of)
    with pytest.raises(KeyboardInterrupt):
        write_all(tmp_path)
    assert (gc.get_threshold(), threads()) == usual
