"""How long a study will take and how much disk it needs, from what each stage says of its cost on this machine."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from sharpscope.spec import REGIME, Run, arms, is_option
from sharpscope.store.folder import Store
from sharpscope.store.wanted import Stages
from sharpscope.study.planning.plan import Plan
from sharpscope.study.run.engine import known_records
from sharpscope.study.work.devices import CPU
from sharpscope.study.work.stage import in_order
from sharpscope.study.work.timing import Timing

# Starting a worker imports torch.
START_UP = 4.0
# Whole numbers in a row up to which each is listed.
_MANY = 10
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
    """Estimate time and disk.

    Args:
        plan: The study.
        store: Where it is kept, whether it exists or not.
        workers: Number of processes.
        device: Where they compute.
    """
    known = known_records(plan, store)
    todo = [run_id for run_id, (record, sound) in known.items() if not (sound and record.settled(plan.wanted))]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        timing = Timing(plan, device)
        work = sum(_seconds(timing, plan.runs[run_id], known[run_id][0].left(plan.wanted)) for run_id in todo)
    finally:
        torch.set_num_threads(threads)
    seconds = work / max(1, min(workers, len(todo))) + (START_UP if todo else 0.0)
    return Forecast(tuple(todo), seconds, _disk(timing), workers)


def _seconds(timing: Timing, run: Run, left: Mapping[str, Stages]) -> float:
    """Return the seconds of what is left of a run."""
    total = 0.0
    for stage in in_order():
        of_stage = {snapshot: stages[stage.name] for snapshot, stages in left.items() if stage.name in stages}
        total += stage.seconds(timing, run, of_stage) if of_stage else 0.0
    return total


def _disk(timing: Timing) -> dict[str, int]:
    """Return the bytes of what takes space; all else is small."""
    amounts: Counter[str] = Counter()
    inits: dict[tuple[str, str, int], int] = {}
    for run in timing.plan.runs.values():
        for stage in in_order(timing.plan.requested.stages):
            amounts.update(stage.disk(timing, run))
        inits[run.model.model_dump_json(), run.data.model_dump_json(), run.seed] = timing.weights(run)
    amounts.update({"weights": sum(inits.values())})
    return dict(amounts)


def show(plan: Plan, found: Forecast) -> str:
    """Return a plan and its forecast in words."""
    from sharpscope.study.run.progress import in_words

    study = plan.study
    lines = [f"{study.name}: {len(plan.runs)} run{'s' if len(plan.runs) > 1 else ''} = {_product(plan)}"]
    lines += [f"  regimes: {', '.join(regime.label for regime in study.regimes)}"]
    lines += [f"  {key}: {_listed(values)}" for key, values in study.grid.items()]
    factor = study.factor
    if factor.name != REGIME:
        others = factor.told(*(level for level in factor.levels if level != factor.reference))
        lines += [f"  compared with {factor.told(factor.reference)}: {others}"]
    lines += [f"  measures: {_measures(plan) or 'none'}"]
    if plan.requested.matched_losses:
        lines += [f"  and at matched train loss: {', '.join(plan.requested.matched_losses)}"]
    lines += [f"  scores: {', '.join(study.scores or {}) or 'none'}"]
    lines += _company(plan)
    lines += [f"{len(plan.runs) - len(found.todo)} done, {len(found.todo)} to do"]
    if found.todo:
        processes = "process" if found.workers == 1 else "processes"
        how = ", reckoned without compiling" if any(run.training.compile for run in plan.runs.values()) else ""
        lines += [f"about {in_words(found.seconds)} on this machine with {found.workers} {processes}{how}"]
    parts = ", ".join(f"{_size(size)} of {what}" for what, size in found.disk.items() if size)
    lines += [f"about {_size(found.bytes)} of disk for all runs: {parts}"]
    lines += [f"Note: {note}" for note in plan.notes]
    return "\n".join(lines)


def _listed(values: Sequence[object]) -> str:
    """Return the values of a key: one by one, or from the first to the last where these are all whole numbers between.

    >>> _listed([0, 1, 2]), _listed(list(range(100)))
    ('0, 1, 2', '0 to 99')
    """
    first, last = values[0], values[-1]
    if len(values) > _MANY and isinstance(first, int) and list(values) == list(range(first, first + len(values))):
        return f"{first} to {last}"
    return ", ".join(map(str, values))


def to_json(plan: Plan, found: Forecast) -> str:
    """Return a plan and its forecast as JSON."""
    todo = set(found.todo)
    grid = [{**point, "done": point["run_id"] not in todo} for point in plan.catalog["grid"]]
    amounts = {"seconds": found.seconds, "bytes": found.bytes, "disk": found.disk, "workers": found.workers}
    return json.dumps({"study": plan.study.name, **amounts, "notes": plan.notes, "grid": grid}, indent=2)


def _measures(plan: Plan) -> str:
    """Return what is measured, and on how many samples where those are not all."""
    of_subset: dict[int | None, list[str]] = {}
    for key, wanted in plan.requested.measures.items():
        of_subset.setdefault(wanted.subset, []).append(key)
    parts = [", ".join(keys) + (f" on {subset} samples" if subset else "") for subset, keys in of_subset.items()]
    return "; ".join(parts)


def _company(plan: Plan) -> list[str]:
    """Return which runs are trained together, and why others are not."""
    sizes = Counter(plan.packs.values())
    alone = sum(size == 1 for size in sizes.values())
    packs = {pack: size for pack, size in sizes.items() if size > 1}
    lines = []
    if packs:
        several = "s" if len(packs) > 1 else ""
        runs, most = sum(packs.values()), max(packs.values())
        lines.append(f"  {runs} runs are trained together, in {len(packs)} pack{several} of up to {most}")
    reasons = Counter(plan.packings[run_id].reason for run_id in plan.runs if run_id not in plan.packs)
    told = {f"packs take none with {reason}": runs for reason, runs in reasons.items()}
    if alone:
        told["no other run of the study could be in a pack with it"] = alone
    how = {
        why: f"{runs} runs are trained one by one" if runs > 1 else "1 run is trained alone"
        for why, runs in told.items()
    }
    return [*lines, *(f"  {text}: {why}" for why, text in how.items())]


def _product(plan: Plan) -> str:
    grid, regimes = plan.study.grid, plan.study.regimes
    of_all = [key for key in plan.study.varying if not is_option(key)]
    with_options = sum(len(list(arms(regime, grid))) for regime in regimes)
    told = " with their options" if with_options > len(regimes) else ""
    regime, seed = ("" if count == 1 else "s" for count in (with_options, len(grid["seed"])))
    factors = [f"{with_options} regime{regime}{told}", *(f"{len(grid[key])} {key}" for key in of_all)]
    return " x ".join([*factors, f"{len(grid['seed'])} seed{seed}"])


def _size(size: int) -> str:
    power = min(4, max(1, (len(str(size)) - 1) // 3))
    amount = size / 1000**power
    return f"{amount:.0f} {UNITS[power]}" if amount >= 10 else f"{amount:.1f} {UNITS[power]}"
