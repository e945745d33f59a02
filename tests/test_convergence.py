"""The page on convergence tells of every measure: in a table, or in a sentence that says why it is in none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from benchmarks.convergence import BY_NUMBER, GROUPS, SIZES, Spread, needed

from sharpscope.curvature.measure import MEASURES
from sharpscope.measurement import resolve_measures

PAGE = (Path(__file__).parents[1] / "docs" / "convergence.md").read_text(encoding="utf-8")
IN_TABLE = set(re.findall(r"^\| `(\w+)`", PAGE, re.MULTILINE))
NOT_IN_TABLE = set(re.findall(r"^- `(\w+)`", PAGE.partition("## What is not in the table")[2], re.MULTILINE))


def test_every_measure_is_in_the_table_or_told_why_not() -> None:
    assert set(MEASURES) == IN_TABLE | NOT_IN_TABLE
    assert not IN_TABLE & NOT_IN_TABLE


def test_the_table_is_that_of_the_benchmark() -> None:
    asked = {key: dict(options) for group in GROUPS for key, options in group.measures.items()}
    assert {name for name, _ in resolve_measures(asked).values()} == IN_TABLE
    assert BY_NUMBER in NOT_IN_TABLE
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]
    assert {row.split(" | ")[0].removeprefix("| ").replace("`", "") for row in rows} == set(asked)
    assert all(row.count(" / ") == len(SIZES) for row in rows)


def test_enough_is_the_size_from_which_on_all_are_near() -> None:
    spreads = {64: Spread(0.1, 0.08), 128: Spread(0.1, 0.12), 1024: Spread(0.1, 0.09)}
    assert needed(spreads) == "1,024"
    assert needed({64: Spread(0.1, 0.2)}) == "over 64"


def test_deviations_are_shares_of_the_value_on_all_data() -> None:
    found = Spread.of([(-3.0, 1.0), (-1.0, 2.0)], truth=-2.0)
    # Deviations of 1 either way, and errors of 1 and 2, as shares of 2.
    assert found.true == pytest.approx(0.5)
    assert found.stated == pytest.approx((2.5**0.5) / 2)
