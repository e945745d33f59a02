"""How long a study will take and how much disk it needs, from a few steps of each regime on this machine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from sharpscope.data import SEVERITIES, Dataset
from sharpscope.models import build
from sharpscope.seeding import Stream
from sharpscope.spec import Run
from sharpscope.study.evaluation import measure_clean
from sharpscope.study.plan import Plan
from sharpscope.study.record import Wishes
from sharpscope.study.store import Damaged, Store
from sharpscope.training import Diverged, Recipe, predict, train

T = TypeVar("T")

# What is timed: enough to be told from noise, little enough to answer at once.
STEPS = 4
SAMPLES = 256
# Starting a worker imports torch.
START_UP = 4.0
UNITS = ("B", "kB", "MB", "GB", "TB")


@dataclass(frozen=True)
class Forecast:
    """What is left of a study, and what it will take.

    Attributes:
        todo: Ids of the runs that have something left to do.
        seconds: Time for them.
        bytes: Disk for all runs.
        workers: Number of processes reckoned with.
    """

    todo: tuple[str, ...]
    seconds: float
    bytes: int
    workers: int


def forecast(plan: Plan, store: Store, workers: int) -> Forecast:
    """Estimate time and disk; runs that are half done are taken as not begun.

    Args:
        plan: The study.
        store: Where it is kept, whether it exists or not.
        workers: Number of processes.
    """
    todo = [run_id for run_id in plan.runs if not _settled(store, run_id, plan.wishes)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        costs: dict[str, float] = {}
        for run_id in todo:
            kind = _kind(plan.runs[run_id])
            if kind not in costs:
                costs[kind] = _seconds(plan, plan.runs[run_id])
    finally:
        torch.set_num_threads(threads)
    work = sum(costs[_kind(plan.runs[run_id])] for run_id in todo)
    seconds = work / max(1, min(workers, len(todo))) + (START_UP if todo else 0.0)
    return Forecast(tuple(todo), seconds, _disk(plan), workers)


def _settled(store: Store, run_id: str, wishes: Wishes) -> bool:
    try:
        return store.run(run_id).settled(wishes) is not None
    except Damaged:
        return False


def _kind(run: Run) -> str:
    """Return text that is equal for runs of equal cost."""
    return run.model_copy(update={"seed": 0}).model_dump_json()


def _seconds(plan: Plan, run: Run) -> float:
    """Time a few steps of a run, one evaluation and its measures on a few samples, and scale them up."""
    dataset = plan.dataset_of(run)
    model = build(run.model.name, dataset.input_shape, len(dataset.classes), Stream("forecast"), **run.model.options)
    samples = STEPS * run.training.batch_size
    few = replace(dataset, train_inputs=dataset.train_inputs[:samples], train_targets=dataset.train_targets[:samples])
    recipe = replace(Recipe.from_spec(run.training, run.regime), epochs=1)

    def step() -> None:
        try:
            train(model, few, recipe, Stream("forecast"))
        except Diverged:
            # Its time counts all the same.
            return

    step()
    training = _timed(step) / len(few.train_inputs) * len(dataset.train_inputs) * run.training.epochs
    test = dataset.test_inputs[:SAMPLES]
    forward = _timed(lambda: predict(model, test, dataset.normalize)) / len(test)
    copies = 1 + len(plan.wishes.corruptions) * len(SEVERITIES)
    evaluation = forward * (len(dataset.test_inputs) * copies + len(dataset.train_inputs))
    return training + evaluation + _measuring(plan, model, dataset)


def _measuring(plan: Plan, model: torch.nn.Module, dataset: Dataset) -> float:
    if not plan.wishes.measures:
        return 0.0
    few = replace(dataset, train_inputs=dataset.train_inputs[:SAMPLES], train_targets=dataset.train_targets[:SAMPLES])
    init = dict(model.named_parameters())
    seconds = _timed(lambda: measure_clean(model, few, plan.wishes.measures, 0, init))
    return seconds / len(few.train_inputs) * len(dataset.train_inputs)


def _timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _disk(plan: Plan) -> int:
    """Return the bytes of weights, predictions and shared initial weights; the rest is small."""
    total, inits = 0, set()
    sizes: dict[str, int] = {}
    for run in plan.runs.values():
        dataset = plan.dataset_of(run)
        key = run.model.model_dump_json() + run.data.model_dump_json()
        if key not in sizes:
            model = build(
                run.model.name, dataset.input_shape, len(dataset.classes), Stream("forecast"), **run.model.options
            )
            sizes[key] = sum(tensor.nbytes for tensor in model.state_dict().values())
        conditions = len(plan.wishes.corruptions) * len(SEVERITIES)
        logits = (len(dataset.train_inputs) + len(dataset.test_inputs)) * (4 * len(dataset.classes) + 8)
        total += sizes[key] + logits + 3 * conditions * len(dataset.test_inputs)
        if (key, run.seed) not in inits:
            inits.add((key, run.seed))
            total += sizes[key]
    return total


def show(plan: Plan, found: Forecast) -> str:
    """Return a plan and its forecast in words."""
    from sharpscope.study.progress import in_words

    study = plan.study
    lines = [f"{study.name}: {len(plan.runs)} runs = {_product(plan)}"]
    lines += [f"  regimes: {', '.join(regime.label for regime in study.regimes)}"]
    lines += [f"  {key}: {', '.join(map(str, values))}" for key, values in study.grid.items()]
    lines += [f"  measures: {', '.join(study.measures or {}) or 'none'}"]
    lines += [f"  scores: {', '.join(study.scores or {}) or 'none'}"]
    lines += [f"{len(plan.runs) - len(found.todo)} done, {len(found.todo)} to do"]
    if found.todo:
        processes = "process" if found.workers == 1 else "processes"
        lines += [f"about {in_words(found.seconds)} on this machine with {found.workers} {processes}"]
    lines += [f"about {_size(found.bytes)} of disk for all runs"]
    return "\n".join(lines)


def to_json(plan: Plan, found: Forecast) -> str:
    """Return a plan and its forecast as JSON."""
    todo = set(found.todo)
    grid = [{**point, "done": point["run_id"] not in todo} for point in plan.catalog["grid"]]
    amounts = {"seconds": found.seconds, "bytes": found.bytes, "workers": found.workers}
    return json.dumps({"study": plan.study.name, **amounts, "grid": grid}, indent=2)


def _product(plan: Plan) -> str:
    factors = [f"{len(plan.study.regimes)} regimes"]
    factors += [f"{len(values)} {key}" for key, values in plan.study.grid.items() if key != "seed" and len(values) > 1]
    return " x ".join([*factors, f"{len(plan.study.grid['seed'])} seeds"])


def _size(size: int) -> str:
    power = min(4, max(1, (len(str(size)) - 1) // 3))
    amount = size / 1000**power
    return f"{amount:.0f} {UNITS[power]}" if amount >= 10 else f"{amount:.1f} {UNITS[power]}"
