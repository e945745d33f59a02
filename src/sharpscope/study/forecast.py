"""How long a study will take and how much disk it needs, from a few steps of each regime on this machine."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from sharpscope.data import Dataset, conditions_of
from sharpscope.models import build_untrained
from sharpscope.safety import SPLITS
from sharpscope.seeding import Stream
from sharpscope.spec import Run
from sharpscope.store.folder import Store
from sharpscope.store.wishes import Wish
from sharpscope.study.devices import CPU
from sharpscope.study.engine import settled_records
from sharpscope.study.evaluation import measure_each
from sharpscope.study.plan import Plan
from sharpscope.training import Diverged, Recipe, predict, train

T = TypeVar("T")

# What is timed: enough to be told from noise, little enough to answer at once. A few samples first, then twice as many
# as long as that takes less than a moment.
FIRST = 8
STEPS = 4
SAMPLES = 256
MOMENT = 0.3
# Starting a worker imports torch.
START_UP = 4.0
UNITS = ("B", "kB", "MB", "GB", "TB")


@dataclass(frozen=True)
class Forecast:
    """What is left of a study, and what it will take.

    Attributes:
        todo: Ids of the runs that have something left to do.
        seconds: Time for them.
        disk: Bytes for all runs, by what takes them.
        workers: Number of processes reckoned with.
    """

    todo: tuple[str, ...]
    seconds: float
    disk: dict[str, int]
    workers: int

    @property
    def bytes(self) -> int:
        """Disk for all runs."""
        return sum(self.disk.values())


def forecast(plan: Plan, store: Store, workers: int, device: str = CPU) -> Forecast:
    """Estimate time and disk; runs that are half done are taken as not begun.

    Args:
        plan: The study.
        store: Where it is kept, whether it exists or not.
        workers: Number of processes.
        device: Where they compute.
    """
    records = zip(plan.runs, settled_records(plan, store), strict=True)
    todo = [run_id for run_id, record in records if record is None]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        timing = _Timing(plan, device)
        work = sum(timing.seconds(plan.runs[run_id]) for run_id in todo)
    finally:
        torch.set_num_threads(threads)
    seconds = work / max(1, min(workers, len(todo))) + (START_UP if todo else 0.0)
    return Forecast(tuple(todo), seconds, _disk(plan), workers)


class _Timing:
    """Times what is different between the runs of a plan, each kind once.

    Args:
        plan: The study.
        device: Where its runs compute.
    """

    def __init__(self, plan: Plan, device: str) -> None:
        self._plan = plan
        self._device = device
        self._known: dict[str, float] = {}

    def seconds(self, run: Run) -> float:
        """Return the seconds of a run: its training, and what is found out about it afterwards."""
        model = run.model.model_dump_json() + run.data.model_dump_json()
        training = self._once(_training_kind(run), lambda: self._training(run))
        forward = self._once(f"forward {model}", lambda: self._forward(run))
        points = 1 + len(self._plan.wishes.levels)
        measuring = self._once(f"measures {model}", lambda: self._measuring(run))
        return training + forward * self._evaluated(run, points) + points * measuring

    def _once(self, kind: str, timed: Callable[[], float]) -> float:
        if kind not in self._known:
            self._known[kind] = timed()
        return self._known[kind]

    def _model(self, run: Run) -> torch.nn.Module:
        return _model(self._plan, run).to(self._device)

    def _evaluated(self, run: Run, points: int) -> int:
        """Return how many samples go forward through the model for predictions and looks at the train loss."""
        dataset, training = self._plan.dataset_of(run), run.training
        goals = len(training.checkpoints_at_loss) + (training.stop_at_loss is not None)
        looks = training.epochs if goals else 0
        if training.check_loss_every is not None:
            # Bisection of the steps of one epoch.
            steps = math.ceil(len(dataset.train_inputs) / training.batch_size)
            looks += goals * math.ceil(math.log2(math.ceil(steps / training.check_loss_every)))
        cases = _cases(self._plan, dataset)
        return (points + looks) * len(dataset.train_inputs) + (points + cases) * len(dataset.test_inputs)

    def _training(self, run: Run) -> float:
        model, dataset = self._model(run), self._plan.dataset_of(run)
        recipe = Recipe.from_spec(run.training, run.regime)
        # Goals would be looked for on all data, and data held out would be a few samples of many.
        # Compiling takes far longer than these steps.
        plain = replace(recipe, epochs=1, compile=False)
        step = replace(plain, stop_at_loss=None, checkpoints_at_loss=(), early_stopping=None)

        def steps(samples: int) -> None:
            # The time of one that diverges counts all the same.
            with contextlib.suppress(Diverged):
                train(model, _first(dataset, samples), step, Stream("forecast"), device=self._device)

        return recipe.epochs * _extrapolated(steps, len(dataset.train_inputs), STEPS * recipe.batch_size)

    def _forward(self, run: Run) -> float:
        """Return the seconds of a forward pass, by sample."""
        model, dataset = self._model(run), self._plan.dataset_of(run)

        def forward(samples: int) -> None:
            predict(model, dataset.train_inputs[:samples], dataset.normalize, device=self._device)

        return _extrapolated(forward, len(dataset.train_inputs), SAMPLES) / len(dataset.train_inputs)

    def _measuring(self, run: Run) -> float:
        wishes = self._plan.wishes.measures
        model, dataset = self._model(run), self._plan.dataset_of(run)
        init, population = dict(model.named_parameters()), len(dataset.train_inputs)
        total = 0.0
        for subset in dict.fromkeys(wanted.subset for wanted in wishes.values()):
            part = {key: replace(w, subset=None) for key, w in wishes.items() if w.subset == subset}
            size = min(population, subset or population)

            def measured(samples: int, part: dict[str, Wish] = part) -> None:
                measure_each(model, _first(dataset, samples), part, 0, init, self._device)

            # A subset is measured a second time, group by group.
            total += _extrapolated(measured, size, SAMPLES) * (1 + (size < population))
        return total


def _model(plan: Plan, run: Run) -> torch.nn.Module:
    dataset = plan.dataset_of(run)
    shape, outputs = dataset.input_shape, dataset.outputs
    return build_untrained(run.model.name, shape, outputs, Stream("forecast"), **run.model.options)


def _training_kind(run: Run) -> str:
    """Return text that is equal for runs whose training costs the same."""
    rate = {"lr": 1.0, "schedule": "", "schedule_options": {}, "warmup_steps": 0, "momentum": None}
    training = run.training.model_copy(update=rate)
    regime = run.regime.model_copy(update={"label": ""})
    return run.model_copy(update={"seed": 0, "training": training, "regime": regime}).model_dump_json()


def _first(dataset: Dataset, samples: int) -> Dataset:
    return replace(dataset, train_inputs=dataset.train_inputs[:samples], train_targets=dataset.train_targets[:samples])


def _extrapolated(action: Callable[[int], object], samples: int, most: int) -> float:
    """Return the seconds that an action would take on so many samples, from those on a few.

    Args:
        action: Is given a number of samples.
        samples: What to reckon for.
        most: No more than these are tried.
    """
    size = min(FIRST, samples, most)
    seconds = _timed(lambda: action(size))
    while seconds < MOMENT and size < min(samples, most):
        # The first times hold what PyTorch does but once, so that the last one alone is to be believed.
        size = min(2 * size, samples, most)
        seconds = _timed(lambda size=size: action(size))  # type: ignore[misc]
    return seconds / size * samples


def _timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _disk(plan: Plan) -> dict[str, int]:
    """Return the bytes of what takes space; all else is small."""
    kinds = ("weights", "outputs on training data", "outputs on test data", "predictions under conditions")
    amounts = dict.fromkeys(kinds, 0)
    sizes: dict[str, int] = {}
    inits = set()
    for run in plan.runs.values():
        dataset = plan.dataset_of(run)
        key = run.model.model_dump_json() + run.data.model_dump_json()
        if key not in sizes:
            sizes[key] = sum(tensor.nbytes for tensor in _model(plan, run).state_dict().values())
        new = (key, run.seed) not in inits
        inits.add((key, run.seed))
        amounts["weights"] += sizes[key] * (1 + len(plan.wishes.levels) + new)
        # Outputs in single precision with a target each.
        sample = 4 * dataset.outputs + 8
        condensed = SPLITS[plan.task.name].condensed_bytes(dataset.outputs)
        amounts["outputs on training data"] += sample * len(dataset.train_inputs)
        amounts["outputs on test data"] += sample * len(dataset.test_inputs)
        amounts["predictions under conditions"] += condensed * _cases(plan, dataset) * len(dataset.test_inputs)
    return amounts


def _cases(plan: Plan, dataset: Dataset) -> int:
    """Return in how many cases of conditions a model of a dataset is evaluated."""
    return sum(len(c.cases) for name, c in conditions_of(dataset).items() if name in plan.wishes.conditions)


def show(plan: Plan, found: Forecast) -> str:
    """Return a plan and its forecast in words."""
    from sharpscope.study.progress import in_words

    study = plan.study
    lines = [f"{study.name}: {len(plan.runs)} runs = {_product(plan)}"]
    lines += [f"  regimes: {', '.join(regime.label for regime in study.regimes)}"]
    lines += [f"  {key}: {', '.join(map(str, values))}" for key, values in study.grid.items()]
    lines += [f"  measures: {_measures(plan) or 'none'}"]
    if plan.wishes.levels:
        lines += [f"  and at matched train loss: {', '.join(plan.wishes.levels)}"]
    lines += [f"  scores: {', '.join(study.scores or {}) or 'none'}"]
    lines += [f"{len(plan.runs) - len(found.todo)} done, {len(found.todo)} to do"]
    if found.todo:
        processes = "process" if found.workers == 1 else "processes"
        how = ", reckoned without compiling" if any(run.training.compile for run in plan.runs.values()) else ""
        lines += [f"about {in_words(found.seconds)} on this machine with {found.workers} {processes}{how}"]
    parts = ", ".join(f"{_size(size)} of {what}" for what, size in found.disk.items() if size)
    lines += [f"about {_size(found.bytes)} of disk for all runs: {parts}"]
    lines += [f"Note: {note}" for note in plan.notes]
    return "\n".join(lines)


def to_json(plan: Plan, found: Forecast) -> str:
    """Return a plan and its forecast as JSON."""
    todo = set(found.todo)
    grid = [{**point, "done": point["run_id"] not in todo} for point in plan.catalog["grid"]]
    amounts = {"seconds": found.seconds, "bytes": found.bytes, "disk": found.disk, "workers": found.workers}
    return json.dumps({"study": plan.study.name, **amounts, "notes": plan.notes, "grid": grid}, indent=2)


def _measures(plan: Plan) -> str:
    """Return what is measured, and on how many samples where those are not all."""
    of_subset: dict[int | None, list[str]] = {}
    for key, wanted in plan.wishes.measures.items():
        of_subset.setdefault(wanted.subset, []).append(key)
    parts = [", ".join(keys) + (f" on {subset} samples" if subset else "") for subset, keys in of_subset.items()]
    return "; ".join(parts)


def _product(plan: Plan) -> str:
    factors = [f"{len(plan.study.regimes)} regimes"]
    factors += [f"{len(values)} {key}" for key, values in plan.study.grid.items() if key != "seed" and len(values) > 1]
    return " x ".join([*factors, f"{len(plan.study.grid['seed'])} seeds"])


def _size(size: int) -> str:
    power = min(4, max(1, (len(str(size)) - 1) // 3))
    amount = size / 1000**power
    return f"{amount:.0f} {UNITS[power]}" if amount >= 10 else f"{amount:.1f} {UNITS[power]}"
