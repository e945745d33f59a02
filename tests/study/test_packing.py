"""How runs are divided into packs."""

from __future__ import annotations

import pytest

from sharpscope.study.planning.packing import Packing, packed


def sizes(runs: int, size: int, *, enough: int = 16, of: int = 1) -> list[int]:
    """Return how many runs each job has, where ``runs`` come in units ``of`` so many that belong together."""
    names = [f"run {number}" for number in range(runs)]
    units = [tuple(names[first : first + of]) for first in range(0, runs, of)]
    jobs, packs = packed(units, dict.fromkeys(names, Packing("alike", size, enough)))
    assert [name for job in jobs for name in job] == names
    assert len(set(packs.values())) == len(jobs)
    assert all(len({packs[name] for name in job}) == 1 for job in jobs)
    return [len(job) for job in jobs]


@pytest.mark.parametrize(
    ("runs", "size", "expected"),
    [
        (24, 64, [24]),
        (31, 64, [31]),
        (32, 64, [16, 16]),
        (60, 64, [30, 30]),
        (70, 52, [35, 35]),
        (130, 64, [33, 32, 33, 32]),
        (5, 2, [2, 2, 1]),
        (1, 64, [1]),
    ],
)
def test_packs_are_about_as_large_so_that_processes_end_together(runs: int, size: int, expected: list[int]) -> None:
    assert sizes(runs, size) == expected


@pytest.mark.parametrize(("runs", "expected"), [(14, [7, 7]), (4, [2, 2]), (3, [3])])
def test_few_runs_that_need_no_company_are_for_two_processes(runs: int, expected: list[int]) -> None:
    assert sizes(runs, 52, enough=2) == expected


def test_runs_that_belong_together_stay_so() -> None:
    assert sizes(1100, 64, of=11) == [55] * 20
    found = sizes(800, 64, of=8)
    assert len(found) == 14
    assert set(found) == {56, 64}
    assert sizes(30, 4, of=10) == [10, 10, 10], "more than a pack has room for"


def test_jobs_keep_their_order_and_those_of_no_pack_stay_alone() -> None:
    packings = {
        "a": Packing("x", 8, 16),
        "b": Packing(reason="a word"),
        "c": Packing("y", 8, 16),
        "d": Packing("x", 8, 16),
    }
    packings["e"] = packings["b"]
    jobs, packs = packed([("a",), ("b",), ("c",), ("d",), ("e",)], packings)
    assert jobs == [("a", "d"), ("b",), ("c",), ("e",)]
    assert packs.keys() == {"a", "c", "d"}
    assert packs["a"] == packs["d"] != packs["c"]


def test_one_that_is_trained_alone_in_a_job_with_others_keeps_that_job_apart() -> None:
    packings = {
        "a": Packing("x", 8, 16),
        "b": Packing(reason="a word"),
        "c": Packing("x", 8, 16),
        "d": Packing("x", 8, 16),
    }
    jobs, packs = packed([("a", "b"), ("c",), ("d",)], packings)
    assert jobs == [("a", "b"), ("c", "d")]
    assert packs["a"] != packs["c"]
