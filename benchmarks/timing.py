"""Timing side by side: every contender in turn, round after round, so that a busy machine is busy for all of them."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import torch


def side_by_side(contenders: dict[str, Callable[[], object]], rounds: int = 5) -> dict[str, float]:
    """Return the median seconds of each contender, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for round_ in range(rounds + 1):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            if round_:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def once(run: Callable[[], object]) -> tuple[float, object]:
    """Return the seconds of one call and what it returned: for contenders that take minutes."""
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def table(title: str, header: list[str], rows: list[list[str]]) -> None:
    """Print a Markdown table, ready for the documentation."""
    print(f"\n### {title}\n")
    print("| " + " | ".join(header) + " |")
    print("| " + " | ".join("---" for _ in header) + " |")
    for row in rows:
        print("| " + " | ".join(row) + " |")


def machine(*packages: str) -> str:
    """Return what the figures were measured on."""
    found = []
    for package in ("torch", *packages):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} missing")
    threads = torch.get_num_threads()
    return (
        f"{platform.machine()}, {threads} thread{'s' if threads > 1 else ''}, Python {platform.python_version()}, "
        + (", ".join(found))
    )
