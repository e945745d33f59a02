"""What looking before measuring costs: the check of second derivatives, and calls on a tiny network.

The first call of a process is that of a process of its own, which has imported the package and nothing more.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from unittest import mock

import torch
from torch import Tensor, nn

from benchmarks.peers import Problem, problems
from benchmarks.timing import table
from sharpscope import measure
from sharpscope.curvature.operators.second_derivatives import Verdict

MEASURES = ("hessian_trace", "hessian_frobenius_norm", "hessian_top_eigenvalue")
ROUNDS = 7
CALLS = 200
FIRST_CALL = "import benchmarks.checks; print(benchmarks.checks.first_call())"


def unchecked(run: Callable[[], object]) -> object:
    """Run something that takes second derivatives on trust."""
    with mock.patch("sharpscope.curvature.operators.hessian.verdict_on", return_value=Verdict()):
        return run()


def processor_seconds(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median processor time of each contender, each run in turn, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for round_ in range(rounds + 1):
        for name, run in contenders.items():
            start = time.process_time()
            run()
            if round_:
                seconds[name].append(time.process_time() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def check_of(problem: Problem, name: str) -> list[str]:
    """Return a row: what a call takes without the check of second derivatives, and the share that it adds."""
    call = partial(measure, problem.model, problem.data, [name])
    seconds = processor_seconds({"checked": call, "unchecked": partial(unchecked, call)}, ROUNDS)
    added = seconds["checked"] - seconds["unchecked"]
    share = f"{100 * added / seconds['unchecked']:.1f}%"
    row = [problem.label, name, f"{seconds['unchecked']:.2f} s", f"{added * 1e3:.0f} ms", share]
    print(*row, sep=" | ", flush=True)
    return row


def tiny() -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """Return an MLP of 1,539 parameters and 8 samples."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, 3))
        return model, (torch.randn(8, 20), torch.arange(8) % 3)


def first_call() -> float:
    """Return the seconds that the default measures of the tiny network take."""
    torch.set_num_threads(1)
    model, data = tiny()
    start = time.perf_counter()
    measure(model, data)
    return time.perf_counter() - start


def forwards(model: nn.Module, data: tuple[Tensor, Tensor]) -> int:
    """Return how often the default measures call a model."""
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    handle = model.register_forward_pre_hook(count)
    measure(model, data)
    handle.remove()
    return calls


def fixed_cost() -> list[str]:
    """Return a row of what the default measures of the tiny network take."""
    model, data = tiny()
    first = float(subprocess.run([sys.executable, "-c", FIRST_CALL], capture_output=True, check=True).stdout)
    later = processor_seconds({"later": partial(measure, model, data)}, CALLS)["later"]
    return [f"{first:.2f} s", f"{later * 1e3:.1f} ms", str(forwards(model, data))]


def main() -> None:
    """Print both tables."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    table("Default measures of a tiny network", ["first call", "later calls", "forwards"], [fixed_cost()])
    rows = [check_of(problem, name) for problem in problems() for name in MEASURES]
    header = ["network", "measure", "call without the check", "the check", "share"]
    table("The check of second derivatives, one thread, processor time", header, rows)
    torch.set_num_threads(threads)
